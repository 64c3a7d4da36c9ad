//! Stored password hashes: telling their forms apart and verifying a password against them.
//!
//! Called by the store on its helper thread (slow forms on the hashing pool) and by the tool. Invariants: an unknown or
//! costlier-than-allowed hash is an error and verifies nothing; a locked account verifies nothing; compares take the
//! same time wherever the difference is. A new form is a file here, a line in `PREFIXES`, an arm in [`verify`] and test vectors.

mod apr1;
mod argon2;
mod bcrypt;
mod htpasswd;
mod legacy;
mod pbkdf2;
mod scrypt;
mod sha_crypt;

pub use self::argon2::{hash_argon2id, DUMMY};
pub use self::bcrypt::{hash_bcrypt, MAX_COST as MAX_BCRYPT_COST};

use std::fmt;
use subtle::ConstantTimeEq;

/// The stored text is no hash of a known form, or its cost parameters are beyond the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHash;

impl fmt::Display for InvalidHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("password hash is of an unknown form, or too costly")
    }
}

impl std::error::Error for InvalidHash {}

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

/// How a stored hash of each form begins; the 2014 gate's has no beginning of its own.
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

/// Longest password in bytes that crypt(3) takes (libxcrypt's CRYPT_MAX_PASSPHRASE_SIZE).
const MAX_CRYPT_PASSWORD: usize = 512;

impl Form {
    /// Tells the form by its beginning; `None` for an unknown one. The `!` of a locked account is looked through.
    pub fn of(stored: &str) -> Option<Self> {
        let stored = stored.strip_prefix('!').unwrap_or(stored);
        let known = PREFIXES.iter().find(|(prefix, _)| stored.starts_with(prefix));
        known
            .map(|(_, form)| *form)
            .or_else(|| legacy::is_legacy(stored).then_some(Self::Legacy))
    }

    /// Whether verifying takes long enough to stall others: milliseconds, not microseconds.
    pub fn is_slow(self) -> bool {
        match self {
            Self::Legacy | Self::Sha | Self::SaltedSha => false,
            Self::Bcrypt | Self::Argon2 | Self::Scrypt | Self::Pbkdf2 | Self::ShaCrypt | Self::Apr1 => true,
        }
    }
}

/// Whether a password is the one that was stored. The salt is `registry_auth_salt`; only the 2014 gate's form has it.
pub fn verify(stored: &str, password: &[u8], salt: &[u8]) -> Result<bool, InvalidHash> {
    if is_locked(stored) {
        return Ok(false);
    }
    match Form::of(stored).ok_or(InvalidHash)? {
        Form::Legacy => legacy::verify(stored, password, salt),
        Form::Sha => htpasswd::verify_sha(stored, password),
        Form::SaltedSha => htpasswd::verify_salted_sha(stored, password),
        Form::Bcrypt => bcrypt::verify(stored, password),
        Form::Argon2 => argon2::verify(stored, password),
        Form::Scrypt => scrypt::verify(stored, password),
        Form::Pbkdf2 => pbkdf2::verify(stored, password),
        Form::ShaCrypt => sha_crypt::verify(stored, password),
        Form::Apr1 => apr1::verify(stored, password),
    }
}

/// Whether verifying against this hash is slow; an unknown form is not, as it fails at once.
pub fn is_slow(stored: &str) -> bool {
    !is_locked(stored) && Form::of(stored).is_some_and(Form::is_slow)
}

/// Whether the account is locked: a `!` in front.
pub fn is_locked(stored: &str) -> bool {
    stored.starts_with('!')
}

/// Spends the time of a wrong password, for a user who does not exist (security.md row 12). `like` is a stored hash of
/// the form and cost that most users have; without one, what the tool gives to new users.
pub fn dummy(like: Option<&str>, password: &[u8], salt: &[u8]) {
    let stored = like.map_or(DUMMY, |stored| stored.strip_prefix('!').unwrap_or(stored));
    let _ = std::hint::black_box(verify(stored, password, salt));
}

/// Compares two digests in constant time.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// Tells a wrong password from a hash that could not be computed.
fn outcome(result: ::argon2::password_hash::Result<()>) -> Result<bool, InvalidHash> {
    match result {
        Ok(()) => Ok(true),
        Err(::argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(_) => Err(InvalidHash),
    }
}
