//! Who may use the control API.

use std::{fmt, net::SocketAddr};

use sha2::{Digest, Sha256};
use spanwire_model::{Error, ErrorKind, Result};

/// The secret that an operator shows. Only its digest is kept.
#[derive(Clone)]
pub struct ControlToken([u8; 32]);

/// A control token without a character in it, which would let everybody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the control token is empty")]
pub struct EmptyToken;

impl ControlToken {
    /// A token; white space around it is not part of it.
    pub fn new(secret: &str) -> Result<Self, EmptyToken> {
        match secret.trim() {
            "" => Err(EmptyToken),
            secret => Ok(Self(Sha256::digest(secret).into())),
        }
    }

    /// Compares digests over their whole length, so that the time taken says nothing of the token.
    fn matches(&self, shown: &[u8]) -> bool {
        let shown: [u8; 32] = Sha256::digest(shown).into();
        self.0.iter().zip(shown).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
    }
}

impl fmt::Debug for ControlToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlToken")
    }
}

/// The rule of one listener.
#[derive(Debug, Clone)]
pub enum Access {
    /// Whoever shows the token, from anywhere.
    Token(ControlToken),
    /// Whoever is on this machine.
    Loopback,
}

impl Access {
    /// Decides on one request, by its peer and the value of its `authorization`.
    ///
    /// Errors: `Unauthenticated` without the token, `Denied` from another machine.
    pub fn check(&self, peer: Option<SocketAddr>, authorization: Option<&[u8]>) -> Result<()> {
        match self {
            Self::Token(token) => match authorization.and_then(bearer) {
                Some(shown) if token.matches(shown) => Ok(()),
                Some(_) => Err(Error::new(ErrorKind::Unauthenticated, "the control token is not the right one")),
                None => Err(Error::new(
                    ErrorKind::Unauthenticated,
                    "this node wants its control token: send \"authorization: Bearer <token>\"",
                )),
            },
            Self::Loopback => match peer {
                Some(peer) if peer.ip().to_canonical().is_loopback() => Ok(()),
                Some(_) | None => Err(Error::new(
                    ErrorKind::Denied,
                    "this node has no control token and accepts only peers on a loopback address",
                )),
            },
        }
    }
}

/// The token of a bearer header (RFC 6750, section 2.1; the scheme's case does not matter).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn who_gets_in() {
        let check = |access: &Access, peer: Option<&str>, shown: Option<&str>, expected: Option<ErrorKind>| {
            let peer = peer.map(|peer| peer.parse().unwrap());
            let got = access.check(peer, shown.map(str::as_bytes)).err().map(|error| error.kind);
            assert_eq!(got, expected, "{access:?} {peer:?} {shown:?}");
        };
        let token = Access::Token(ControlToken::new(" s3cret\n").unwrap());
        let (far, near) = (Some("192.0.2.7:9"), Some("127.0.0.1:9"));
        check(&token, far, Some("Bearer s3cret"), None);
        check(&token, far, Some("bearer  s3cret "), None);
        for wrong in [None, Some(""), Some("s3cret"), Some("Bearer "), Some("Bearer s3cre"), Some("Basic s3cret")] {
            check(&token, near, wrong, Some(ErrorKind::Unauthenticated));
        }
        for peer in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            check(&Access::Loopback, Some(peer), None, None);
        }
        for peer in [None, far, Some("10.0.0.1:1"), Some("[2001:db8::1]:1"), Some("[::ffff:10.0.0.1]:1")] {
            check(&Access::Loopback, peer, Some("Bearer s3cret"), Some(ErrorKind::Denied));
        }
    }

    #[test]
    fn a_token_is_never_empty_and_never_printed() {
        assert_eq!(ControlToken::new(" \n").err(), Some(EmptyToken));
        assert_eq!(format!("{:?}", ControlToken::new("s3cret").unwrap()), "ControlToken");
    }
}
