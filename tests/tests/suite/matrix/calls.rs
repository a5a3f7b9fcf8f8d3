//! Calls that ask nothing: arguments, content, errors, progress, cancellation, ping, completion, headers.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use spanwire_mcp::{Revision, codes, meta};
use spanwire_tests::scripted::{Way, blocks, note, structured};

use super::{
    cell::{Cell, Nodes, Transport},
    compare::same,
    runner::{Feature, feature_of},
    world::{ID, World},
};

pub(super) const FEATURES: &[Feature] = &[
    feature_of!(echo),
    feature_of!(content_of_all_kinds),
    feature_of!(structured_content),
    feature_of!(errors),
    feature_of!(resource_not_found),
    feature_of!(prompts),
    feature_of!(resources),
    feature_of!(progress),
    feature_of!(cancellation),
    feature_of!(ping),
    feature_of!(completion, |cell| cell.server.revision >= Revision::V2025_03_26),
    feature_of!(unknown_method),
    feature_of!(params_of_an_unknown_method, |cell| cell.nodes == Nodes::Other),
    feature_of!(headers_of_requests, |cell| cell.server.transport == Transport::Http),
    feature_of!(param_headers),
    feature_of!(param_headers_are_checked, |cell| {
        cell.client.is_modern() && cell.client.transport == Transport::Http && cell.server.is_modern()
    }),
    feature_of!(two_calls_at_once),
];

async fn echo(world: &World) -> Result<()> {
    let tag = &world.tag;
    let arguments = json!({ "list": [1, -2.5, null, true], "odd": "ü\u{2028}\"\\", "deep": { "uri": "a:b", "big": 9_007_199_254_740_993_i64 } });
    let mut params = world.params("echo", arguments);
    params["_meta"] = json!({ "x.test/kept": tag });
    let response = world.client.ask("tools/call", params.clone()).await?;
    let arguments = params["arguments"].clone();
    let text = json!({ "type": "text", "text": arguments.to_string() });
    let result = json!({
        "content": [text],
        "isError": false,
        "x-unknown": { "kept": tag },
        "_meta": { "x.test/result": tag },
    });
    world.must_be("the result", &response, result)?;
    let request = json!({ "name": "echo", "arguments": arguments });
    world.server_heard(&[world.request("tools/call", request, json!({ "x.test/kept": tag }))]).await
}

/// Content with the server's own URIs as the client must see them.
fn exposed(cell: &Cell, blocks: Vec<Value>) -> Value {
    let one = |mut block: Value| {
        for place in ["/uri", "/resource/uri"] {
            if let Some(uri) = block.pointer_mut(place) {
                *uri = cell.exposed_uri(uri.as_str().unwrap_or_default()).into();
            }
        }
        block
    };
    blocks.into_iter().map(one).collect()
}

async fn content_of_all_kinds(world: &World) -> Result<()> {
    let response = world.call("content_all_kinds", json!({})).await?;
    let content = exposed(&world.cell, blocks(&world.tag, world.cell.server.revision));
    world.must_be("the result", &response, json!({ "content": content }))
}

async fn structured_content(world: &World) -> Result<()> {
    let response = world.call("structured", json!({})).await?;
    let content = structured(&world.tag);
    let mut result = json!({ "content": [{ "type": "text", "text": content.to_string() }] });
    if world.cell.server.revision >= Revision::V2025_06_18 {
        result["structuredContent"] = content;
    }
    world.must_be("the result", &response, result)
}

async fn errors(world: &World) -> Result<()> {
    let tag = &world.tag;
    let response = world.call("fail", json!({})).await?;
    let failed = json!({ "content": [{ "type": "text", "text": format!("{tag} failed") }], "isError": true });
    world.must_be("the failure of a tool", &response, failed)?;
    let response = world.call("refuse", json!({})).await?;
    let error =
        json!({ "code": -32007, "message": format!("not for {tag}"), "data": { "tag": tag, "why": [1, null] } });
    same("an error of the server", &json!({ "jsonrpc": "2.0", "id": response["id"], "error": error }), &response)?;
    let response = world.call("nothing", json!({})).await?;
    same("the code of an unknown tool", &codes::INVALID_PARAMS.into(), &response["error"]["code"])
}

/// The code of a resource that is not there is the one of the client's era.
async fn resource_not_found(world: &World) -> Result<()> {
    let uri = world.cell.exposed_uri(&format!("no://{}", world.tag));
    let response = world.client.ask("resources/read", json!({ "uri": uri })).await?;
    let code = if world.client.is_modern() { codes::INVALID_PARAMS } else { codes::LEGACY_RESOURCE_NOT_FOUND };
    let error = json!({ "code": code, "message": "Resource not found", "data": { "uri": uri } });
    same("the error", &json!({ "jsonrpc": "2.0", "id": response["id"], "error": error }), &response)
}

async fn prompts(world: &World) -> Result<()> {
    let tag = &world.tag;
    let params = json!({ "name": world.cell.exposed("plain"), "arguments": { "tag": tag } });
    let response = world.client.ask("prompts/get", params).await?;
    let content = exposed(&world.cell, blocks(tag, world.cell.server.revision));
    let messages: Vec<Value> =
        content.as_array().into_iter().flatten().map(|block| json!({ "role": "user", "content": block })).collect();
    let result = json!({ "description": format!("prompt of {tag}"), "messages": messages });
    world.must_be("the prompt", &response, result)?;
    let params = json!({ "name": "plain", "arguments": { "tag": tag } });
    world.server_heard(&[world.request("prompts/get", params, json!({}))]).await
}

async fn resources(world: &World) -> Result<()> {
    let uri = format!("note://{}", world.tag);
    let response = world.client.ask("resources/read", json!({ "uri": world.cell.exposed_uri(&uri) })).await?;
    let mut result = json!({ "contents": exposed(&world.cell, note(&uri)) });
    if world.client.is_modern() {
        // A modern server says how long; of a legacy one nothing may be kept (2026-07-28, server/utilities/caching).
        let modern = world.cell.server.is_modern();
        result["ttlMs"] = if modern { 60_000 } else { 0 }.into();
        result["cacheScope"] = if modern { "public" } else { "private" }.into();
    }
    world.must_be("the resource", &response, result)?;
    world.server_heard(&[world.request("resources/read", json!({ "uri": uri }), json!({}))]).await
}

async fn progress(world: &World) -> Result<()> {
    for token in [json!(format!("{}-token", world.tag)), json!(7)] {
        let mut params = world.params("progress", json!({}));
        params["_meta"] = json!({ meta::PROGRESS_TOKEN: token });
        let id = world.client.begin("tools/call", params, &[]).await?;
        let response = world.client.response(&id).await?.message;
        world.must_say("the result", &response, "done")?;
        let got: Vec<Value> =
            world.on_the_way(&id).into_iter().filter(|got| got["params"]["progressToken"] == token).collect();
        let step = |step: u64| {
            let mut params = json!({ "progressToken": token, "progress": step, "total": 3 });
            if world.cell.server.revision >= Revision::V2025_03_26 {
                params["message"] = format!("step {step} of {}", world.tag).into();
            }
            json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params })
        };
        same("the progress", &json!([step(1), step(2), step(3)]), &Value::Array(got))?;
    }
    let before = world.client.got().len();
    let response = world.call("progress", json!({})).await?;
    world.must_say("the result", &response, "done")?;
    ensure!(world.client.got().len() == before + 1, "progress came to a call without a token");
    let asked = world.request(
        "tools/call",
        json!({ "name": "progress", "arguments": { "tag": world.tag } }),
        json!({ "progressToken": ID }),
    );
    let unasked =
        world.request("tools/call", json!({ "name": "progress", "arguments": { "tag": world.tag } }), json!({}));
    world.server_heard(&[asked.clone(), asked, unasked]).await
}

async fn cancellation(world: &World) -> Result<()> {
    let mut params = world.params("slow_until_cancelled", json!({}));
    params["_meta"] = json!({ meta::PROGRESS_TOKEN: world.tag });
    let id = world.client.begin("tools/call", params, &[]).await?;
    let started = |got: &[spanwire_tests::scripted::Got]| {
        got.iter().any(|got| got.message["method"] == "notifications/progress").then_some(())
    };
    world.client.wait("the progress of a call that runs", started).await?;
    world.client.cancel(&id).await?;
    let by_closing = world.cell.server.is_modern() && world.cell.server.transport == Transport::Http;
    world
        .server_sees("the end of the call", |lines| {
            let ended =
                |key: &str| lines.iter().any(|noted| noted.way == Way::Event && noted.message.get(key).is_some());
            let told = lines.iter().any(|noted| noted.message["method"] == "notifications/cancelled");
            // A legacy server is told over HTTP too, and its stream is closed besides, in either order.
            if by_closing {
                ended("dropped").then_some(())
            } else {
                (told && (ended("cancelled") || ended("dropped"))).then_some(())
            }
        })
        .await?;
    // Nothing comes any more, and the client goes on.
    world.is_served().await?;
    let answered = world.client.got().into_iter().find(|got| got.message["id"] == id);
    ensure!(answered.is_none(), "a cancelled call was answered: {answered:?}");
    Ok(())
}

async fn ping(world: &World) -> Result<()> {
    let response = world.client.ask("ping", json!({})).await?;
    if world.client.is_modern() {
        same("the code of a ping", &codes::METHOD_NOT_FOUND.into(), &response["error"]["code"])?;
    } else {
        world.must_be("the ping", &response, json!({}))?;
    }
    let response = world.call("ping_client", json!({})).await?;
    let text = if world.cell.server.is_modern() { "there is no ping" } else { "{}" };
    world.must_say("the ping of the server", &response, text)
}

async fn completion(world: &World) -> Result<()> {
    let (tag, cell) = (&world.tag, &world.cell);
    let argument = json!({ "name": "tag", "value": tag });
    let values = ["one", "two", "three"].map(|end| format!("{tag}-{end}"));
    let result = json!({ "completion": { "values": values, "total": 7, "hasMore": true } });
    let prompt = |name: String| json!({ "ref": { "type": "ref/prompt", "name": name }, "argument": argument });
    let response = world.client.ask("completion/complete", prompt(cell.exposed("plain"))).await?;
    world.must_be("the completion of a prompt", &response, result.clone())?;
    let template = |uri: String| {
        let context = json!({ "arguments": { "other": "x" } });
        json!({ "ref": { "type": "ref/resource", "uri": uri }, "argument": argument, "context": context })
    };
    let response = world.client.ask("completion/complete", template(cell.exposed_uri("note://{tag}"))).await?;
    world.must_be("the completion of a template", &response, result)?;
    let first = world.request("completion/complete", prompt("plain".to_owned()), json!({}));
    let second = world.request("completion/complete", template("note://{tag}".to_owned()), json!({}));
    world.server_heard(&[first, second]).await
}

/// A method that nobody knows passes in the view of one server, and is refused where it could go to several.
async fn unknown_method(world: &World) -> Result<()> {
    world.is_served().await?;
    if world.cell.view().is_empty() {
        let response = world.client.ask("x/echo", json!({ "tag": world.tag })).await?;
        return same("the code", &codes::METHOD_NOT_FOUND.into(), &response["error"]["code"]);
    }
    pass_unknown(world, json!({ "tag": world.tag, "more": [1] })).await
}

/// Whatever an unknown method has in its params is its own, also under names that other methods use.
async fn params_of_an_unknown_method(world: &World) -> Result<()> {
    pass_unknown(world, json!({ "tag": world.tag, "name": { "its": "own" }, "cursor": 7, "level": [], "uri": null }))
        .await
}

async fn pass_unknown(world: &World, params: Value) -> Result<()> {
    let response = world.client.ask("x/echo", params.clone()).await?;
    let heard = world.heard().await?;
    let heard = heard.iter().rfind(|noted| noted.way == Way::In).map(|noted| noted.message["params"].clone());
    world.must_be("the result", &response, json!({ "echoed": heard }))?;
    let heard = world.heard_messages().await?.pop().unwrap_or_default();
    same("the server heard", &world.request("x/echo", params, json!({})), &heard)
}

/// Every header of the protocol on a request to a server.
async fn headers_of_requests(world: &World) -> Result<()> {
    world.call("echo", json!({})).await?;
    let heard = world.heard().await?;
    let request = heard.iter().find(|noted| noted.way == Way::In).cloned();
    let Some(request) = request else { anyhow::bail!("nothing was heard") };
    let mut head = request.head;
    same("the trace in the header", &request.message["params"]["_meta"]["traceparent"], &head["traceparent"])?;
    head["traceparent"] = "<trace>".into();
    let revision = world.cell.server.revision;
    let mut expected = json!({
        "accept": "application/json, text/event-stream",
        "content-type": "application/json",
        "mcp-protocol-version": revision.as_str(),
        "traceparent": "<trace>",
    });
    if world.cell.server.is_modern() {
        expected["mcp-method"] = "tools/call".into();
        expected["mcp-name"] = "echo".into();
    } else {
        expected["mcp-session-id"] = format!("session-{}", request.connection).into();
    }
    same("the headers", &expected, &head)
}

fn with_region(world: &World) -> (Value, [(String, String); 3]) {
    let region = format!("{} in ü", world.tag);
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = [
        header("mcp-param-region", &spanwire_mcp::header::encode_name(&region)),
        header("mcp-param-count", "42"),
        header("mcp-param-dry", "true"),
    ];
    let arguments = json!({ "region": region, "count": 42, "options": { "dry": true } });
    (world.params("headers", arguments), headers)
}

/// A modern server over HTTP gets the parameters that it annotates as headers, whatever the client is.
async fn param_headers(world: &World) -> Result<()> {
    let (params, headers) = with_region(world);
    let sends =
        world.client.is_modern() && world.cell.client.transport == Transport::Http && world.cell.server.is_modern();
    let id = world.client.begin("tools/call", params, if sends { &headers } else { &[] }).await?;
    let response = world.client.response(&id).await?.message;
    let gets = world.cell.server.is_modern() && world.cell.server.transport == Transport::Http;
    let expected: serde_json::Map<String, Value> =
        headers.into_iter().filter(|_| gets).map(|(name, value)| (name, value.into())).collect();
    world.must_say("the headers", &response, &Value::Object(expected).to_string())
}

/// What a client mirrors must be what the body says (2026-07-28, streamable-http, "Server Validation").
async fn param_headers_are_checked(world: &World) -> Result<()> {
    let (params, headers) = with_region(world);
    let mut wrong = headers.clone();
    wrong[1].1 = "43".to_owned();
    let mut missing = headers.to_vec();
    missing.remove(0);
    for (what, headers) in [("a wrong value", wrong.to_vec()), ("a missing header", missing)] {
        let id = world.client.begin("tools/call", params.clone(), &headers).await?;
        let got = world.client.response(&id).await?;
        ensure!(got.message["error"]["code"] == codes::HEADER_MISMATCH, "{what}: {}", got.message);
        ensure!(got.status == 400, "{what}: status {}", got.status);
    }
    world.server_heard(&[]).await
}

/// Answers in another order than the calls, on one client.
async fn two_calls_at_once(world: &World) -> Result<()> {
    let first = world.client.begin("tools/call", world.params("hold", json!({})), &[]).await?;
    world
        .server_sees("the call that is held", |lines| {
            lines.iter().any(|noted| noted.message.get("started").is_some()).then_some(())
        })
        .await?;
    let second = world.client.begin("tools/call", world.params("echo", json!({ "n": 2 })), &[]).await?;
    let echoed = world.client.response(&second).await?.message;
    ensure!(echoed["result"]["isError"] == false, "{echoed}");
    let early =
        world.client.got().into_iter().find(|got| got.message["id"] == first && got.message.get("result").is_some());
    ensure!(early.is_none(), "the held call was answered too early: {early:?}");
    world.must_say("the release", &world.call("release", json!({})).await?, "released")?;
    let held = world.client.response(&first).await?.message;
    world.must_say("the held call", &held, &format!("{} was held", world.tag))
}
