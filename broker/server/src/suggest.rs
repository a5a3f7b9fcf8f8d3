//! "Did you mean": the known name nearest to an unknown one.

/// Names that begin alike are meant alike, as in `comm` for `command`.
const LEAST_SIMILARITY: f64 = 0.85;
/// Letters for each of which one slip of the finger is allowed.
const LETTERS_PER_SLIP: usize = 3;

/// The known name nearest to `unknown`, when one is near enough to be meant.
pub(crate) fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let unknown = unknown.to_lowercase();
    let slips = unknown.chars().count() / LETTERS_PER_SLIP;
    known
        .into_iter()
        .filter_map(|name| {
            let candidate = name.to_lowercase();
            let similarity = strsim::jaro_winkler(&unknown, &candidate);
            let distance = strsim::damerau_levenshtein(&unknown, &candidate);
            let is_near = distance <= slips || similarity >= LEAST_SIMILARITY;
            is_near.then(|| (name, strsim::normalized_damerau_levenshtein(&unknown, &candidate).max(similarity)))
        })
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(name, _)| name)
}

/// `; did you mean "…"?`, or nothing.
pub(crate) fn did_you_mean<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(unknown, known).map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_near() {
        let check = |unknown: &str, known: &[&str], expected: Option<&str>| {
            assert_eq!(nearest(unknown, known.iter().copied()), expected, "{unknown}");
        };
        check("gti", &["fs", "git", "github"], Some("git"));
        check("comm", &["cwd", "command"], Some("command"));
        check("git__lgo", &["git__fail", "git__log"], Some("git__log"));
        check("xyz", &["id", "tenant"], None);
        check("a", &["b"], None);
        check("", &["b"], None);
        check("LISTEN", &["listen"], Some("listen"));
    }
}
