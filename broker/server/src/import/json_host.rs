//! JSON hosts: `mcpServers` (Claude Desktop, Claude Code, Cursor, Windsurf, …) and `servers` (VS Code).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    Format, Found, ImportError, jsonc,
    placeholder::{Rewritten, rewrite},
};
use crate::config::{Secret, ServerTable};

/// Members that matter to a host's window only.
const SILENT: [&str; 7] = ["alwaysAllow", "autoApprove", "description", "name", "icon", "gallery", "version"];

pub(super) fn parse(text: &str, file: &str) -> Result<Found, ImportError> {
    let syntax =
        |error: serde_json::Error| ImportError::Syntax { file: file.to_owned(), what: format!("not JSON: {error}") };
    let root: Value = serde_json::from_str(&jsonc::plain(text)).map_err(syntax)?;
    let object = |value: &Value| value.as_object().cloned();
    let (format, servers, inputs) = if let Some(servers) = root.get("mcpServers").and_then(object) {
        (Format::McpServers, servers, None)
    } else if let Some(servers) = root.get("servers").and_then(object) {
        (Format::VsCode, servers, root.get("inputs"))
    } else if let Some(servers) = root.pointer("/mcp/servers").and_then(object) {
        // The settings.json of VS Code.
        (Format::VsCode, servers, root.pointer("/mcp/inputs"))
    } else {
        return Err(ImportError::Unknown { file: file.to_owned() });
    };
    let mut reader = Reader { inputs: descriptions(inputs), ..Reader::default() };
    let mut found = Vec::new();
    for (name, value) in servers {
        let Value::Object(members) = value else {
            let what = format!("server \"{name}\" is not an object");
            return Err(ImportError::Invalid { file: file.to_owned(), what });
        };
        if let Some(table) = reader.server(&name, &members) {
            found.push((name, table));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut warnings = reader.placeholder_warnings();
    warnings.extend(reader.warnings);
    Ok(Found { format, servers: found, warnings })
}

/// What VS Code would ask for, by input id.
fn descriptions(inputs: Option<&Value>) -> BTreeMap<String, String> {
    let entries = inputs.and_then(Value::as_array).into_iter().flatten();
    let text = |entry: &Value, member: &str| entry.get(member).and_then(Value::as_str).map(str::to_owned);
    entries.filter_map(|entry| Some((text(entry, "id")?, text(entry, "description")?))).collect()
}

/// Reads servers and notes what a user must know.
#[derive(Default)]
struct Reader {
    inputs: BTreeMap<String, String>,
    rewritten: Vec<Rewritten>,
    warnings: Vec<String>,
}

impl Reader {
    fn server(&mut self, name: &str, members: &Map<String, Value>) -> Option<ServerTable> {
        let mut table = ServerTable {
            command: self.text(members, &["command"]),
            args: self.texts(name, members, "args"),
            cwd: self.text(members, &["cwd"]),
            url: self.text(members, &["url", "serverUrl", "httpUrl"]),
            enabled: !flag(members, "disabled", false) && flag(members, "enabled", true),
            ..ServerTable::default()
        };
        table.env = self.secrets(name, members, "env");
        table.headers = self.secrets(name, members, "headers");
        let kind = members.get("type").or_else(|| members.get("transport")).and_then(Value::as_str).unwrap_or_default();
        match (table.command.is_some(), table.url.is_some()) {
            (true, true) if kind == "stdio" => table.url = None,
            (true, true) => table.command = None,
            (true, false) | (false, true) => {}
            (false, false) => {
                self.warnings.push(format!("server \"{name}\" is left out: it has neither \"command\" nor \"url\""));
                return None;
            }
        }
        if table.url.is_some() {
            table.args.clear();
            table.env.clear();
            table.cwd = None;
        } else {
            table.headers.clear();
        }
        if kind == "sse" {
            let text =
                format!("server \"{name}\" uses the old HTTP+SSE transport; its URL is tried as Streamable HTTP first");
            self.warnings.push(text);
        }
        if !table.enabled {
            self.warnings.push(format!("server \"{name}\" is disabled in the file and stays so"));
        }
        self.note_unknown(name, members);
        Some(table)
    }

    fn note_unknown(&mut self, name: &str, members: &Map<String, Value>) {
        const READ: [&str; 11] = [
            "command",
            "args",
            "env",
            "cwd",
            "url",
            "serverUrl",
            "httpUrl",
            "headers",
            "type",
            "transport",
            "disabled",
        ];
        for key in members.keys().map(String::as_str).filter(|key| *key != "enabled") {
            if !READ.contains(&key) && !SILENT.contains(&key) {
                self.warnings.push(format!("server \"{name}\": \"{key}\" is not taken over"));
            }
        }
    }

    fn text(&mut self, members: &Map<String, Value>, keys: &[&str]) -> Option<String> {
        let text = keys.iter().find_map(|key| members.get(*key)).and_then(Value::as_str)?;
        Some(rewrite(text, &mut self.rewritten))
    }

    fn texts(&mut self, name: &str, members: &Map<String, Value>, key: &str) -> Vec<String> {
        let values = members.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        values.iter().filter_map(|value| self.scalar(name, key, value)).collect()
    }

    fn secrets(&mut self, name: &str, members: &Map<String, Value>, key: &str) -> BTreeMap<String, Secret> {
        let values = members.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
        let read = |(variable, value): (String, Value)| {
            let at = format!("{key}.{variable}");
            self.scalar(name, &at, &value).map(|text| (variable, Secret::new(text)))
        };
        values.into_iter().filter_map(read).collect()
    }

    /// Hosts take numbers and booleans where a text is meant.
    fn scalar(&mut self, name: &str, at: &str, value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(rewrite(text, &mut self.rewritten)),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            Value::Null => None,
            Value::Array(_) | Value::Object(_) => {
                self.warnings.push(format!("server \"{name}\": {at} is no text and is left out"));
                None
            }
        }
    }

    fn placeholder_warnings(&mut self) -> Vec<String> {
        let seen: BTreeSet<Rewritten> = std::mem::take(&mut self.rewritten).into_iter().collect();
        seen.into_iter().map(|one| warning(&one, &self.inputs)).collect()
    }
}

fn flag(members: &Map<String, Value>, key: &str, default: bool) -> bool {
    members.get(key).and_then(Value::as_bool).unwrap_or(default)
}

fn warning(rewritten: &Rewritten, inputs: &BTreeMap<String, String>) -> String {
    match rewritten {
        Rewritten::Input { id, variable } => {
            let about = inputs.get(id).map(|text| format!(" ({text})")).unwrap_or_default();
            format!("${{input:{id}}}{about} becomes ${{{variable}}}: set {variable} before you start the node")
        }
        Rewritten::Env { variable } => format!("${{env:{variable}}} becomes ${{{variable}}}"),
        Rewritten::Host { name, variable } => {
            format!(
                "${{{name}}} is known to the editor only and becomes ${{{variable}}}: set {variable} before you start the node"
            )
        }
        Rewritten::Literal => "a \"${\" that is no placeholder is kept as plain text".to_owned(),
    }
}
