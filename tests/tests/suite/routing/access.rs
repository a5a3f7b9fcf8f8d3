//! Who may see and call what: the same answer for lists, calls, and on either side of the bus.

use spanwire_catalog::{Prefix, ViewConfig};
use spanwire_model::{Dispatch, ErrorKind, Principal};
use spanwire_policy::Policy;

use super::{
    script::Script,
    world::{Setup, World, names, only_tools},
};

#[tokio::test]
async fn what_is_denied_reads_like_what_does_not_exist() {
    let fs = Script::new("fs", &["echo", "fail"]);
    let policy = only_tools("ci", &["fs__echo"]);
    let node = World::new().start("a", Setup { policy, ..Setup::of(&[&fs]) }).await;
    node.ready("fs", "a").await;
    assert!(node.tool("fs__echo").by("ci").outcome().await.is_ok());
    for who in ["ci", "nobody"] {
        let denied = node.tool("fs__fail").by(who).outcome().await.unwrap_err();
        let unknown = node.tool("fs__fa1l").by(who).outcome().await.unwrap_err();
        assert_eq!(denied.to_object().message.replace("fs__fail", "fs__fa1l"), unknown.to_object().message);
        assert_eq!(
            (denied.kind, denied.json_rpc_code(), denied.data),
            (unknown.kind, unknown.json_rpc_code(), unknown.data)
        );
    }
    // The same for a resource, a prompt and a whole view.
    for (method, params) in [
        ("resources/read", r#"{"uri":"fs+file:///a"}"#),
        ("prompts/get", r#"{"name":"fs__greet"}"#),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","name":"fs__greet"}}"#),
    ] {
        let denied = node.request(method, params).by("nobody").outcome().await.unwrap_err();
        let unknown = node.request(method, params.replace("fs", "xx")).by("nobody").outcome().await.unwrap_err();
        assert_eq!(denied.public.replace("fs", "xx"), unknown.public, "{method}");
        assert_eq!(denied.kind, ErrorKind::InvalidParams);
    }
    assert_eq!(fs.seen.borrow().calls.len(), 1, "only what was allowed got there");
    node.stop().await;
}

#[tokio::test]
async fn what_a_tool_wants_mirrored_is_told_to_those_who_may_call_it() {
    let fs = Script::new("fs", &[]);
    fs.set_raw_tool(
        r#"{"name":"sql","inputSchema":{"type":"object","properties":{"x":{"type":"string","x-mcp-header":"X"}}}}"#,
    );
    let node = World::new().start("a", Setup { policy: only_tools("ci", &["fs__sql"]), ..Setup::of(&[&fs]) }).await;
    node.ready("fs", "a").await;
    let headers = |who: &str, view: Option<&str>, tool: &str| {
        node.router.mirrored(&Principal::new(who), view, tool).map(|found| found[0].header.clone())
    };
    assert_eq!(headers("ci", None, "fs__sql").as_deref(), Some("Mcp-Param-X"));
    assert_eq!(headers("nobody", None, "fs__sql"), None, "it may not be told apart from an unknown tool");
    assert_eq!(headers("ci", Some("fs"), "fs__sql"), None);
    assert_eq!(headers("operator", Some("fs"), "sql").as_deref(), Some("Mcp-Param-X"));
    node.stop().await;
}

#[tokio::test]
async fn lists_hold_what_may_be_called_and_are_private_then() {
    let fs = Script::new("fs", &["echo", "fail"]);
    let world = World::new();
    let node = world.start("a", Setup { policy: only_tools("ci", &["*__fail"]), ..Setup::of(&[&fs]) }).await;
    node.ready("fs", "a").await;
    let list = node.request("tools/list", "{}").by("ci").ok().await;
    assert_eq!(names(&list, "tools", "name"), ["fs__fail"]);
    assert!(list.contains(r#""cacheScope":"private""#) && list.contains(r#""ttlMs":1000"#), "{list}");
    let open = world.start("b", Setup::of(&[&Script::new("git", &["log"])])).await;
    open.ready("git", "b").await;
    let list = open.request("tools/list", "{}").through("git").ok().await;
    assert_eq!(names(&list, "tools", "name"), ["log"]);
    assert!(list.contains(r#""cacheScope":"public""#), "{list}");
    node.stop().await;
    open.stop().await;
}

#[tokio::test]
async fn the_instructions_of_a_server_are_for_those_who_may_see_it() {
    let (fs, git) = (Script::new("fs", &["echo"]), Script::new("git", &["log"]));
    let node = World::new().start("a", Setup { policy: only_tools("ci", &["fs__*"]), ..Setup::of(&[&fs, &git]) }).await;
    node.ready("fs", "a").await;
    node.ready("git", "a").await;
    let text = node.request("server/discover", "{}").by("ci").ok().await;
    assert!(text.contains("how to use fs") && !text.contains("git"), "{text}");
    let text = node.request("server/discover", "{}").by("operator").ok().await;
    assert!(text.contains("how to use fs") && text.contains("how to use git"), "{text}");
    node.stop().await;
}

#[tokio::test]
async fn the_executing_node_judges_for_itself() {
    let fs = Script::new("fs", &["echo", "hang"]);
    let world = World::new();
    let a = world.start("a", Setup { policy: only_tools("ci", &["*"]), ..Setup::of(&[]) }).await;
    let b = world.start("b", Setup { policy: only_tools("ci", &["fs__hang"]), ..Setup::of(&[&fs]) }).await;
    b.ready("fs", "b").await;
    a.ready("fs", "b").await;
    let error = a.tool("fs__echo").by("ci").outcome().await.unwrap_err();
    assert_eq!((error.kind, &*error.public), (ErrorKind::InvalidParams, "unknown name \"echo\""));
    // What nobody there understands needs everything there, and reads like an unknown method.
    a.router.set_policy(Policy::open());
    let error = a.request("vendor/do", "{}").through("fs").outcome().await.unwrap_err();
    assert_eq!((error.json_rpc_code(), &*error.public), (-32601, "unknown method \"vendor/do\""));
    assert!(fs.seen.borrow().calls.is_empty());
    b.router.set_policy(Policy::open());
    assert!(a.tool("fs__echo").outcome().await.is_ok());
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn unknown_methods_pass_in_the_view_of_one_server_only() {
    let (fs, git) = (Script::new("fs", &["echo"]), Script::new("git", &["log"]));
    let node = World::new().start("a", Setup::of(&[&fs, &git])).await;
    node.ready("fs", "a").await;
    // Its params are its own: what would be wrong elsewhere passes untouched.
    let params = r#"{"name":7,"uri":[1], "level":{},"_meta":null}"#;
    assert_eq!(
        node.request("vendor/do", params).through("fs").ok().await,
        format!(r#"{{"method":"vendor/do","params":{params}}}"#)
    );
    for view in [None, Some("nobody")] {
        let request = node.request("vendor/do", "{}");
        let request = if let Some(view) = view { request.through(view) } else { request };
        assert!(request.outcome().await.unwrap_err().public.starts_with("unknown"));
    }
    assert_eq!(
        node.request("resources/subscribe", "{}").through("fs").outcome().await.unwrap_err().kind,
        ErrorKind::MethodNotFound
    );
    node.stop().await;
}

#[tokio::test]
async fn names_and_uris_are_the_servers_own_on_its_side() {
    let fs = Script::new("fs", &["echo", "link"]);
    let setup = Setup {
        router: |config| {
            config.catalog.views = vec![ViewConfig {
                name: "dev".into(),
                servers: None,
                tools: None,
                rename: [("fs__echo".to_owned(), "say".to_owned())].into(),
                prefix: Prefix::Never,
            }];
        },
        ..Setup::of(&[&fs])
    };
    let node = World::new().start("a", setup).await;
    node.ready("fs", "a").await;
    let said = r#"{"method":"tools/call","params":{"name":"echo","arguments":{}}}"#;
    assert_eq!(node.tool("fs__echo").ok().await, said);
    assert_eq!(node.tool("say").through("dev").ok().await, said);
    assert_eq!(node.tool("echo").through("fs").ok().await, said);
    // URIs in results are exposed ones, but not in the server's own view, and never those that belong to the tool.
    assert_eq!(
        node.tool("fs__link").ok().await,
        r#"{"content":[{"type":"resource_link","uri":"fs+file:///a","name":"a"}],"structuredContent":{"uri":"mine"}}"#
    );
    assert!(node.tool("link").through("fs").ok().await.contains(r#""uri":"file:///a""#));
    assert!(node.tool("link").through("dev").ok().await.contains(r#""uri":"fs+file:///a""#));
    assert_eq!(
        node.request("resources/read", r#"{"uri":"fs+file:///x"}"#).ok().await,
        r#"{"contents":[{"uri":"fs+file:///x","text":""}]}"#
    );
    for (params, own) in [
        (
            r#"{"ref":{"type":"ref/prompt","name":"fs__greet"},"argument":{}}"#,
            r#"{"type":"ref/prompt","name":"greet"}"#,
        ),
        (
            r#"{"ref":{"type":"ref/resource","uri":"fs+file:///{path}"}}"#,
            r#"{"type":"ref/resource","uri":"file:///{path}"}"#,
        ),
    ] {
        assert!(node.request("completion/complete", params).ok().await.contains(own));
    }
    let error =
        node.request("completion/complete", r#"{"ref":{"type":"ref/other","name":"x"}}"#).outcome().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidParams);
    node.stop().await;
}
