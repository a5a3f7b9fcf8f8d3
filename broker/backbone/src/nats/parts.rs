//! Payloads that are too large for one message: cut into parts, put together again and checked.

use std::{fmt, str::FromStr};

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

/// Size and SHA-256 of a payload that goes in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) size: usize,
    pub(super) digest: [u8; 32],
}

impl Whole {
    pub(super) fn of(payload: &[u8]) -> Self {
        Self { size: payload.len(), digest: Sha256::digest(payload).into() }
    }
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.size)?;
        self.digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Whole {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (size, hex) = text.split_once(' ').ok_or(())?;
        if hex.len() != 64 || !hex.is_ascii() {
            return Err(());
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| ())?;
        }
        Ok(Self { size: size.parse().map_err(|_| ())?, digest })
    }
}

/// Cuts a payload into parts. The digest is computed on the way, so that no moment is long.
#[derive(Debug)]
pub(super) struct Splitter {
    rest: Bytes,
    size: usize,
    hasher: Option<Sha256>,
}

/// A part of a payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    More(Bytes),
    /// The last part, with the whole's digest unless it is the only one.
    Last(Bytes, Option<Whole>),
}

impl Splitter {
    pub(super) fn new(payload: Bytes) -> Self {
        Self { size: payload.len(), rest: payload, hasher: None }
    }

    /// The size of the next part.
    pub(super) fn next_len(&self, max: usize) -> usize {
        self.rest.len().min(max)
    }

    /// The next part, of at most `max` bytes. There is none after [`Part::Last`].
    pub(super) fn next(&mut self, max: usize) -> Part {
        let part = self.rest.split_to(self.next_len(max.max(1)));
        if self.rest.is_empty() && self.hasher.is_none() {
            return Part::Last(part, None);
        }
        let mut hasher = self.hasher.take().unwrap_or_default();
        hasher.update(&part);
        if self.rest.is_empty() {
            return Part::Last(part, Some(Whole { size: self.size, digest: hasher.finalize().into() }));
        }
        self.hasher = Some(hasher);
        Part::More(part)
    }
}

/// Why parts do not make a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("its size is not what was announced")]
    Size,
    #[error("its digest is wrong")]
    Digest,
    #[error("its parts were not announced")]
    Unannounced,
    #[error("it is above the limit of size")]
    TooLarge,
}

/// Puts parts together.
#[derive(Debug)]
pub(super) struct Assembly {
    limit: usize,
    buffer: BytesMut,
    hasher: Sha256,
}

impl Assembly {
    /// For payloads of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, buffer: BytesMut::new(), hasher: Sha256::new() }
    }

    /// Takes a part that is not the last one.
    pub(super) fn push(&mut self, part: &[u8]) -> Result<(), Broken> {
        if self.buffer.len() + part.len() > self.limit {
            return Err(Broken::TooLarge);
        }
        self.hasher.update(part);
        self.buffer.extend_from_slice(part);
        Ok(())
    }

    /// Takes the last part, and starts anew.
    pub(super) fn finish(&mut self, last: Bytes, whole: Option<&Whole>) -> Result<Bytes, Broken> {
        let Some(whole) = whole else {
            return match (self.buffer.is_empty(), last.len() <= self.limit) {
                (true, true) => Ok(last),
                (true, false) => Err(Broken::TooLarge),
                (false, _) => Err(Broken::Unannounced),
            };
        };
        self.push(&last)?;
        let payload = std::mem::take(&mut self.buffer).freeze();
        let digest: [u8; 32] = self.hasher.finalize_reset().into();
        if payload.len() != whole.size {
            return Err(Broken::Size);
        }
        if digest != whole.digest {
            return Err(Broken::Digest);
        }
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn cut(payload: &'static [u8], max: usize) -> (Vec<Bytes>, Bytes, Option<Whole>) {
        let mut splitter = Splitter::new(Bytes::from_static(payload));
        let mut parts = Vec::new();
        loop {
            let len = splitter.next_len(max);
            match splitter.next(max) {
                Part::More(part) => {
                    assert_eq!(part.len(), len);
                    parts.push(part);
                }
                Part::Last(part, whole) => return (parts, part, whole),
            }
        }
    }

    #[test]
    fn cut_and_put_together() {
        let mut assembly = Assembly::new(10);
        for (payload, max, parts_before) in
            [("", 3, 0), ("abc", 3, 0), ("abcd", 3, 1), ("abcdefghij", 3, 3), ("abcdef", 3, 1), ("ab", 0, 1)]
        {
            let (parts, last, whole) = cut(payload.as_bytes(), max.max(1));
            assert_eq!(parts.len(), parts_before, "{payload}");
            assert_eq!(whole.is_some(), parts_before > 0, "{payload}");
            assert!(whole.iter().all(|whole| *whole == Whole::of(payload.as_bytes())));
            parts.iter().for_each(|part| assembly.push(part).unwrap());
            assert_eq!(assembly.finish(last, whole.as_ref()).unwrap(), payload);
        }
    }

    #[test]
    fn what_does_not_make_a_whole() {
        let check = |parts: &[&str], last: &str, whole: Option<&Whole>, expected: Broken| {
            let mut assembly = Assembly::new(8);
            let pushed = parts.iter().try_for_each(|part| assembly.push(part.as_bytes()));
            let result = pushed.and_then(|()| assembly.finish(last.to_owned().into(), whole));
            assert_eq!(result, Err(expected));
        };
        let whole = Whole::of(b"abcdef");
        check(&["abc"], "dex", Some(&whole), Broken::Digest);
        check(&["abc"], "de", Some(&whole), Broken::Size);
        check(&["abc"], "def", None, Broken::Unannounced);
        check(&["abc", "defghi"], "", None, Broken::TooLarge);
        check(&["abc"], "defghi", Some(&whole), Broken::TooLarge);
        check(&[], "abcdefghi", None, Broken::TooLarge);
    }

    #[test]
    fn wholes_as_text() {
        let whole = Whole::of(b"x");
        assert_eq!(whole.to_string().parse(), Ok(whole));
        for bad in ["", "1", "1 ab", "x aa", &*format!("1 {}", "z".repeat(64)), &*format!("1 {}", "é".repeat(32))] {
            assert_eq!(bad.parse::<Whole>(), Err(()), "{bad}");
        }
    }
}
