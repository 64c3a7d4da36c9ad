//! Argon2 as PHC strings: `$argon2id$v=19$m=19456,t=2,p=1$salt$digest`, and `$argon2i$`.
//!
//! What the tool gives to new users. Invariant: parameters beyond the limits are refused before any memory is taken, so
//! that one record cannot occupy the hashing pool.

use super::{outcome, InvalidHash};
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};

/// Most memory in KiB: 1 GiB.
const MAX_MEMORY: u32 = 1 << 20;
/// Most passes.
const MAX_PASSES: u32 = 64;
/// Most lanes.
const MAX_LANES: u32 = 16;
/// Most memory × passes in KiB: a few seconds.
const MAX_WORK: u64 = 4 << 20;

/// A hash with the parameters of [`hash_argon2id`] and of no known password, for [`super::dummy`].
pub const DUMMY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$ZHVtbXktc2FsdC0wMDAwMA$7q0iYvpfWbT9gn4yWlgH0PWUPN2nGxXfQ0dZ1bVg7xE";

/// Verifies a PHC string with its own parameters.
pub(super) fn verify(stored: &str, password: &[u8]) -> Result<bool, InvalidHash> {
    let hash = PasswordHash::new(stored).map_err(|_| InvalidHash)?;
    check_cost(&hash)?;
    outcome(Argon2::default().verify_password(password, &hash))
}

/// The PHC string of a new password, with argon2id and OWASP's parameters (19 MiB, 2 passes, 1 lane). Fails only for a
/// password of over 4 GiB.
pub fn hash_argon2id(password: &[u8], salt: &[u8; 16]) -> Result<String, InvalidHash> {
    let hash = Argon2::default()
        .hash_password_with_salt(password, salt)
        .map_err(|_| InvalidHash)?;
    Ok(hash.to_string())
}

fn check_cost(hash: &PasswordHash) -> Result<(), InvalidHash> {
    let parameter = |name| hash.params.get_decimal(name).ok_or(InvalidHash);
    let (memory, passes, lanes) = (parameter("m")?, parameter("t")?, parameter("p")?);
    let work = u64::from(memory) * u64::from(passes);
    if memory > MAX_MEMORY
        || passes > MAX_PASSES
        || lanes > MAX_LANES
        || work > MAX_WORK
        || hash.hash.is_none()
    {
        return Err(InvalidHash);
    }
    Ok(())
}
