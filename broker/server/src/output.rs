//! What a command prints: text and tables for people, JSON for programs.
//!
//! Text that came from a server may hold escape sequences that take over a terminal; [`clean`] takes them out. Colours
//! and table widths are for terminals; elsewhere a table is lines of fields separated by tabs.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, SystemTime},
};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

const DEFAULT_WIDTH: u16 = 100;

/// How a word is meant, and so coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// All is well.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
    /// Less important than the rest.
    Dim,
}

/// The text with its colour. The stream takes the colour out again where it is not wanted.
pub(crate) fn paint(text: &str, tone: Tone) -> String {
    let style = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
        Tone::Warn => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
        Tone::Bad => Style::new().fg_color(Some(AnsiColor::Red.into())),
        Tone::Dim => Style::new().dimmed(),
    };
    format!("{style}{text}{style:#}")
}

/// The text without control characters, but for line breaks and tabs.
pub(crate) fn clean(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\t') || !c.is_control() && !is_mark(*c)).collect()
}

/// JSON that takes over no terminal and is the same JSON: such characters can stand in strings only, and are escaped there. A carriage
/// return between tokens is a blank.
pub(crate) fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\r' => text.push(' '),
            '\n' | '\t' => text.push(c),
            // All of them are in the basic plane.
            _ if c.is_control() || is_mark(c) => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => text.push(c),
        }
    }
    text
}

/// The first line of a text, cleaned, at most `max` characters.
pub(crate) fn first_line(text: &str, max: usize) -> String {
    let text = clean(text);
    let line = text.trim().lines().next().unwrap_or_default().replace('\t', " ");
    if line.chars().count() <= max { line } else { line.chars().take(max.saturating_sub(1)).chain(['…']).collect() }
}

/// One field of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A field with a colour.
    pub(crate) fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Self { text: clean(text.as_ref()), tone }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

/// Marks of zero width that survive the layout of a table and are then replaced by colours. `clean` keeps them out of texts.
const MARKS: [(char, Tone); 4] =
    [('\u{2061}', Tone::Good), ('\u{2062}', Tone::Warn), ('\u{2063}', Tone::Bad), ('\u{2064}', Tone::Dim)];
const END: char = '\u{2060}';

fn is_mark(c: char) -> bool {
    c == END || MARKS.iter().any(|(mark, _)| *mark == c)
}

/// Where a command prints to.
pub(crate) struct Out {
    stdout: AutoStream<io::Stdout>,
    /// Programs read this: JSON and nothing else.
    pub(crate) json: bool,
    /// People read this.
    pub(crate) terminal: bool,
    /// Columns.
    pub(crate) width: u16,
}

impl Out {
    /// Standard output.
    pub(crate) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let columns = rustix::termios::tcgetwinsize(&stdout).map_or(0, |size| size.ws_col);
        let width = if terminal && columns > 0 { columns } else { DEFAULT_WIDTH };
        Self { stdout: AutoStream::auto(stdout), json, terminal, width }
    }

    /// Prints a line for people, with its colours.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        writeln!(self.stdout, "{}", text.as_ref())?;
        self.stdout.flush()
    }

    /// Prints one JSON document.
    pub(crate) fn document(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.line(escaped(&serde_json::to_string_pretty(value).map_err(io::Error::other)?))
    }

    /// Prints one JSON document of a stream, on a line.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.line(escaped(&serde_json::to_string(value).map_err(io::Error::other)?))
    }

    /// Prints rows under headers.
    pub(crate) fn table(&mut self, headers: &[&str], rows: Vec<Vec<Cell>>) -> io::Result<()> {
        if !self.terminal {
            self.line(headers.join("\t"))?;
            for row in rows {
                let fields: Vec<String> = row.iter().map(|cell| cell.text.replace(['\n', '\t'], " ")).collect();
                self.line(fields.join("\t"))?;
            }
            return Ok(());
        }
        for line in layout(headers, rows, self.width) {
            self.line(line)?;
        }
        Ok(())
    }
}

fn layout(headers: &[&str], rows: Vec<Vec<Cell>>, width: u16) -> Vec<String> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.set_header(headers.iter().map(|header| marked(header, Tone::Dim)));
    for row in rows {
        table.add_row(row.iter().map(|cell| marked(&cell.text, cell.tone)));
    }
    table.lines().map(|line| coloured(line.trim_end())).collect()
}

fn marked(text: &str, tone: Tone) -> String {
    match MARKS.iter().find(|(_, meant)| *meant == tone) {
        Some((mark, _)) => {
            text.split_whitespace().map(|word| format!("{mark}{word}{END}")).collect::<Vec<_>>().join(" ")
        }
        None => text.to_owned(),
    }
}

fn coloured(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((at, mark)) = rest.char_indices().find(|(_, c)| is_mark(*c)) {
        out.push_str(&rest[..at]);
        rest = &rest[at + mark.len_utf8()..];
        if let Some((_, tone)) = MARKS.iter().find(|(candidate, _)| *candidate == mark) {
            let (word, after) = rest.split_once(END).unwrap_or((rest, ""));
            out.push_str(&paint(word, *tone));
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Writes a line to stderr, for people. Nobody is left to be told when stderr is closed.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(AutoStream::auto(io::stderr()), "{}", text.as_ref());
}

/// Nanoseconds as people write them: `12 µs`, `3.4 ms`, `1.20 s`.
pub(crate) fn duration(nanos: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let value = nanos as f64;
    match nanos {
        0..1_000_000 => format!("{:.0} µs", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", value / 1e6),
        1_000_000_000..60_000_000_000 => format!("{:.2} s", value / 1e9),
        _ => format!("{} min {} s", nanos / 60_000_000_000, nanos / 1_000_000_000 % 60),
    }
}

/// How long something is past, in one unit. Clocks of two machines differ: what seems to come is now.
pub(crate) fn ago(then_ms: u64, now_ms: u64) -> String {
    let (value, unit) = match now_ms.saturating_sub(then_ms) / 1000 {
        seconds @ 0..120 => (seconds, "s"),
        seconds @ 120..7_200 => (seconds / 60, "min"),
        seconds @ 7_200..172_800 => (seconds / 3_600, "h"),
        seconds => (seconds / 86_400, "d"),
    };
    format!("{value} {unit} ago")
}

/// The time here, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A count with its noun: `1 tool`, `3 tools`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
