//! Real servers of either era over stdio, through one form.

use serde_json::json;
use spanwire_mcp::Era;
use spanwire_model::Notice;

use super::*;

const PYTHON: &str = r#"
from mcp.server.mcpserver import MCPServer, Context
server = MCPServer("python")
@server.tool()
async def steps(ctx: Context) -> str:
    for step in range(3):
        await ctx.report_progress(step, 3)
    return "done"
server.run("stdio")
"#;

#[tokio::test]
async fn a_modern_python_server_works_in_either_era() {
    let Some(python) = peer("../venv/bin/python") else { return };
    for (choice, era) in [(EraChoice::Auto, Era::Modern), (EraChoice::Legacy, Era::Legacy)] {
        let spec = ServerSpec { era: choice, ..command(&python, &["-u", "-c", PYTHON]) };
        let mut config = config();
        config.settings.timeouts.probe = Duration::from_secs(20);
        let connected = within(StdioConnector::new(config).connect(&spec, None)).await.unwrap();
        assert_eq!(connected.facts.era(), era);
        let steps = json!({"name": "steps", "arguments": {}, "_meta": {"progressToken": "t"}});
        let events = events(connected.upstream.call(call(Method::ToolsCall, steps))).await;
        assert_eq!(events.iter().filter(|event| matches!(event, Event::Progress(_))).count(), 3, "{events:?}");
        let Some(Event::Done(Ok(result))) = events.last() else { panic!("{events:?}") };
        assert_eq!(result.get("resultType").unwrap().as_str(), "\"complete\"");
        let discovered = ask(&connected, Method::Discover, json!({})).await.unwrap();
        assert!(discovered.get("supportedVersions").is_some(), "{discovered:?}");
        within(connected.upstream.close()).await;
    }
}

/// The everything server sends an update of each subscribed resource when it is asked to start doing so.
#[tokio::test]
async fn a_listener_hears_of_a_resource_of_a_legacy_server() {
    let Some(file) = peer("@modelcontextprotocol/server-everything/dist/index.js") else { return };
    let connected = connect(&command("node", &[&file, "stdio"])).await.unwrap();
    let uri = "demo://resource/dynamic/text/1";
    let filter = json!({"notifications": {"resourceSubscriptions": [uri]}});
    let mut listener = connected.upstream.call(call(Method::Listen, filter));
    let first = within(listener.next()).await;
    assert!(
        matches!(&first, Some(Event::Notification(n)) if n.method == Method::SubscriptionAcknowledged),
        "{first:?}"
    );
    let toggle = json!({"name": "toggle-subscriber-updates", "arguments": {}});
    ask(&connected, Method::ToolsCall, toggle).await.unwrap();
    let update = within(listener.next()).await;
    let Some(Event::Notification(update)) = update else { panic!("{update:?}") };
    assert_eq!(update.params.unwrap().get("uri").unwrap().read::<String>().unwrap(), uri);
    within(connected.upstream.close()).await;
    assert!(matches!(within(listener.next()).await, Some(Event::Done(Err(_)))));
}

#[tokio::test]
async fn a_list_change_becomes_a_notice() {
    let spec = python(
        r#"
        def handle(message):
            if message["method"] == "notifications/initialized":
                send({"method": "notifications/tools/list_changed"})
                send({"id": 900, "method": "roots/list"})
            if "error" in message or greet(message, tools={"listChanged": True}): return
        "#,
    );
    let mut connected = connect(&spec).await.unwrap();
    assert_eq!(within(connected.notices.recv()).await, Some(Notice::ToolsChanged));
}

/// What a child asks on stdout does not say for which call. It is the only one.
#[tokio::test]
async fn a_child_that_asks_in_the_middle_of_a_call_gets_its_answer() {
    let spec = python(
        r#"
        asked = {}
        def handle(message):
            if message.get("id") == "mine":
                return answer(asked, {"content": [{"type": "text", "text": json.dumps(message["result"])}]})
            if greet(message, tools={}): return
            if message["method"] == "tools/call":
                asked.update(message)
                send({"id": "mine", "method": "elicitation/create", "params": {"message": "who?", "requestedSchema": {}}})
        "#,
    );
    let connected = connect(&spec).await.unwrap();
    let meta = json!({"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}});
    let asked = ask(&connected, Method::ToolsCall, json!({"name": "a", "_meta": meta})).await.unwrap().to_value();
    let (key, question) = asked["inputRequests"].as_object().unwrap().iter().next().unwrap();
    assert_eq!((&asked["resultType"], &question["params"]["message"]), (&json!("input_required"), &json!("who?")));
    let answer = json!({"action": "accept", "content": {"name": "me"}});
    let retry = json!({
        "name": "a", "_meta": meta, "requestState": asked["requestState"], "inputResponses": {key: answer},
    });
    let result = ask(&connected, Method::ToolsCall, retry).await.unwrap().to_value();
    assert_eq!(result["resultType"], "complete");
    let told: serde_json::Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(told, answer);
    within(connected.upstream.close()).await;
}
