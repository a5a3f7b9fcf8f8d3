//! Orders of messages, read from bytes: one byte says what happens, the next ones to whom. Any bytes are an order.
//!
//! Whatever belongs to one call carries the call's [mark](mark), so that what strays to another one is seen.

/// Bytes as choices.
pub(crate) struct Orders<'a> {
    bytes: &'a [u8],
}

impl<'a> Orders<'a> {
    /// Reads from the front.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// One of so many; `None` when the bytes are used up.
    pub(crate) fn choose(&mut self, of: usize) -> Option<usize> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(usize::from(*first) % of.max(1))
    }

    /// One of these; `None` when there is none, or the bytes are used up.
    pub(crate) fn one<'b, T>(&mut self, of: &'b [T]) -> Option<&'b T> {
        let at = self.choose(of.len())?;
        of.get(at)
    }
}

/// The mark of a call.
pub(crate) fn mark(number: usize) -> String {
    format!("<{number:04}>")
}

/// The marks in a text.
pub(crate) fn marks_in(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('<').filter_map(|(at, _)| {
        let mark = text.get(at..at + 6)?;
        (mark.ends_with('>') && mark[1..5].bytes().all(|byte| byte.is_ascii_digit())).then_some(mark)
    })
}

/// Fails when a text holds a mark of another call.
pub(crate) fn only(own: &str, text: &str, whose: &str) {
    for mark in marks_in(text) {
        assert_eq!(mark, own, "cross-talk: {whose} got {text}");
    }
}
