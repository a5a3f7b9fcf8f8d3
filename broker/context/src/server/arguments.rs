//! Arguments of tools, read one by one, so that what is wrong is said with the name of the argument.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use spanwire_mcp::Json;
use spanwire_model::ReadLevel;
use uuid::Uuid;

use super::Asked;
use crate::{Condition, Expect, Key, Options, Reading, SpaceName};

/// The members of one object, until they are taken.
pub(super) struct Arguments {
    /// What is read, for the errors: empty for the tool's own arguments.
    place: String,
    members: Vec<(String, Json)>,
}

/// What is wrong with an argument: one sentence.
pub(super) type Wrong = String;

impl Arguments {
    pub(super) fn of(place: &str, object: Option<Json>) -> Result<Self, Wrong> {
        let place = place.to_owned();
        let Some(object) = object else { return Ok(Self { place, members: Vec::new() }) };
        if !object.is_object() {
            let what = if place.is_empty() { "the arguments" } else { place.trim_end_matches('.') };
            return Err(format!("{what}: must be an object"));
        }
        let mut members: Vec<(String, Json)> = Vec::new();
        for entry in object.entries() {
            let name = entry.key();
            if members.iter().any(|(other, _)| *other == name) {
                return Err(format!("{place}{name}: comes twice"));
            }
            members.push((name, Json::from_trusted(object.as_bytes().slice(entry.value_range.clone()))));
        }
        Ok(Self { place, members })
    }

    /// Takes an argument as it is, `null` included.
    pub(super) fn raw(&mut self, name: &str) -> Option<Json> {
        let at = self.members.iter().position(|(other, _)| other == name)?;
        Some(self.members.swap_remove(at).1)
    }

    /// Takes an argument that may be left out, or `null`.
    pub(super) fn maybe<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Wrong> {
        let Some(value) = self.raw(name).filter(|value| value.as_str() != "null") else { return Ok(None) };
        value.read().map(Some).map_err(|error| self.wrong(name, &plain(&error)))
    }

    /// Takes a text of a certain form.
    fn parsed<T: FromStr<Err: ToString>>(&mut self, name: &str) -> Result<Option<T>, Wrong> {
        let Some(text) = self.maybe::<String>(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|error: T::Err| self.wrong(name, &error.to_string()))
    }

    pub(super) fn space(&mut self) -> Result<SpaceName, Wrong> {
        self.parsed("space")?.ok_or_else(|| self.missing("space"))
    }

    pub(super) fn key(&mut self) -> Result<Key, Wrong> {
        self.parsed("key")?.ok_or_else(|| self.missing("key"))
    }

    pub(super) fn after_key(&mut self) -> Result<Option<Key>, Wrong> {
        self.parsed("after")
    }

    pub(super) fn after_space(&mut self) -> Result<Option<SpaceName>, Wrong> {
        self.parsed("after")
    }

    /// How current a read must be.
    pub(super) fn reading(&mut self, asked: &Asked) -> Result<Reading, Wrong> {
        let level = self.maybe::<String>("level")?;
        let at_least = self.maybe::<u64>("at_least")?;
        let level = match (level.as_deref(), at_least) {
            (None | Some("local"), None) => ReadLevel::Local,
            (None | Some("at_least"), Some(sequence)) => ReadLevel::AtLeast(sequence),
            (Some("linearizable"), None) => ReadLevel::Linearizable,
            (Some("at_least"), None) => return Err(self.missing("at_least")),
            (Some("local" | "linearizable"), Some(_)) => {
                return Err(self.wrong("at_least", "goes with no other level"));
            }
            (Some(other), _) => {
                return Err(
                    self.wrong("level", &format!("there is no \"{other}\"; use local, at_least or linearizable"))
                );
            }
        };
        Ok(Reading { level, deadline: asked.deadline })
    }

    /// How current a read of all shards must be.
    pub(super) fn reading_of_all(&mut self, asked: &Asked) -> Result<Reading, Wrong> {
        let reading = self.reading(asked)?;
        match reading.level {
            ReadLevel::Local | ReadLevel::Linearizable => Ok(reading),
            ReadLevel::AtLeast(_) => Err(self.wrong(
                "at_least",
                "does not go here: a sequence is one space's, and these are many; use linearizable",
            )),
        }
    }

    /// How a write is made.
    pub(super) fn options(&mut self, asked: &Asked) -> Result<Options, Wrong> {
        Ok(Options { operation: self.parsed::<Uuid>("operation")?, deadline: asked.deadline })
    }

    /// The condition of a single key's write: `if_version` or `if_absent`.
    pub(super) fn condition(&mut self, key: &Key) -> Result<Vec<Condition>, Wrong> {
        let is = match (self.maybe::<u64>("if_version")?, self.maybe::<bool>("if_absent")?) {
            (Some(version), None | Some(false)) => Expect::Version(version),
            (None, Some(true)) => Expect::Absent,
            (None, None | Some(false)) => return Ok(Vec::new()),
            (Some(_), Some(true)) => return Err(self.wrong("if_absent", "does not go with if_version")),
        };
        Ok(vec![Condition { key: key.clone(), is }])
    }

    /// Refuses what nobody has taken.
    pub(super) fn end(self) -> Result<(), Wrong> {
        match self.members.first() {
            None => Ok(()),
            Some((name, _)) => Err(self.wrong(&name.clone(), "there is no such argument here")),
        }
    }

    pub(super) fn missing(&self, name: &str) -> Wrong {
        self.wrong(name, "is missing")
    }

    pub(super) fn wrong(&self, name: &str, why: &str) -> Wrong {
        format!("{}{name}: {why}", self.place)
    }
}

/// The error without where it was: the place is the argument's name.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}
