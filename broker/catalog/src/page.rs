//! Pages of a list, and our own cursors.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::Exposed;

/// A page of exposed entries.
#[derive(Debug)]
pub struct Page<'a> {
    /// The entries, in order.
    pub entries: Vec<&'a Exposed>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
}

/// A cursor that this broker did not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cursor is not one of this server's: start again without a cursor")]
pub struct InvalidCursor;

/// A position in a list that stays meaningful when other servers come and go: a server, and an index in its own list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Position {
    server: String,
    index: usize,
}

impl Position {
    /// `list` names the list and its view, in two words: a cursor of one list means nothing in another.
    fn encode(&self, list: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(format!("2 {list} {} {}", self.server, self.index))
    }

    fn decode(cursor: &str, list: &str) -> Option<Self> {
        let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let position = text.strip_prefix("2 ")?.strip_prefix(list)?.strip_prefix(' ')?;
        let (server, index) = position.split_once(' ')?;
        Some(Self { server: server.to_owned(), index: index.parse().ok()? })
    }
}

/// Cuts one page out of the entries, which are ordered by server and the server's own order.
pub(crate) fn cut<'a>(
    list: &str,
    entries: &'a [Exposed],
    cursor: Option<&str>,
    page_size: usize,
    allowed: impl Fn(&Exposed) -> bool,
) -> Result<Page<'a>, InvalidCursor> {
    let start = match cursor {
        None => 0,
        Some(cursor) => {
            let at = Position::decode(cursor, list).ok_or(InvalidCursor)?;
            entries.partition_point(|entry| (entry.server.as_str(), entry.index) < (at.server.as_str(), at.index))
        }
    };
    let mut rest = entries[start..].iter().filter(|entry| allowed(entry)).peekable();
    let page: Vec<_> = rest.by_ref().take(page_size).collect();
    let next_cursor =
        rest.peek().map(|next| Position { server: next.server.to_string(), index: next.index }.encode(list));
    Ok(Page { entries: page, next_cursor })
}
