//! Ids as hex text in JSON.

use serde::{Deserialize, Deserializer, Serializer, de};

fn read<'de, D: Deserializer<'de>>(deserializer: D, digits: usize) -> Result<u128, D::Error> {
    parse(&String::deserialize(deserializer)?, digits)
}

fn parse<E: de::Error>(text: &str, digits: usize) -> Result<u128, E> {
    let hex = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then(|| u128::from_str_radix(text, 16).ok())
        .flatten()
        .ok_or_else(|| E::custom(format_args!("an id is not {digits} hex digits")))
}

pub(crate) mod trace_id {
    use super::{Deserializer, Serializer, read};

    pub(crate) fn serialize<S: Serializer>(id: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{id:032x}"))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        read(deserializer, 32)
    }
}

pub(super) mod span_id {
    use super::{Deserializer, Serializer, read};

    pub(crate) fn serialize<S: Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{id:016x}"))
    }

    #[allow(clippy::cast_possible_truncation, reason = "16 hex digits fit")]
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        read(deserializer, 16).map(|id| id as u64)
    }
}

pub(super) mod optional_span_id {
    use super::{Deserialize, Deserializer, Serializer, parse, span_id};

    pub(crate) fn serialize<S: Serializer>(id: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => span_id::serialize(id, serializer),
            None => serializer.serialize_none(),
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "16 hex digits fit")]
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        Option::<String>::deserialize(deserializer)?.map(|text| parse(&text, 16).map(|id| id as u64)).transpose()
    }
}
