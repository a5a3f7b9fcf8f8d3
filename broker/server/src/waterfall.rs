//! One trace as a waterfall: a tree of spans, each with its place in time.

use std::collections::{BTreeMap, BTreeSet};

use spanwire_rpc::v1::{Span, SpanKind};

use crate::output::{Tone, clean, duration, paint};

const KIND: usize = 8;
const NODE: usize = 12;
const TIME: usize = 9;
const MIN_NAME: usize = 16;
const MAX_NAME: usize = 60;
const MIN_BAR: usize = 10;
const MAX_BAR: usize = 60;
/// Deeper spans are drawn at this depth.
const MAX_DEPTH: usize = 24;

/// The lines of the picture, at most `width` columns each where that is possible at all.
pub(crate) fn draw(spans: &[Span], width: usize) -> Vec<String> {
    let rows = rows(spans);
    let begin = spans.iter().map(|span| span.start_unix_nanos).min().unwrap_or_default();
    let end = spans.iter().map(|span| span.end_unix_nanos).max().unwrap_or_default();
    let widest = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or_default();
    let fixed = KIND + NODE + 2 * TIME + 5;
    let name = widest.clamp(MIN_NAME, MAX_NAME).min(width.saturating_sub(fixed + MIN_BAR).max(MIN_NAME));
    let scale = Scale {
        begin,
        total: end.saturating_sub(begin).max(1),
        columns: width.saturating_sub(fixed + name).clamp(MIN_BAR, MAX_BAR),
    };
    let header = format!(
        "{:name$} {:KIND$} {:NODE$} {:>TIME$} {:>TIME$} 0{:>rest$}",
        "span",
        "kind",
        "node",
        "at",
        "took",
        duration(scale.total),
        rest = scale.columns.saturating_sub(1),
    );
    let mut lines = vec![paint(&header, Tone::Dim)];
    for row in &rows {
        lines.push(line(row, name, &scale));
        if row.span.failed && !row.span.error.is_empty() {
            let text = clean(&row.span.error).replace('\n', " ");
            lines.push(paint(&cut(&format!("{}  ✗ {text}", row.indent), width), Tone::Bad));
        }
    }
    lines
}

struct Row<'a> {
    span: &'a Span,
    label: String,
    /// What stands below the label.
    indent: String,
}

/// Parents before children, siblings by start. A span whose parent is not here is a root; every span comes exactly once,
/// whatever the parents say.
fn rows(spans: &[Span]) -> Vec<Row<'_>> {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    let mut ordered: Vec<&Span> = spans.iter().collect();
    ordered.sort_by_key(|span| (span.start_unix_nanos, std::cmp::Reverse(span.end_unix_nanos)));
    let mut children: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    let is_root = |span: &Span| !ids.contains(span.parent_span_id.as_str()) || span.parent_span_id == span.span_id;
    for span in ordered.iter().filter(|span| !is_root(span)) {
        children.entry(&span.parent_span_id).or_default().push(span);
    }
    let mut drawn = BTreeSet::new();
    let mut rows = Vec::with_capacity(spans.len());
    // Spans in a circle of parents have no root: they come last, each as its own.
    let roots = ordered.iter().filter(|span| is_root(span)).chain(ordered.iter().filter(|span| !is_root(span)));
    for root in roots {
        let mut stack = vec![(*root, String::new(), "", 0_usize)];
        while let Some((span, prefix, branch, depth)) = stack.pop() {
            if !drawn.insert(std::ptr::from_ref(span)) {
                continue;
            }
            let below = match branch {
                "├─ " => format!("{prefix}│  "),
                "└─ " => format!("{prefix}   "),
                _ => prefix.clone(),
            };
            let name = clean(&span.name).replace('\n', " ");
            let below = if depth < MAX_DEPTH { below } else { prefix.clone() };
            rows.push(Row { span, label: format!("{prefix}{branch}{name}"), indent: below.clone() });
            let kids = children.get(span.span_id.as_str()).map(Vec::as_slice).unwrap_or_default();
            for (n, kid) in kids.iter().enumerate().rev() {
                let branch = if n + 1 == kids.len() { "└─ " } else { "├─ " };
                stack.push((kid, below.clone(), branch, depth + 1));
            }
        }
    }
    rows
}

struct Scale {
    begin: u64,
    total: u64,
    columns: usize,
}

impl Scale {
    /// The column of a point in time.
    fn column(&self, nanos: u64) -> usize {
        let offset = u128::from(nanos.saturating_sub(self.begin).min(self.total));
        usize::try_from(offset * self.columns as u128 / u128::from(self.total)).unwrap_or(self.columns)
    }

    fn bar(&self, span: &Span) -> String {
        let from = self.column(span.start_unix_nanos).min(self.columns.saturating_sub(1));
        let to = self.column(span.end_unix_nanos).min(self.columns);
        let blank = " ".repeat(from);
        if to > from { format!("{blank}{}", "█".repeat(to - from)) } else { format!("{blank}▏") }
    }
}

fn line(row: &Row<'_>, name: usize, scale: &Scale) -> String {
    let span = row.span;
    let label = cut(&row.label, name);
    let label = format!("{label:name$}");
    let tone = if span.failed { Tone::Bad } else { Tone::Plain };
    let facts = format!(
        "{:KIND$} {:NODE$} {:>TIME$} {:>TIME$}",
        kind(span.kind()),
        cut(&clean(&span.node), NODE),
        duration(span.start_unix_nanos.saturating_sub(scale.begin)),
        duration(span.end_unix_nanos.saturating_sub(span.start_unix_nanos)),
    );
    let bar_tone = if span.failed { Tone::Bad } else { Tone::Good };
    format!("{} {} {}", paint(&label, tone), paint(&facts, Tone::Dim), paint(&scale.bar(span), bar_tone))
}

fn kind(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "-",
        SpanKind::Internal => "internal",
        SpanKind::Server => "server",
        SpanKind::Client => "client",
        SpanKind::Producer => "producer",
        SpanKind::Consumer => "consumer",
    }
}

fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
