//! htpasswd's and LDAP's SHA-1 forms: `{SHA}base64(sha1(password))` and `{SSHA}base64(sha1(password ‖ salt) ‖
//! salt)`.
//!
//! nginx's auth_basic accepts both, so files that it used can be imported. Fast, and so fast to guess.

use super::hash::{Hash, InvalidHash, same, sound, within};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// Bytes of a SHA-1 digest.
const DIGEST: usize = 20;
/// Longest salt in bytes; programs that write this form take 4 to 16.
const MAX_SALT: usize = 64;

pub(super) struct Sha([u8; DIGEST]);

impl Sha {
    pub(super) fn read(stored: &str) -> Result<Self, InvalidHash> {
        let (digest, salt) = decode(stored, "{SHA}")?;
        sound(salt.is_empty())?;
        Ok(Self(digest))
    }
}

impl Hash for Sha {
    fn verify(&self, password: &[u8], _: &[u8]) -> Result<bool, InvalidHash> {
        Ok(same(&self.0, &Sha1::digest(password)))
    }

    fn weakness(&self) -> Option<&'static str> {
        Some("SHA-1 without salt")
    }
}

pub(super) struct SaltedSha {
    digest: [u8; DIGEST],
    salt: Vec<u8>,
}

impl SaltedSha {
    pub(super) fn read(stored: &str) -> Result<Self, InvalidHash> {
        let (digest, salt) = decode(stored, "{SSHA}")?;
        within(salt.len() <= MAX_SALT)?;
        Ok(Self { digest, salt })
    }
}

impl Hash for SaltedSha {
    fn verify(&self, password: &[u8], _: &[u8]) -> Result<bool, InvalidHash> {
        let salted = Sha1::new().chain_update(password).chain_update(&self.salt);
        Ok(same(&self.digest, &salted.finalize()))
    }

    fn weakness(&self) -> Option<&'static str> {
        Some("one round of SHA-1")
    }
}

/// Splits the decoded text into digest and salt.
fn decode(stored: &str, prefix: &str) -> Result<([u8; DIGEST], Vec<u8>), InvalidHash> {
    let text = stored.strip_prefix(prefix).ok_or(InvalidHash::Damaged)?;
    let bytes = STANDARD.decode(text).map_err(|_| InvalidHash::Damaged)?;
    let (digest, salt) = bytes.split_first_chunk::<DIGEST>().ok_or(InvalidHash::Damaged)?;
    Ok((*digest, salt.to_vec()))
}
