//! Tables of medians.

use std::{fmt, time::Duration};

/// A number that was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value {
    /// How often in a second.
    Rate(f64),
    /// How long.
    Time(Duration),
    /// How much, in MiB.
    Size(f64),
}

impl Value {
    fn number(self) -> f64 {
        match self {
            Self::Rate(number) | Self::Size(number) => number,
            Self::Time(time) => time.as_secs_f64(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match *self {
            Self::Rate(rate) => format!("{rate:.0}/s"),
            Self::Size(mib) => format!("{mib:.1} MiB"),
            Self::Time(time) if time < Duration::from_millis(1) => format!("{} us", time.as_micros()),
            Self::Time(time) if time < Duration::from_secs(1) => format!("{:.1} ms", time.as_secs_f64() * 1e3),
            Self::Time(time) => format!("{:.2} s", time.as_secs_f64()),
        };
        f.pad(&text)
    }
}

/// What was measured in one round of a row, a value for each column.
pub(super) type Round = Vec<Value>;

/// Rows that can be compared.
#[derive(Debug)]
pub(super) struct Table {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<Value>)>,
}

impl Table {
    /// An empty one. `title` says what was done, and how much of it.
    pub(super) fn new(title: impl Into<String>, columns: &[&'static str]) -> Self {
        Self { title: title.into(), columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds the medians of the rounds of a row.
    pub(super) fn add(&mut self, name: impl Into<String>, rounds: &[Round]) {
        let median = |column: usize| {
            let mut values: Vec<Value> = rounds.iter().filter_map(|round| round.get(column).copied()).collect();
            values.sort_by(|a, b| a.number().total_cmp(&b.number()));
            values.get(values.len() / 2).copied()
        };
        let values: Vec<Value> = (0..self.columns.len()).filter_map(median).collect();
        let name = name.into();
        eprintln!("   {name}: {}", values.iter().map(Value::to_string).collect::<Vec<_>>().join(", "));
        self.rows.push((name, values));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        write!(f, "{:<34}", "")?;
        for column in &self.columns {
            write!(f, " {column:>14}")?;
        }
        writeln!(f, " {:>8}", "ratio")?;
        let first = self.rows.first().and_then(|(_, values)| values.first()).copied();
        for (name, values) in &self.rows {
            write!(f, "{name:<34}")?;
            for value in values {
                write!(f, " {value:>14}")?;
            }
            let ratio = first.zip(values.first()).map(|(first, value)| value.number() / first.number());
            writeln!(f, " {:>8}", ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_medians_and_its_ratio_to_the_first() {
        let mut table = Table::new("t", &["rate", "p99"]);
        let round = |rate, ms| vec![Value::Rate(rate), Value::Time(Duration::from_millis(ms))];
        table.add("one", &[round(90.0, 9), round(100.0, 2), round(500.0, 1)]);
        table.add("two", &[round(250.0, 1500)]);
        let text = table.to_string();
        assert!(text.contains("100/s") && text.contains("2.0 ms") && text.contains("1.50 s"), "{text}");
        assert!(text.trim_end().ends_with("2.50"), "{text}");
    }
}
