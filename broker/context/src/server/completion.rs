//! `completion/complete` for the resource templates (2026-07-28, server/utilities/completion).

use serde::{Deserialize, Serialize};
use spanwire_mcp::Json;
use spanwire_model::{Error, ErrorKind, Outcome, ReadLevel};

use super::{Asked, complete, json_of, resources, uri};
use crate::{ListQuery, Reading, SpaceName};

/// Most values of one answer, as the specification has it.
const MAX_VALUES: usize = 100;

#[derive(Deserialize)]
struct Wanted {
    argument: Argument,
    #[serde(default)]
    context: Context,
}

#[derive(Deserialize)]
struct Argument {
    name: String,
    /// What the user has typed so far.
    value: String,
}

/// What is known of the template's other variables.
#[derive(Default, Deserialize)]
struct Context {
    #[serde(default)]
    arguments: Known,
}

#[derive(Default, Deserialize)]
struct Known {
    space: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Completion {
    values: Vec<String>,
    has_more: bool,
}

/// Names of spaces and keys that begin with what was typed, of those that the principal may read.
///
/// # Errors
/// `InvalidParams` for another template than those that are listed, and for a variable that the template does not have.
pub(super) async fn complete_argument(asked: &Asked, template: &str, params: &Json) -> Outcome {
    let read = params.read::<Wanted>();
    let Wanted { argument, context } = read.map_err(|error| invalid(format!("nothing to complete: {error}")))?;
    let reading = Reading { level: ReadLevel::Local, deadline: asked.deadline };
    let completion = match (template, argument.name.as_str()) {
        (resources::KEY | resources::SPACE, "space") => {
            let page = asked.behalf.spaces(&argument.value, None, MAX_VALUES, reading).await?;
            let values = page.spaces.into_iter().map(|info| info.name.to_string()).collect();
            Completion { values, has_more: page.next.is_some() }
        }
        (resources::KEY, "key") => {
            // Without a space, or with one that cannot be, there is no key; nor is there one that begins as none can.
            let space = context.arguments.space.and_then(|space| space.parse::<SpaceName>().ok());
            match space.zip(uri::prefix_of(&argument.value)) {
                Some((space, prefix)) => {
                    let query = ListQuery { prefix, limit: MAX_VALUES, ..ListQuery::default() };
                    let page = asked.behalf.list(&space, &query, reading).await?.value;
                    let values = page.items.into_iter().map(|item| uri::variable(&item.key)).collect();
                    Completion { values, has_more: page.next.is_some() }
                }
                None => Completion { values: Vec::new(), has_more: false },
            }
        }
        (resources::KEY | resources::SPACE, other) => {
            let other: String = other.chars().take(80).collect();
            return Err(invalid(format!("the template has no variable \"{other}\" to complete")));
        }
        (other, _) => {
            let other: String = other.chars().take(200).collect();
            return Err(invalid(format!("unknown resource template \"{other}\"")));
        }
    };
    let completion = json_of(&completion)?;
    let mut out = complete(completion.len() + 64);
    out.member("completion", completion.as_bytes());
    Ok(out.finish())
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidParams, text)
}
