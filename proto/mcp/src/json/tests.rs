#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn json(text: &str) -> Json {
    Json::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

#[test]
fn members_are_set_in_place_and_removed() {
    let check = |input: &str, set: &[(&str, &[u8])], remove: &[&str], expected: &str| {
        assert_eq!(json(input).with(set, remove).as_str(), expected);
    };
    check(r#"{"a":1, "b" : [2,{"a":3}]}"#, &[("a", b"9")], &[], r#"{"a":9,"b":[2,{"a":3}]}"#);
    check(r#"{"a":1}"#, &[("b", b"2")], &["a"], r#"{"b":2}"#);
    check("{}", &[("b", b"\"x\"")], &[], r#"{"b":"x"}"#);
    check(r#"{"n\u0061me":"x","z":"\"}"}"#, &[("name", b"1")], &[], r#"{"n\u0061me":1,"z":"\"}"}"#);
    check("[1]", &[("b", b"2")], &[], "[1]");
}

#[test]
fn depth_counts_brackets_outside_of_strings() {
    assert!(!deeper_than(br#"{"a":"[[[[[["}"#, 1));
    assert!(deeper_than(b"[[[]]]", 2));
    assert!(!deeper_than(b"[[],[],[]]", 2));
}

#[test]
fn invalid_text_ends_the_iteration() {
    for text in ["[}", "[1,}", "{\"a\":}", "{\"a\"", "[", "{,"] {
        let json = Json::from_trusted(text);
        assert!(json.elements().count() <= 1 && json.entries().count() <= 1, "{text}");
    }
}

fn any_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".*".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn entries_agree_with_a_full_decode(value in any_value(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let json = json(&text);
        let ours: Vec<(String, serde_json::Value)> =
            json.entries().map(|e| (e.key(), serde_json::from_slice(e.value).unwrap())).collect();
        let theirs: Vec<(String, serde_json::Value)> =
            value.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        prop_assert_eq!(ours, theirs);
        let elements: Vec<serde_json::Value> = json.elements().map(|e| e.to_value()).collect();
        prop_assert_eq!(elements, value.as_array().cloned().unwrap_or_default());
    }

    #[test]
    fn setting_a_member_changes_nothing_else(value in any_value(), key in ".{0,6}") {
        if let Some(map) = value.as_object() {
            let mut expected = map.clone();
            expected.insert(key.clone(), 7.into());
            let text = value.to_string();
            prop_assert_eq!(json(&text).with(&[(&key, b"7")], &[]).to_value(), serde_json::Value::Object(expected));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let json = Json::from_trusted(bytes);
        let _ = json.entries().count();
        let _ = json.elements().count();
        let _ = json.with(&[("a", b"1")], &["b"]);
    }
}

#[test]
fn iteration_over_text_that_is_not_json_ends() {
    for text in ["[}", "[1,}", "{\"a\":]", "[\"", "{\"a\\"] {
        let json = Json::from_trusted(text.to_owned());
        assert!(json.entries().take(9).count() < 9, "{text}");
        assert!(json.elements().take(9).count() < 9, "{text}");
    }
}

#[test]
fn a_key_with_half_of_a_surrogate_pair_has_no_name() {
    let json = Json::from_trusted(r#"{"\ud83d":1}"#);
    assert_eq!(json.get(""), None);
    assert_eq!(json.with(&[], &[""]).as_str(), r#"{"\ud83d":1}"#);
}
