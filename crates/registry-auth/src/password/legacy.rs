//! The 2014 gate's form: 40 hex digits, SHA1(salt ‖ password), the salt being the same for everybody.
//!
//! Fast to compute and so fast to guess: kept for that gate's data, which works unchanged. The tool makes no such hash.

use super::{same, InvalidHash};
use sha1::{Digest, Sha1};

/// Whether the text is 40 hex digits, in either case.
pub(super) fn is_legacy(stored: &str) -> bool {
    stored.len() == 40 && stored.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Verifies in one pass over salt and password.
pub(super) fn verify(stored: &str, password: &[u8], salt: &[u8]) -> Result<bool, InvalidHash> {
    let expected = decode(stored).ok_or(InvalidHash)?;
    let actual = Sha1::new().chain_update(salt).chain_update(password).finalize();
    Ok(same(&expected, &actual))
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
