//! Argon2 as PHC strings: `$argon2id$v=19$m=19456,t=2,p=1$salt$digest`, and `$argon2i$`.
//!
//! What the tool gives to new users. Invariant: parameters beyond the limits are refused before any memory is
//! taken, so that one record cannot occupy the hashing pool. Where `v=` is missing it is version 1.0, as in
//! the reference program.

use super::hash::{Hash, InvalidHash, within};
use super::phc::Phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Most memory in KiB: 256 MiB.
const MAX_MEMORY: u32 = 256 << 10;
/// Most passes.
const MAX_PASSES: u32 = 64;
/// Most lanes.
const MAX_LANES: u32 = 16;
/// Most memory × passes in KiB: a second.
const MAX_WORK: u64 = 1 << 20;

/// OWASP's minimum, memory in KiB and passes: each of them is as good as the others.
const MINIMUM: [(u32, u32); 5] = [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5)];

/// A hash with the parameters of [`hash_argon2id`] and of no known password, for [`super::dummy`].
pub const DUMMY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$ZHVtbXktc2FsdC0wMDAwMA$7q0iYvpfWbT9gn4yWlgH0PWUPN2nGxXfQ0dZ1bVg7xE";

pub(super) struct Stored {
    phc: Phc,
    argon2: Argon2<'static>,
}

impl Stored {
    pub(super) fn read(stored: &str) -> Result<Self, InvalidHash> {
        let phc = Phc::read(stored, &["m", "t", "p"])?;
        let (memory, passes, lanes) = (phc.number("m")?, phc.number("t")?, phc.number("p")?);
        within(memory <= MAX_MEMORY && passes <= MAX_PASSES && lanes <= MAX_LANES)?;
        within(u64::from(memory) * u64::from(passes) <= MAX_WORK)?;
        let algorithm = Algorithm::try_from(phc.name()).map_err(|_| InvalidHash::Damaged)?;
        let version = match phc.version() {
            None => Version::V0x10,
            Some(version) => Version::try_from(version).map_err(|_| InvalidHash::Damaged)?,
        };
        let params = Params::new(memory, passes, lanes, Some(phc.digest().len()));
        let params = params.map_err(|_| InvalidHash::Damaged)?;
        let argon2 = Argon2::new(algorithm, version, params);
        Ok(Self { phc, argon2 })
    }
}

impl Hash for Stored {
    fn verify(&self, password: &[u8], _: &[u8]) -> Result<bool, InvalidHash> {
        self.phc
            .verify(|digest| self.argon2.hash_password_into(password, self.phc.salt(), digest))
    }

    fn weakness(&self) -> Option<&'static str> {
        let params = self.argon2.params();
        let is_enough = |(memory, passes)| params.m_cost() >= memory && params.t_cost() >= passes;
        let is_weak = !MINIMUM.into_iter().any(is_enough);
        is_weak.then_some("argon2 of less than 19 MiB in 2 passes, or its equivalent")
    }
}

/// The PHC string of a new password, with argon2id and OWASP's parameters (19 MiB, 2 passes, 1 lane). Fails
/// only for a password of over 4 GiB.
pub fn hash_argon2id(password: &[u8], salt: &[u8; 16]) -> Result<String, InvalidHash> {
    hash(password, salt)
}

/// As [`hash_argon2id`], in place of a weak hash of the same password. Tokens that were issued while that one
/// was stored stay valid: its mark ([`crate::token::SigningKeys::mark`]) is a part of the salt, and
/// [`crate::codec::AccountState`] finds it there.
///
/// # Errors
/// As [`hash_argon2id`].
pub fn rehash_argon2id(password: &[u8], salt: [u8; 8], mark: [u8; 16]) -> Result<String, InvalidHash> {
    let mut all = [0; 32];
    let (text, rest) = all.split_at_mut(RENEWED.len());
    let (random, tail) = rest.split_at_mut(salt.len());
    text.copy_from_slice(RENEWED);
    random.copy_from_slice(&salt);
    tail.copy_from_slice(&mark);
    hash(password, &all)
}

/// The mark that [`rehash_argon2id`] has left in a stored hash.
pub(crate) fn mark(stored: &[u8]) -> Option<[u8; 16]> {
    let phc = stored.strip_prefix(b"$argon2id$")?;
    let salt = phc.split(|byte| *byte == b'$').nth(2)?;
    let mut all = [0; 32];
    let length = STANDARD_NO_PAD.decode_slice(salt, &mut all).ok()?;
    let tail = all.get(..length)?.strip_prefix(RENEWED)?.get(8..)?;
    tail.try_into().ok()
}

/// How the salt of a hash begins that has taken the place of a weak one. No other salt begins like this: it
/// might be the same for one password after the other, and tell nothing of the password.
const RENEWED: &[u8] = b"renewed\0";

fn hash(password: &[u8], salt: &[u8]) -> Result<String, InvalidHash> {
    let hash = Argon2::default()
        .hash_password_with_salt(password, salt)
        .map_err(|_| InvalidHash::TooCostly)?;
    Ok(hash.to_string())
}
