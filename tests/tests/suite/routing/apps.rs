//! MCP Apps through a federated view: the page that a tool names is the page that is read (SEP-1865).

use super::{
    script::Script,
    world::{Setup, World},
};

#[tokio::test]
async fn the_page_that_a_tool_names_can_be_read() {
    let charts = Script::new("charts", &[]);
    charts.set_raw_tool(
        r#"{"name":"bar","inputSchema":{"type":"object"},"_meta":{"ui":{"resourceUri":"ui://charts/bar.html"}}}"#,
    );
    let world = World::new();
    let a = world.start("a", Setup::of(&[])).await;
    let b = world.start("b", Setup::of(&[&charts])).await;
    b.ready("charts", "b").await;
    a.ready("charts", "b").await;
    for (index, node) in [&a, &b].into_iter().enumerate() {
        for (view, uri) in [(None, "ui://charts+charts/bar.html"), (Some("charts"), "ui://charts/bar.html")] {
            let request = |method: &str, params: String| match view {
                None => node.request(method, params),
                Some(view) => node.request(method, params).through(view),
            };
            let tools = request("tools/list", "{}".to_owned()).ok().await;
            assert!(tools.contains(&format!(r#""_meta":{{"ui":{{"resourceUri":"{uri}"}}}}"#)), "{index}: {tools}");
            let read = request("resources/read", format!(r#"{{"uri":"{uri}"}}"#)).ok().await;
            assert_eq!(read, format!(r#"{{"contents":[{{"uri":"{uri}","text":""}}]}}"#));
            let asked = charts.seen.borrow().calls.last().unwrap().params.clone();
            assert_eq!(asked.as_str(), r#"{"uri":"ui://charts/bar.html"}"#);
        }
    }
    a.stop().await;
    b.stop().await;
}
