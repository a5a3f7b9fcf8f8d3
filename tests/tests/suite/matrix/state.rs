//! `requestState` in the hands of whoever has it, and clients that do not come back.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use spanwire_mcp::{Revision, codes};
use spanwire_tests::scripted::{Answer, Client, Noted, Way};

use super::{
    cell::{Cell, Nodes, Transport},
    input::{has_elicitation, is_over, questions_apart},
    rig::capabilities,
    runner::{Feature, feature_of},
    world::{World, answer, answers},
};

pub(super) const FEATURES: &[Feature] = &[
    feature_of!(state_is_sealed, modern_client, questions_apart),
    feature_of!(forged_state, modern_client, questions_apart),
    feature_of!(state_of_another_principal, modern_client, questions_apart),
    feature_of!(state_of_another_request, modern_client, questions_apart),
    feature_of!(replayed_state, |cell| modern_client(cell) && !cell.server.is_modern(), questions_apart),
    feature_of!(the_retry_lands_elsewhere, |cell| modern_client(cell) && cell.nodes != Nodes::Either, questions_apart),
];

/// Apart from the others: see [`may_never_return`].
pub(super) const PARTING: &[Feature] = &[
    feature_of!(never_returns, may_never_return, questions_apart),
    feature_of!(cancelled_while_asked, |cell| {
        has_elicitation(cell)
            && cell.client.revision >= Revision::V2025_06_18
            && !cell.client.is_modern()
            && !questions_apart(cell)
    }),
];

fn modern_client(cell: &Cell) -> bool {
    cell.client.is_modern() && has_elicitation(cell)
}

/// A server whose questions name no call is not believed for a while after a call was cancelled that may still ask: one such
/// cell is enough, and it must be the last one on its server.
fn may_never_return(cell: &Cell) -> bool {
    let one = cell.client.is_modern() && cell.client.transport == Transport::Http && cell.nodes == Nodes::Other;
    has_elicitation(cell)
        && cell.client.revision >= Revision::V2025_06_18
        && !(cell.client.is_modern() && cell.server.is_modern())
        && (!questions_apart(cell) || one)
}

/// A call that is asked something: its params, and the answer as it came.
async fn asked(world: &World) -> Result<(Value, Value)> {
    let params = world.params("ask_form", json!({}));
    let response = world.client.ask("tools/call", params.clone()).await?;
    ensure!(response["result"]["resultType"] == "input_required", "nothing was asked: {response}");
    Ok((params, response["result"].clone()))
}

fn state_of(asked: &Value) -> Result<String> {
    Ok(asked["requestState"].as_str().context("there is no requestState")?.to_owned())
}

async fn retry(client: &Client, params: &Value, asked: &Value) -> Result<Value> {
    let retry = client.retry(params, asked)?.context("there is no answer")?;
    client.ask("tools/call", retry).await
}

/// Fails unless a retry was refused without the server having heard of it.
async fn must_be_refused(world: &World, what: &str, response: &Value, heard: usize) -> Result<()> {
    ensure!(response["error"]["code"] == codes::INVALID_PARAMS, "{what}: {response}");
    let text = response.to_string();
    ensure!(!text.contains("answer") || !text.contains("odd"), "{what}: the refusal tells the state: {text}");
    let now = messages(world).await?;
    ensure!(now == heard, "{what}: the server heard of {} calls more", now - heard);
    Ok(())
}

/// How many calls the server has heard of. Cancellations and refused questions may come late, and are none.
async fn messages(world: &World) -> Result<usize> {
    let heard = world.heard().await?;
    Ok(heard.iter().filter(|noted| noted.way == Way::In && noted.message["method"] == "tools/call").count())
}

/// The right retry goes through.
async fn must_go_through(world: &World, params: &Value, asked: &Value) -> Result<()> {
    let response = retry(&world.client, params, asked).await?;
    let question = &asked["inputRequests"].as_object().and_then(|all| all.values().next()).cloned().unwrap_or_default();
    let text = json!([{ "who": answer(&world.tag, "elicitation/create", &question["params"]) }]).to_string();
    world.must_say("the right retry", &response, &text)
}

/// What the client holds says nothing, and is different each time.
async fn state_is_sealed(world: &World) -> Result<()> {
    let (params, first) = asked(world).await?;
    // Where questions name no call, what asks runs alone.
    let apart = questions_apart(&world.cell);
    if apart {
        must_go_through(world, &params, &first).await?;
    }
    let (_, second) = asked(world).await?;
    let (one, two) = (state_of(&first)?, state_of(&second)?);
    ensure!(one != two, "the same state twice: {one}");
    for state in [&one, &two] {
        ensure!(state.len() >= 64, "too short to be sealed: {state}");
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'=');
        ensure!(state.bytes().all(safe), "it can be read: {state}");
        ensure!(!state.contains(&world.tag), "it tells the tag: {state}");
    }
    if !apart {
        must_go_through(world, &params, &first).await?;
    }
    must_go_through(world, &params, &second).await
}

async fn forged_state(world: &World) -> Result<()> {
    let (params, asked) = asked(world).await?;
    let heard = messages(world).await?;
    let state = state_of(&asked)?;
    let middle = state.char_indices().nth(state.chars().count() / 2).map_or(0, |(at, _)| at);
    let flipped = if state[middle..].starts_with('A') { "B" } else { "A" };
    let width = state[middle..].chars().next().map_or(0, char::len_utf8);
    let mut changed = state.clone();
    changed.replace_range(middle..middle + width, flipped);
    let cut: String = state.chars().take(state.chars().count() - 1).collect();
    for (what, forged) in [
        ("a changed state", changed),
        ("a cut state", cut),
        ("a longer state", format!("{state}A")),
        ("an empty state", String::new()),
        ("somebody's own", "00000000-0000-7000-8000-000000000000".to_owned()),
    ] {
        let mut forged_answer = asked.clone();
        forged_answer["requestState"] = forged.into();
        let response = retry(&world.client, &params, &forged_answer).await?;
        must_be_refused(world, what, &response, heard).await?;
    }
    must_go_through(world, &params, &asked).await
}

async fn state_of_another_principal(world: &World) -> Result<()> {
    let (params, asked) = asked(world).await?;
    let heard = messages(world).await?;
    let other = if world.who == "ann" { "bob" } else { "ann" };
    let thief = world.another(other, capabilities(world.cell.client.revision)).await?;
    let response = retry(&thief, &params, &asked).await?;
    must_be_refused(world, "another principal", &response, heard).await?;
    must_go_through(world, &params, &asked).await
}

async fn state_of_another_request(world: &World) -> Result<()> {
    let (params, asked) = asked(world).await?;
    let heard = messages(world).await?;
    let mut other_arguments = params.clone();
    other_arguments["arguments"]["more"] = 1.into();
    let other_tool = world.params("ask_three_rounds", json!({}));
    for (what, params) in [("other arguments", other_arguments), ("another tool", other_tool)] {
        let response = retry(&world.client, &params, &asked).await?;
        must_be_refused(world, what, &response, heard).await?;
    }
    must_go_through(world, &params, &asked).await
}

/// A parked call is resumed once.
async fn replayed_state(world: &World) -> Result<()> {
    let (params, asked) = asked(world).await?;
    must_go_through(world, &params, &asked).await?;
    let heard = messages(world).await?;
    let response = retry(&world.client, &params, &asked).await?;
    must_be_refused(world, "a state used twice", &response, heard).await
}

/// The retry goes to the other node than the call, in the same view.
async fn the_retry_lands_elsewhere(world: &World) -> Result<()> {
    let (params, asked) = asked(world).await?;
    let nodes = match world.cell.nodes {
        Nodes::Same => Nodes::Other,
        Nodes::Other => Nodes::Same,
        Nodes::Either => bail!("it lands anywhere"),
    };
    // The view is of the call's cell: the names in the params are its own.
    let url = world.rig.nodes[usize::from(nodes == Nodes::Other)].mcp_url(&world.cell.view());
    let client = world.rig.open_at(&world.cell, world.who, capabilities(world.cell.client.revision), vec![url]).await?;
    client.begin_run(&world.tag, answers(&world.tag));
    let response = retry(&client, &params, &asked).await?;
    let question = &asked["inputRequests"].as_object().and_then(|all| all.values().next()).cloned().unwrap_or_default();
    let text = json!([{ "who": answer(&world.tag, "elicitation/create", &question["params"]) }]).to_string();
    world.must_say("the retry", &response, &text)
}

/// A client that does not come back: the call ends at its time to live, the server is told, and the state is good for nothing.
async fn never_returns(world: &World) -> Result<()> {
    if questions_apart(&world.cell) && world.who == "bob" {
        return Ok(());
    }
    world.client.begin_run(&world.tag, Arc::new(|_, _| Answer::Never));
    let params = world.params("ask_and_never_returns", json!({}));
    let id = world.client.begin("tools/call", params.clone(), &[]).await?;
    if world.client.is_modern() {
        let asked = world.client.response(&id).await?.message;
        ensure!(asked["result"]["resultType"] == "input_required", "nothing was asked: {asked}");
        world.server_sees("the end of the call", is_over).await?;
        world.client.begin_run(&world.tag, answers(&world.tag));
        let heard = messages(world).await?;
        let response = retry(&world.client, &params, &asked["result"]).await?;
        return must_be_refused(world, "an expired state", &response, heard).await;
    }
    let question = |got: &[spanwire_tests::scripted::Got]| {
        got.iter().any(|got| got.message["method"] == "elicitation/create").then_some(())
    };
    world.client.wait("the question", question).await?;
    let ended = world.client.response(&id).await?.message;
    if world.cell.server.is_modern() {
        ensure!(ended.get("error").is_some(), "the call ended with {ended}");
        return Ok(());
    }
    world.server_sees("the end of the question", is_settled).await
}

/// The server has heard that nobody will answer, after which it ends the call by itself, or that the call is over.
fn is_settled(lines: &[Noted]) -> Option<()> {
    let refused = lines.iter().any(|noted| noted.way == Way::In && noted.message.get("error").is_some());
    is_over(lines).or(refused.then_some(()))
}

/// A legacy client cancels its call while it is asked: so is the server's.
async fn cancelled_while_asked(world: &World) -> Result<()> {
    world.client.begin_run(&world.tag, Arc::new(|_, _| Answer::Never));
    let params = world.params("ask_form", json!({}));
    let id = world.client.begin("tools/call", params, &[]).await?;
    let question = |got: &[spanwire_tests::scripted::Got]| {
        got.iter().any(|got| got.message["method"] == "elicitation/create").then_some(())
    };
    world.client.wait("the question", question).await?;
    world.client.cancel(&id).await?;
    if !world.cell.server.is_modern() {
        world.server_sees("the end of the question", is_settled).await?;
    }
    world.is_served().await?;
    let answered =
        world.client.got().into_iter().find(|got| got.message["id"] == id && got.message.get("method").is_none());
    ensure!(answered.is_none(), "a cancelled call was answered: {answered:?}");
    Ok(())
}
