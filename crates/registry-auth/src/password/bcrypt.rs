//! bcrypt: `$2y$` (htpasswd -B), `$2b$`, `$2a$`.
//!
//! Invariant: a cost beyond [`MAX_COST`] is refused. Bytes after the 72nd do not count, as with htpasswd and crypt(3).

use super::InvalidHash;

/// Highest cost: about 5 seconds.
pub const MAX_COST: u32 = 16;

/// Verifies with the cost and salt of the hash.
pub(super) fn verify(stored: &str, password: &[u8]) -> Result<bool, InvalidHash> {
    let parts: bcrypt::HashParts = stored.parse().map_err(|_| InvalidHash)?;
    if parts.get_cost() > MAX_COST {
        return Err(InvalidHash);
    }
    bcrypt::verify(password, stored).map_err(|_| InvalidHash)
}

/// The `$2y$` hash of a new password, for tools that know bcrypt only. Fails for a cost outside 4 to [`MAX_COST`] and
/// for a password over 72 bytes or with a NUL byte: bcrypt would not tell it from a shorter one.
pub fn hash_bcrypt(password: &[u8], cost: u32, salt: &[u8; 16]) -> Result<String, InvalidHash> {
    if cost > MAX_COST || password.len() > 72 || password.contains(&0) {
        return Err(InvalidHash);
    }
    let parts = bcrypt::hash_with_salt(password, cost, *salt).map_err(|_| InvalidHash)?;
    Ok(parts.format_for_version(bcrypt::Version::TwoY))
}
