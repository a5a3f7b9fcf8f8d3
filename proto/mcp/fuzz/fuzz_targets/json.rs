//! [`Json`] cuts and splices text without decoding it. On valid text it must agree with serde_json, on any other it must
//! end and not panic.
#![no_main]

use std::fmt;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use spanwire_mcp::Json;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    ends(&Json::from_trusted(bytes.clone()));
    if let Ok(json) = Json::parse(bytes) {
        agrees(&json);
    }
});

/// Each item takes at least one byte of the text, so more items than bytes means that the iteration stands still.
fn ends(json: &Json) {
    let bound = json.len();
    assert!(json.entries().take(bound + 1).count() <= bound, "entries do not end");
    assert!(json.elements().take(bound + 1).count() <= bound, "elements do not end");
    for entry in json.entries() {
        assert_eq!(&json.as_bytes()[entry.value_range.clone()], entry.value);
        let _ = (entry.key(), entry.has_key("_meta"));
    }
    let _ = json.get("_meta");
    let _ = json.with(&[("_meta", b"{}")], &["id"]);
    let _ = json.as_str();
}

fn agrees(json: &Json) {
    let text = json.as_str();
    if json.is_object() {
        match serde_json::from_str::<Members>(text) {
            Ok(members) => {
                members_agree(json, &members.0);
                splices(json, &members.0);
            }
            // A key may hold half of a surrogate pair, which is JSON but no text; it is carried and has no name.
            Err(_) => assert!(json.entries().all(|entry| !entry.has_key("") || entry.raw_key == b"\"\"")),
        }
    } else {
        assert_eq!(json.entries().count(), 0);
        assert_eq!(json.get("a"), None);
        assert_eq!(&json.with(&[("a", b"1")], &[]), json);
    }
    if text.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text).expect("Json::parse took it");
        let cut: Vec<Json> = json.elements().collect();
        assert_eq!(
            cut.iter().map(Json::as_str).collect::<Vec<_>>(),
            items.iter().map(|raw| raw.get()).collect::<Vec<_>>()
        );
    } else {
        assert_eq!(json.elements().count(), 0);
    }
}

fn members_agree(json: &Json, members: &[(String, Box<RawValue>)]) {
    let cut: Vec<(String, &[u8])> = json.entries().map(|entry| (entry.key(), entry.value)).collect();
    let expected: Vec<(String, &[u8])> = members.iter().map(|(key, raw)| (key.clone(), raw.get().as_bytes())).collect();
    assert_eq!(cut, expected);
    for (key, _) in members {
        let first = members.iter().find(|(other, _)| other == key).map(|(_, raw)| raw.get());
        assert_eq!(json.get(key).as_ref().map(Json::as_str), first);
        assert!(json.entries().any(|entry| entry.has_key(key)));
    }
}

/// `with` sets and removes exactly what it is told, once, and keeps the rest in order.
fn splices(json: &Json, members: &[(String, Box<RawValue>)]) {
    let first = members.first().map_or("absent", |(key, _)| key.as_str());
    let last = members.last().map_or("absent", |(key, _)| key.as_str());
    let added = "added \"\u{7}é";
    let spliced = json.with(&[(added, b"[1]"), (first, b"{\"x\":null}")], &[last]);
    let after: Members = serde_json::from_str(spliced.as_str()).expect("with() wrote JSON");
    let find = |name: &str| after.0.iter().filter(|(key, _)| key == name).map(|(_, raw)| raw.get()).collect::<Vec<_>>();
    assert_eq!(find(first), ["{\"x\":null}"]);
    assert!(first == added || find(added) == ["[1]"]);
    assert!(last == first || last == added || find(last).is_empty());
    let kept = |list: &[(String, Box<RawValue>)]| {
        let others = list.iter().filter(|(key, _)| ![first, last, added].contains(&key.as_str()));
        others.map(|(key, raw)| (key.clone(), raw.get().to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(kept(&after.0), kept(members));
}

/// The members of an object with their order and doubles.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
