//! What a caller has not declared is refused on its behalf, and it never learns of it.

use super::*;

#[tokio::test]
async fn only_what_the_caller_has_declared_reaches_it() {
    let check = async |declared: &str, method: Method, params: &str, code: Option<i64>| {
        for on_stream in BOTH {
            let peer = Peer::new(|_| {}).await;
            let (running, id) = peer.start("book", declared).await;
            peer.ask("q1", method.clone(), params, on_stream.then_some(id)).await;
            let Some(code) = code else {
                assert_eq!(running.asked().await.asked.requests.len(), 1, "{declared} {method}");
                continue;
            };
            peer.server.saw(&format!(r#""id":"q1","error":{{"code":{code},"#)).await;
            peer.finish(id, RESULT);
            let (events, outcome) = running.done().await;
            assert_eq!((events.len(), outcome.unwrap().as_str()), (0, COMPLETE), "the call goes on");
            peer.idle().await;
        }
    };
    let url = r#"{"mode":"url","url":"https://a","elicitationId":"1","message":""}"#;
    check("{}", Method::ElicitationCreate, FORM, Some(-32601)).await;
    check("{}", Method::ElicitationCreate, url, Some(-32601)).await;
    check(r#"{"elicitation":{}}"#, Method::ElicitationCreate, FORM, None).await;
    check(r#"{"elicitation":{}}"#, Method::ElicitationCreate, url, Some(-32602)).await;
    check(r#"{"elicitation":{"url":{}}}"#, Method::ElicitationCreate, FORM, Some(-32602)).await;
    check(r#"{"elicitation":{"url":{}}}"#, Method::ElicitationCreate, url, None).await;
    check("{}", Method::SamplingCreateMessage, r#"{"messages":[]}"#, Some(-32601)).await;
    check(r#"{"sampling":{}}"#, Method::SamplingCreateMessage, r#"{"messages":[]}"#, None).await;
    check(r#"{"sampling":{}}"#, Method::SamplingCreateMessage, r#"{"tools":[]}"#, Some(-32602)).await;
    check(r#"{"sampling":{"tools":{}}}"#, Method::SamplingCreateMessage, r#"{"tools":[]}"#, None).await;
    check("{}", Method::RootsList, "{}", Some(-32601)).await;
    check(r#"{"roots":{}}"#, Method::RootsList, "{}", None).await;
    check("null", Method::RootsList, "{}", Some(-32601)).await;
}

#[tokio::test]
async fn what_counts_is_what_the_retry_declares() {
    let peer = Peer::new(|_| {}).await;
    let (asked, id) = peer.parked("book", "q1", true).await;
    let mut retry = tool("book", r#"{"elicitation":{}}"#, "");
    let state = format!("\"{}\"", asked.state());
    retry.params = retry.params.with(&[("requestState", state.as_bytes()), ("inputResponses", b"{}")], &[]);
    let asked = peer.run(retry).asked().await;
    assert_eq!(asked.key(0), "input-1", "what was told stays open");
    peer.ask("q2", Method::RootsList, "{}", Some(id)).await;
    peer.server.saw(r#""id":"q2","error":{"code":-32601"#).await;
}

#[tokio::test]
async fn a_method_that_takes_no_input_is_asked_nothing() {
    for on_stream in BOTH {
        let peer = Peer::new(|_| {}).await;
        let params = format!(r#"{{"a":1,"_meta":{{"io.modelcontextprotocol/clientCapabilities":{ALL}}}}}"#);
        for method in [Method::Other("x/y".into()), Method::Complete] {
            let before = peer.server.sent();
            let running = peer.run(call(method.clone(), &params));
            let id = peer.server.id_of_next(r#""a":1"#, before).await;
            peer.server.saw(&format!("{method} ")).await;
            let question = format!("q-{method}");
            peer.elicit(&question, on_stream.then_some(id)).await;
            peer.server.saw(&format!(r#""id":"{question}","error""#)).await;
            peer.finish(id, RESULT);
            assert_eq!(running.outcome().await.unwrap().as_str(), COMPLETE);
        }
    }
}

/// Modern servers: nothing is translated, but what the caller has not declared does not reach it either.
#[tokio::test]
async fn a_modern_server_may_ask_for_what_is_declared_only() {
    let check = async |declared: &str, result: &str, expected: Result<(), &str>| {
        let answer = json(result);
        let server = modern("{}", move |_| Some(Ok(answer.clone())));
        let connected = server.connect(EraChoice::Auto).await.unwrap();
        let outcome = connected.upstream.call(tool("book", declared, "")).outcome().await;
        match (outcome, expected) {
            (Ok(got), Ok(())) => assert_eq!(got.as_str(), result),
            (Err(error), Err(part)) => {
                assert_eq!(error.kind, ErrorKind::BadServer);
                assert!(error.public.contains(part), "{error}");
            }
            (got, _) => panic!("{declared} {result}: {got:?}"),
        }
    };
    let form = format!(
        r#"{{"resultType":"input_required","inputRequests":{{"k":{{"method":"elicitation/create","params":{FORM}}}}},"requestState":"s"}}"#
    );
    check(ALL, &form, Ok(())).await;
    check(r#"{"elicitation":{"url":{}}}"#, &form, Err("has not declared {\"elicitation\":{\"form\":{}}}")).await;
    check("{}", &form, Err("asked for elicitation/create")).await;
    check("{}", r#"{"resultType":"input_required","requestState":"s"}"#, Ok(())).await;
    check(ALL, r#"{"resultType":"input_required"}"#, Err("wrong form")).await;
    for other in [
        r#"{"resultType":"task","taskId":"1"}"#,
        r#"{"resultType":"of/tomorrow","inputRequests":{"k":{"method":"roots/list"}}}"#,
        r#"{"resultType":"complete","inputRequests":{"k":{"method":"roots/list"}}}"#,
        r#"{"inputRequests":{}}"#,
    ] {
        check("{}", other, Ok(())).await;
    }
}

#[tokio::test]
async fn a_modern_server_gets_answers_but_no_errors() {
    let server = modern("{}", |_| Some(Ok(json("{}"))));
    let connected = server.connect(EraChoice::Auto).await.unwrap();
    connected.upstream.call(again("book", "s", &format!(r#"{{"k":{ACCEPT}}}"#))).outcome().await.unwrap();
    let sent = server.saw("tools/call").await;
    assert!(sent.contains(&format!(r#""requestState":"s","inputResponses":{{"k":{ACCEPT}}}"#)), "{sent}");
    let refusal = spanwire_mcp::ErrorObject { code: -1, message: "the user said no".into(), data: None };
    let answers = format!(r#"{{"k":{ACCEPT},"l":{}}}"#, spanwire_mcp::input::error_response(&refusal).as_str());
    let error = connected.upstream.call(again("book", "s", &answers)).outcome().await.unwrap_err();
    assert_eq!((error.kind, error.code, &*error.public), (ErrorKind::Server, Some(-1), "the user said no"));
    assert_eq!(server.count("tools/call"), 1, "it never reached the server");
}

#[tokio::test]
async fn a_legacy_server_cannot_ask_in_the_modern_form() {
    let server = legacy("{}", |_| Some(Ok(json(r#"{"resultType":"input_required","requestState":"s"}"#))));
    let connected = server.connect(EraChoice::Auto).await.unwrap();
    let error = connected.upstream.call(tool("book", ALL, "")).outcome().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadServer);
}
