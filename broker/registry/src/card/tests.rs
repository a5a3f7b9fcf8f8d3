#![allow(clippy::unwrap_used)]

use super::*;

fn check_text(card: &str, expected: Option<&str>) {
    let card = Json::parse(card.to_owned().into()).unwrap();
    let error = check(&"ada".parse().unwrap(), &card).err();
    assert_eq!(error.as_ref().is_some(), expected.is_some(), "{}: {error:?}", card.as_str());
    if let (Some(error), Some(part)) = (error, expected) {
        assert_eq!(error.kind, ErrorKind::InvalidParams, "{error}");
        assert!(error.public.starts_with(&format!("the card of agent \"ada\": {part}; ")), "{error}");
    }
}

#[test]
fn a_card_has_a_name_and_skills_with_ids_and_names() {
    for good in [
        r#"{"name":"Ada"}"#,
        r#"{"name":"Ada","skills":[]}"#,
        r#"{"name":"Ada","skills":null}"#,
        r#" {"x":{"name":7},"skills":[{"name":"Plan","tags":[],"id":"plan"}],"name":"Ada"} "#,
        // What the specification says of the rest is not looked at, so that cards of other versions are taken.
        r#"{"name":"Ada","url":"https://ada.example","supportedInterfaces":7}"#,
    ] {
        check_text(good, None);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (card, part) in [
        ("[]", "$ is not an object"),
        ("\"Ada\"", "$ is not an object"),
        ("{}", "$.name is missing"),
        (r#"{"name":null}"#, "$.name is missing"),
        (r#"{"Name":"Ada"}"#, "$.name is missing"),
        (r#"{"name":7}"#, "$.name is not a string"),
        (r#"{"name":" "}"#, "$.name is empty"),
        (r#"{"name":"Ada","skills":{}}"#, "$.skills is not an array"),
        (r#"{"name":"Ada","skills":"plan"}"#, "$.skills is not an array"),
        (r#"{"name":"Ada","skills":[{"id":"a","name":"A"},"b"]}"#, "$.skills[1] is not an object"),
        (r#"{"name":"Ada","skills":[{"name":"A"}]}"#, "$.skills[0].id is missing"),
        (r#"{"name":"Ada","skills":[{"id":"a","name":"A"},{"id":"b"}]}"#, "$.skills[1].name is missing"),
        (r#"{"name":"Ada","skills":[{"id":1,"name":"A"}]}"#, "$.skills[0].id is not a string"),
        (r#"{"name":"Ada","skills":[{"id":"","name":"A"}]}"#, "$.skills[0].id is empty"),
    ] {
        check_text(card, Some(part));
    }
}

#[test]
fn a_card_is_as_large_as_a_record_may_be() {
    let card = |bytes: usize| {
        let frame = r#"{"name":"Ada","x":""}"#.len();
        Json::from_trusted(format!(r#"{{"name":"Ada","x":"{}"}}"#, "x".repeat(bytes - frame)))
    };
    let id = "ada".parse().unwrap();
    assert!(check(&id, &card(MAX_RECORD_BYTES)).is_ok());
    let error = check(&id, &card(MAX_RECORD_BYTES + 1)).unwrap_err();
    assert_eq!((error.kind, error.public.contains("has 65537 bytes: at most 65536")), (ErrorKind::QuotaExceeded, true));
}
