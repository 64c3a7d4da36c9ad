//! The 2014 gate's form: 40 hex digits, SHA1(salt ‖ password), the salt being the same for everybody.
//!
//! Fast to compute and so fast to guess: kept for that gate's data, which works unchanged. The tool makes no
//! such hash.

use super::hash::{Hash, InvalidHash, same};
use sha1::{Digest as _, Sha1};

/// Whether the text is 40 hex digits, in either case.
pub(super) fn is_legacy(stored: &str) -> bool {
    stored.len() == 40 && stored.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) struct Digest([u8; 20]);

impl Digest {
    pub(super) fn read(stored: &str) -> Result<Self, InvalidHash> {
        decode(stored).map(Self).ok_or(InvalidHash::Damaged)
    }
}

impl Hash for Digest {
    /// In one pass over salt and password.
    fn verify(&self, password: &[u8], salt: &[u8]) -> Result<bool, InvalidHash> {
        let actual = Sha1::new().chain_update(salt).chain_update(password).finalize();
        Ok(same(&self.0, &actual))
    }

    fn weakness(&self) -> Option<&'static str> {
        Some("SHA-1 of the 2014 gate")
    }
}

fn decode(hex: &str) -> Option<[u8; 20]> {
    let mut digest = [0; 20];
    let mut digits = hex.chars();
    for byte in &mut digest {
        let value = digits.next()?.to_digit(16)? << 4 | digits.next()?.to_digit(16)?;
        *byte = u8::try_from(value).ok()?;
    }
    digits.next().is_none().then_some(digest)
}
