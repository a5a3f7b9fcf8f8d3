#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn author() -> Author {
    let trace = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("a=b")).unwrap();
    Author {
        principal: "ann \"the\" agent".into(),
        node: "left".parse().unwrap(),
        call: Some(Uuid::from_u128(7)),
        trace: Some(trace),
    }
}

fn message(kind: Kind, body: &'static str) -> Message {
    let body = Json::from_trusted(body.as_bytes());
    Message { kind, operation: Uuid::from_u128(1), version: 3, author: author(), body }
}

#[test]
fn what_goes_in_comes_out_and_the_body_keeps_its_bytes() {
    let body = r#"{ "big": 12345678901234567890123, "b":[1.0, 1e3] }"#;
    for kind in [Kind::Command, Kind::Barrier] {
        let message = message(kind, body);
        let payload = message.encode();
        assert!(std::str::from_utf8(&payload).unwrap().contains(body));
        assert_eq!(Message::decode(&payload).unwrap(), message);
    }
    let checkpoint = message(Kind::Checkpoint { sequence: 9, hash: "ab".into() }, r#"{"sequence":9,"hash":"ab"}"#);
    assert_eq!(Message::decode(&checkpoint.encode()).unwrap(), checkpoint);
}

#[test]
fn the_text_is_what_the_page_says() {
    let mut message = message(Kind::Command, r#"{"a":1}"#);
    message.author.call = None;
    message.author.trace = None;
    let expected = concat!(
        r#"{"v":1,"kind":"command","op":"00000000-0000-0000-0000-000000000001","version":3,"#,
        r#""author":{"principal":"ann \"the\" agent","node":"left"},"body":{"a":1}}"#
    );
    assert_eq!(message.encode(), expected);
}

#[test]
fn what_is_newer_is_told_from_what_is_broken() {
    for newer in [
        r#"{"v":2,"kind":"command","op":{"id":1}}"#,
        r#"{"v":1,"kind":"vote","op":"00000000-0000-0000-0000-000000000001"}"#,
    ] {
        assert!(matches!(Message::decode(&newer.into()), Err(WireError::Unknown { .. })), "{newer}");
    }
    for broken in [
        "",
        "[]",
        "{}",
        r#"{"v":1,"kind":"command"}"#,
        r#"{"v":1,"kind":"command","op":"x","version":1,"author":{"principal":"p","node":"n"},"body":{}}"#,
        r#"{"v":1,"kind":"checkpoint","op":"00000000-0000-0000-0000-000000000001","version":1,"author":{"principal":"p","node":"n"},"body":{}}"#,
    ] {
        assert!(matches!(Message::decode(&broken.into()), Err(WireError::Unreadable(_))), "{broken}");
    }
}
