//! The text of `/metrics` against the rules of OpenMetrics 1.0.

use std::collections::HashMap;

/// Fails where a line is none that the format knows, a sample has no type, or a series is there twice.
pub(super) fn check(text: &str) {
    assert!(text.ends_with("# EOF\n"), "no end");
    let mut types: HashMap<&str, &str> = HashMap::new();
    let mut series = std::collections::HashSet::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# ") {
            let (keyword, rest) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            assert!(["HELP", "TYPE", "UNIT"].contains(&keyword), "{line}");
            let (name, value) = rest.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            if keyword == "TYPE" {
                assert!(types.insert(name, value).is_none(), "two types: {line}");
            }
            continue;
        }
        let sample = line.split(" # ").next().unwrap();
        let (key, value) = sample.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
        assert!(value.parse::<f64>().is_ok() || value == "NaN", "{line}");
        assert!(series.insert(key), "twice: {line}");
        let name = key.split('{').next().unwrap();
        let family = ["_total", "_bucket", "_sum", "_count", "_info", "_created"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix).filter(|family| types.contains_key(family)))
            .unwrap_or(name);
        assert!(types.contains_key(family), "no type: {line}");
        if let Some((_, labels)) = key.split_once('{') {
            assert!(labels.ends_with("\"}"), "{line}");
        }
    }
}
