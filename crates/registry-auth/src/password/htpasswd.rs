//! htpasswd's and LDAP's SHA-1 forms: `{SHA}base64(sha1(password))` and `{SSHA}base64(sha1(password ‖ salt) ‖ salt)`.
//!
//! nginx's auth_basic accepts both, so files that it used can be imported. Fast, and so fast to guess.

use super::{same, InvalidHash};
use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use sha1::{Digest, Sha1};

/// Bytes of a SHA-1 digest.
const DIGEST: usize = 20;

/// Verifies `{SHA}`.
pub(super) fn verify_sha(stored: &str, password: &[u8]) -> Result<bool, InvalidHash> {
    let (digest, salt) = decode(stored, "{SHA}")?;
    if !salt.is_empty() {
        return Err(InvalidHash);
    }
    Ok(same(&digest, &Sha1::digest(password)))
}

/// Verifies `{SSHA}`.
pub(super) fn verify_salted_sha(stored: &str, password: &[u8]) -> Result<bool, InvalidHash> {
    let (digest, salt) = decode(stored, "{SSHA}")?;
    Ok(same(
        &digest,
        &Sha1::new().chain_update(password).chain_update(salt).finalize(),
    ))
}

/// Splits the decoded text into digest and salt.
fn decode(stored: &str, prefix: &str) -> Result<([u8; DIGEST], Vec<u8>), InvalidHash> {
    let text = stored.strip_prefix(prefix).ok_or(InvalidHash)?;
    let bytes = STANDARD.decode(text).map_err(|_| InvalidHash)?;
    let (digest, salt) = bytes.split_first_chunk::<DIGEST>().ok_or(InvalidHash)?;
    Ok((*digest, salt.to_vec()))
}
