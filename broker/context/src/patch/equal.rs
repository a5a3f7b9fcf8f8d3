//! Equality of JSON values, as the `test` of a JSON patch has it (RFC 6902 section 4.6).

use std::collections::HashMap;

use spanwire_mcp::Json;

use super::{name_of, value_of};

/// True when both say the same: numbers by their value and not by their spelling, objects in any order.
pub(super) fn equal(one: &Json, other: &Json) -> bool {
    let kind = |json: &Json| json.as_bytes().first().copied().unwrap_or_default();
    match (kind(one), kind(other)) {
        (b'{', b'{') => {
            let (one, other) = (members(one), members(other));
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| equal(value, other)))
        }
        (b'[', b'[') => {
            let (mut one, mut other) = (one.elements(), other.elements());
            loop {
                match (one.next(), other.next()) {
                    (None, None) => return true,
                    (Some(one), Some(other)) if equal(&one, &other) => {}
                    (Some(_) | None, _) => return false,
                }
            }
        }
        (b'"', b'"') => match (one.read::<String>(), other.read::<String>()) {
            (Ok(one), Ok(other)) => one == other,
            _ => one == other,
        },
        (b'-' | b'0'..=b'9', b'-' | b'0'..=b'9') => {
            one == other || Decimal::of(one.as_str()).is_some_and(|number| Decimal::of(other.as_str()) == Some(number))
        }
        _ => one == other,
    }
}

fn members(object: &Json) -> HashMap<String, Json> {
    object.entries().map(|entry| (name_of(&entry), value_of(object, &entry))).collect()
}

/// Larger exponents are compared as they are written.
const MAX_EXPONENT: u64 = 1 << 60;

/// A number as digits without zeros at either end, times a power of ten.
#[derive(PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// `None` for an exponent that no number needs.
    fn of(text: &str) -> Option<Self> {
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i64 = exponent.parse().ok().filter(|exponent: &i64| exponent.unsigned_abs() < MAX_EXPONENT)?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0').trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self { is_negative: false, digits: String::new(), exponent: 0 });
        }
        let zeros = all.len() - all.trim_end_matches('0').len();
        let exponent = exponent + i64::try_from(zeros).ok()? - i64::try_from(fraction.len()).ok()?;
        Some(Self { is_negative, digits: digits.to_owned(), exponent })
    }
}
