#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn json(text: &str) -> Json {
    Json::from_trusted(text.to_owned())
}

#[test]
fn annotations_are_found_along_properties() {
    let schema = r#"{"type":"object","properties":{
        "region":{"type":"string","x-mcp-header":"Region"},
        "where":{"type":"object","properties":{"dry run":{"type":"boolean","x-mcp-header":"Dry"}}},
        "plain":{"type":"string","default":{"x-mcp-header":"data"}},
        "x-mcp-header":{"type":"integer"}}}"#;
    let mut found = annotations(&json(schema)).unwrap();
    found.sort_by(|a, b| a.header.cmp(&b.header));
    let expected = [("Mcp-Param-Dry", vec!["where", "dry run"]), ("Mcp-Param-Region", vec!["region"])];
    assert_eq!(found.len(), expected.len());
    for (one, (header, path)) in found.iter().zip(expected) {
        assert_eq!((one.header.as_str(), one.path.iter().map(String::as_str).collect::<Vec<_>>()), (header, path));
    }
    assert_eq!(annotations(&json(r#"{"properties":{"a":{"type":"string"}}}"#)), Ok(Vec::new()));
}

#[test]
fn invalid_annotations() {
    let property = |schema: &str| format!(r#"{{"type":"object","properties":{{"x":{schema}}}}}"#);
    let annotated = r#"{"type":"string","x-mcp-header":"Good"}"#;
    for (schema, expected) in [
        (property(r#"{"type":"number","x-mcp-header":"Bad"}"#), "neither string"),
        (property(r#"{"type":"null","x-mcp-header":"Bad"}"#), "neither string"),
        (property(r#"{"type":["string","null"],"x-mcp-header":"Bad"}"#), "neither string"),
        (property(r#"{"x-mcp-header":"Bad"}"#), "neither string"),
        (property(r#"{"type":"string","x-mcp-header":""}"#), "no header name"),
        (property(r#"{"type":"string","x-mcp-header":"My Region"}"#), "no header name"),
        (property(r#"{"type":"string","x-mcp-header":"Region:Primary"}"#), "no header name"),
        (property(r#"{"type":"string","x-mcp-header":"Région"}"#), "no header name"),
        (property(r#"{"type":"string","x-mcp-header":"Region\t1"}"#), "no header name"),
        (property(r#"{"type":"string","x-mcp-header":{}}"#), "no text"),
        (property(&format!(r#"{{"type":"array","items":{annotated}}}"#)), "no path"),
        (property(&format!(r#"{{"anyOf":[{annotated},{{"type":"null"}}]}}"#)), "no path"),
        (property(&format!(r#"{{"additionalProperties":{annotated}}}"#)), "no path"),
        (format!(r#"{{"then":{}}}"#, property(annotated)), "no path"),
        (format!(r##"{{"$defs":{{"a":{annotated}}},"properties":{{"x":{{"$ref":"#/$defs/a"}}}}}}"##), "no path"),
        (r#"{"type":"string","x-mcp-header":"Root"}"#.to_owned(), "no path"),
        (
            r#"{"properties":{"x":{"type":"string","x-mcp-header":"Same"},"y":{"type":"string","x-mcp-header":"sAME"}}}"#
                .to_owned(),
            "twice",
        ),
    ] {
        let error = annotations(&json(&schema)).expect_err(&schema);
        assert!(error.contains(expected), "{schema}: {error}");
    }
    let many: Vec<String> =
        (0..=MAX_HEADERS).map(|i| format!(r#""p{i}":{{"type":"string","x-mcp-header":"P{i}"}}"#)).collect();
    assert!(annotations(&json(&format!(r#"{{"properties":{{{}}}}}"#, many.join(",")))).is_err());
}

#[test]
fn values_are_read_along_the_path() {
    let check = |arguments: &str, expected: Result<Option<&str>, Ambiguous>| {
        let mirrored = Mirrored { header: "Mcp-Param-X".into(), path: vec!["a".into(), "b".into()] };
        let value = mirrored.value(Some(&json(arguments)));
        let value = value.map(|value| value.map(|value| value.as_str().to_owned()));
        assert_eq!(value, expected.map(|value| value.map(str::to_owned)), "{arguments}");
    };
    check(r#"{"a":{"b":"x"},"b":1}"#, Ok(Some("\"x\"")));
    check(r#"{"a":{"b":null}}"#, Ok(None));
    check(r#"{"a":"b"}"#, Ok(None));
    check(r#"{"a":[{"b":1}]}"#, Ok(None));
    check("{}", Ok(None));
    check(r#"{"a":{"b":1,"\u0062":2}}"#, Err(Ambiguous));
    check(r#"{"a":{},"a":{"b":1}}"#, Err(Ambiguous));
}

#[test]
fn headers_are_written_and_compared() {
    let written = |value: &str, expected: Option<&str>| {
        assert_eq!(header_value(&json(value)).as_deref(), expected, "{value}");
    };
    written("\"us-west1\"", Some("us-west1"));
    written("\"\"", Some(""));
    written("\" padded \"", Some("=?base64?IHBhZGRlZCA=?="));
    written("true", Some("true"));
    written("42.0", Some("42"));
    written("-7", Some("-7"));
    for none in ["9007199254740993", "18446744073709551615", "1.5", "null", "[1]", "{}"] {
        written(none, None);
    }
    let compared = |sent: &str, value: &str, expected: bool| {
        assert_eq!(agrees(sent, &json(value)), expected, "{sent} {value}");
    };
    compared("a", "\"a\"", true);
    compared("A", "\"a\"", false);
    compared("", "\"\"", true);
    compared("true", "true", true);
    compared("True", "true", false);
    compared("42", "42", true);
    compared("42.0", "42", true);
    compared("4.2e1", "42", true);
    compared("42", "42.0", true);
    compared("43", "42", false);
    for odd in ["+42", " 42", "0x2a", "inf", "", "042"] {
        compared(odd, "42", false);
    }
    compared("9007199254740993", "9007199254740993", true);
    compared("9007199254740992", "9007199254740993", false);
    compared("9007199254740992.0", "9007199254740993", false);
    compared("1.5", "1.5", true);
    compared("1.50", "1.5", true);
    compared("1", "[1]", false);
}
