//! What a server asks its client in mid-call, by the name of the tool: the same questions in both eras.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use spanwire_mcp::{Revision, codes, meta};

use super::{
    error, is_modern,
    server::{Call, Server},
};
use crate::fault_server::digest;

/// One question.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// The server's name of it.
    pub key: &'static str,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: &'static str,
    /// Its params; null for none.
    pub params: Value,
}

fn form(tag: &str, key: &'static str, revision: Revision) -> Ask {
    let schema = json!({
        "type": "object",
        "properties": { "name": { "type": "string", "title": "Name", "minLength": 1 }, "sure": { "type": "boolean" } },
        "required": ["name"],
    });
    let mut params = json!({ "message": format!("{key} of {tag}?"), "requestedSchema": schema });
    if revision >= Revision::V2025_11_25 {
        params["mode"] = "form".into();
    }
    Ask { key, method: "elicitation/create", params }
}

fn url(tag: &str, key: &'static str, revision: Revision) -> Ask {
    let url = format!("https://example.com/{tag}?a=1&b=%20");
    let mut params = json!({ "mode": "url", "message": format!("{key} of {tag}?"), "url": url });
    if !is_modern(revision) {
        params["elicitationId"] = format!("visit-{tag}").into();
    }
    Ask { key, method: "elicitation/create", params }
}

fn sample(tag: &str, key: &'static str) -> Ask {
    let params = json!({
        "messages": [{ "role": "user", "content": { "type": "text", "text": format!("{key} of {tag}?") } }],
        "modelPreferences": { "hints": [{ "name": "small" }], "speedPriority": 0.5 },
        "systemPrompt": "Be short.",
        "temperature": 0.25,
        "maxTokens": 100,
    });
    Ask { key, method: "sampling/createMessage", params }
}

fn roots(key: &'static str) -> Ask {
    Ask { key, method: "roots/list", params: Value::Null }
}

/// What is asked, round by round, by the last word of the name of a tool, a prompt or a resource; `None` for what asks nothing.
pub fn rounds(name: &str, tag: &str, revision: Revision) -> Option<Vec<Vec<Ask>>> {
    Some(match name {
        "ask_form" | "ask_prompt" | "ask_resource" | "ask_and_never_returns" => {
            vec![vec![form(tag, "who", revision)]]
        }
        "ask_url" => vec![vec![url(tag, "visit", revision)]],
        "ask_sample" => vec![vec![sample(tag, "think")]],
        "ask_roots" => vec![vec![roots("roots")]],
        "ask_two_at_once" => vec![vec![form(tag, "first", revision), roots("second")]],
        "ask_three_rounds" => vec![
            vec![form(tag, "one", revision)],
            vec![sample(tag, "two")],
            vec![form(tag, "three", revision), roots("four")],
        ],
        _ => return None,
    })
}

/// What a client lacks to be asked this, in the form of its capabilities.
fn lacks(capabilities: &Value, ask: &Ask) -> Option<Value> {
    let elicitation = &capabilities["elicitation"];
    match ask.method {
        "roots/list" => capabilities["roots"].is_null().then(|| json!({ "roots": {} })),
        "sampling/createMessage" => capabilities["sampling"].is_null().then(|| json!({ "sampling": {} })),
        _ if ask.params["mode"] == "url" => {
            elicitation["url"].is_null().then(|| json!({ "elicitation": { "url": {} } }))
        }
        // An empty object means forms.
        _ => {
            let forms = elicitation.is_object() && (!elicitation["form"].is_null() || elicitation["url"].is_null());
            (!forms).then(|| json!({ "elicitation": { "form": {} } }))
        }
    }
}

/// All answers, one object for each round; or what the call ends with instead: `Ok` is a result, `Err` an error.
pub(super) async fn ask(
    server: &Arc<Server>,
    call: &Call,
    name: &str,
    tag: &str,
) -> Result<Value, Result<Value, Value>> {
    let revision = server.revision_of(call);
    let rounds = rounds(name, tag, revision).unwrap_or_default();
    if is_modern(revision) { ask_modern(call, tag, &rounds) } else { ask_legacy(server, call, &rounds).await }
}

fn ask_modern(call: &Call, tag: &str, rounds: &[Vec<Ask>]) -> Result<Value, Result<Value, Value>> {
    let params = &call.params;
    let mut answers = match params.get("requestState") {
        None => Vec::new(),
        Some(state) => {
            let open = state.as_str().and_then(|state| opened(state, tag));
            let Some(mut answers) = open else {
                return Err(Err(error(codes::INVALID_PARAMS, "this requestState is not mine", state.clone())));
            };
            answers.push(params["inputResponses"].clone());
            answers
        }
    };
    let Some(round) = rounds.get(answers.len()) else { return Ok(Value::Array(std::mem::take(&mut answers))) };
    let capabilities = &params["_meta"][meta::CLIENT_CAPABILITIES];
    if let Some(missing) = round.iter().find_map(|ask| lacks(capabilities, ask)) {
        let data = json!({ "requiredCapabilities": missing });
        return Err(Err(error(codes::MISSING_CLIENT_CAPABILITY, "Missing required client capability", data)));
    }
    let requests: Map<String, Value> = round
        .iter()
        .map(|ask| {
            let mut request = json!({ "method": ask.method });
            if !ask.params.is_null() {
                request["params"] = ask.params.clone();
            }
            (ask.key.to_owned(), request)
        })
        .collect();
    let state = sealed(&answers, tag);
    Err(Ok(json!({ "resultType": "input_required", "inputRequests": requests, "requestState": state })))
}

/// A state that says what was answered until now, with characters that are easily lost, and a digest against change.
fn sealed(answers: &[Value], tag: &str) -> String {
    let text = json!({ "tag": tag, "answers": answers, "odd": "ü\"\\/\u{2028}" }).to_string();
    format!("{}|{text}", digest(&text))
}

fn opened(state: &str, tag: &str) -> Option<Vec<Value>> {
    let (sum, text) = state.split_once('|')?;
    let state: Value = serde_json::from_str(text).ok().filter(|_| digest(text) == sum)?;
    (state["tag"] == tag).then(|| state["answers"].as_array().cloned())?
}

async fn ask_legacy(server: &Arc<Server>, call: &Call, rounds: &[Vec<Ask>]) -> Result<Value, Result<Value, Value>> {
    let capabilities = server.state().link(call.link.number).map(|link| link.capabilities.clone()).unwrap_or_default();
    let mut answers = Vec::new();
    for round in rounds {
        if let Some(missing) = round.iter().find_map(|ask| lacks(&capabilities, ask)) {
            let text = format!("the client has not declared {missing}");
            return Err(Err(error(codes::INVALID_REQUEST, &text, Value::Null)));
        }
        let asked = round.iter().map(|ask| async {
            let answer = server.ask_client(call, ask.method, ask.params.clone()).await;
            (ask.key.to_owned(), answer)
        });
        answers.push(Value::Object(futures::future::join_all(asked).await.into_iter().collect()));
    }
    Ok(Value::Array(answers))
}
