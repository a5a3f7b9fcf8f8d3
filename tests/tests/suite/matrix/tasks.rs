//! Tasks: the extension on the modern side, the experiment of 2025-11-25 on the other; each in the form of its peer.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use spanwire_mcp::{Revision, codes, meta};
use spanwire_tests::scripted::{CREATED_AT, Client, rounds};

use super::{
    cell::Cell,
    compare::same,
    runner::{Feature, feature_of},
    world::{World, answer},
};

pub(super) const FEATURES: &[Feature] = &[
    feature_of!(a_task_completes, has_tasks),
    feature_of!(a_task_asks, has_tasks),
    feature_of!(a_task_is_cancelled, has_tasks),
    feature_of!(status_of_a_task, |cell| has_tasks(cell) && cell.client.is_modern() && cell.server.is_modern()),
    feature_of!(tasks_of_others, has_tasks),
    feature_of!(no_tasks_declared, |cell| has_tasks(cell) || !cell.client.is_modern()),
    feature_of!(unknown_task, has_tasks),
];

/// Both peers have them.
fn has_tasks(cell: &Cell) -> bool {
    let has = |revision| revision >= Revision::V2025_11_25;
    has(cell.client.revision) && has(cell.server.revision)
}

/// Starts a task; what the client was given for it.
async fn start(world: &World, client: &Client, tool: &str) -> Result<Value> {
    let mut params = world.params(tool, json!({}));
    if !client.is_modern() {
        params["task"] = json!({ "ttl": 60_000 });
    }
    let response = client.ask("tools/call", params).await?;
    let mut task = if client.is_modern() { response["result"].clone() } else { response["result"]["task"].clone() };
    let id = task["taskId"].as_str().with_context(|| format!("no task in {response}"))?.to_owned();
    ensure!(!id.is_empty() && id != format!("{tool}/{}", world.tag), "the server's own id came through: {id}");
    let status = if tool == "task_asks" { "input_required" } else { "working" };
    let mut expected = shown(world, client, &id, status);
    if client.is_modern() {
        expected["resultType"] = "task".into();
    }
    without_ttl(&mut task);
    same("the new task", &expected, &task)?;
    Ok(id.into())
}

/// A task in the form of the client, without its time to live, which is the server's to choose.
fn shown(world: &World, client: &Client, id: &str, status: &str) -> Value {
    let mut task = json!({
        "taskId": id,
        "status": status,
        "statusMessage": format!("{} is {status}", world.tag),
        "createdAt": CREATED_AT,
        "lastUpdatedAt": CREATED_AT,
    });
    task[if client.is_modern() { "pollIntervalMs" } else { "pollInterval" }] = 10.into();
    task
}

fn without_ttl(task: &mut Value) {
    for key in ["ttl", "ttlMs"] {
        task.as_object_mut().map(|task| task.remove(key));
    }
}

/// `tasks/get`, with its status compared.
async fn get(world: &World, client: &Client, id: &Value, status: &str) -> Result<Value> {
    let response = client.ask("tasks/get", json!({ "taskId": id })).await?;
    let mut task = response["result"].clone();
    ensure!(task["status"] == status, "the task is not {status}: {response}");
    let detail = task.clone();
    without_ttl(&mut task);
    for key in ["result", "inputRequests"] {
        task.as_object_mut().map(|task| task.remove(key));
    }
    let mut expected = shown(world, client, id.as_str().unwrap_or_default(), status);
    if client.is_modern() {
        expected["resultType"] = "complete".into();
    }
    same("the task", &expected, &task)?;
    Ok(detail)
}

fn done(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }], "isError": false })
}

/// The result of a task without what names the task.
fn plain(mut result: Value) -> Value {
    for key in ["_meta", "resultType"] {
        result.as_object_mut().map(|result| result.remove(key));
    }
    result
}

async fn a_task_completes(world: &World) -> Result<()> {
    let id = start(world, &world.client, "task_simple").await?;
    get(world, &world.client, &id, "working").await?;
    let expected = done(&format!("{} is done", world.tag));
    let task = get(world, &world.client, &id, "completed").await?;
    if world.client.is_modern() {
        return same("the result", &expected, &plain(task["result"].clone()));
    }
    let response = world.client.ask("tasks/result", json!({ "taskId": id })).await?;
    let related = json!({ "taskId": id });
    same("the task of the result", &related, &response["result"]["_meta"]["io.modelcontextprotocol/related-task"])?;
    same("the result", &expected, &plain(response["result"].clone()))
}

async fn a_task_asks(world: &World) -> Result<()> {
    let ask = rounds("ask_form", &world.tag, world.cell.server.revision).context("no question")?.remove(0).remove(0);
    let id = start(world, &world.client, "task_asks").await?;
    let said = answer(&world.tag, ask.method, &ask.params);
    let mut heard = said.clone();
    if !world.cell.server.is_modern() {
        // 2025-11-25, basic/utilities/tasks: what belongs to a task says so, with the id that the server knows.
        let related = json!({ "taskId": format!("task_asks/{}", world.tag) });
        heard["_meta"] = json!({ "io.modelcontextprotocol/related-task": related });
    }
    let expected = done(&json!([{ ask.key: heard }]).to_string());
    if !world.client.is_modern() {
        let response = world.client.ask("tasks/result", json!({ "taskId": id })).await?;
        return same("the result", &expected, &plain(response["result"].clone()));
    }
    let mut task = get(world, &world.client, &id, "input_required").await?;
    // A legacy server asks when it is waited for.
    for _ in 0..100 {
        if task["inputRequests"].as_object().is_some_and(|asked| !asked.is_empty()) {
            break;
        }
        task = get(world, &world.client, &id, "input_required").await?;
    }
    let requests = task["inputRequests"].as_object().cloned().unwrap_or_default();
    let (key, mut request) = requests.into_iter().next().with_context(|| format!("no question in {task}"))?;
    request["params"].as_object_mut().map(|params| params.remove("_meta"));
    same("the question", &json!({ "method": ask.method, "params": ask.params }), &request)?;
    let update = json!({ "taskId": id, "inputResponses": { key: said } });
    let response = world.client.ask("tasks/update", update).await?;
    same("the acknowledgement", &json!({ "resultType": "complete" }), &response["result"])?;
    for _ in 0..100 {
        let response = world.client.ask("tasks/get", json!({ "taskId": id })).await?;
        if response["result"]["status"] == "completed" {
            return same("the result", &expected, &plain(response["result"]["result"].clone()));
        }
    }
    anyhow::bail!("the task never completed")
}

async fn a_task_is_cancelled(world: &World) -> Result<()> {
    let id = start(world, &world.client, "task_hangs").await?;
    get(world, &world.client, &id, "working").await?;
    let response = world.client.ask("tasks/cancel", json!({ "taskId": id })).await?;
    let mut result = response["result"].clone();
    without_ttl(&mut result);
    let expected = if world.client.is_modern() {
        json!({ "resultType": "complete" })
    } else {
        shown(world, &world.client, id.as_str().unwrap_or_default(), "cancelled")
    };
    same("the cancellation", &expected, &result)?;
    get(world, &world.client, &id, "cancelled").await.map(drop)
}

async fn status_of_a_task(world: &World) -> Result<()> {
    let id = start(world, &world.client, "task_hangs").await?;
    let filter = json!({ "notifications": { "taskIds": [id] } });
    let listen = world.client.begin("subscriptions/listen", filter, &[]).await?;
    let acknowledged = world
        .client
        .wait("the acknowledgement", |got| {
            let method = "notifications/subscriptions/acknowledged";
            got.iter().find(|got| got.message["method"] == method).map(|got| got.message.clone())
        })
        .await?;
    same("what is honoured", &json!({ "taskIds": [id] }), &acknowledged["params"]["notifications"])?;
    world.client.ask("tasks/cancel", json!({ "taskId": id })).await?;
    let status = world
        .client
        .wait("the status", |got| {
            let told = |got: &&spanwire_tests::scripted::Got| {
                got.message["method"] == "notifications/tasks" && got.message["params"]["status"] == "cancelled"
            };
            got.iter().find(told).map(|got| got.message.clone())
        })
        .await?;
    let mut params = status["params"].clone();
    without_ttl(&mut params);
    let mut expected = shown(world, &world.client, id.as_str().unwrap_or_default(), "cancelled");
    expected["_meta"] = json!({ meta::SUBSCRIPTION_ID: listen });
    same("the status", &expected, &params)?;
    world.client.cancel(&listen).await
}

/// The id of a task is good for its own principal only.
async fn tasks_of_others(world: &World) -> Result<()> {
    let id = start(world, &world.client, "task_hangs").await?;
    let other = if world.who == "ann" { "bob" } else { "ann" };
    let thief = world.another(other, world.client.declared().capabilities.clone()).await?;
    for method in ["tasks/get", "tasks/cancel"] {
        let response = thief.ask(method, json!({ "taskId": id })).await?;
        ensure!(response["error"]["code"] == codes::INVALID_PARAMS, "{method}: {response}");
    }
    get(world, &world.client, &id, "working").await.map(drop)
}

/// Who cannot take a task gets the result itself.
async fn no_tasks_declared(world: &World) -> Result<()> {
    let client = world.another(world.who, json!({})).await?;
    let response = client.ask("tools/call", world.params("task_simple", json!({}))).await?;
    world.must_be("the result", &response, done(&format!("{} is done", world.tag)))
}

async fn unknown_task(world: &World) -> Result<()> {
    for method in ["tasks/get", "tasks/cancel"] {
        for id in [format!("task_simple/{}", world.tag), "x".to_owned()] {
            let response = world.client.ask(method, json!({ "taskId": id })).await?;
            ensure!(response["error"]["code"] == codes::INVALID_PARAMS, "{method} of {id}: {response}");
        }
    }
    world.server_heard(&[]).await
}
