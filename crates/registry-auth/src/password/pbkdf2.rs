//! PBKDF2 as PHC strings: `$pbkdf2-sha256$i=600000,l=32$salt$digest`.
//!
//! Invariant: more rounds than the limit are refused before the first one.

use super::{outcome, InvalidHash};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::PasswordVerifier;
use pbkdf2::Pbkdf2;

/// Most rounds: a few seconds. (OWASP asks for 600,000.)
const MAX_ROUNDS: u32 = 5_000_000;

/// Verifies a PHC string with its own parameters.
pub(super) fn verify(stored: &str, password: &[u8]) -> Result<bool, InvalidHash> {
    let hash = PasswordHash::new(stored).map_err(|_| InvalidHash)?;
    let rounds = hash.params.get_decimal("i").ok_or(InvalidHash)?;
    if rounds > MAX_ROUNDS || hash.hash.is_none() {
        return Err(InvalidHash);
    }
    outcome(Pbkdf2::default().verify_password(password, &hash))
}
