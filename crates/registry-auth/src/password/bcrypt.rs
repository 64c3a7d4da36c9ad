//! bcrypt: `$2y$` (htpasswd -B), `$2b$`, `$2a$`.
//!
//! Invariant: a cost beyond [`MAX_COST`] is refused. Bytes after the 72nd do not count, as with htpasswd and
//! crypt(3).

use super::hash::{Hash, InvalidHash, sound, within};

/// Highest cost: about a second and a half.
pub const MAX_COST: u32 = 15;

/// OWASP's minimum.
const MIN_COST: u32 = 10;

pub(super) struct Bcrypt<'a> {
    stored: &'a str,
    cost: u32,
}

impl<'a> Bcrypt<'a> {
    pub(super) fn read(stored: &'a str) -> Result<Self, InvalidHash> {
        let parts: bcrypt::HashParts = stored.parse().map_err(|_| InvalidHash::Damaged)?;
        let cost = parts.get_cost();
        // The crate takes a sign for a digit.
        let digits = stored.get(4..6).ok_or(InvalidHash::Damaged)?;
        sound(digits.bytes().all(|digit| digit.is_ascii_digit()) && (4..=31).contains(&cost))?;
        within(cost <= MAX_COST)?;
        Ok(Self { stored, cost })
    }
}

impl Hash for Bcrypt<'_> {
    fn verify(&self, password: &[u8], _: &[u8]) -> Result<bool, InvalidHash> {
        bcrypt::verify(password, self.stored).map_err(|_| InvalidHash::Damaged)
    }

    fn weakness(&self) -> Option<&'static str> {
        (self.cost < MIN_COST).then_some("bcrypt of a cost below 10")
    }
}

/// The `$2y$` hash of a new password, for tools that know bcrypt only. Fails for a cost outside 4 to
/// [`MAX_COST`] and for a password over 72 bytes or with a NUL byte: bcrypt would not tell it from a shorter
/// one.
pub fn hash_bcrypt(password: &[u8], cost: u32, salt: &[u8; 16]) -> Result<String, InvalidHash> {
    within(cost <= MAX_COST && password.len() <= 72)?;
    sound(!password.contains(&0))?;
    let parts = bcrypt::hash_with_salt(password, cost, *salt).map_err(|_| InvalidHash::Damaged)?;
    Ok(parts.format_for_version(bcrypt::Version::TwoY))
}
