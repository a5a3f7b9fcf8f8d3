//! JSON patch (RFC 6902).

use serde::{Deserialize, Deserializer};
use spanwire_mcp::Json;

use super::{equal::equal, tree::Node};

/// Most steps of one patch.
pub(crate) const MAX_STEPS: usize = 256;
/// Most bytes that a patch adds to a value, copies included.
const MAX_ADDED: usize = 1024 * 1024;
/// What is said of a patch that is none. What a library says is nothing that nodes of different builds agree on.
const NO_STEPS: &str =
    "it must be an array of objects with \"op\" and \"path\", and \"from\" or \"value\" where they are needed";

/// Why a patch was not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// It is no patch, whatever the value.
    Patch(String),
    /// It does not fit this value.
    Value(String),
}

#[derive(Deserialize)]
struct Step {
    op: String,
    path: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default, deserialize_with = "present")]
    value: Option<Json>,
}

/// Keeps an explicit `null` apart from an absent member.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

/// The value with all steps done in order.
pub(crate) fn json_patch(value: &Json, patch: &Json) -> Result<Json, Misfit> {
    let steps: Vec<Step> = patch.read().map_err(|_| Misfit::Patch(NO_STEPS.to_owned()))?;
    if steps.len() > MAX_STEPS {
        return Err(Misfit::Patch(format!("it has {} steps, the limit is {MAX_STEPS}", steps.len())));
    }
    let mut root = Node::Raw(value.clone());
    let mut added = 0;
    for (number, step) in steps.iter().enumerate() {
        let numbered = |misfit| match misfit {
            Misfit::Patch(why) => Misfit::Patch(format!("step {number}: {why}")),
            Misfit::Value(why) => Misfit::Value(format!("step {number}: {why}")),
        };
        take(&mut root, step, &mut added).map_err(numbered)?;
    }
    Ok(root.to_json())
}

fn take(root: &mut Node, step: &Step, added: &mut usize) -> Result<(), Misfit> {
    let path = pointer(&step.path)?;
    let value = || step.value.clone().ok_or_else(|| Misfit::Patch(format!("\"{}\" needs a value", step.op)));
    let from = || match &step.from {
        Some(from) => Ok((from.as_str(), pointer(from)?)),
        None => Err(Misfit::Patch(format!("\"{}\" needs a \"from\"", step.op))),
    };
    match step.op.as_str() {
        "add" => add(root, &path, &step.path, Node::Raw(value()?), added),
        "remove" => remove(root, &path, &step.path).map(drop),
        "replace" => {
            let value = value()?;
            *find(root, &path, &step.path)? = Node::Raw(value);
            Ok(())
        }
        "move" => {
            let (text, from) = from()?;
            if path.len() > from.len() && path.starts_with(&from) {
                return Err(Misfit::Patch(format!("\"{text}\" cannot be moved into itself")));
            }
            let moved = remove(root, &from, text)?;
            // What is moved was counted when it came.
            add(root, &path, &step.path, moved, &mut 0)
        }
        "copy" => {
            let (text, from) = from()?;
            let copied = find(root, &from, text)?.to_json();
            add(root, &path, &step.path, Node::Raw(copied), added)
        }
        "test" => {
            let value = value()?;
            if equal(&find(root, &path, &step.path)?.to_json(), &value) {
                Ok(())
            } else {
                Err(Misfit::Value(format!("\"{}\" is something else than the test says", step.path)))
            }
        }
        other => Err(Misfit::Patch(format!("there is no \"{}\"", other.chars().take(40).collect::<String>()))),
    }
}

fn add(root: &mut Node, path: &[String], text: &str, node: Node, added: &mut usize) -> Result<(), Misfit> {
    *added += node.to_json().len();
    if *added > MAX_ADDED {
        return Err(Misfit::Patch(format!("it adds more than {MAX_ADDED} bytes")));
    }
    let Some((last, parents)) = path.split_last() else {
        *root = node;
        return Ok(());
    };
    if find(root, parents, text)?.insert(last, node) { Ok(()) } else { Err(missing(text)) }
}

fn remove(root: &mut Node, path: &[String], text: &str) -> Result<Node, Misfit> {
    let Some((last, parents)) = path.split_last() else {
        return Err(Misfit::Value("the whole value cannot be removed".to_owned()));
    };
    find(root, parents, text)?.remove(last).ok_or_else(|| missing(text))
}

fn find<'a>(root: &'a mut Node, path: &[String], text: &str) -> Result<&'a mut Node, Misfit> {
    path.iter().try_fold(root, |node, token| node.child(token)).ok_or_else(|| missing(text))
}

fn missing(path: &str) -> Misfit {
    Misfit::Value(format!("there is no \"{path}\""))
}

/// True for a JSON pointer (RFC 6901).
pub(crate) fn is_pointer(text: &str) -> bool {
    pointer(text).is_ok()
}

/// The parts of a JSON pointer (RFC 6901).
fn pointer(text: &str) -> Result<Vec<String>, Misfit> {
    let bad = || Misfit::Patch(format!("\"{text}\" is no JSON pointer"));
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let parts = text.strip_prefix('/').ok_or_else(bad)?.split('/');
    parts
        .map(|part| {
            let is_good = part.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
            if is_good { Ok(part.replace("~1", "/").replace("~0", "~")) } else { Err(bad()) }
        })
        .collect()
}
