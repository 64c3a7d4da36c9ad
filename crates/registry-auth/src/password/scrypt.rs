//! scrypt as PHC strings: `$scrypt$ln=15,r=8,p=1$salt$digest`. (mkpasswd's `$7$` is another form, not read.)
//!
//! Invariant: parameters beyond the limits are refused before any memory is taken.

use super::{outcome, InvalidHash};
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::PasswordVerifier;
use scrypt::Scrypt;

/// Most memory in bytes: 1 GiB.
const MAX_MEMORY: u64 = 1 << 30;
/// Most memory × lanes in bytes: a few seconds.
const MAX_WORK: u64 = 4 << 30;

/// Verifies a PHC string with its own parameters.
pub(super) fn verify(stored: &str, password: &[u8]) -> Result<bool, InvalidHash> {
    let hash = PasswordHash::new(stored).map_err(|_| InvalidHash)?;
    let parameter = |name| hash.params.get_decimal(name).ok_or(InvalidHash);
    let (log_n, block, lanes) = (parameter("ln")?, parameter("r")?, parameter("p")?);
    // `ln` is below 64 where the shift succeeds; too large a product saturates and is refused.
    let cost = 1_u64.checked_shl(log_n).ok_or(InvalidHash)?;
    let memory = cost.saturating_mul(u64::from(block)).saturating_mul(128);
    let work = memory.saturating_mul(u64::from(lanes));
    if log_n >= 32 || memory > MAX_MEMORY || work > MAX_WORK || hash.hash.is_none() {
        return Err(InvalidHash);
    }
    outcome(Scrypt::default().verify_password(password, &hash))
}
