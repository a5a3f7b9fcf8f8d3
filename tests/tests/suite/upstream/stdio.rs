//! Servers on stdin and stdout, good ones and bad ones.

use serde_json::json;
use spanwire_model::{ErrorKind, Notice};

use super::*;

#[tokio::test]
async fn the_everything_server_works_through_the_canonical_form() {
    let Some(file) = peer("@modelcontextprotocol/server-everything/dist/index.js") else { return };
    let connected = connect(&command("node", &[&file, "stdio"])).await.unwrap();
    assert_eq!(connected.facts.era(), spanwire_mcp::Era::Legacy);
    let tools = ask(&connected, Method::ToolsList, json!({})).await.unwrap();
    assert!(tools.as_str().starts_with(r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","#), "{tools:?}");
    let echo = json!({"name": "echo", "arguments": {"message": "hi"}});
    let result = ask(&connected, Method::ToolsCall, echo).await.unwrap();
    assert!(result.as_str().contains("Echo: hi"), "{result:?}");

    let long = json!({"name": "trigger-long-running-operation", "arguments": {"duration": 1, "steps": 3},
        "_meta": {"progressToken": "mine"}});
    let events = events(connected.upstream.call(call(Method::ToolsCall, long))).await;
    let progress: Vec<_> = events.iter().filter(|event| matches!(event, Event::Progress(_))).collect();
    assert!(!progress.is_empty(), "{events:?}");
    for event in progress {
        let Event::Progress(notification) = event else { continue };
        assert_eq!(notification.params.as_ref().unwrap().get("progressToken").unwrap().as_str(), "\"mine\"");
    }
    within(connected.upstream.close()).await;
    let gone = ask(&connected, Method::ToolsList, json!({})).await.unwrap_err();
    assert_eq!(gone.kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn real_servers_of_other_makers_work() {
    let home = std::env::temp_dir().to_string_lossy().into_owned();
    for (path, args) in [("server-filesystem", vec![home.as_str()]), ("server-memory", vec![])] {
        let Some(file) = peer(&format!("@modelcontextprotocol/{path}/dist/index.js")) else { return };
        let args: Vec<&str> = [file.as_str()].into_iter().chain(args).collect();
        let connected = connect(&command("node", &args)).await.unwrap();
        let tools = ask(&connected, Method::ToolsList, json!({})).await.unwrap();
        assert!(tools.get("tools").unwrap().elements().count() > 3, "{path}");
        within(connected.upstream.close()).await;
    }
}

#[tokio::test]
async fn garbage_on_stdout_is_skipped() {
    let spec = python(
        r#"
        print("Welcome to my server!")
        print('{"jsonrpc": "2.0"')
        sys.stderr.write("x" * 100000 + "\n")
        def handle(message):
            if greet(message, tools={}): return
            print("about to answer")
            sys.stdout.write("\r\n\n")
            answer(message, {"tools": []})
        "#,
    );
    let connected = connect(&spec).await.unwrap();
    assert!(ask(&connected, Method::ToolsList, json!({})).await.is_ok());
}

#[tokio::test]
async fn a_server_that_exits_at_once_is_named_with_its_status() {
    let error = connect(&command("sh", &["-c", "echo no license >&2; exit 3"])).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(error.public, "server \"under-test\" exited with status 3 during server/discover");
    let error = connect(&command("/nowhere/such-a-program", &[])).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.public.contains("its command cannot be run"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_fails_the_handshake() {
    let mut config = config();
    config.settings.timeouts.probe = Duration::from_millis(50);
    config.settings.timeouts.handshake = Duration::from_millis(300);
    let silent = command("sh", &["-c", "while read line; do :; done"]);
    let error = within(StdioConnector::new(config).connect(&silent, None)).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.public.contains("did not answer initialize within 300 ms"), "{error}");
}

#[tokio::test]
async fn a_server_that_dies_in_the_middle_of_a_call_fails_that_call_and_says_so() {
    let spec = python(
        r#"
        def handle(message):
            if greet(message, tools={}): return
            os._exit(1)
        "#,
    );
    let mut connected = connect(&spec).await.unwrap();
    let error = ask(&connected, Method::ToolsCall, json!({"name": "x"})).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::StreamLost);
    assert_eq!(error.public, "server \"under-test\" exited with status 1 during tools/call");
    let reason = "server \"under-test\" exited with status 1";
    assert_eq!(within(connected.notices.recv()).await, Some(Notice::Closed(reason.into())));
    let error = ask(&connected, Method::ToolsCall, json!({"name": "x"})).await.unwrap_err();
    assert_eq!((error.kind, &*error.public), (ErrorKind::Unavailable, reason));
}

#[tokio::test]
async fn dropping_a_reply_cancels_the_call_at_the_server() {
    let spec = python(
        r#"
        waiting = []
        def handle(message):
            if message.get("method") == "notifications/cancelled":
                if message["params"]["requestId"] == waiting[0]["id"]:
                    answer(waiting.pop(1), {"seen": "cancelled"})
                return
            if greet(message, tools={}): return
            waiting.append(message)
        "#,
    );
    let connected = connect(&spec).await.unwrap();
    let mut dropped = connected.upstream.call(call(Method::ToolsCall, json!({"name": "slow"})));
    let mut kept = connected.upstream.call(call(Method::ToolsCall, json!({"name": "other"})));
    // Polled once each, so that both are sent in this order.
    assert!(futures::poll!(dropped.next()).is_pending());
    tokio::task::yield_now().await;
    assert!(futures::poll!(kept.next()).is_pending());
    drop(dropped);
    let result = within(kept.outcome()).await.unwrap();
    assert_eq!(result.get("seen").unwrap().as_str(), "\"cancelled\"");
}

#[tokio::test]
async fn a_message_above_the_limit_fails_only_its_own_call() {
    let spec = python(
        r#"
        def handle(message):
            if greet(message, tools={}): return
            size = 300000 if message["params"]["name"] == "big" else 10
            answer(message, {"text": "x" * size})
        "#,
    );
    let mut config = config();
    config.max_line_bytes = 100_000;
    let connected = within(StdioConnector::new(config).connect(&spec, None)).await.unwrap();
    let error = ask(&connected, Method::ToolsCall, json!({"name": "big"})).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge);
    assert!(ask(&connected, Method::ToolsCall, json!({"name": "small"})).await.is_ok());
}

#[tokio::test]
async fn a_slow_reader_of_one_call_does_not_hold_up_another() {
    let spec = python(
        r#"
        def handle(message):
            if greet(message, tools={}): return
            token = message["params"].get("_meta", {}).get("progressToken")
            if token is not None:
                for step in range(20000):
                    send({"method": "notifications/progress", "params": {"progressToken": token, "progress": step}})
            answer(message, {})
        "#,
    );
    let connected = connect(&spec).await.unwrap();
    let flood = json!({"name": "flood", "_meta": {"progressToken": 1}});
    let mut slow = connected.upstream.call(call(Method::ToolsCall, flood));
    assert!(futures::poll!(slow.next()).is_pending());
    assert!(ask(&connected, Method::ToolsCall, json!({"name": "quick"})).await.is_ok());
    let rest = events(slow).await;
    assert!(rest.len() < 100, "progress is merged: {}", rest.len());
    assert!(matches!(rest.last(), Some(Event::Done(Ok(_)))));
}
