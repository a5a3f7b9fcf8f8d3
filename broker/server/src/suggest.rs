//! "Did you mean": the known name nearest to an unknown one.

const LEAST_SIMILARITY: f64 = 0.75;

/// The known name nearest to `unknown`, when one is near enough to be meant.
pub(crate) fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (name, strsim::jaro_winkler(&unknown.to_lowercase(), &name.to_lowercase())))
        .filter(|(_, similarity)| *similarity >= LEAST_SIMILARITY)
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(name, _)| name)
}

/// `; did you mean "…"?`, or nothing.
pub(crate) fn did_you_mean<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(unknown, known).map(|name| format!("; did you mean \"{name}\"?")).unwrap_or_default()
}
