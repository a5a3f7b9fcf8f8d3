//! JSON text that is carried, cut and spliced without being decoded.

use std::{fmt, ops::Range};

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::value::RawValue;

/// One valid JSON value as text. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Json(Bytes);

impl Json {
    /// Checks that the bytes are one JSON value and takes them.
    pub fn parse(bytes: Bytes) -> Result<Self, serde_json::Error> {
        let raw: &RawValue = serde_json::from_slice(&bytes)?;
        let range = range_within(&bytes, raw.get());
        Ok(Self(bytes.slice(range)))
    }

    /// Serialises a value.
    pub fn from_serialize<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_vec(value).map(|bytes| Self(bytes.into()))
    }

    /// Takes text that the caller has written as JSON itself.
    pub fn from_trusted(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The empty object.
    pub fn empty_object() -> Self {
        Self(Bytes::from_static(b"{}"))
    }

    /// Cuts a raw value out of the body it was read from, without copying.
    pub(crate) fn slice_of(body: &Bytes, raw: &RawValue) -> Self {
        Self(body.slice(range_within(body, raw.get())))
    }

    /// The text as bytes.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The text; empty if it is not UTF-8, which no constructor lets through.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is no text, which only the default value has.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the value into a type.
    pub fn read<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.0)
    }

    /// Decodes the whole value. Not for the hot path.
    pub fn to_value(&self) -> serde_json::Value {
        serde_json::from_slice(&self.0).unwrap_or_default()
    }

    /// True when the value is an object.
    pub fn is_object(&self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// The members of an object in their order; nothing for any other value.
    pub fn entries(&self) -> Entries<'_> {
        Entries::new(&self.0)
    }

    /// The value of a member of an object.
    pub fn get(&self, key: &str) -> Option<Json> {
        let entry = self.entries().find(|entry| entry.has_key(key))?;
        Some(Self(self.0.slice(entry.value_range)))
    }

    /// The elements of an array in their order; nothing for any other value.
    pub fn elements(&self) -> impl Iterator<Item = Json> + '_ {
        Elements::new(&self.0).map(|range| Self(self.0.slice(range)))
    }

    /// The same object with members set (in place where they stand, else at the end) and removed. Everything else keeps
    /// its bytes and order. A value that is no object is returned as it is.
    pub fn with(&self, set: &[(&str, &[u8])], remove: &[&str]) -> Json {
        if !self.is_object() {
            return self.clone();
        }
        let extra: usize = set.iter().map(|(key, value)| key.len() + value.len() + 4).sum();
        let mut writer = ObjectWriter::with_capacity(self.len() + extra);
        let mut seen = vec![false; set.len()];
        for entry in self.entries() {
            if remove.iter().any(|key| entry.has_key(key)) {
                continue;
            }
            match set.iter().position(|(key, _)| entry.has_key(key)) {
                Some(index) if seen[index] => {}
                Some(index) => {
                    seen[index] = true;
                    writer.raw_member(entry.raw_key, set[index].1);
                }
                None => writer.raw_member(entry.raw_key, entry.value),
            }
        }
        for (index, (key, value)) in set.iter().enumerate() {
            if !seen[index] {
                writer.member(key, value);
            }
        }
        writer.finish()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_slice(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for Json {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(Bytes::from(String::from(Box::<str>::from(raw)))))
    }
}

/// Where `part` lies inside `whole`. Both come from the same parse, so the pointers are comparable.
fn range_within(whole: &[u8], part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

/// A JSON string literal for the text.
pub fn string_literal(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Writes a JSON object member by member.
#[derive(Debug)]
pub struct ObjectWriter {
    out: BytesMut,
    empty: bool,
}

impl ObjectWriter {
    /// Starts an object; `capacity` in bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        let mut out = BytesMut::with_capacity(capacity + 2);
        out.put_u8(b'{');
        Self { out, empty: true }
    }

    /// Adds a member; `value` is JSON text.
    pub fn member(&mut self, key: &str, value: &[u8]) {
        self.raw_member(string_literal(key).as_bytes(), value);
    }

    /// Adds a member whose key is already a JSON string literal.
    pub fn raw_member(&mut self, raw_key: &[u8], value: &[u8]) {
        if !self.empty {
            self.out.put_u8(b',');
        }
        self.empty = false;
        self.out.put_slice(raw_key);
        self.out.put_u8(b':');
        self.out.put_slice(value);
    }

    /// Ends the object.
    pub fn finish(mut self) -> Json {
        self.out.put_u8(b'}');
        Json(self.out.freeze())
    }
}

/// One member of an object, as it stands in the text.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The key with its quotes and escapes.
    pub raw_key: &'a [u8],
    /// The value's text.
    pub value: &'a [u8],
    /// Where the value lies in the object's text.
    pub value_range: Range<usize>,
}

impl Entry<'_> {
    /// True when the key, unescaped, is `key`.
    pub fn has_key(&self, key: &str) -> bool {
        let inner = &self.raw_key[1..self.raw_key.len() - 1];
        if memchr::memchr(b'\\', inner).is_none() {
            return inner == key.as_bytes();
        }
        // Half of a surrogate pair is JSON but no text: such a key equals nothing, not even the empty text.
        serde_json::from_slice::<String>(self.raw_key).is_ok_and(|name| name == key)
    }

    /// The key, unescaped; empty when it holds half of a surrogate pair.
    pub fn key(&self) -> String {
        serde_json::from_slice(self.raw_key).unwrap_or_default()
    }
}

/// Iterator over the members of an object. The text must be valid JSON; anything else ends the iteration early.
#[derive(Debug)]
pub struct Entries<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Entries<'a> {
    fn new(text: &'a [u8]) -> Self {
        let at = if text.first() == Some(&b'{') { 1 } else { text.len() };
        Self { text, at }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;
    fn next(&mut self) -> Option<Entry<'a>> {
        let key_start = skip_separators(self.text, self.at);
        if self.text.get(key_start) != Some(&b'"') {
            self.at = self.text.len();
            return None;
        }
        let key_end = skip_value(self.text, key_start)?;
        let start = skip_separators(self.text, key_end);
        let end = skip_value(self.text, start).filter(|end| *end > start)?;
        self.at = end;
        Some(Entry { raw_key: &self.text[key_start..key_end], value: &self.text[start..end], value_range: start..end })
    }
}

struct Elements<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Elements<'a> {
    fn new(text: &'a [u8]) -> Self {
        let at = if text.first() == Some(&b'[') { 1 } else { text.len() };
        Self { text, at }
    }
}

impl Iterator for Elements<'_> {
    type Item = Range<usize>;
    fn next(&mut self) -> Option<Range<usize>> {
        let start = skip_separators(self.text, self.at);
        if matches!(self.text.get(start), None | Some(b']')) {
            self.at = self.text.len();
            return None;
        }
        let end = skip_value(self.text, start).filter(|end| *end > start)?;
        self.at = end;
        Some(start..end)
    }
}

/// Skips white space, commas and colons. In valid JSON that is all that stands between two values.
fn skip_separators(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r' | b',' | b':') = text.get(at) {
        at += 1;
    }
    at
}

/// The end of the value that begins at `at`; `None` when the text ends first.
fn skip_value(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at)? {
        b'"' => skip_string(text, at),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0_usize, at);
            loop {
                match text.get(at)? {
                    b'"' => {
                        at = skip_string(text, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth = depth.checked_sub(1)?,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let rest = &text[at..];
            let end = rest.iter().position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'));
            // A value that is empty stands only in text that is not JSON.
            if end == Some(0) { None } else { Some(at + end.unwrap_or(rest.len())) }
        }
    }
}

fn skip_string(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// True when the text nests deeper than `limit`. One pass without recursion, so that nothing after it can overflow.
pub(crate) fn deeper_than(text: &[u8], limit: usize) -> bool {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => match skip_string(text, at) {
                Some(end) => {
                    at = end;
                    continue;
                }
                None => return false,
            },
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    false
}

#[cfg(test)]
mod tests;
