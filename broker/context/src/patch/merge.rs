//! JSON merge patch (RFC 7396).

use std::collections::HashMap;

use spanwire_mcp::{Json, ObjectWriter};

use super::{name_of, value_of};

/// The target with the patch merged in. What is no object counts as an empty one. Of a member that comes twice in the target the first
/// stays, of one that comes twice in the patch the last counts.
pub(crate) fn merge(target: Option<&Json>, patch: &Json) -> Json {
    if !patch.is_object() {
        return patch.clone();
    }
    let empty = Json::empty_object();
    let target = target.filter(|target| target.is_object()).unwrap_or(&empty);
    let mut members: Vec<Member<'_>> = Vec::new();
    // Only looked up in, never walked: its order is nobody's.
    let mut places: HashMap<String, usize> = HashMap::new();
    for entry in patch.entries() {
        let value = value_of(patch, &entry);
        let place = *places.entry(name_of(&entry)).or_insert_with(|| {
            members.push(Member { raw_key: entry.raw_key, value: Json::default(), is_done: false });
            members.len() - 1
        });
        members[place].value = value;
    }
    let mut out = ObjectWriter::with_capacity(target.len() + patch.len());
    for entry in target.entries() {
        match places.get(&name_of(&entry)) {
            None => out.raw_member(entry.raw_key, entry.value),
            Some(place) => {
                let member = &mut members[*place];
                if !member.is_done && !is_null(&member.value) {
                    let merged = merge(Some(&value_of(target, &entry)), &member.value);
                    out.raw_member(entry.raw_key, merged.as_bytes());
                }
                member.is_done = true;
            }
        }
    }
    for member in members.iter().filter(|member| !member.is_done && !is_null(&member.value)) {
        out.raw_member(member.raw_key, merge(None, &member.value).as_bytes());
    }
    out.finish()
}

struct Member<'a> {
    raw_key: &'a [u8],
    value: Json,
    is_done: bool,
}

fn is_null(value: &Json) -> bool {
    value.as_str() == "null"
}
