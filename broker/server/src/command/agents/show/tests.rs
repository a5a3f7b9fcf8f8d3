#![allow(clippy::unwrap_used)]

use super::*;

fn agent(card: &str) -> AgentInfo {
    AgentInfo {
        id: "ada".into(),
        card_json: card.to_owned().into(),
        by: "operator".into(),
        node: "a".into(),
        registered_unix_ms: 1000,
        version: 7,
        problem: String::new(),
    }
}

fn skill(id: &str, name: &str) -> Skill {
    Skill { id: id.into(), name: name.into() }
}

#[test]
fn of_a_card_is_shown_what_it_says_in_the_words_of_the_specification() {
    let check = |text: &str, expected: Card| assert_eq!(card(&agent(text)), expected, "{text}");
    let named = || Card { name: "Ada".into(), ..Card::default() };
    check(
        r#"{"name":"Ada","skills":[{"id":"plan","name":"Plan","tags":["x"]}],
            "supportedInterfaces":[{"url":"https://a.example","protocolBinding":"GRPC"},{"url":"https://b.example"}]}"#,
        Card { skills: vec![skill("plan", "Plan")], url: "https://a.example".into(), ..named() },
    );
    check(r#"{"name":"Ada","url":"https://old.example"}"#, Card { url: "https://old.example".into(), ..named() });
    check(r#"{"name":"Ada","skills":null,"supportedInterfaces":[]}"#, named());
    check(r#"{"name":"Ada","supportedInterfaces":7,"url":[]}"#, named());
    check("{", Card::default());
}

#[test]
fn a_card_is_printed_as_it_was_written() {
    let written = r#"{"name":"Ada","x":12345678901234567890,"y":1.0}"#;
    let json = serde_json::to_string(&whole(&agent(written)).unwrap()).unwrap();
    assert!(json.ends_with(&format!(",\"card\":{written}}}")), "{json}");
    let facts: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&facts["id"], &facts["version"], &facts["url"]), (&json!("ada"), &json!(7), &Value::Null));
    assert_eq!(facts_line(written), "ada version 7 by operator on a, 5 s ago");
}

fn facts_line(card: &str) -> String {
    facts(&agent(card), 6000)
}

#[test]
fn one_that_cannot_be_read_says_so() {
    let agent = AgentInfo { problem: "it is of another version".into(), ..AgentInfo::default() };
    assert_eq!(row(&agent, 0).len(), HEADERS.len());
    let json = serde_json::to_value(whole(&agent).unwrap()).unwrap();
    assert_eq!((&json["card"], &json["problem"]), (&Value::Null, &json!("it is of another version")));
}
