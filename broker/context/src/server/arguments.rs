//! Arguments of tools, read one by one, so that what is wrong is said with the name of the argument.
//!
//! What is taken here is what `tools/schema.rs` publishes, no more and no less: a condition that is misspelt, or `null`, must not
//! become a write without one. Where no condition can be lost, `null` is as if nothing were there: hosts fill in what is optional.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use spanwire_mcp::Json;
use spanwire_model::ReadLevel;
use uuid::Uuid;

use super::Asked;
use crate::{Condition, Expect, Key, MAX_PAGE, Options, Reading, SpaceName, name::shown};

/// Largest whole number that every JSON library reads as it is.
pub(super) const MAX_WHOLE: u64 = (1 << 53) - 1;
/// Most characters of a prefix: no key has more.
pub(super) const MAX_PREFIX: usize = 512;
/// Most members of one object: each is compared with all others. No tool has as many, and steps of patches may have some that are
/// passed over.
pub(super) const MAX_MEMBERS: usize = 64;
/// How a UUID is written, in characters.
const UUID_CHARACTERS: usize = 36;

/// The members of one object, until they are taken.
pub(super) struct Arguments {
    /// What is read, for the errors: empty for the tool's own arguments.
    place: String,
    members: Vec<(String, Json)>,
    /// Whether `null` is as if it were not there.
    takes_null: bool,
}

/// What is wrong with an argument: one sentence.
pub(super) type Wrong = String;

impl Arguments {
    pub(super) fn of(place: &str, object: Option<Json>) -> Result<Self, Wrong> {
        let place = place.to_owned();
        let Some(object) = object else { return Ok(Self { place, members: Vec::new(), takes_null: false }) };
        if !object.is_object() {
            return Err(format!("{}: must be an object", whole_of(&place)));
        }
        let count = object.entries().count();
        if count > MAX_MEMBERS {
            return Err(format!("{}: has {count} members, the limit is {MAX_MEMBERS}", whole_of(&place)));
        }
        let mut members: Vec<(String, Json)> = Vec::new();
        for entry in object.entries() {
            let name = entry.key();
            if members.iter().any(|(other, _)| *other == name) {
                return Err(format!("{place}{}: comes twice", shown(&name)));
            }
            members.push((name, Json::from_trusted(object.as_bytes().slice(entry.value_range.clone()))));
        }
        Ok(Self { place, members, takes_null: false })
    }

    /// The same, where `null` is as if nothing were there: of a tool that changes nothing.
    pub(super) fn of_read(self) -> Self {
        Self { takes_null: true, ..self }
    }

    /// Takes an argument as it is, `null` included where it is something.
    pub(super) fn raw(&mut self, name: &str) -> Option<Json> {
        let at = self.members.iter().position(|(other, _)| other == name)?;
        Some(self.members.swap_remove(at).1).filter(|value| !(self.takes_null && is_null(value)))
    }

    /// Takes away a `null` that is as if it were not there, of an argument of a write that is no condition.
    fn pass_over_null(&mut self, name: &str) {
        self.members.retain(|(other, value)| other != name || !is_null(value));
    }

    /// Takes an argument that may be left out.
    pub(super) fn maybe<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, Wrong> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        value.read().map(Some).map_err(|error| self.wrong(name, &plain(&error)))
    }

    /// Takes a whole number of at least so much that may be left out. As JSON Schema has it, `1.0` and `1e3` are whole, too.
    fn whole(&mut self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Wrong> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        let number = value.read::<u64>().ok().or_else(|| value.read::<f64>().ok().and_then(whole));
        let number = number.filter(|number| (least..=most).contains(number));
        number.map(Some).ok_or_else(|| self.wrong(name, &format!("must be a whole number from {least} to {most}")))
    }

    /// A sequence from which on something is read.
    pub(super) fn first_sequence(&mut self) -> Result<u64, Wrong> {
        Ok(self.whole("from", 0, MAX_WHOLE)?.unwrap_or_default())
    }

    /// A version of a key: the sequence of a write.
    pub(super) fn version(&mut self, name: &str) -> Result<Option<u64>, Wrong> {
        self.whole(name, 1, MAX_WHOLE)
    }

    /// How long a key lives, in milliseconds.
    pub(super) fn ttl_ms(&mut self) -> Result<Option<u64>, Wrong> {
        self.pass_over_null("ttl_ms");
        self.whole("ttl_ms", 1, MAX_WHOLE)
    }

    /// How many entries a page has at most.
    pub(super) fn limit(&mut self, usual: usize) -> Result<usize, Wrong> {
        let limit = self.whole("limit", 1, MAX_PAGE as u64)?;
        Ok(limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usual))
    }

    /// How names begin.
    pub(super) fn prefix(&mut self) -> Result<String, Wrong> {
        let prefix: String = self.maybe("prefix")?.unwrap_or_default();
        if prefix.chars().count() > MAX_PREFIX {
            return Err(self.wrong("prefix", &format!("has more than {MAX_PREFIX} characters")));
        }
        Ok(prefix)
    }

    /// Takes an argument that must be there.
    pub(super) fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Wrong> {
        self.maybe(name)?.ok_or_else(|| self.missing(name))
    }

    /// Takes an array of objects, each with its place.
    pub(super) fn objects(&mut self, name: &str, most: u64) -> Result<Option<Vec<Self>>, Wrong> {
        self.raw(name).map(|array| self.objects_of(name, &array, most)).transpose()
    }

    /// The objects of an array that was taken as it is.
    pub(super) fn objects_of(&self, name: &str, array: &Json, most: u64) -> Result<Vec<Self>, Wrong> {
        let count = array.elements().count();
        if count as u64 > most {
            return Err(self.wrong(name, &format!("has {count} entries, the limit is {most}")));
        }
        let entries: Vec<Json> = array.read().map_err(|error| self.wrong(name, &plain(&error)))?;
        let place = |at: usize| format!("{}{name}[{at}].", self.place);
        entries.into_iter().enumerate().map(|(at, entry)| Self::of(&place(at), Some(entry))).collect()
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
        let at_least = self.whole("at_least", 0, MAX_WHOLE)?;
        let level = match (level.as_deref(), at_least) {
            (None | Some("local"), None) => ReadLevel::Local,
            (None | Some("at_least"), Some(sequence)) => ReadLevel::AtLeast(sequence),
            (Some("linearizable"), None) => ReadLevel::Linearizable,
            (Some("at_least"), None) => return Err(self.missing("at_least")),
            (Some("local" | "linearizable"), Some(_)) => {
                return Err(self.wrong("at_least", "goes with no other level"));
            }
            (Some(other), _) => {
                let text = format!("there is no \"{}\"; use local, at_least or linearizable", shown(other));
                return Err(self.wrong("level", &text));
            }
        };
        Ok(Reading { level, deadline: asked.deadline })
    }

    /// How current a read of all shards must be.
    pub(super) fn reading_of_all(&mut self, asked: &Asked) -> Result<Reading, Wrong> {
        const ONE: &str = "does not go here: a sequence is one space's, and these are many; use linearizable";
        let level = match self.maybe::<String>("level")?.as_deref() {
            None | Some("local") => ReadLevel::Local,
            Some("linearizable") => ReadLevel::Linearizable,
            Some("at_least") => return Err(self.wrong("level", &format!("at_least {ONE}"))),
            Some(other) => {
                let text = format!("there is no \"{}\"; use local or linearizable", shown(other));
                return Err(self.wrong("level", &text));
            }
        };
        if self.members.iter().any(|(name, _)| name == "at_least") {
            return Err(self.wrong("at_least", ONE));
        }
        Ok(Reading { level, deadline: asked.deadline })
    }

    /// How a write is made.
    pub(super) fn options(&mut self, asked: &Asked) -> Result<Options, Wrong> {
        self.pass_over_null("operation");
        let Some(text) = self.maybe::<String>("operation")? else {
            return Ok(Options { operation: None, deadline: asked.deadline });
        };
        // The library reads other forms, too.
        let operation = text.parse::<Uuid>().ok().filter(|_| text.len() == UUID_CHARACTERS);
        match operation {
            Some(operation) => Ok(Options { operation: Some(operation), deadline: asked.deadline }),
            None => Err(self.wrong("operation", "must be a UUID, as in 0b2c6ab4-29b9-4a07-b3a5-2b4b6a9a2e57")),
        }
    }

    /// The condition of a single key's write: `if_version` or `if_absent`.
    pub(super) fn condition(&mut self, key: &Key) -> Result<Vec<Condition>, Wrong> {
        let is = match (self.version("if_version")?, self.maybe::<bool>("if_absent")?) {
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
            Some((name, _)) => Err(self.wrong(&shown(name), "there is no such argument here")),
        }
    }

    pub(super) fn missing(&self, name: &str) -> Wrong {
        self.wrong(name, "is missing")
    }

    pub(super) fn wrong(&self, name: &str, why: &str) -> Wrong {
        format!("{}{name}: {why}", self.place)
    }
}

/// A number without a fraction, of those that are the same in every library.
fn whole(number: f64) -> Option<u64> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "in bounds"
    )]
    let whole = (0.0..=MAX_WHOLE as f64).contains(&number).then_some(number as u64);
    whole.filter(|_| number.fract() == 0.0)
}

fn is_null(value: &Json) -> bool {
    value.as_str() == "null"
}

/// An object as an error names it.
fn whole_of(place: &str) -> &str {
    if place.is_empty() { "the arguments" } else { place.trim_end_matches('.') }
}

/// The error without where it was: the place is the argument's name. Of a text that is none of those that are expected, so much as errors show.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what);
    // What is expected is no caller's text, and comes last.
    match what.rsplit_once(", expected ") {
        Some((what, expected)) => format!("{}, expected {expected}", shown(what)),
        None => shown(what),
    }
}
