//! crypt(3)'s SHA-2 forms: `$5$salt$digest`, `$6$rounds=5000$salt$digest` (htpasswd -2 and -5, mkpasswd, /etc/shadow).
//!
//! Invariant: more rounds than the limit, and longer passwords than crypt(3) takes, are refused: the time grows with both.

use super::{outcome, InvalidHash, MAX_CRYPT_PASSWORD};
use argon2::password_hash::PasswordVerifier;
use sha_crypt::ShaCrypt;

/// Most rounds: about two seconds. (The default is 5,000.)
const MAX_ROUNDS: u32 = 1_000_000;

/// Verifies with the rounds and salt of the hash.
pub(super) fn verify(stored: &str, password: &[u8]) -> Result<bool, InvalidHash> {
    if let Some(rounds) = stored
        .split('$')
        .nth(2)
        .and_then(|field| field.strip_prefix("rounds="))
    {
        if rounds.parse().map_or(true, |rounds: u32| rounds > MAX_ROUNDS) {
            return Err(InvalidHash);
        }
    }
    if password.len() > MAX_CRYPT_PASSWORD {
        return Ok(false);
    }
    outcome(ShaCrypt::default().verify_password(password, stored))
}
