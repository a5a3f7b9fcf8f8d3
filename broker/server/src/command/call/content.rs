//! A result as people read it (2026-07-28, server/tools, "Tool Result").

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::embedded;
use crate::{
    output::{Tone, clean, paint},
    raw,
};

/// What is printed as the server wrote it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verbatim<'a> {
    #[serde(borrow)]
    structured_content: Option<&'a RawValue>,
}

/// The lines of a result of `tools/call`.
pub(super) fn lines(result: &Bytes) -> Vec<String> {
    let blocks = embedded(result).get("content").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut lines: Vec<String> = blocks.iter().map(block).collect();
    // A tool with structured content repeats it as text; one that does not would show nothing.
    if lines.is_empty()
        && let Ok(Verbatim { structured_content: Some(structured) }) = serde_json::from_slice(result)
    {
        lines.push(raw::pretty(structured));
    }
    lines
}

fn block(block: &Value) -> String {
    let text = |key: &str| block.get(key).and_then(Value::as_str).map(clean).unwrap_or_default();
    let size = |key: &str| block.get(key).and_then(Value::as_str).map_or(0, |data| data.len() / 4 * 3);
    match block.get("type").and_then(Value::as_str).unwrap_or_default() {
        "text" => text("text").trim_end().to_owned(),
        kind @ ("image" | "audio") => aside(&format!("[{kind} {}, {} bytes]", text("mimeType"), size("data"))),
        "resource_link" => format!("{} {}", text("uri"), aside(&text("name"))),
        "resource" => {
            let resource = block.get("resource").unwrap_or(&Value::Null);
            let uri = clean(resource.get("uri").and_then(Value::as_str).unwrap_or_default());
            match resource.get("text").and_then(Value::as_str) {
                Some(body) => format!("{}\n{}", aside(&uri), clean(body).trim_end()),
                None => aside(&format!("[resource {uri}]")),
            }
        }
        kind => aside(&format!("[content of type \"{}\"]", clean(kind))),
    }
}

fn aside(text: &str) -> String {
    paint(text, Tone::Dim)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_of_content_has_its_line() {
        let check = |result: Value, expected: &[&str]| {
            let plain: Vec<String> = lines(&result.to_string().into())
                .iter()
                .map(|line| anstream::adapter::strip_str(line).to_string())
                .collect();
            assert_eq!(plain, expected);
        };
        check(json!({"content": [{"type": "text", "text": "a\u{1b}[2Jb\n"}]}), &["a[2Jb"]);
        check(
            json!({"content": [{"type": "image", "mimeType": "image/png", "data": "AAAA"}]}),
            &["[image image/png, 3 bytes]"],
        );
        check(json!({"content": [{"type": "resource_link", "uri": "n+x://1", "name": "One"}]}), &["n+x://1 One"]);
        check(json!({"content": [{"type": "resource", "resource": {"uri": "u:1", "text": "t"}}]}), &["u:1\nt"]);
        check(json!({"content": [], "structuredContent": {"a": 1}}), &["{\n  \"a\": 1\n}"]);
        check(json!({"content": [{"type": "new"}]}), &["[content of type \"new\"]"]);
        check(json!({}), &[]);
        let exact = r#"{"content":[],"structuredContent":{"z":123456789012345678901234567890,"a":1.0}}"#;
        assert_eq!(lines(&exact.into()), ["{\n  \"z\": 123456789012345678901234567890,\n  \"a\": 1.0\n}"]);
    }
}
