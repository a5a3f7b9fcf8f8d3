#![allow(clippy::unwrap_used, reason = "tests")]

use spanwire_mcp::Revision;
use spanwire_model::{ClientFacts, EdgeTransport, Principal};
use tokio::time::Instant;

use super::*;

fn front(kind: Kind) -> Front {
    Front { kind, node: "left".parse().unwrap(), server: "fs".parse().unwrap(), tool: "a.b c".to_owned() }
}

fn payload() -> Payload {
    let params = Json::from_trusted(r#"{"name":"t","arguments":{"a":1,"b":[{"c":2,"d":3}]}}"#);
    Payload {
        principal: "ann".to_owned(),
        expires_s: expires_in(Duration::from_secs(60)),
        digest: digest_of(&Method::ToolsCall, &params),
        traceparent: String::new(),
        value: "state".to_owned(),
    }
}

fn call(principal: &str, method: Method, params: &'static str) -> Call {
    Call {
        id: uuid::Uuid::now_v7(),
        principal: Principal::new(principal),
        view: None,
        method,
        params: Json::from_trusted(params),
        deadline: Instant::now(),
        parent: None,
        client: ClientFacts::of(EdgeTransport::Http, Revision::CANONICAL),
    }
}

#[test]
fn what_is_sealed_opens_with_the_same_secret_only() {
    let seal = Seal::new(b"secret").unwrap();
    for kind in [Kind::Parked, Kind::State, Kind::Task] {
        let text = seal.seal(&front(kind), &payload()).unwrap();
        assert_eq!(seal.open(&text).unwrap(), (front(kind), payload()));
        assert_eq!(Front::of(&text).unwrap(), front(kind));
        assert_eq!(Seal::new(b"other").unwrap().open(&text).unwrap_err(), Refused::Forged);
        assert_eq!(seal.seal(&front(kind), &payload()).unwrap(), text, "the same thing has the same name");
    }
}

#[test]
fn no_byte_can_be_changed() {
    let seal = Seal::new(b"secret").unwrap();
    let text = seal.seal(&front(Kind::Parked), &payload()).unwrap();
    for index in 0..text.len() {
        let mut forged = text.clone().into_bytes();
        forged[index] = if forged[index] == b'a' { b'b' } else { b'a' };
        let forged = String::from_utf8(forged).unwrap();
        assert!(seal.open(&forged).is_err(), "{forged}");
    }
    for length in 0..text.len() {
        assert!(seal.open(&text[..length]).is_err());
    }
    for odd in ["", ".", "sw1", "sw1.parked.left.fs..", "sw1.parked.left.fs..AAAA", "sw2.parked.left.fs..AAAA", "ä.ö"]
    {
        assert!(seal.open(odd).is_err(), "{odd}");
    }
}

#[test]
fn it_serves_its_principal_for_its_request_in_its_time() {
    let check = |call: Call, expected: Result<(), Refused>| assert_eq!(payload().check(&call), expected, "{call:?}");
    let same = r#"{"_meta":{"x":1},"arguments":{ "b":[{"d":3,"c":2}], "a":1 },"name":"t","requestState":"s","inputResponses":{}}"#;
    check(call("ann", Method::ToolsCall, same), Ok(()));
    check(call("bob", Method::ToolsCall, same), Err(Refused::Principal));
    check(call("ann", Method::PromptsGet, same), Err(Refused::Request));
    check(call("ann", Method::ToolsCall, r#"{"name":"t","arguments":{"a":1}}"#), Err(Refused::Request));
    check(
        call("ann", Method::ToolsCall, r#"{"name":"u","arguments":{"a":1,"b":[{"c":2,"d":3}]}}"#),
        Err(Refused::Request),
    );
    let late = Payload { expires_s: 1, ..payload() };
    assert_eq!(late.check(&call("ann", Method::ToolsCall, same)), Err(Refused::Expired));
    let none = |params: &'static str| digest_of(&Method::ToolsCall, &Json::from_trusted(params));
    let odd =
        [r#"{"name":"t","arguments":{"to":"a","x":"\ud800"}}"#, r#"{"name":"t","arguments":{"to":"b","x":"\ud800"}}"#];
    assert_ne!(none(odd[0]), none(odd[1]));
    assert_ne!(none(odd[0]), none(r#"{"name":"t"}"#));
    assert_eq!(none(r#"{"name":"t"}"#), none(r#"{"name":"t","arguments":{}}"#));
}
