//! `tests/conformance/expected.txt`: a table per kind of run, with a reason for everything that does not pass.
//!
//! ```text
//! == server 2026-07-28: direct one two
//! server-stateless  pass fail fail
//!     one two: why
//! ```

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs::{self, File},
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};

use super::{
    deployment::file,
    outcome::{Outcome, Verdict},
    suite::Results,
};

const HEAD: &str = "\
# What the official conformance suite gives, scenario by scenario and run by run; see README.md. The tests compare, and
# write this file with UPDATE_GOLDEN=1; reasons are kept as long as something in their columns does not pass.
#   pass  no check fails or warns, and none that passes directly is missing      less  some that passes directly is missing
#   warn  a recommendation is not followed      fail  a check fails      skip  no check ran      -  not run: no such scenario
";

/// One table: scenarios down, runs across.
#[derive(Debug, Default)]
pub(super) struct Table {
    title: String,
    columns: Vec<String>,
    /// A cell is none where the scenario does not exist in that run.
    rows: BTreeMap<String, Vec<Option<Verdict>>>,
    /// By scenario: for which columns, and why.
    reasons: BTreeMap<String, Vec<(Vec<String>, String)>>,
}

impl Table {
    /// The table of runs: a column name and its results each.
    pub(super) fn of(title: &str, runs: &[(String, Results)]) -> Self {
        let mut rows: BTreeMap<String, Vec<Option<Verdict>>> = BTreeMap::new();
        for (at, (_, results)) in runs.iter().enumerate() {
            for (scenario, outcome) in results {
                rows.entry(scenario.clone()).or_insert_with(|| vec![None; runs.len()])[at] = Some(outcome.verdict);
            }
        }
        let columns = runs.iter().map(|(name, _)| name.clone()).collect();
        Self { title: title.to_owned(), columns, rows, reasons: BTreeMap::new() }
    }

    /// Takes over the reasons of `old` that still have an object, and gives the rest the suite's own words.
    fn give_reasons(&mut self, old: &Self, runs: &[(String, Results)]) {
        for (scenario, cells) in &self.rows {
            let mut open: Vec<&String> = self
                .columns
                .iter()
                .zip(cells)
                .filter(|(_, cell)| needs_a_reason(**cell))
                .map(|(name, _)| name)
                .collect();
            let mut reasons: Vec<(Vec<String>, String)> = Vec::new();
            for (columns, text) in old.reasons.get(scenario).into_iter().flatten() {
                let kept: Vec<String> = columns.iter().filter(|name| open.contains(name)).cloned().collect();
                open.retain(|name| !kept.contains(name));
                if !kept.is_empty() {
                    reasons.push((kept, text.clone()));
                }
            }
            for column in open {
                let results = runs.iter().find(|(name, _)| name == column).map(|(_, results)| results);
                let text = results.and_then(|results| results.get(scenario)).map(Outcome::why).unwrap_or_default();
                match reasons.iter_mut().find(|(_, other)| *other == text) {
                    Some((columns, _)) => columns.push(column.clone()),
                    None => reasons.push((vec![column.clone()], text)),
                }
            }
            if !reasons.is_empty() {
                self.reasons.insert(scenario.clone(), reasons);
            }
        }
    }

    /// What is not as `self` expects.
    fn differences(&self, found: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        let mut scenarios: Vec<&String> = self.rows.keys().chain(found.rows.keys()).collect();
        scenarios.sort();
        scenarios.dedup();
        for scenario in scenarios {
            for column in &found.columns {
                let (expected, got) = (self.cell(scenario, column), found.cell(scenario, column));
                if expected != got {
                    let better = matches!((expected, got), (Some(expected), Some(got)) if got < expected);
                    let hint = if better { ": it got better, run UPDATE_GOLDEN=1" } else { "" };
                    differences.push(format!(
                        "{scenario}, {column}: expected {}, got {}{hint}",
                        text(expected),
                        text(got)
                    ));
                } else if needs_a_reason(got) && !self.has_reason(scenario, column) {
                    differences.push(format!("{scenario}, {column}: {} without a reason", text(got)));
                }
            }
        }
        differences
    }

    fn cell(&self, scenario: &str, column: &str) -> Option<Verdict> {
        let at = self.columns.iter().position(|name| name == column)?;
        *self.rows.get(scenario)?.get(at)?
    }

    fn has_reason(&self, scenario: &str, column: &str) -> bool {
        self.reasons
            .get(scenario)
            .into_iter()
            .flatten()
            .any(|(columns, text)| columns.iter().any(|name| name == column) && !text.is_empty())
    }

    fn write(&self, out: &mut String) {
        let width = self.rows.keys().map(String::len).max().unwrap_or(0);
        let _ = writeln!(out, "\n== {}: {}", self.title, self.columns.join(" "));
        for (scenario, cells) in &self.rows {
            let cells: Vec<String> =
                self.columns.iter().zip(cells).map(|(name, cell)| format!("{:<1$}", text(*cell), name.len())).collect();
            let _ = writeln!(out, "{}", format!("{scenario:width$}  {}", cells.join(" ")).trim_end());
            for (columns, why) in self.reasons.get(scenario).into_iter().flatten() {
                let _ = writeln!(out, "    {}: {why}", columns.join(" "));
            }
        }
    }

    /// All tables of a file.
    fn parse(file: &str) -> Result<Vec<Self>> {
        let mut tables: Vec<Self> = Vec::new();
        let mut scenario = String::new();
        for line in file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(head) = line.strip_prefix("== ") {
                let (title, columns) = head.rsplit_once(": ").with_context(|| format!("no columns: {line}"))?;
                let columns = columns.split_whitespace().map(str::to_owned).collect();
                tables.push(Self { title: title.to_owned(), columns, ..Self::default() });
                continue;
            }
            let table = tables.last_mut().with_context(|| format!("not in a table: {line}"))?;
            if let Some(reason) = line.strip_prefix("    ") {
                let (columns, why) = reason.split_once(": ").with_context(|| format!("no reason: {line}"))?;
                let columns = columns.split_whitespace().map(str::to_owned).collect();
                table.reasons.entry(scenario.clone()).or_default().push((columns, why.to_owned()));
                continue;
            }
            let mut words = line.split_whitespace();
            scenario = words.next().unwrap_or_default().to_owned();
            let cells: Vec<Option<Verdict>> = words.map(Verdict::parse).collect();
            ensure!(cells.len() == table.columns.len(), "wrong number of cells: {line}");
            table.rows.insert(scenario.clone(), cells);
        }
        Ok(tables)
    }
}

fn text(cell: Option<Verdict>) -> String {
    cell.map_or_else(|| "-".to_owned(), |verdict| verdict.to_string())
}

fn needs_a_reason(cell: Option<Verdict>) -> bool {
    cell.is_some_and(Verdict::needs_a_reason)
}

/// Holds what was found against the file, or writes it there with `UPDATE_GOLDEN`. The report with all that the suite says
/// is in the target folder in either case.
pub(super) fn check(title: &str, runs: &[(String, Results)]) -> Result<()> {
    let mut found = Table::of(title, runs);
    let path = file("expected.txt");
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    fs::create_dir_all(&folder)?;
    // Tests of this module may run at once, and each owns one table of the file.
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    let mut tables = Table::parse(&fs::read_to_string(&path).unwrap_or_default())?;
    let at = tables.iter().position(|table| table.title == title);
    let old = at.map(|at| tables.remove(at)).unwrap_or_default();
    found.give_reasons(&old, runs);
    let report = folder.join(format!("{}.txt", title.replace(' ', "-")));
    fs::write(&report, report_of(&found, runs))?;
    if env::var_os("UPDATE_GOLDEN").is_some() {
        tables.push(found);
        tables.sort_by(|a, b| b.title.cmp(&a.title));
        let mut text = HEAD.to_owned();
        tables.iter().for_each(|table| table.write(&mut text));
        fs::write(&path, text)?;
        return Ok(());
    }
    let differences = old.differences(&found);
    ensure!(
        differences.is_empty(),
        "{title}: {} differences from {}; what the suite says is in {}\n{}",
        differences.len(),
        path.display(),
        report.display(),
        differences.join("\n")
    );
    Ok(())
}

/// The table with every trouble below it.
fn report_of(table: &Table, runs: &[(String, Results)]) -> String {
    let mut text = String::new();
    table.write(&mut text);
    for (column, results) in runs {
        for (scenario, outcome) in results.iter().filter(|(_, outcome)| outcome.verdict.needs_a_reason()) {
            let _ = writeln!(text, "\n{scenario}, {column}: {}\n  {}", outcome.verdict, outcome.troubles.join("\n  "));
        }
    }
    text
}

#[test]
fn a_table_survives_being_written_and_read() {
    let file = "== server x: direct one\nalpha  pass   fail\n    one: because: it is\nbeta   pass   -\n";
    let tables = Table::parse(file).unwrap();
    let mut text = String::new();
    tables[0].write(&mut text);
    assert_eq!(text.trim_start(), file);
    assert!(tables[0].has_reason("alpha", "one") && !tables[0].has_reason("alpha", "direct"));
}

#[test]
fn what_changes_is_a_difference_in_both_directions() {
    let parse = |text: &str| Table::parse(text).unwrap().remove(0);
    let old = parse("== t: direct one\nalpha pass fail\n    one: why\nbeta pass pass\ngamma pass fail\n");
    let new = parse("== t: direct one\nalpha pass pass\nbeta pass fail\ngamma pass fail\n");
    assert_eq!(
        old.differences(&new),
        [
            "alpha, one: expected fail, got pass: it got better, run UPDATE_GOLDEN=1",
            "beta, one: expected pass, got fail",
            "gamma, one: fail without a reason",
        ]
    );
}
