#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_file_is_read_as_it_was_written() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    std::fs::write(file.path(), " {\"b\": 1.0,\n \"a\":12345678901234567890123}\n").unwrap();
    assert_eq!(read(path).unwrap(), "{\"b\": 1.0,\n \"a\":12345678901234567890123}");
    std::fs::write(file.path(), "{").unwrap();
    assert!(read(path).unwrap_err().text.starts_with(&format!("{path} is not JSON: ")));
    assert!(read("/no/such/file").unwrap_err().text.starts_with("/no/such/file: "));
}

#[test]
fn no_digit_is_lost_and_no_terminal_is_taken_over() {
    for written in ["12345678901234567890", "-0.0", "1.0", "1e999", r#"{"z":1.10,"a":[9007199254740993]}"#] {
        assert_eq!(part(&Bytes::from(written)).unwrap().get(), written);
    }
    assert_eq!(
        part(&Bytes::from("{\r\n\"a\":\n\"\u{9b}31m\u{2061}\"}")).unwrap().get(),
        r#"{  "a": "\u009b31m\u2061"}"#
    );
    assert_eq!(text(&Bytes::from("{\n\"a\":\"\u{9b}\"}")).unwrap(), "{\n\"a\":\"\\u009b\"}");
    assert!(part(&Bytes::from("{")).unwrap_err().text.contains("cannot be read"));
}

#[test]
fn what_is_not_there_is_null() {
    for (json, expected) in [("", "null"), ("{", "null"), ("12345678901234567890", "12345678901234567890")] {
        assert_eq!(part_or_null(&Bytes::from(json)).get(), expected, "{json}");
    }
}

#[test]
fn what_is_for_people_is_indented_and_keeps_every_token() {
    let check = |json: &str, expected: &str| {
        let pretty = pretty(&RawValue::from_string(json.to_owned()).unwrap());
        assert_eq!(pretty, expected, "{json}");
        // Where no digit can be lost, it is what the library does.
        if !json.contains("123456789012") {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string_pretty(&value).unwrap(), expected, "{json}");
        }
    };
    check("1.0", "1.0");
    check("{}", "{}");
    check("[ ]", "[]");
    check(r#"{"a":1}"#, "{\n  \"a\": 1\n}");
    check(
        r#"{"a" : [ 1, {"b":[]} ], "c":"{[\",\\"}"#,
        "{\n  \"a\": [\n    1,\n    {\n      \"b\": []\n    }\n  ],\n  \"c\": \"{[\\\",\\\\\"\n}",
    );
    check("[123456789012345678901234567890,1.10]", "[\n  123456789012345678901234567890,\n  1.10\n]");
}
