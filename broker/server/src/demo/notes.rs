//! A server that keeps notes in memory and offers each one as a resource.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use serde_json::{Value, json};

use super::server::{Asked, DemoServer, ToolOutcome};

const MAX_NOTES: usize = 1_000;
const MAX_TEXT_BYTES: usize = 64 * 1024;
const MAX_SLUG: usize = 64;

#[derive(Clone)]
struct Note {
    title: String,
    text: String,
}

/// Server of two tools, `save_note` and `list_notes`, and of resources `note://SLUG`.
#[derive(Default)]
pub(crate) struct Notes {
    notes: Mutex<BTreeMap<String, Note>>,
}

impl Notes {
    fn notes(&self) -> MutexGuard<'_, BTreeMap<String, Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self, arguments: &Value) -> ToolOutcome {
        let text = |key: &str| arguments.get(key).and_then(Value::as_str).unwrap_or_default().trim().to_owned();
        let note = Note { title: text("title"), text: text("text") };
        let slug = slug(&note.title);
        if slug.is_empty() || note.text.is_empty() {
            return ToolOutcome::failed("give \"title\", with a letter or digit in it, and \"text\"");
        }
        if note.text.len() > MAX_TEXT_BYTES {
            return ToolOutcome::failed(format!("the text is longer than {MAX_TEXT_BYTES} bytes"));
        }
        let mut notes = self.notes();
        if notes.len() >= MAX_NOTES && !notes.contains_key(&slug) {
            return ToolOutcome::failed(format!("there are already {MAX_NOTES} notes"));
        }
        let link = json!({
            "type": "resource_link", "uri": uri(&slug), "name": note.title, "mimeType": "text/plain",
        });
        let outcome = ToolOutcome::text(format!("saved \"{}\"", note.title)).with_block(link);
        notes.insert(slug, note);
        outcome.with_resources_changed()
    }

    fn list(&self) -> ToolOutcome {
        let notes: Vec<Value> =
            self.notes().iter().map(|(slug, note)| json!({ "title": note.title, "uri": uri(slug) })).collect();
        let lines: Vec<String> =
            notes.iter().map(|note| note["title"].as_str().unwrap_or_default().to_owned()).collect();
        let text = if lines.is_empty() { "no notes yet".to_owned() } else { lines.join("\n") };
        ToolOutcome::text(text).with_structured(json!({ "notes": notes }))
    }
}

fn uri(slug: &str) -> String {
    format!("note://{slug}")
}

fn slug(title: &str) -> String {
    let dashed: String =
        title.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let words: Vec<&str> = dashed.split('-').filter(|word| !word.is_empty()).collect();
    let mut slug = words.join("-");
    slug.truncate(MAX_SLUG);
    slug.trim_end_matches('-').to_owned()
}

#[async_trait]
impl DemoServer for Notes {
    fn name(&self) -> &'static str {
        "spanwire-demo-notes"
    }

    fn instructions(&self) -> &'static str {
        "Notes that are kept until the server stops. Each one is a resource."
    }

    fn tools(&self) -> Value {
        json!([
            {
                "name": "list_notes",
                "title": "List notes",
                "description": "The titles of all notes.",
                "inputSchema": { "type": "object", "properties": {}, "additionalProperties": false },
                "annotations": { "readOnlyHint": true, "openWorldHint": false },
            },
            {
                "name": "save_note",
                "title": "Save a note",
                "description": "Keeps a text under a title; an older one of the same title is replaced.",
                "inputSchema": {
                    "type": "object",
                    "properties": { "title": { "type": "string" }, "text": { "type": "string" } },
                    "required": ["title", "text"],
                    "additionalProperties": false,
                },
                "annotations": { "destructiveHint": true, "idempotentHint": true, "openWorldHint": false },
            },
        ])
    }

    fn resources(&self) -> Option<Vec<Value>> {
        let notes = self.notes();
        let entry = |(slug, note): (&String, &Note)| json!({ "uri": uri(slug), "name": slug, "title": note.title, "mimeType": "text/plain" });
        Some(notes.iter().map(entry).collect())
    }

    fn read(&self, uri: &str) -> Option<Value> {
        let note = self.notes().get(uri.strip_prefix("note://")?).cloned()?;
        Some(json!({ "uri": uri, "mimeType": "text/plain", "text": note.text }))
    }

    async fn call(&self, tool: &str, arguments: &Value, _asked: &Asked) -> Option<ToolOutcome> {
        match tool {
            "save_note" => Some(self.save(arguments)),
            "list_notes" => Some(self.list()),
            _ => None,
        }
    }
}
