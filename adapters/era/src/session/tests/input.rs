//! Questions, their answers, and the rounds of one request.

use spanwire_mcp::{ErrorObject, Response, input::InputRequired};

use super::*;

fn client(revision: &str, capabilities: &str) -> Session {
    let params = format!(r#"{{"protocolVersion":"{revision}","capabilities":{capabilities}}}"#);
    let mut session = Session::open(Some(&json(&params))).unwrap();
    session.set_tag("tag".into());
    session
}

fn required(requests: &str, state: &str) -> InputRequired {
    let text = format!(r#"{{"resultType":"input_required","inputRequests":{requests},"requestState":"{state}"}}"#);
    let Ending::Input(required) = ending(&Method::ToolsCall, None, Ok(json(&text))) else { panic!("{text}") };
    required
}

fn ok(id: &str, result: &str) -> Response {
    Response { id: Some(RequestId::String(id.into())), outcome: Ok(json(result)) }
}

#[test]
fn all_answers_make_the_retry() {
    let mut session = client("2025-11-25", r#"{"roots":{},"elicitation":{}}"#);
    let asked = session
        .ask(required(
            r#"{"a":{"method":"roots/list"},"b":{"method":"elicitation/create","params":{"mode":"form","message":"?"}}}"#,
            "s\\\"1",
        ))
        .unwrap();
    let sent: Vec<String> =
        asked.requests.iter().map(|one| String::from_utf8(one.to_bytes().to_vec()).unwrap()).collect();
    assert_eq!(
        sent,
        [
            r#"{"jsonrpc":"2.0","id":"tag-2","method":"roots/list"}"#,
            r#"{"jsonrpc":"2.0","id":"tag-3","method":"elicitation/create","params":{"mode":"form","message":"?"}}"#,
        ]
    );
    assert_eq!(session.answer(ok("tag-1", "{}")), Answered::Nothing);
    assert_eq!(session.answer(Response { id: None, outcome: Ok(json("{}")) }), Answered::Nothing);
    assert_eq!(session.answer(ok("tag-3", r#"{"action":"accept"}"#)), Answered::Partly);
    assert_eq!(session.answer(ok("tag-3", r#"{"action":"decline"}"#)), Answered::Nothing, "answered already");
    let refused = ErrorObject { code: -1, message: "no".into(), data: None };
    let Answered::Complete(round, retry) =
        session.answer(Response { id: Some(RequestId::String("tag-2".into())), outcome: Err(refused) })
    else {
        panic!("not complete")
    };
    assert_eq!(round, asked.round);
    let params = session.retry_params(Some(&json(r#"{"name":"t","_meta":{"progressToken":7}}"#)), &retry).to_value();
    assert_eq!(params["requestState"], "s\"1");
    assert_eq!(params["name"], "t");
    assert_eq!(params["_meta"]["progressToken"], 7);
    assert_eq!(
        params["inputResponses"],
        serde_json::json!({"a": {"_meta": {"io.spanwire/error": {"code": -1, "message": "no"}}}, "b": {"action": "accept"}})
    );
    assert_eq!(session.withdraw(round, "late"), None);
}

#[test]
fn a_retry_without_a_state_has_none() {
    let session = client("2025-11-25", "{}");
    let params = json(r#"{"name":"t","requestState":"forged","inputResponses":{}}"#);
    let kept = session.retry_params(Some(&params), &Retry::default()).to_value();
    assert_eq!((kept.get("requestState"), kept.get("inputResponses")), (None, None));
}

#[test]
fn a_withdrawn_round_says_what_is_still_open() {
    let mut session = client("2025-11-25", r#"{"roots":{}}"#);
    let two = r#"{"a":{"method":"roots/list"},"b":{"method":"roots/list"}}"#;
    let asked = session.ask(required(two, "s")).unwrap();
    assert_eq!(session.answer(ok("tag-2", r#"{"roots":[]}"#)), Answered::Partly);
    let withdrawn = session.withdraw(asked.round, "why").unwrap();
    let [cancelled] = withdrawn.notifications.as_slice() else { panic!("{withdrawn:?}") };
    assert_eq!(cancelled.params.as_ref().unwrap().as_str(), r#"{"requestId":"tag-3","reason":"why"}"#);
    let responses = withdrawn.retry.input_responses.unwrap().to_value();
    assert_eq!(responses["a"], serde_json::json!({"roots": []}));
    assert_eq!(responses["b"]["_meta"]["io.spanwire/error"]["message"], "why");
    assert_eq!(session.answer(ok("tag-3", "{}")), Answered::Nothing);
}

#[test]
fn questions_are_bounded_and_come_back() {
    let mut session = client("2025-11-25", r#"{"roots":{}}"#);
    let one = || required(r#"{"a":{"method":"roots/list"}}"#, "s");
    let rounds: Vec<RoundId> = (0..MAX_QUESTIONS).map(|_| session.ask(one()).unwrap().round).collect();
    assert_eq!(session.ask(one()).unwrap_err().kind, ErrorKind::Overloaded);
    session.withdraw(rounds[0], "x").unwrap();
    session.ask(one()).unwrap();
}

#[test]
fn an_answer_that_is_none_is_an_error_for_the_server() {
    let mut session = client("2025-11-25", r#"{"sampling":{}}"#);
    let mut ask = |result: String| {
        let asked = session.ask(required(r#"{"a":{"method":"sampling/createMessage"}}"#, "s")).unwrap();
        let RequestId::String(id) = &asked.requests[0].id else { panic!("a number") };
        let Answered::Complete(_, retry) = session.answer(ok(id, &result)) else { panic!("not complete") };
        let responses = retry.input_responses.unwrap();
        responses.get("a").unwrap().get("_meta").unwrap().get(meta::INPUT_ERROR).unwrap().to_value()["message"].clone()
    };
    assert_eq!(ask("7".to_owned()), "the client's result is no object");
    let large = ask(format!(r#"{{"text":"{}"}}"#, "x".repeat(MAX_ANSWER_BYTES)));
    assert!(large.as_str().unwrap().contains("above the limit"), "{large}");
}

#[test]
fn what_the_client_did_not_declare_is_not_asked() {
    for (capabilities, request, needed) in [
        ("{}", r#"{"method":"roots/list"}"#, r#"{"roots":{}}"#),
        (r#"{"roots":true}"#, r#"{"method":"roots/list"}"#, r#"{"roots":{}}"#),
        (
            r#"{"elicitation":{}}"#,
            r#"{"method":"elicitation/create","params":{"mode":"url"}}"#,
            r#"{"elicitation":{"url":{}}}"#,
        ),
    ] {
        let mut session = client("2025-11-25", capabilities);
        let error = session.ask(required(&format!(r#"{{"a":{request}}}"#), "s")).unwrap_err();
        assert_eq!((error.kind, error.json_rpc_code()), (ErrorKind::MissingCapability, codes::INTERNAL_ERROR));
        assert!(error.public.contains(needed), "{error}");
        assert_eq!(error.data.unwrap().as_str(), format!(r#"{{"requiredCapabilities":{needed}}}"#));
    }
}

#[test]
fn params_are_those_of_the_revision() {
    let check = |revision: &str, request: &str, expected: &str| {
        let capabilities = r#"{"elicitation":{"form":{},"url":{}},"sampling":{}}"#;
        let mut session = client(revision, capabilities);
        let asked = session.ask(required(&format!(r#"{{"a":{request}}}"#), "s")).unwrap();
        assert_eq!(asked.requests[0].params.as_ref().unwrap().as_str(), expected, "{revision}");
    };
    let form = r#"{"method":"elicitation/create","params":{"mode":"form","message":"?","x":1}}"#;
    check("2025-11-25", form, r#"{"mode":"form","message":"?","x":1}"#);
    check("2025-06-18", form, r#"{"message":"?","x":1}"#);
    let url = r#"{"method":"elicitation/create","params":{"mode":"url","url":"https://a/"}}"#;
    check("2025-11-25", url, r#"{"mode":"url","url":"https://a/","elicitationId":"tag-2"}"#);
    let named = r#"{"method":"elicitation/create","params":{"mode":"url","elicitationId":"own"}}"#;
    check("2025-11-25", named, r#"{"mode":"url","elicitationId":"own"}"#);
    let sampling = r#"{"method":"sampling/createMessage","params":{"messages":[{"role":"user","content":[{"a":1},{"b":2}]},{"role":"user","content":{"c":3}}],"maxTokens":9}}"#;
    check(
        "2025-11-25",
        sampling,
        r#"{"messages":[{"role":"user","content":[{"a":1},{"b":2}]},{"role":"user","content":{"c":3}}],"maxTokens":9}"#,
    );
    check(
        "2025-03-26",
        sampling,
        r#"{"messages":[{"role":"user","content":{"a":1}},{"role":"user","content":{"b":2}},{"role":"user","content":{"c":3}}],"maxTokens":9}"#,
    );
}

#[test]
fn rounds_are_bounded_and_only_for_calls_that_take_input() {
    let state = || required("{}", "s");
    let mut exchange = Exchange::default();
    let mut pauses = Vec::new();
    for _ in 0..MAX_ROUNDS {
        exchange.begin_round(&state()).unwrap();
        pauses.push(exchange.pause().as_millis());
    }
    assert_eq!(exchange.begin_round(&state()).unwrap_err().kind, ErrorKind::BadServer);
    assert_eq!((pauses[0], pauses[1], pauses[63]), (250, 500, 10_000));
    for (method, result) in [
        (Method::ToolsList, r#"{"resultType":"input_required","requestState":"s"}"#),
        (Method::ToolsCall, r#"{"resultType":"input_required"}"#),
        (Method::ToolsCall, r#"{"resultType":"input_required","inputRequests":{"a":{"method":"tools/call"}}}"#),
    ] {
        let Ending::Answer(Err(error)) = ending(&method, None, Ok(json(result))) else { panic!("{result}") };
        assert_eq!(error.kind, ErrorKind::BadServer);
    }
}

#[test]
fn progress_grows_over_the_rounds() {
    let mut exchange = Exchange::default();
    let pass = |exchange: &mut Exchange, progress: &str| {
        let params = json(&format!(r#"{{"progressToken":7,"progress":{progress}}}"#));
        exchange.progress(Revision::V2025_11_25, Notification { method: Method::Progress, params: Some(params) })
    };
    assert!(pass(&mut exchange, "1").is_some());
    assert!(pass(&mut exchange, "2.5").is_some());
    exchange.begin_round(&required("{}", "s")).unwrap();
    assert!(pass(&mut exchange, "1").is_none());
    assert!(pass(&mut exchange, "2.5").is_none());
    assert_eq!(
        pass(&mut exchange, "3").unwrap(),
        r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7,"progress":3}}"#
    );
    exchange.begin_round(&required("{}", "s")).unwrap();
    assert!(pass(&mut exchange, "3").is_none());
}
