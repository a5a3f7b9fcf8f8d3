//! `k=v` on the command line, typed by the tool's input schema.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Value, value::RawValue};

use crate::{failure::Failure, suggest};

/// Arguments by name, each as it was written: no number loses a digit.
pub(super) type Arguments = BTreeMap<String, Box<RawValue>>;

/// A text that must be a JSON object.
pub(super) fn object(text: &str) -> Result<Arguments, String> {
    serde_json::from_str(text).map_err(|error| {
        format!("--json takes a JSON object: {error} (for the result as JSON, write --json before \"call\")")
    })
}

/// The arguments as the control API takes them.
pub(super) fn json(arguments: &Arguments) -> Result<Bytes, Failure> {
    let written = serde_json::to_vec(arguments);
    written.map(Bytes::from).map_err(|error| Failure::failed(format!("the arguments cannot be written: {error}")))
}

/// The arguments: the object's members, then each `k=v` or `k:=JSON`.
pub(super) fn merge(mut base: Arguments, pairs: &[String], schema: &Value) -> Result<Arguments, String> {
    for pair in pairs {
        let (key, text) = pair.split_once('=').ok_or_else(|| format!("\"{pair}\" is not of the form k=v"))?;
        if let Some(key) = key.strip_suffix(':') {
            let value = serde_json::from_str(text).map_err(|error| format!("{key}: not JSON: {error}"))?;
            base.insert(key.to_owned(), value);
        } else {
            base.insert(key.to_owned(), typed(key, text, schema)?);
        }
    }
    Ok(base)
}

/// The text in the type that the schema gives the argument.
fn typed(key: &str, text: &str, schema: &Value) -> Result<Box<RawValue>, String> {
    let as_string = || serde_json::value::to_raw_value(text).map_err(|error| format!("{key}: {error}"));
    let properties = schema.get("properties").and_then(Value::as_object);
    let Some(property) = properties.and_then(|properties| properties.get(key)) else {
        if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
            let known = properties.into_iter().flat_map(|properties| properties.keys().map(String::as_str));
            return Err(format!("the tool has no argument \"{key}\"{}", suggest::did_you_mean(key, known)));
        }
        return as_string();
    };
    let types: Vec<&str> = match property.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    if types.is_empty() {
        return as_string();
    }
    let parsed = serde_json::from_str::<Value>(text).ok().filter(|value| types.iter().any(|kind| is(value, kind)));
    let is_other = parsed.is_some_and(|value| !value.is_string());
    match serde_json::from_str::<Box<RawValue>>(text) {
        Ok(value) if is_other => Ok(value),
        _ if types.contains(&"string") => as_string(),
        _ => Err(format!("{key}: \"{text}\" is no {}", types.join(" or "))),
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    #[test]
    fn values_take_the_type_of_the_schema() {
        let schema = json!({
            "properties": {
                "s": { "type": "string" }, "n": { "type": "number" }, "i": { "type": "integer" },
                "b": { "type": "boolean" }, "a": { "type": "array" }, "o": { "type": "object" },
                "ns": { "type": ["integer", "null", "string"] }, "any": {},
            },
            "additionalProperties": false,
        });
        let check = |pair: &str, expected: Result<Value, &str>| {
            let got = merge(Arguments::new(), &[pair.to_owned()], &schema);
            match (got, expected) {
                (Ok(got), Ok(expected)) => assert_eq!(serde_json::to_value(got).unwrap(), expected, "{pair}"),
                (Err(got), Err(part)) => assert!(got.contains(part), "{pair}: {got}"),
                (got, expected) => panic!("{pair}: {got:?}, not {expected:?}"),
            }
        };
        check("s=12", Ok(json!({"s": "12"})));
        check("s=", Ok(json!({"s": ""})));
        check("s=a=b", Ok(json!({"s": "a=b"})));
        check("n=1.5", Ok(json!({"n": 1.5})));
        check("n=x", Err("n: \"x\" is no number"));
        check("i=1.5", Err("is no integer"));
        check("b=true", Ok(json!({"b": true})));
        check("a=[1]", Ok(json!({"a": [1]})));
        check("a=1,2", Err("is no array"));
        check("o={\"x\":1}", Ok(json!({"o": {"x": 1}})));
        check("ns=7", Ok(json!({"ns": 7})));
        check("ns=x", Ok(json!({"ns": "x"})));
        check("any=1", Ok(json!({"any": "1"})));
        check("any:=1", Ok(json!({"any": 1})));
        check("any:=x", Err("not JSON"));
        check("sx=1", Err("no argument \"sx\""));
        check("s", Err("not of the form k=v"));
    }

    #[test]
    fn pairs_go_before_the_object() {
        let merged = merge(object(r#"{"a":1,"b":2}"#).unwrap(), &["b=x".to_owned()], &Value::Null).unwrap();
        assert_eq!(serde_json::to_value(merged).unwrap(), json!({"a": 1, "b": "x"}));
        assert!(object("[]").is_err() && object("").is_err());
    }
    #[test]
    fn no_digit_of_an_argument_is_lost() {
        let schema = json!({ "properties": { "i": { "type": "integer" }, "n": { "type": "number" } } });
        let base = object(r#"{"a":12345678901234567890,"b":[1.0, 123456789012345678901234567890]}"#).unwrap();
        let pairs = ["i=123456789012345678901234567890", "n=1.0", "j:=1e2"].map(str::to_owned);
        let written = json(&merge(base, &pairs, &schema).unwrap()).unwrap();
        let expected = r#"{"a":12345678901234567890,"b":[1.0, 123456789012345678901234567890],"i":123456789012345678901234567890,"j":1e2,"n":1.0}"#;
        assert_eq!(written, expected);
    }
}
