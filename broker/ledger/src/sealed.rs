//! Keys and values in one stream of bytes that says whether it is whole.
//!
//! A line that names the form; a header in JSON; every key with its value; an end mark; and the SHA-256 of all before it. Lengths are four
//! bytes, big end first. A reader takes not a byte more, so several may follow each other.

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use spanwire_model::Pair;

/// In the place of a key's length: nothing follows but the digest.
const END: u32 = u32::MAX;

/// Longest header, key and value that are believed, in bytes.
const MAX_HEADER: u32 = 64 * 1024;
const MAX_KEY: u32 = 4 * 1024;
const MAX_VALUE: u32 = 64 * 1024 * 1024;

/// Writes one.
pub(crate) struct Sealing<W> {
    inner: W,
    digest: Sha256,
}

impl<W: Write> Sealing<W> {
    pub(crate) fn begin(inner: W, form: &[u8], header: &impl Serialize) -> io::Result<Self> {
        let mut sealing = Self { inner, digest: Sha256::new() };
        sealing.bytes(form)?;
        sealing.sized(&serde_json::to_vec(header)?)?;
        Ok(sealing)
    }

    pub(crate) fn pair(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.sized(key)?;
        self.sized(value)
    }

    pub(crate) fn seal(mut self) -> io::Result<()> {
        self.bytes(&END.to_be_bytes())?;
        self.inner.write_all(&self.digest.finalize())?;
        self.inner.flush()
    }

    fn sized(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| io::Error::other("a value above 4 GiB"))?;
        self.bytes(&length.to_be_bytes())?;
        self.bytes(bytes)
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.inner.write_all(bytes)
    }
}

/// Reads one. What it gives is good only when [`Opening::pair`] has said that there is no more.
pub(crate) struct Opening<R> {
    inner: R,
    digest: Sha256,
}

impl<R: Read> Opening<R> {
    pub(crate) fn begin<H: DeserializeOwned>(inner: R, form: &[u8]) -> io::Result<(Self, H)> {
        let mut opening = Self { inner, digest: Sha256::new() };
        let mut found = vec![0; form.len()];
        opening.bytes(&mut found)?;
        if found != form {
            let form = String::from_utf8_lossy(form);
            return Err(io::Error::other(format!("it does not begin with \"{}\"", form.trim_end())));
        }
        let length = opening.length()?;
        let header = opening.sized(length, MAX_HEADER, "a header")?;
        let header = serde_json::from_slice(&header)?;
        Ok((opening, header))
    }

    /// The next key with its value; `None` at the end, when all of it was as it was written.
    pub(crate) fn pair(&mut self) -> io::Result<Option<Pair>> {
        let length = self.length()?;
        if length == END {
            let expected = std::mem::take(&mut self.digest).finalize();
            let mut found = [0; 32];
            self.inner.read_exact(&mut found)?;
            return match found == *expected {
                true => Ok(None),
                false => Err(io::Error::other("its digest is not that of its content")),
            };
        }
        let key = self.sized(length, MAX_KEY, "a key")?;
        let length = self.length()?;
        let value = self.sized(length, MAX_VALUE, "a value")?;
        Ok(Some((key, value)))
    }

    fn length(&mut self) -> io::Result<u32> {
        let mut length = [0; 4];
        self.bytes(&mut length)?;
        Ok(u32::from_be_bytes(length))
    }

    fn sized(&mut self, length: u32, limit: u32, what: &str) -> io::Result<Vec<u8>> {
        if length > limit {
            return Err(io::Error::other(format!("{what} of {length} bytes")));
        }
        // What is not there is not made room for.
        let mut bytes = Vec::new();
        self.inner.by_ref().take(u64::from(length)).read_to_end(&mut bytes)?;
        self.digest.update(&bytes);
        match bytes.len() == length as usize {
            true => Ok(bytes),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn bytes(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(bytes)?;
        self.digest.update(&*bytes);
        Ok(())
    }
}
