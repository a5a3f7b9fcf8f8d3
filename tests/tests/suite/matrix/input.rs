//! Input in mid-call: what a server asks, the client is asked; what the client answers, the server gets. And nobody else does.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use spanwire_mcp::{Revision, codes};
use spanwire_tests::scripted::{Answer, Ask, Client, Noted, Way, rounds};

use super::{
    cell::{Cell, Transport},
    compare::same,
    rig::capabilities,
    runner::{Feature, feature_of},
    world::{World, answer},
};

pub(super) const FEATURES: &[Feature] = &[
    feature_of!(form, has_elicitation, questions_apart),
    feature_of!(url, |cell| cell.server.revision >= Revision::V2025_11_25, questions_apart),
    feature_of!(sampling, |_| true, questions_apart),
    feature_of!(roots, |_| true, questions_apart),
    feature_of!(two_at_once, has_elicitation, questions_apart),
    feature_of!(three_rounds, has_elicitation, questions_apart),
    feature_of!(asked_by_a_prompt, has_elicitation, questions_apart),
    feature_of!(asked_by_a_resource, has_elicitation, questions_apart),
    feature_of!(the_user_declines, has_elicitation, questions_apart),
    feature_of!(the_client_refuses, |cell| !cell.client.is_modern(), questions_apart),
    feature_of!(nothing_declared, has_elicitation, questions_apart),
    feature_of!(declared_capabilities, |cell| cell.server.is_modern()),
];

/// A legacy server's question over a transport that does not say which call it belongs to: known only while one call runs.
pub(super) fn questions_apart(cell: &Cell) -> bool {
    !cell.server.is_modern() && cell.server.transport != Transport::Http
}

pub(super) fn has_elicitation(cell: &Cell) -> bool {
    cell.server.revision >= Revision::V2025_06_18
}

/// A question as the client must see it.
fn shown(client: Revision, ask: &Ask) -> Value {
    let mut question = json!({ "method": ask.method });
    if ask.params.is_null() {
        return question;
    }
    question["params"] = ask.params.clone();
    if client < Revision::V2025_11_25 && ask.params["mode"] == "form" {
        // Older revisions know nothing else, and do not say so.
        question["params"].as_object_mut().map(|params| params.remove("mode"));
    }
    question
}

/// Every question that came to a client, in one order. The id of a visit that only the broker can have given is left out.
fn seen(client: &Client) -> Vec<Value> {
    let mut all = Vec::new();
    for message in client.got().into_iter().map(|got| got.message) {
        if message["result"]["resultType"] == "input_required" {
            all.extend(
                message["result"]["inputRequests"].as_object().into_iter().flatten().map(|(_, asked)| asked.clone()),
            );
        } else if message.get("id").is_some() && message.get("method").is_some_and(|method| method != "ping") {
            let mut question = json!({ "method": message["method"] });
            if let Some(params) = message.get("params") {
                question["params"] = params.clone();
            }
            all.push(question);
        }
    }
    all
}

fn sorted(mut questions: Vec<Value>, given: bool) -> Value {
    for question in &mut questions {
        if given && question["params"]["mode"] == "url" {
            question["params"].as_object_mut().map(|params| params.remove("elicitationId"));
        }
    }
    questions.sort_by_key(Value::to_string);
    questions.into()
}

/// The capability that a client lacks to be asked this, and the code that says so to a legacy server
/// (2025-11-25, client/elicitation and client/roots, "Error Handling").
fn lacking(declared: &Value, ask: &Ask) -> Option<(Value, i64)> {
    let elicitation = &declared["elicitation"];
    let partly = if elicitation.is_object() { codes::INVALID_PARAMS } else { codes::METHOD_NOT_FOUND };
    match ask.method {
        "roots/list" => declared["roots"].is_null().then(|| (json!({ "roots": {} }), codes::METHOD_NOT_FOUND)),
        "sampling/createMessage" => {
            declared["sampling"].is_null().then(|| (json!({ "sampling": {} }), codes::METHOD_NOT_FOUND))
        }
        _ if ask.params["mode"] == "url" => {
            elicitation["url"].is_null().then(|| (json!({ "elicitation": { "url": {} } }), partly))
        }
        _ => elicitation.is_null().then(|| (json!({ "elicitation": { "form": {} } }), partly)),
    }
}

/// What one call asks with, and where its answers stand in the result.
struct Asked<'a> {
    name: &'a str,
    method: &'a str,
    params: Value,
    place: &'a str,
}

fn tool<'a>(world: &World, name: &'a str) -> Asked<'a> {
    Asked { name, method: "tools/call", params: world.params(name, json!({})), place: "/result/content/0/text" }
}

/// Calls, answers, and compares what both sides saw; or, where the client cannot be asked, that it was not.
async fn asks(world: &World, client: &Client, asked: Asked<'_>) -> Result<()> {
    let rounds = rounds(asked.name, &world.tag, world.cell.server.revision).context("it asks nothing")?;
    let declared = client.declared().capabilities.clone();
    let response = client.call(asked.method, asked.params).await?;
    let lacks = rounds.iter().flatten().find_map(|ask| lacking(&declared, ask));
    if lacks.is_some() && world.cell.server.is_modern() {
        return refused(client, &response, lacks);
    }
    let given = !client.is_modern() && world.cell.server.is_modern();
    let answered = rounds.iter().map(|round| {
        let one = |ask: &Ask| {
            let answer = match lacking(&declared, ask) {
                Some((_, code)) => json!({ "error": code }),
                None => answer(&world.tag, ask.method, &ask.params),
            };
            (ask.key.to_owned(), answer)
        };
        Value::Object(round.iter().map(one).collect::<Map<_, _>>())
    });
    let got: Value = serde_json::from_str(response.pointer(asked.place).and_then(Value::as_str).unwrap_or_default())
        .with_context(|| format!("no answers in {response}"))?;
    same("the server was answered", &answered.collect(), &with_codes_only(got))?;
    let asked = rounds.iter().flatten().filter(|ask| lacking(&declared, ask).is_none());
    let expected: Vec<Value> = asked.map(|ask| shown(client.declared().revision, ask)).collect();
    same("the client was asked", &sorted(expected, given), &sorted(seen(client), given))
}

/// Errors among answers by their code: the text is the broker's own.
fn with_codes_only(mut answers: Value) -> Value {
    let rounds = answers.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut);
    for answer in rounds.flat_map(|round| round.values_mut()) {
        if let Some(code) = answer.pointer("/error/code") {
            *answer = json!({ "error": code });
        }
    }
    answers
}

/// A modern server refuses by itself; a legacy client has another code for it.
fn refused(client: &Client, response: &Value, lacks: Option<(Value, i64)>) -> Result<()> {
    let code = if client.is_modern() { codes::MISSING_CLIENT_CAPABILITY } else { codes::INTERNAL_ERROR };
    let required = lacks.map(|(required, _)| required);
    same("the code", &code.into(), &response["error"]["code"])?;
    same("the data", &json!({ "requiredCapabilities": required }), &response["error"]["data"])?;
    same("the client was asked", &json!([]), &sorted(seen(client), false))
}

async fn form(world: &World) -> Result<()> {
    asks(world, &world.client, tool(world, "ask_form")).await?;
    exactly_asked(world).await
}

/// The call, its answers or retries, and nothing else reached the server.
async fn exactly_asked(world: &World) -> Result<()> {
    let heard = world.heard().await?.into_iter().filter(|noted| noted.way == Way::In).count();
    let revision = world.client.declared().revision;
    let expected = if revision < Revision::V2025_06_18 && world.cell.server.is_modern() { 1 } else { 2 };
    ensure!(heard == expected, "the server heard {heard} messages for a call with one question");
    Ok(())
}

async fn url(world: &World) -> Result<()> {
    asks(world, &world.client, tool(world, "ask_url")).await
}

async fn sampling(world: &World) -> Result<()> {
    asks(world, &world.client, tool(world, "ask_sample")).await
}

async fn roots(world: &World) -> Result<()> {
    asks(world, &world.client, tool(world, "ask_roots")).await
}

async fn two_at_once(world: &World) -> Result<()> {
    asks(world, &world.client, tool(world, "ask_two_at_once")).await
}

async fn three_rounds(world: &World) -> Result<()> {
    asks(world, &world.client, tool(world, "ask_three_rounds")).await
}

async fn asked_by_a_prompt(world: &World) -> Result<()> {
    let params = json!({ "name": world.cell.exposed("ask_prompt"), "arguments": { "tag": world.tag } });
    let asked = Asked { name: "ask_prompt", method: "prompts/get", params, place: "/result/messages/0/content/text" };
    asks(world, &world.client, asked).await
}

async fn asked_by_a_resource(world: &World) -> Result<()> {
    let params = json!({ "uri": world.cell.exposed_uri(&format!("ask-resource://{}", world.tag)) });
    let asked = Asked { name: "ask_resource", method: "resources/read", params, place: "/result/contents/0/text" };
    asks(world, &world.client, asked).await
}

/// A client that declared nothing sees nothing, and the server gets the refusal.
async fn nothing_declared(world: &World) -> Result<()> {
    let client = world.another(world.who, json!({})).await?;
    for name in ["ask_form", "ask_sample", "ask_roots"] {
        asks(world, &client, tool(world, name)).await?;
    }
    Ok(())
}

/// The text of the one answer to `ask_form` or `ask_sample`.
fn only_answer(key: &str, answer: Value) -> String {
    json!([{ key: answer }]).to_string()
}

async fn the_user_declines(world: &World) -> Result<()> {
    for action in ["decline", "cancel"] {
        let said = json!({ "action": action });
        let script = said.clone();
        world.client.begin_run(&world.tag, Arc::new(move |_, _| Answer::Result(script.clone())));
        let declared = &world.client.declared().capabilities;
        if declared["elicitation"].is_null() {
            return asks(world, &world.client, tool(world, "ask_form")).await;
        }
        let response = world.call("ask_form", json!({})).await?;
        world.must_say(action, &response, &only_answer("who", said))?;
    }
    Ok(())
}

/// A legacy client may answer with an error: a legacy server gets it, and for a modern one, which knows no such answer, the call
/// fails with it.
async fn the_client_refuses(world: &World) -> Result<()> {
    let error = json!({ "code": -1, "message": format!("{} rejected it", world.tag), "data": { "why": "because" } });
    let script = error.clone();
    world.client.begin_run(&world.tag, Arc::new(move |_, _| Answer::Error(script.clone())));
    let response = world.call("ask_sample", json!({})).await?;
    if world.cell.server.is_modern() {
        let expected = json!({ "jsonrpc": "2.0", "id": response["id"], "error": error });
        return same("the end of the call", &expected, &response);
    }
    world.must_say("the server was answered", &response, &only_answer("think", json!({ "error": error })))
}

/// A modern server reads on each request what its client declared, whatever the era of the client.
async fn declared_capabilities(world: &World) -> Result<()> {
    world.call("echo", json!({})).await?;
    let heard = world.heard().await?;
    let request = heard.iter().find(|noted| noted.way == Way::In).context("nothing was heard")?;
    let mut declared = request.message["params"]["_meta"][spanwire_mcp::meta::CLIENT_CAPABILITIES].clone();
    let mut expected = capabilities(world.cell.client.revision);
    // 2026-07-28 has no notification about roots.
    expected["roots"] = json!({});
    if !world.client.is_modern() {
        // Whether a legacy client can take tasks is the tasks' own feature.
        declared.as_object_mut().map(|declared| declared.remove("extensions"));
    }
    same("what the server reads", &expected, &declared)
}

/// True when the server has been told that a call is over.
pub(super) fn is_over(lines: &[Noted]) -> Option<()> {
    let over = |noted: &Noted| {
        noted.message.get("cancelled").is_some()
            || noted.message.get("dropped").is_some()
            || noted.message["method"] == "notifications/cancelled"
    };
    lines.iter().any(over).then_some(())
}
