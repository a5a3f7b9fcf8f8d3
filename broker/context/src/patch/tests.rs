#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::Value;
use spanwire_mcp::Json;

use super::*;

fn json(text: &str) -> Json {
    Json::parse(text.to_owned().into()).expect("JSON")
}

#[test]
fn merge_patches() {
    // The first part is the table of RFC 7396, appendix A.
    for (target, patch, expected) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        (r#"{"a":"foo"}"#, "null", "null"),
        (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        // What is not touched stays as it is written, and so do names.
        (
            r#"{"big": 123456789012345678901234567890 , "f":1.10,"\u0061":1}"#,
            r#"{"a":2e999}"#,
            r#"{"big":123456789012345678901234567890,"f":1.10,"\u0061":2e999}"#,
        ),
        (r#"{"a":1,"a":2}"#, r#"{"a":3}"#, r#"{"a":3}"#),
        (r#"{}"#, r#"{"a":1,"a":{"b":null}}"#, r#"{"a":{}}"#),
    ] {
        assert_eq!(merge(Some(&json(target)), &json(patch)).as_str(), expected, "{target} {patch}");
    }
    assert_eq!(merge(None, &json(r#"{"a":{"b":null,"c":1}}"#)).as_str(), r#"{"a":{"c":1}}"#);
}

#[test]
fn json_patches() {
    let check = |value: &str, patch: &str, expected: Result<&str, &str>| {
        let patched = json_patch(&json(value), &json(patch));
        let patched = patched.as_ref().map(Json::as_str).map_err(|misfit| match misfit {
            Misfit::Patch(_) => "patch",
            Misfit::Value(_) => "value",
        });
        assert_eq!(patched, expected, "{value} {patch}");
    };
    check(r#"{"a":1}"#, r#"[{"op":"add","path":"/b","value":null}]"#, Ok(r#"{"a":1,"b":null}"#));
    check(r#"{"a":[1,3]}"#, r#"[{"op":"add","path":"/a/1","value":2}]"#, Ok(r#"{"a":[1,2,3]}"#));
    check(r#"[1]"#, r#"[{"op":"add","path":"/-","value":2}]"#, Ok("[1,2]"));
    check(r#"[1]"#, r#"[{"op":"add","path":"/2","value":2}]"#, Err("value"));
    check(r#"[1]"#, r#"[{"op":"add","path":"/01","value":2}]"#, Err("value"));
    check(r#"[1,2]"#, r#"[{"op":"remove","path":"/0"}]"#, Ok("[2]"));
    check(r#"{"a":1,"a":2}"#, r#"[{"op":"remove","path":"/a"}]"#, Ok("{}"));
    check(r#"{}"#, r#"[{"op":"remove","path":"/a"}]"#, Err("value"));
    check(r#"{"a":1}"#, r#"[{"op":"replace","path":"/a","value":{"x":1}}]"#, Ok(r#"{"a":{"x":1}}"#));
    check(r#"{"a":1}"#, r#"[{"op":"replace","path":"/b","value":1}]"#, Err("value"));
    check(r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a/b","path":"/c"}]"#, Ok(r#"{"a":{},"c":1}"#));
    check(r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a","path":"/a/b"}]"#, Err("patch"));
    check(r#"{"a":[1]}"#, r#"[{"op":"copy","from":"/a","path":"/b"}]"#, Ok(r#"{"a":[1],"b":[1]}"#));
    check(r#"{"a/b":{"m~n":1}}"#, r#"[{"op":"test","path":"/a~1b/m~0n","value":1.0}]"#, Ok(r#"{"a/b":{"m~n":1}}"#));
    check(r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":2}]"#, Err("value"));
    check(r#"{"a":1}"#, r#"[{"op":"replace","path":"","value":[]}]"#, Ok("[]"));
    check(r#"{"a":1}"#, r#"[{"op":"replace","path":"a","value":[]}]"#, Err("patch"));
    check(r#"{"a":1}"#, r#"[{"op":"replace","path":"/~2","value":[]}]"#, Err("patch"));
    check(r#"{"a":1}"#, r#"[{"op":"frob","path":"/a"}]"#, Err("patch"));
    check(r#"{"a":1}"#, r#"[{"op":"add","path":"/a"}]"#, Err("patch"));
    check(r#"{"a":1}"#, r#"{"op":"add"}"#, Err("patch"));
    // Numbers that no f64 holds are not touched, nor is white space inside of what is not.
    check(
        r#"{"big":123456789012345678901234567890,"x":[ 1e400 ]}"#,
        r#"[{"op":"add","path":"/y","value":0.1000000000000000055511151231257827}]"#,
        Ok(r#"{"big":123456789012345678901234567890,"x":[ 1e400 ],"y":0.1000000000000000055511151231257827}"#),
    );
}

#[test]
fn a_patch_does_not_grow_without_bound() {
    let steps = vec![r#"{"op":"copy","from":"","path":"/x"}"#; 200].join(",");
    let value = json(&format!(r#"{{"a":"{}"}}"#, "a".repeat(1000)));
    assert!(matches!(json_patch(&value, &json(&format!("[{steps}]"))), Err(Misfit::Patch(_))));
    let steps = vec![r#"{"op":"test","path":"/a","value":1}"#; 300].join(",");
    assert!(matches!(json_patch(&value, &json(&format!("[{steps}]"))), Err(Misfit::Patch(_))));
}

#[test]
fn equality_is_by_value() {
    for (one, other, same) in [
        ("1", "1.0", true),
        ("100", "1e2", true),
        ("-0", "0.00", true),
        ("0.1", "1e-1", true),
        ("1", "-1", false),
        ("10", "1", false),
        ("123456789012345678901234567890", "123456789012345678901234567891", false),
        ("1e400", "10e399", true),
        ("1e99999999999999999999", "1e99999999999999999999", true),
        (r#""a""#, r#""\u0061""#, true),
        (r#"{"a":1,"b":[2]}"#, r#"{"b":[2.0],"a":1}"#, true),
        (r#"{"a":1}"#, r#"{"a":1,"b":1}"#, false),
        ("[1,2]", "[2,1]", false),
        ("[1]", "[1,2]", false),
        ("null", "false", false),
        ("true", "true", true),
    ] {
        assert_eq!(equal::equal(&json(one), &json(other)), same, "{one} {other}");
        assert_eq!(equal::equal(&json(other), &json(one)), same, "{other} {one}");
    }
}

#[test]
fn depth() {
    let nested = |depth: usize| json(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
    assert!(!is_too_deep(&nested(MAX_DEPTH)));
    assert!(is_too_deep(&nested(MAX_DEPTH + 1)));
    assert!(!is_too_deep(&json(&format!(r#""{}\"{}""#, "[".repeat(99), "[".repeat(99)))));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..4).prop_map(Value::from),
        "[a-c~/]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c~/]{0,2}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn path() -> impl Strategy<Value = String> {
    let token = prop_oneof!["[a-c]{0,2}", Just("~0".to_owned()), Just("~1".to_owned()), "[0-3]", Just("-".to_owned())];
    prop::collection::vec(token, 0..4).prop_map(|tokens| tokens.iter().map(|token| format!("/{token}")).collect())
}

fn step() -> impl Strategy<Value = Value> {
    let op = prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test"]);
    (op, path(), path(), value())
        .prop_map(|(op, path, from, value)| serde_json::json!({ "op": op, "path": path, "from": from, "value": value }))
}

proptest! {
    #[test]
    fn merging_agrees_with_the_library(mut target in value(), patch in value()) {
        let merged = merge(Some(&json(&target.to_string())), &json(&patch.to_string()));
        json_patch::merge(&mut target, &patch);
        prop_assert_eq!(merged.to_value(), target);
    }

    #[test]
    fn patching_agrees_with_the_library(mut target in value(), steps in prop::collection::vec(step(), 0..6)) {
        let steps = Value::from(steps);
        let patched = super::json_patch(&json(&target.to_string()), &json(&steps.to_string()));
        let patch: json_patch::Patch = serde_json::from_value(steps).unwrap();
        let is_done = json_patch::patch_unsafe(&mut target, &patch).is_ok();
        match patched {
            Ok(patched) => {
                prop_assert!(is_done);
                prop_assert_eq!(patched.to_value(), target);
            }
            // The library lets a value be moved into itself.
            Err(Misfit::Patch(why)) => prop_assert!(why.contains("into itself"), "{}", why),
            Err(Misfit::Value(why)) => prop_assert!(!is_done, "{}", why),
        }
    }
}
