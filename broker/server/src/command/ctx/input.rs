//! Values and durations on the command line.

use std::time::Duration;

use bytes::Bytes;
use clap::builder::{RangedU64ValueParser, TypedValueParser};
use serde_json::value::RawValue;

use crate::{failure::Failure, raw};

/// A value: JSON, `@FILE`, or `-` for stdin.
pub(super) fn json(text: &str) -> Result<Bytes, Failure> {
    if let Some(path) = text.strip_prefix('@').or(Some(text).filter(|text| *text == "-")) {
        return raw::read(path);
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) => Ok(Bytes::from(value.get().to_owned())),
        Err(error) => Err(Failure::usage(format!("\"{text}\" is not JSON: {error}"))
            .with_hint("a text is JSON with quotes of its own, as in '\"hello\"'; @FILE reads a file, - reads stdin")),
    }
}

/// How many of something, at least one: on the wire 0 stands for a number of the node's own.
pub(super) fn count() -> impl TypedValueParser<Value = usize> {
    RangedU64ValueParser::<usize>::new().range(1..)
}

/// A duration such as `500ms`, `30s`, `10m`, `2h` or `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => 0,
    };
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms)).filter(|ms| *ms > 0);
    ms.map(Duration::from_millis).ok_or_else(|| "use a number and a unit: 500ms, 30s, 10m, 2h, 7d".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("10m", 600_000), ("2h", 7_200_000), ("7d", 604_800_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for wrong in ["", "10", "m", "0s", "-1s", "1.5s", "10x", "99999999999999999999s", "999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_is_json_as_it_was_written() {
        assert_eq!(json(r#" {"a": 1.0} "#).unwrap(), r#"{"a": 1.0}"#);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[1,2]\n").unwrap();
        assert_eq!(json(&format!("@{}", file.path().display())).unwrap(), "[1,2]");
        let error = json("hello").unwrap_err();
        assert!(error.text.starts_with("\"hello\" is not JSON") && error.hint.unwrap().contains("'\"hello\"'"));
        std::fs::write(file.path(), [0x22, 0xff, 0x00, 0x22]).unwrap();
        let error = json(&format!("@{}", file.path().display())).unwrap_err();
        assert!(error.text.ends_with("is not JSON: it is not UTF-8"), "{}", error.text);
        assert!(json("@/no/such/file").unwrap_err().text.starts_with("/no/such/file: "));
    }
}
