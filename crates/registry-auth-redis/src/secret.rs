//! A password in memory: wiped when dropped, printed by nothing.
//!
//! Built by the nginx module from the Authorization header, by the tool from a prompt, and by
//! [`crate::Endpoint`].

use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Bytes that are wiped when the last owner drops them. There is no `Display`; `Debug` shows no content and
/// no length.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// Copies `bytes` once, into an allocation of exactly their size.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(Box::from(bytes)))
    }

    /// The bytes, for a comparison or a hash; never for a log.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are the same, in a time that tells only whether their lengths are.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl From<Vec<u8>> for Secret {
    /// Takes the bytes over. The vector is copied and wiped: its spare capacity may hold secret bytes too.
    fn from(mut bytes: Vec<u8>) -> Self {
        let secret = Self::new(&bytes);
        bytes.zeroize();
        secret
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_shows_nothing() {
        let secret = Secret::from(String::from("hunter2"));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(secret.expose(), b"hunter2");
    }

    #[test]
    fn the_same_is_all_bytes() {
        let is_same = |a: &[u8], b: &[u8]| Secret::new(a).is_same(&Secret::new(b));
        assert!(is_same(b"secret", b"secret") && is_same(b"", b""));
        assert!(!is_same(b"secret", b"secres") && !is_same(b"secret", b"secret2") && !is_same(b"", b"x"));
    }
}
