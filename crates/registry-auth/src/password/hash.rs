//! What the forms of a stored hash have in common: how one is verified against, and why one is refused.
//!
//! Used by `password` and by the file of each form. Guarantee: two digests are compared in a time that does
//! not depend on where they differ.

use subtle::ConstantTimeEq;

/// Why no password can be verified against a stored hash. No message quotes the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.why())]
pub enum InvalidHash {
    /// It has an unknown form.
    Unknown,
    /// It begins as one of the forms does, but is not of that form.
    Damaged,
    /// Its cost parameters, or its lengths, are beyond the limits.
    TooCostly,
}

impl InvalidHash {
    /// The reason in words.
    pub fn why(self) -> &'static str {
        match self {
            Self::Unknown => "the password hash is of an unknown form",
            Self::Damaged => "the password hash is damaged",
            Self::TooCostly => "the password hash is too costly: its parameters are beyond the limits",
        }
    }
}

/// Longest password in bytes that crypt(3) takes (libxcrypt's CRYPT_MAX_PASSPHRASE_SIZE). A longer one is
/// wrong.
pub(super) const MAX_CRYPT_PASSWORD: usize = 512;

/// A stored hash that was read and is within the limits.
pub(super) trait Hash {
    /// Whether the password is the one whose hash was stored. The salt is `registry_auth_salt`.
    fn verify(&self, password: &[u8], salt: &[u8]) -> Result<bool, InvalidHash>;

    /// Why the password could be guessed fast if the hash leaked.
    fn weakness(&self) -> Option<&'static str>;
}

/// Compares two digests in constant time.
pub(super) fn same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// An error where a cost or a length is beyond a limit.
pub(super) fn within(is_within: bool) -> Result<(), InvalidHash> {
    match is_within {
        true => Ok(()),
        false => Err(InvalidHash::TooCostly),
    }
}

/// An error where a hash is not of its form.
pub(super) fn sound(is_sound: bool) -> Result<(), InvalidHash> {
    match is_sound {
        true => Ok(()),
        false => Err(InvalidHash::Damaged),
    }
}
