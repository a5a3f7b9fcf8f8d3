//! What is listed, and how long it may be kept; what a server says of itself; pages of MCP Apps.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use spanwire_mcp::{Revision, codes, meta};
use spanwire_tests::scripted::{Listed, entries, note};

use super::{
    cell::Nodes,
    compare::same,
    runner::{Feature, feature_of},
    world::World,
};

pub(super) const FEATURES: &[Feature] = &[
    feature_of!(lists),
    feature_of!(pages),
    feature_of!(caching_hints),
    feature_of!(greeting),
    feature_of!(apps, |cell| cell.server.revision >= Revision::V2025_06_18),
    feature_of!(extensions, |cell| cell.client.is_modern() && cell.server.is_modern() && cell.nodes == Nodes::Other),
    feature_of!(task_support_is_listed, |cell| {
        cell.client.revision == Revision::V2025_11_25 && cell.server.revision == Revision::V2025_11_25
    }),
    feature_of!(negotiation_is_shown, |cell| cell.client.is_modern() && cell.nodes == Nodes::Same),
];

/// Every page of a list.
async fn pages_of(world: &World, listed: Listed) -> Result<Vec<Value>> {
    let mut pages = Vec::new();
    let mut params = json!({});
    loop {
        let response = world.client.ask(listed.method(), params).await?;
        ensure!(response["result"][listed.member()].is_array(), "{response}");
        pages.push(response["result"].clone());
        match response["result"].get("nextCursor") {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => return Ok(pages),
        }
    }
}

fn key(listed: Listed) -> &'static str {
    match listed {
        Listed::Tools | Listed::Prompts => "name",
        Listed::Resources => "uri",
        Listed::Templates => "uriTemplate",
    }
}

/// A server's own entry as the client must see it.
fn exposed(world: &World, listed: Listed, mut entry: Value) -> Value {
    let own = entry[key(listed)].as_str().unwrap_or_default().to_owned();
    let named = match listed {
        Listed::Tools | Listed::Prompts => world.cell.exposed(&own),
        Listed::Resources | Listed::Templates => exposed_uri(world, &own),
    };
    entry[key(listed)] = named.into();
    if let Some(Value::String(uri)) = entry.pointer_mut("/_meta/ui/resourceUri") {
        *uri = exposed_uri(world, uri);
    }
    entry
}

/// Pages of MCP Apps keep their scheme, since hosts take nothing else for one.
fn exposed_uri(world: &World, own: &str) -> String {
    match own.strip_prefix("ui://") {
        Some(rest) if world.cell.view().is_empty() => format!("ui://{}+{rest}", world.cell.server.id()),
        _ => world.cell.exposed_uri(own),
    }
}

/// The entries of the cell's server in what a client is listed, without what other features look at.
fn own_entries(world: &World, listed: Listed, pages: &[Value]) -> Vec<Value> {
    let all = pages.iter().flat_map(|page| page[listed.member()].as_array().cloned().unwrap_or_default());
    let prefix = format!("{}{}", world.cell.server.id(), if key(listed) == "name" { "__" } else { "+" });
    let federated = world.cell.view().is_empty();
    all.filter(|entry| {
        let name = entry[key(listed)].as_str().unwrap_or_default();
        !federated || name.trim_start_matches("ui://").starts_with(&prefix)
    })
    .collect()
}

fn is_app(entry: &Value) -> bool {
    entry["name"].as_str().is_some_and(|name| name.ends_with("panel"))
}

/// Which tools can be tasks is another feature.
fn without_tasks(mut entry: Value) -> Value {
    entry.as_object_mut().map(|entry| entry.remove("execution"));
    entry
}

/// Which tools of a legacy server can be tasks is what the server says, for a client that reads it.
async fn task_support_is_listed(world: &World) -> Result<()> {
    let support = |tools: Vec<Value>| -> Value {
        tools.into_iter().map(|tool| json!([tool["name"], tool.get("execution")])).collect()
    };
    let pages = pages_of(world, Listed::Tools).await?;
    let got = support(own_entries(world, Listed::Tools, &pages));
    let own = entries(Listed::Tools, world.cell.server.revision);
    let expected = support(own.into_iter().map(|entry| exposed(world, Listed::Tools, entry)).collect());
    same("what can be a task", &expected, &got)
}

/// Everything that is listed, with icons, titles, annotations, schemas and members that nobody knows.
async fn lists(world: &World) -> Result<()> {
    for listed in Listed::ALL {
        let pages = pages_of(world, listed).await?;
        let got: Value =
            own_entries(world, listed, &pages).into_iter().filter(|entry| !is_app(entry)).map(without_tasks).collect();
        let own = entries(listed, world.cell.server.revision).into_iter().filter(|entry| !is_app(entry));
        let expected: Value = own.map(|entry| without_tasks(exposed(world, listed, entry))).collect();
        same(listed.method(), &expected, &got)?;
    }
    Ok(())
}

/// Pages are the broker's own, and so are cursors.
async fn pages(world: &World) -> Result<()> {
    world.is_served().await?;
    let pages = pages_of(world, Listed::Tools).await?;
    let federated = world.cell.view().is_empty();
    ensure!((pages.len() > 1) == federated, "{} pages", pages.len());
    for page in &pages {
        let keys: Vec<&str> = page.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        for modern in ["resultType", "ttlMs", "cacheScope"] {
            ensure!(keys.contains(&modern) == world.client.is_modern(), "{modern} in {keys:?}");
        }
        let tools = page["tools"].as_array().map_or(0, Vec::len);
        ensure!(tools <= 60, "{tools} tools on a page");
    }
    let names = pages.iter().flat_map(|page| page["tools"].as_array().into_iter().flatten());
    let mut names: Vec<&str> = names.filter_map(|tool| tool["name"].as_str()).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    ensure!(names.len() == all, "a tool is listed twice");
    for cursor in ["after 4", "", "\u{2028}"] {
        let response = world.client.ask("tools/list", json!({ "cursor": cursor })).await?;
        ensure!(response["error"]["code"] == codes::INVALID_PARAMS, "the cursor {cursor:?}: {response}");
    }
    Ok(())
}

async fn caching_hints(world: &World) -> Result<()> {
    world.is_served().await?;
    for listed in Listed::ALL {
        for page in pages_of(world, listed).await? {
            let hints = json!([page.get("ttlMs"), page.get("cacheScope")]);
            // The smallest of the sources; where callers have names, nothing is shared between them. A legacy source says nothing.
            let expected = match (world.client.is_modern(), world.cell.view().is_empty()) {
                (false, _) => json!([null, null]),
                (true, false) if world.cell.server.is_modern() => json!([60_000, "private"]),
                (true, _) => json!([0, "private"]),
            };
            same(listed.method(), &expected, &hints)?;
        }
    }
    Ok(())
}

/// `initialize` and `server/discover`: what the one server said, or what the broker says for all of them.
async fn greeting(world: &World) -> Result<()> {
    world.is_served().await?;
    let own_view = !world.cell.view().is_empty();
    let mut got = if world.client.is_modern() {
        let response = world.client.ask("server/discover", json!({})).await?;
        response["result"].clone()
    } else {
        world.client.greeting().clone()
    };
    let info = if world.client.is_modern() { &got["_meta"][meta::SERVER_INFO] } else { &got["serverInfo"] };
    if !own_view {
        ensure!(info["name"] == "spanwire", "{info}");
        return Ok(());
    }
    let revision = world.cell.server.revision;
    let mut expected = json!({ "name": "scripted", "version": revision.as_str() });
    if revision >= Revision::V2025_06_18 {
        expected["title"] = "Scripted".into();
    }
    same("the server", &expected, info)?;
    same("the instructions", &"Ask for a tool by its name.".into(), &got["instructions"])?;
    let mut capabilities = got["capabilities"].take();
    // Extensions and tasks are other features.
    for other in ["tasks", "extensions"] {
        capabilities.as_object_mut().map(|all| all.remove(other));
    }
    let mut expected = json!({
        "logging": {},
        "prompts": { "listChanged": true },
        "resources": { "subscribe": true, "listChanged": true },
        "tools": { "listChanged": true },
    });
    if revision >= Revision::V2025_03_26 {
        expected["completions"] = json!({});
    }
    same("the capabilities", &expected, &capabilities)
}

/// A tool that names its page, the page in the list, and the page itself fit together.
async fn apps(world: &World) -> Result<()> {
    let revision = world.cell.server.revision;
    for listed in [Listed::Tools, Listed::Resources] {
        let pages = pages_of(world, listed).await?;
        let got: Value = own_entries(world, listed, &pages).into_iter().filter(is_app).map(without_tasks).collect();
        let own = entries(listed, revision).into_iter().filter(is_app);
        let expected: Value = own.map(|entry| exposed(world, listed, entry)).collect();
        same(listed.method(), &expected, &got)?;
    }
    let uri = exposed_uri(world, "ui://panel/main");
    let response = world.client.ask("resources/read", json!({ "uri": uri })).await?;
    let mut page = note("ui://panel/main").remove(0);
    page["uri"] = uri.into();
    same("the page", &json!([page]), &response["result"]["contents"])
}

/// Extensions that a server announces.
async fn extensions(world: &World) -> Result<()> {
    let response = world.client.ask("server/discover", json!({})).await?;
    let expected = json!({ spanwire_tests::scripted::TASKS: {}, "io.modelcontextprotocol/ui": {} });
    same("the extensions", &expected, &response["result"]["capabilities"]["extensions"])
}

/// `spanwire servers` names the revision that was agreed on.
async fn negotiation_is_shown(world: &World) -> Result<()> {
    let shown = world.rig.nodes[1].command_json(&["--json", "servers"]).await?;
    let servers = shown.as_array().or_else(|| shown["servers"].as_array()).cloned().unwrap_or_default();
    let own = servers.iter().find(|server| server["id"] == world.cell.server.id());
    let text = own.map(Value::to_string).unwrap_or_default();
    ensure!(text.contains(world.cell.server.revision.as_str()), "the server is shown as {text} in {shown}");
    Ok(())
}
