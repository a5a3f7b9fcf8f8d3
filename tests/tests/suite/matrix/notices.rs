//! What comes without being asked for: list changes, resource updates, log messages.

use std::sync::Arc;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use spanwire_mcp::meta;
use spanwire_tests::scripted::{Client, Got, Noted, Way};

use super::{
    cell::{Cell, Nodes, Transport},
    compare::same,
    runner::{Feature, feature_of},
    world::World,
};

pub(super) const FEATURES: &[Feature] = &[
    feature_of!(list_changes, |cell| cell.nodes != Nodes::Either, |_| true),
    feature_of!(resource_updates),
    feature_of!(one_upstream_subscription),
    feature_of!(acknowledgement, |cell| cell.client.is_modern()),
    feature_of!(log_levels, |_| true, logs_apart),
    feature_of!(log_levels_of_two_at_once, |cell| cell.client.transport != Transport::Sse, logs_apart),
];

/// A log message names no call: only on a call's own stream is it known whose it is. The level of a legacy server is its session's.
fn logs_apart(cell: &Cell) -> bool {
    !cell.server.is_modern() || cell.server.transport != Transport::Http
}

/// A client's subscription.
struct Subscription {
    /// The id of `subscriptions/listen`; null for a legacy client.
    id: Value,
    uri: String,
}

async fn listening(client: &Client, filter: Value) -> Result<Value> {
    let id = client.begin("subscriptions/listen", json!({ "notifications": filter }), &[]).await?;
    client
        .wait("the acknowledgement", |got| {
            let mut all = messages(got, "notifications/subscriptions/acknowledged");
            all.find(|message| message["params"]["_meta"][meta::SUBSCRIPTION_ID] == id)
        })
        .await
}

async fn subscribe(world: &World, client: &Client, own: &str) -> Result<Subscription> {
    let uri = world.cell.exposed_uri(own);
    if client.is_modern() {
        let message = listening(client, json!({ "resourceSubscriptions": [uri] })).await?;
        let id = message["params"]["_meta"][meta::SUBSCRIPTION_ID].clone();
        let params =
            json!({ "_meta": { meta::SUBSCRIPTION_ID: id }, "notifications": { "resourceSubscriptions": [uri] } });
        let method = "notifications/subscriptions/acknowledged";
        same("the acknowledgement", &json!({ "jsonrpc": "2.0", "method": method, "params": params }), &message)?;
        return Ok(Subscription { id, uri });
    }
    let response = client.ask("resources/subscribe", json!({ "uri": uri })).await?;
    same("the subscription", &json!({ "jsonrpc": "2.0", "id": response["id"], "result": {} }), &response)?;
    Ok(Subscription { id: Value::Null, uri })
}

async fn unsubscribe(client: &Client, subscription: Subscription) -> Result<()> {
    if client.is_modern() {
        return client.cancel(&subscription.id).await;
    }
    let response = client.ask("resources/unsubscribe", json!({ "uri": subscription.uri })).await?;
    same("the end", &json!({ "jsonrpc": "2.0", "id": response["id"], "result": {} }), &response)
}

fn messages<'a>(got: &'a [Got], method: &'a str) -> impl Iterator<Item = Value> + 'a {
    got.iter().map(|got| &got.message).filter(move |message| message["method"] == method).cloned()
}

fn changes(client: &Client, method: &str) -> Vec<Value> {
    messages(&client.got(), method).collect()
}

fn updates(client: &Client) -> Vec<Value> {
    changes(client, "notifications/resources/updated")
}

/// Waits for the update with this number, and fails when it is not exact.
async fn updated(client: &Client, subscription: &Subscription, number: usize) -> Result<()> {
    let what = format!("update {number}");
    let update = client
        .wait(&what, |got| {
            let updates = got.iter().filter(|got| got.message["method"] == "notifications/resources/updated");
            updates.map(|got| got.message.clone()).nth(number - 1)
        })
        .await?;
    let mut params = json!({ "uri": subscription.uri });
    if !subscription.id.is_null() {
        params["_meta"] = json!({ meta::SUBSCRIPTION_ID: subscription.id });
    }
    same(&what, &json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params }), &update)
}

async fn touch(world: &World, own: &str) -> Result<()> {
    let response = world.call("update_resource", json!({ "uri": own })).await?;
    world.must_say("the update", &response, "updated")
}

/// True for what begins a subscription at a server.
fn begins(noted: &Noted) -> bool {
    noted.way == Way::In
        && matches!(noted.message["method"].as_str(), Some("resources/subscribe" | "subscriptions/listen"))
}

/// True for what ends one: a request, a cancellation, or a stream that was closed.
fn ends(noted: &Noted) -> bool {
    let method = noted.message["method"].as_str().unwrap_or_default();
    method == "resources/unsubscribe"
        || noted.message.get("cancelled").is_some()
        || noted.message.get("dropped").is_some()
}

async fn resource_updates(world: &World) -> Result<()> {
    let own = format!("watch://{}", world.tag);
    let subscription = subscribe(world, &world.client, &own).await?;
    for number in 1..=2 {
        touch(world, &own).await?;
        updated(&world.client, &subscription, number).await?;
    }
    unsubscribe(&world.client, subscription).await?;
    world.server_sees("the end of the subscription", |lines| lines.iter().any(ends).then_some(())).await?;
    touch(world, &own).await?;
    world.is_served().await?;
    let count = updates(&world.client).len();
    ensure!(count == 2, "{count} updates came, one of them after the subscription had ended");
    if !world.cell.server.is_modern() {
        let heard = world.heard_messages().await?;
        let about =
            |method: &str| json!({ "jsonrpc": "2.0", "id": "<id>", "method": method, "params": { "uri": own } });
        let heard: Value = heard.into_iter().filter(|message| message["params"]["uri"] == own.as_str()).collect();
        let expected = json!([about("resources/subscribe"), about("resources/unsubscribe")]);
        same("the server heard", &expected, &heard)?;
    }
    Ok(())
}

/// One subscription at the server serves many clients, and ends with the last.
async fn one_upstream_subscription(world: &World) -> Result<()> {
    let own = format!("watch://{}", world.tag);
    let twin: Arc<Client> = world.twin().await?;
    let first = subscribe(world, &world.client, &own).await?;
    let second = subscribe(world, &twin, &own).await?;
    touch(world, &own).await?;
    updated(&world.client, &first, 1).await?;
    updated(&twin, &second, 1).await?;
    let begun = world.heard().await?.into_iter().filter(begins).count();
    ensure!(begun == 1, "the server was asked {begun} times for the same resource");
    unsubscribe(&world.client, first).await?;
    touch(world, &own).await?;
    updated(&twin, &second, 2).await?;
    ensure!(!world.heard().await?.iter().any(ends), "the subscription ended with the first client");
    unsubscribe(&twin, second).await?;
    world.server_sees("the end of the subscription", |lines| lines.iter().any(ends).then_some(())).await
}

/// What is honoured of a filter, and what is not.
async fn acknowledgement(world: &World) -> Result<()> {
    let (watched, fixed) =
        (world.cell.exposed_uri(&format!("watch://{}", world.tag)), world.cell.exposed_uri("note://fixed"));
    let filter =
        json!({ "promptsListChanged": true, "toolsListChanged": false, "resourceSubscriptions": [watched, fixed] });
    let message = listening(&world.client, filter).await?;
    let id = message["params"]["_meta"][meta::SUBSCRIPTION_ID].clone();
    let honoured = json!({ "promptsListChanged": true, "resourceSubscriptions": [watched, fixed] });
    same("what is honoured", &honoured, &message["params"]["notifications"])?;
    // Two at once have ids of their own.
    let other = listening(&world.client, json!({ "resourcesListChanged": true })).await?;
    ensure!(other["params"]["_meta"][meta::SUBSCRIPTION_ID] != id, "two streams have the same id");
    same("what the other honours", &json!({ "resourcesListChanged": true }), &other["params"]["notifications"])?;
    touch(world, &format!("watch://{}", world.tag)).await?;
    updated(&world.client, &Subscription { id: id.clone(), uri: watched }, 1).await?;
    world.client.cancel(&id).await?;
    world.client.cancel(&other["params"]["_meta"][meta::SUBSCRIPTION_ID]).await?;
    let count = updates(&world.client).len();
    ensure!(count == 1, "{count} updates came for one");
    let response = world.client.ask("subscriptions/listen", json!({})).await?;
    ensure!(response["error"]["code"] == spanwire_mcp::codes::INVALID_PARAMS, "without a filter: {response}");
    Ok(())
}

async fn list_changes(world: &World) -> Result<()> {
    for (list, filter) in
        [("tools", "toolsListChanged"), ("prompts", "promptsListChanged"), ("resources", "resourcesListChanged")]
    {
        let subscription = if world.client.is_modern() {
            let message = listening(&world.client, json!({ filter: true })).await?;
            Subscription { id: message["params"]["_meta"][meta::SUBSCRIPTION_ID].clone(), uri: String::new() }
        } else {
            // The answer says that the session listens.
            subscribe(world, &world.client, &format!("watch://{}", world.tag)).await?
        };
        let method = format!("notifications/{list}/list_changed");
        let name = format!("extra-{}-{list}", world.rig.tag().trim_start_matches("tag-"));
        for remove in [false, true] {
            let before = changes(&world.client, &method).len();
            let response = world.call("change_list", json!({ "list": list, "name": name, "remove": remove })).await?;
            world.must_say("the change", &response, "changed")?;
            let mut expected = json!({ "jsonrpc": "2.0", "method": method });
            if !subscription.id.is_null() {
                expected["params"] = json!({ "_meta": { meta::SUBSCRIPTION_ID: subscription.id } });
            }
            // In the view of all servers others change too, each with a notification of its own.
            let mut seen = before;
            loop {
                let what = format!("{method} that leaves {name} listed: {}", !remove);
                let all = world
                    .client
                    .wait(&what, |got| {
                        let all: Vec<Value> = messages(got, &method).collect();
                        (all.len() > seen).then_some(all)
                    })
                    .await?;
                seen = all.len();
                same("the change", &expected, &all[seen - 1])?;
                if is_listed(world, list, &name).await? != remove {
                    break;
                }
            }
        }
        unsubscribe(&world.client, subscription).await?;
    }
    Ok(())
}

async fn is_listed(world: &World, list: &str, name: &str) -> Result<bool> {
    let mut params = json!({});
    loop {
        let response = world.client.ask(&format!("{list}/list"), params).await?;
        let entries = response["result"][list].as_array().cloned().unwrap_or_default();
        if entries.iter().any(|entry| entry["name"].as_str().is_some_and(|own| own.ends_with(name))) {
            return Ok(true);
        }
        match response["result"].get("nextCursor") {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => return Ok(false),
        }
    }
}

const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

fn logs_from(tag: &str, level: &str) -> Value {
    let from = LEVELS.iter().position(|name| *name == level).unwrap_or(LEVELS.len());
    let message = |level: &&str| {
        let params = json!({ "level": level, "logger": "scripted", "data": { "tag": tag, "at": level } });
        json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params })
    };
    LEVELS[from..].iter().map(message).collect()
}

/// Begins a call of a client that wants messages of this level.
async fn begin_at(world: &World, client: &Client, tool: &str, tag: &str, level: &str) -> Result<Value> {
    let mut params = world.params(tool, json!({}));
    params["arguments"]["tag"] = tag.into();
    if client.is_modern() {
        params["_meta"] = json!({ meta::LOG_LEVEL: level });
    } else {
        let response = client.ask("logging/setLevel", json!({ "level": level })).await?;
        same("the level", &json!({}), &response["result"])?;
    }
    client.begin("tools/call", params, &[]).await
}

fn logs(client: &Client, from: usize) -> Value {
    let got = client.got().into_iter().skip(from).map(|got| got.message);
    got.filter(|message| message["method"] == "notifications/message").collect()
}

async fn log_levels(world: &World) -> Result<()> {
    for level in ["warning", "debug", "emergency"] {
        let from = world.client.got().len();
        let id = begin_at(world, &world.client, "log_levels", &world.tag, level).await?;
        let response = world.client.response(&id).await?.message;
        world.must_say("the result", &response, "logged")?;
        same(level, &logs_from(&world.tag, level), &logs(&world.client, from))?;
    }
    if world.client.is_modern() {
        // 2026-07-28, server/utilities/logging: without a level there are no messages.
        let from = world.client.got().len();
        world.call("log_levels", json!({})).await?;
        same("without a level", &json!([]), &logs(&world.client, from))?;
    }
    let response = if world.client.is_modern() {
        let mut params = world.params("log_levels", json!({}));
        params["_meta"] = json!({ meta::LOG_LEVEL: "loud" });
        world.client.ask("tools/call", params).await?
    } else {
        world.client.ask("logging/setLevel", json!({ "level": "loud" })).await?
    };
    if !(world.client.is_modern() && world.cell.server.is_modern()) {
        ensure!(response["error"]["code"] == spanwire_mcp::codes::INVALID_PARAMS, "a level that is none: {response}");
    }
    Ok(())
}

/// Each of two running calls gets what it wants, whatever the other one does. Over a transport on which a message names no call,
/// nobody gets what may be another's.
async fn log_levels_of_two_at_once(world: &World) -> Result<()> {
    let twin = world.twin().await?;
    let first = begin_at(world, &world.client, "hold", &world.tag, "debug").await?;
    let started = |lines: &[Noted]| lines.iter().any(|noted| noted.message.get("started").is_some()).then_some(());
    world.server_sees("the call that is held", started).await?;
    let second = begin_at(world, &twin, "log_levels", &world.tag, "error").await?;
    world.must_say("the second result", &twin.response(&second).await?.message, "logged")?;
    // By the client with the other level: what the session of a legacy server was told last must not matter.
    let released = twin.ask("tools/call", world.params("release", json!({}))).await?;
    world.must_say("the release", &released, "released")?;
    let held = world.client.response(&first).await?.message;
    world.must_say("the first result", &held, &format!("{} was held", world.tag))?;
    if world.cell.server.transport == Transport::Http {
        same("the second call's", &logs_from(&world.tag, "error"), &logs(&twin, 0))?;
        same("the first call's", &logs_from(&world.tag, "debug"), &logs(&world.client, 0))?;
    }
    Ok(())
}
