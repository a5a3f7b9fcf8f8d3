#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Parsed, WireError> {
    Message::parse(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default(), false)
}

#[test]
fn good_messages_come_back_byte_for_byte() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x",  "future":[1, 2],"_meta":{"a/b":null}}}"#,
        r#"{"jsonrpc":"2.0","id":"1","method":"vendor/unknown"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/whatever","params":{}}"#,
        r#"{"jsonrpc":"2.0","id":-7,"result":{"content":[{"type":"hologram","x":1.50e3}]}}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no \"x\"","data":{"b":  1}}}"#,
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"bad"}}"#,
    ] {
        let Ok(Parsed::Single(message)) = parse(text) else { panic!("{text}: {:?}", parse(text)) };
        assert_eq!(message.to_bytes(), text);
    }
}

#[test]
fn a_message_written_over_several_lines_goes_on_in_one() {
    let text = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":{\"x\":\r\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"b\"}\n}}";
    let Ok(Parsed::Single(message)) = parse(text) else { panic!("{text}") };
    assert_eq!(message.to_bytes(), text.replace(['\r', '\n'], " "));
}

#[test]
fn each_fault_has_its_precise_error() {
    let check = |text: &str, code: i64, part: &str| {
        let error = parse(text).unwrap_err();
        assert_eq!(error.code(), code, "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
    };
    check("", -32700, "not JSON");
    check("{", -32700, "line 1");
    check(r#"{"jsonrpc":"2.0","id":1,"method":"a"} x"#, -32700, "trailing");
    check("\"text\"", -32600, "not a JSON-RPC message");
    check(r#"{"id":1,"method":"a"}"#, -32600, "\"jsonrpc\"");
    check(r#"{"jsonrpc":"1.0","id":1,"method":"a"}"#, -32600, "\"jsonrpc\"");
    check(r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#, -32600, "null");
    check(r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#, -32600, "\"id\"");
    check(r#"{"jsonrpc":"2.0","id":[1],"method":"a"}"#, -32600, "\"id\"");
    check(r#"{"jsonrpc":"2.0","id":18446744073709551615,"method":"a"}"#, -32600, "\"id\"");
    check(r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[1]}"#, -32600, "\"params\"");
    check(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}"#, -32600, "duplicate field `id`");
    check(r#"{"jsonrpc":"2.0","id":1,"method":"a","m\u0065thod":"b"}"#, -32600, "duplicate field `method`");
    check(r#"{"jsonrpc":"2.0","id":1}"#, -32600, "\"method\"");
    check(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#, -32600, "one of");
    check(r#"{"jsonrpc":"2.0","id":1,"error":{"message":"x"}}"#, -32600, "code");
    check(r#"[{"jsonrpc":"2.0","id":1,"method":"a"}]"#, -32600, "no batches");
    check(
        &format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\",\"params\":{{\"x\":{}", "[".repeat(70)),
        -32600,
        "nests",
    );
}

#[test]
fn the_id_of_a_bad_request_is_kept_when_it_can_be_read() {
    let error = parse(r#"{"jsonrpc":"2.0","id":"x","method":"a","params":3}"#).unwrap_err();
    assert_eq!(
        error.to_response().to_bytes(),
        r#"{"jsonrpc":"2.0","id":"x","error":{"code":-32600,"message":"\"params\" must be an object"}}"#
    );
}

#[test]
fn a_response_with_a_bad_error_still_says_whose_it_is() {
    for text in [
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":"x","message":"m"}}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":"no"}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{"message":"m"}}"#,
    ] {
        assert_eq!(parse(text).unwrap_err().id, Some(RequestId::Number(7)), "{text}");
    }
}

#[test]
fn batches_are_read_only_where_the_revision_has_them() {
    let body = Bytes::from_static(br#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"id":2}, 3]"#);
    let Ok(Parsed::Batch(items)) = Message::parse(&body, &Limits::default(), true) else { panic!() };
    assert_eq!(items.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false]);
    assert!(Message::parse(&Bytes::from_static(b"[]"), &Limits::default(), true).is_err());
}

#[test]
fn sizes_are_bounded() {
    let limits = Limits { max_bytes: 10, ..Limits::default() };
    let error = Message::parse(&Bytes::from_static(b"{\"jsonrpc\":\"2.0\"}"), &limits, false).unwrap_err();
    assert_eq!(error.kind, WireErrorKind::TooLarge);
}

proptest! {
    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), batches in any::<bool>()) {
        let _ = Message::parse(&Bytes::from(bytes), &Limits::default(), batches);
    }

    #[test]
    fn mutated_messages_never_panic_and_what_parses_round_trips(
        cut in 0_usize..120, byte in any::<u8>(), insert in any::<bool>()
    ) {
        let mut text = br#"{"jsonrpc":"2.0","id":"a\u0041","method":"tools/call","params":{"name":"n\"","_meta":{"k":[1,{}]}}}"#.to_vec();
        let at = cut.min(text.len() - 1);
        if insert { text.insert(at, byte) } else { text[at] = byte }
        if let Ok(Parsed::Single(message)) = Message::parse(&Bytes::from(text), &Limits::default(), false) {
            // Line breaks between tokens become spaces, once; everything else stays.
            let line = message.to_bytes();
            let again = Message::parse_single(&line, &Limits::default());
            prop_assert_eq!(again.map(|again| again.to_bytes()), Ok(line));
        }
    }
}
