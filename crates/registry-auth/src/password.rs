//! Stored password hashes: telling their forms apart, and verifying a password against one.
//!
//! Called by the store on its helper thread (on the hashing pool for slow forms) and by the tool. Guarantees:
//! a hash is read whole, and its costs and lengths are compared with the limits, before anything is computed;
//! what is computed is what was read; a hash that is unknown, damaged or too costly is an error, and no
//! password is right for it; nor is one for a locked account; two digests are compared in a time that does
//! not depend on where they differ.
//!
//! A new form needs a file here, a line in `PREFIXES`, an arm in `read`, and test vectors.
//!
//! The limits: a hash takes about two seconds of one core and 256 MiB at most, so that a record can neither
//! occupy a thread of the pool for long nor have the worker killed for its memory. A hash is weak if its cost
//! is below the minimum of the OWASP Password Storage Cheat Sheet
//! (<https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>, 2025); a SHA-crypt
//! hash, which that does not name, if its cost is below the default of crypt(3).

mod apr1;
mod argon2;
mod bcrypt;
mod hash;
mod htpasswd;
mod legacy;
mod pbkdf2;
mod phc;
mod scrypt;
mod sha_crypt;

pub(crate) use self::argon2::mark;
pub use self::argon2::{DUMMY, hash_argon2id, rehash_argon2id};
pub use self::bcrypt::{MAX_COST as MAX_BCRYPT_COST, hash_bcrypt};
pub use self::hash::InvalidHash;

use self::hash::Hash;
use crate::credentials::MAX_HEADER;

/// The forms of a stored hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The 2014 gate's 40 hex digits: SHA1(salt ‖ password).
    Legacy,
    /// htpasswd's `{SHA}`.
    Sha,
    /// htpasswd's `{SSHA}`.
    SaltedSha,
    /// `$2a$`, `$2b$`, `$2y$`.
    Bcrypt,
    /// `$argon2id$` and `$argon2i$` PHC strings.
    Argon2,
    /// `$scrypt$` PHC strings.
    Scrypt,
    /// `$pbkdf2-sha256$` PHC strings.
    Pbkdf2,
    /// crypt(3)'s `$5$` and `$6$`.
    ShaCrypt,
    /// Apache's `$apr1$`.
    Apr1,
}

/// The beginning of a stored hash of each form, except for that of the 2014 gate.
const PREFIXES: [(&str, Form); 12] = [
    ("$argon2id$", Form::Argon2),
    ("$argon2i$", Form::Argon2),
    ("$2y$", Form::Bcrypt),
    ("$2b$", Form::Bcrypt),
    ("$2a$", Form::Bcrypt),
    ("{SHA}", Form::Sha),
    ("{SSHA}", Form::SaltedSha),
    ("$scrypt$", Form::Scrypt),
    ("$pbkdf2-sha256$", Form::Pbkdf2),
    ("$5$", Form::ShaCrypt),
    ("$6$", Form::ShaCrypt),
    ("$apr1$", Form::Apr1),
];

/// The longest stored hash, in bytes: twice as long as any legal one.
const MAX_STORED: usize = 512;

/// The longest password, in bytes: no header can carry a longer one. A longer one is wrong.
const MAX_PASSWORD: usize = MAX_HEADER;

impl Form {
    /// The form of a stored hash, by its beginning; `None` for an unknown form. A `!` in front (a locked
    /// account) does not count.
    pub fn of(stored: &str) -> Option<Self> {
        let stored = unlocked(stored);
        let known = PREFIXES.iter().find(|(prefix, _)| stored.starts_with(prefix));
        known
            .map(|(_, form)| *form)
            .or_else(|| legacy::is_legacy(stored).then_some(Self::Legacy))
    }

    /// Whether verifying a password takes milliseconds rather than microseconds, so long that it would delay
    /// others.
    pub fn is_slow(self) -> bool {
        match self {
            Self::Legacy | Self::Sha | Self::SaltedSha => false,
            Self::Bcrypt | Self::Argon2 | Self::Scrypt | Self::Pbkdf2 | Self::ShaCrypt | Self::Apr1 => true,
        }
    }
}

/// Reads a hash, without a `!` in front, and computes nothing.
fn read(stored: &str) -> Result<Box<dyn Hash + '_>, InvalidHash> {
    let form = Form::of(stored).ok_or(InvalidHash::Unknown)?;
    if stored.len() > MAX_STORED {
        return Err(InvalidHash::TooCostly);
    }
    Ok(match form {
        Form::Legacy => Box::new(legacy::Digest::read(stored)?),
        Form::Sha => Box::new(htpasswd::Sha::read(stored)?),
        Form::SaltedSha => Box::new(htpasswd::SaltedSha::read(stored)?),
        Form::Bcrypt => Box::new(bcrypt::Bcrypt::read(stored)?),
        Form::Argon2 => Box::new(argon2::Stored::read(stored)?),
        Form::Scrypt => Box::new(scrypt::Scrypt::read(stored)?),
        Form::Pbkdf2 => Box::new(pbkdf2::Pbkdf2::read(stored)?),
        Form::ShaCrypt => Box::new(sha_crypt::Stored::read(stored)?),
        Form::Apr1 => Box::new(apr1::Apr1::read(stored)?),
    })
}

/// Whether a password is the one whose hash is stored. The salt is `registry_auth_salt`, which only the form
/// of the 2014 gate uses.
///
/// A password with a NUL byte is wrong: no client can send one, and bcrypt would read `a`, NUL, `a` as `a`.
///
/// # Errors
/// [`InvalidHash`]: no password can be verified against the stored hash.
pub fn verify(stored: &str, password: &[u8], salt: &[u8]) -> Result<bool, InvalidHash> {
    if is_locked(stored) {
        return Ok(false);
    }
    let hash = read(stored)?;
    if password.len() > MAX_PASSWORD || password.contains(&0) {
        return Ok(false);
    }
    hash.verify(password, salt)
}

/// Whether passwords can be verified against a stored hash. A `!` in front (a locked account) does not count.
///
/// # Errors
/// [`InvalidHash`]: they cannot.
pub fn check(stored: &str) -> Result<(), InvalidHash> {
    read(unlocked(stored)).map(drop)
}

/// Why the password could be guessed fast if the stored hash leaked; `None` for a good hash, and for one that
/// passwords cannot be verified against. A `!` in front (a locked account) does not count.
pub fn weakness(stored: &str) -> Option<&'static str> {
    read(unlocked(stored)).ok()?.weakness()
}

/// Whether the hash is weak, and the password, which is right, is one that a better hash may be made of: of a
/// longer one bcrypt has looked at 72 bytes only, and there may be others that are right, too.
pub fn is_to_be_renewed(stored: &str, password: &[u8]) -> bool {
    let is_cut = Form::of(stored) == Some(Form::Bcrypt) && password.len() > 72;
    !is_cut && weakness(stored).is_some()
}

/// Where a password was wrong: what to do about the salt, if it would have been right with the other one that
/// the 2014 gate's data may have. Its digests have no salt in them that could tell.
pub fn other_salt(stored: &str, password: &[u8], salt: &[u8]) -> Option<&'static str> {
    if Form::of(stored) != Some(Form::Legacy) {
        return None;
    }
    let is_right = |salt: &[u8]| verify(stored, password, salt) == Ok(true);
    match salt.split_last() {
        None => is_right(b"deadbeaf:").then_some(
            "registry_auth_salt \"deadbeaf:\", which a 2014 gate without DIGEST_SALT had, is missing",
        ),
        Some((b':', rest)) => {
            is_right(rest).then_some("registry_auth_salt has a colon at its end that is too much")
        }
        Some(_) => is_right(&[salt, b":"].concat()).then_some("registry_auth_salt lacks a colon at its end"),
    }
}

/// Whether verifying a password against this hash is slow. It is not if the hash is invalid or the account
/// locked: that fails at once.
pub fn is_slow(stored: &str) -> bool {
    !is_locked(stored) && Form::of(stored).is_some_and(Form::is_slow) && check(stored).is_ok()
}

/// Whether the account is locked: its stored hash has a `!` in front.
pub fn is_locked(stored: &str) -> bool {
    stored.starts_with('!')
}

/// Takes the time of a wrong password, for a user that does not exist (rule 12 of the security model). `like`
/// is a stored hash of the form and cost that most users have; without one, the form that the tool gives to
/// new users is used.
pub fn dummy(like: Option<&str>, password: &[u8], salt: &[u8]) {
    let stored = like.map_or(DUMMY, unlocked);
    let _ = std::hint::black_box(verify(stored, password, salt));
}

/// The hash without the `!` of a locked account.
fn unlocked(stored: &str) -> &str {
    stored.strip_prefix('!').unwrap_or(stored)
}
