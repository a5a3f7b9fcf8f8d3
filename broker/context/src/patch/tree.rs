//! A JSON value that is taken apart only where it is touched.

use spanwire_mcp::{Json, string_literal};

use super::{name_of, value_of};

/// A value, or a part of one.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// As it was written.
    Raw(Json),
    /// Taken apart.
    Object(Vec<Member>),
    /// Taken apart.
    Array(Vec<Node>),
}

/// A member of an object.
#[derive(Debug, Clone)]
pub(super) struct Member {
    name: String,
    /// The name as it is written.
    raw_key: Vec<u8>,
    node: Node,
}

impl Node {
    /// Takes an object or an array apart.
    pub(super) fn open(&mut self) -> &mut Self {
        if let Self::Raw(json) = &*self {
            let opened = match json.as_bytes().first() {
                Some(b'{') => Some(Self::Object(
                    json.entries()
                        .map(|entry| Member {
                            name: name_of(&entry),
                            raw_key: entry.raw_key.to_vec(),
                            node: Self::Raw(value_of(json, &entry)),
                        })
                        .collect(),
                )),
                Some(b'[') => Some(Self::Array(json.elements().map(Self::Raw).collect())),
                _ => None,
            };
            if let Some(opened) = opened {
                *self = opened;
            }
        }
        self
    }

    /// The part of this name or number; `None` when there is none.
    pub(super) fn child(&mut self, token: &str) -> Option<&mut Self> {
        match self.open() {
            Self::Object(members) => {
                members.iter_mut().find(|member| member.name == token).map(|member| &mut member.node)
            }
            Self::Array(elements) => elements.get_mut(index_of(token)?),
            Self::Raw(_) => None,
        }
    }

    /// Sets a member, or makes room in an array for one more; false when there is no such place.
    pub(super) fn insert(&mut self, token: &str, node: Self) -> bool {
        match self.open() {
            Self::Object(members) => {
                if let Some(member) = members.iter_mut().find(|member| member.name == token) {
                    member.node = node;
                } else {
                    let raw_key = string_literal(token).into_bytes();
                    members.push(Member { name: token.to_owned(), raw_key, node });
                }
                true
            }
            Self::Array(elements) => {
                let at = if token == "-" { Some(elements.len()) } else { index_of(token) };
                let Some(at) = at.filter(|at| *at <= elements.len()) else { return false };
                elements.insert(at, node);
                true
            }
            Self::Raw(_) => false,
        }
    }

    /// Takes a part out; `None` when there is none. Of a member that comes twice the first is taken, and none stays.
    pub(super) fn remove(&mut self, token: &str) -> Option<Self> {
        match self.open() {
            Self::Object(members) => {
                let at = members.iter().position(|member| member.name == token)?;
                let removed = members.remove(at);
                members.retain(|member| member.name != token);
                Some(removed.node)
            }
            Self::Array(elements) => {
                let at = index_of(token).filter(|at| *at < elements.len())?;
                Some(elements.remove(at))
            }
            Self::Raw(_) => None,
        }
    }

    /// The text.
    pub(super) fn to_json(&self) -> Json {
        if let Self::Raw(json) = self {
            return json.clone();
        }
        let mut out = Vec::new();
        self.write(&mut out);
        Json::from_trusted(out)
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Raw(json) => out.extend_from_slice(json.as_bytes()),
            Self::Object(members) => {
                out.push(b'{');
                for (at, member) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    out.extend_from_slice(&member.raw_key);
                    out.push(b':');
                    member.node.write(out);
                }
                out.push(b'}');
            }
            Self::Array(elements) => {
                out.push(b'[');
                for (at, element) in elements.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    element.write(out);
                }
                out.push(b']');
            }
        }
    }
}

/// An index as JSON pointers write it: digits, without a zero before others (RFC 6901 section 4).
fn index_of(token: &str) -> Option<usize> {
    let is_index = token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    if is_index { token.parse().ok() } else { None }
}
