//! PHC strings: `$name[$v=19]$a=1,b=2$salt$digest`, the form of argon2, scrypt and pbkdf2 hashes.
//!
//! Used by the files of these forms. Guarantee: each parameter is one that the form has, and is there once.
//! The crate that splits the string accepts `m=8,m=4294967295`; who looks for `m` finds the first value, but
//! the hashing crates would take the last.

use super::hash::{InvalidHash, same, sound};
use argon2::password_hash::phc::{Output, PasswordHash, Salt};

/// A PHC string with all its fields.
pub(super) struct Phc {
    hash: PasswordHash,
    salt: Salt,
    digest: Output,
}

impl Phc {
    /// Splits the string. Salts of 8 to 48 bytes and digests of 10 to 64 are legal.
    pub(super) fn read(stored: &str, names: &[&str]) -> Result<Self, InvalidHash> {
        let hash = PasswordHash::new(stored).map_err(|_| InvalidHash::Damaged)?;
        let (salt, digest) = hash.salt.zip(hash.hash).ok_or(InvalidHash::Damaged)?;
        for (index, (name, _)) in hash.params.iter().enumerate() {
            let is_again = hash.params.iter().take(index).any(|(earlier, _)| earlier == name);
            sound(names.contains(&name.as_str()) && !is_again)?;
        }
        Ok(Self { hash, salt, digest })
    }

    pub(super) fn name(&self) -> &str {
        self.hash.algorithm.as_str()
    }

    pub(super) fn version(&self) -> Option<u32> {
        self.hash.version
    }

    /// The value of a parameter that must be there, in decimal digits.
    pub(super) fn number(&self, name: &str) -> Result<u32, InvalidHash> {
        self.hash.params.get_decimal(name).ok_or(InvalidHash::Damaged)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.hash.params.get(name).is_some()
    }

    pub(super) fn salt(&self) -> &[u8] {
        self.salt.as_ref()
    }

    pub(super) fn digest(&self) -> &[u8] {
        self.digest.as_ref()
    }

    /// Computes a digest of the stored one's length, and compares them.
    pub(super) fn verify<E>(
        &self,
        compute: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<bool, InvalidHash> {
        let mut buffer = [0; Output::MAX_LENGTH];
        let computed = buffer
            .get_mut(..self.digest().len())
            .ok_or(InvalidHash::Damaged)?;
        compute(computed).map_err(|_| InvalidHash::Damaged)?;
        Ok(same(computed, self.digest()))
    }
}
