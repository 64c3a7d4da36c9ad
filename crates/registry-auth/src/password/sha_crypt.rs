//! crypt(3)'s SHA-2 forms: `$5$salt$digest`, `$6$rounds=5000$salt$digest` (htpasswd -2 and -5, mkpasswd,
//! /etc/shadow).
//!
//! Invariant: more rounds than the limit, and longer passwords and salts than crypt(3) takes, are refused:
//! the time grows with all of them. The crate reads the text again, so a text is accepted only where there is
//! one way to read it.

use super::hash::{Hash, InvalidHash, MAX_CRYPT_PASSWORD, sound, within};
use argon2::password_hash::{Error, PasswordVerifier};
use sha_crypt::ShaCrypt;

/// Most rounds: a quarter of a second, a second and a half for the longest password.
const MAX_ROUNDS: u32 = 1_000_000;
/// Fewest rounds: crypt(3) takes, and writes, no fewer.
const MIN_ROUNDS: u32 = 1000;
/// What is meant where no rounds are named, and so crypt(3)'s own idea of enough.
const DEFAULT_ROUNDS: u32 = 5000;
/// Longest salt.
const MAX_SALT: usize = 16;

pub(super) struct Stored<'a> {
    stored: &'a str,
    rounds: u32,
}

impl<'a> Stored<'a> {
    pub(super) fn read(stored: &'a str) -> Result<Self, InvalidHash> {
        let (rest, length) = match (stored.strip_prefix("$5$"), stored.strip_prefix("$6$")) {
            (Some(rest), _) => (rest, 43),
            (_, Some(rest)) => (rest, 86),
            _ => return Err(InvalidHash::Damaged),
        };
        let (rounds, rest) = match rest.strip_prefix("rounds=") {
            Some(rest) => rest.split_once('$').ok_or(InvalidHash::Damaged)?,
            None => ("5000", rest),
        };
        sound(!rounds.is_empty() && rounds.bytes().all(|digit| digit.is_ascii_digit()))?;
        // What does not fit is too many.
        let rounds = rounds.parse().unwrap_or(u32::MAX);
        sound(rounds >= MIN_ROUNDS)?;
        let (salt, digest) = rest.split_once('$').ok_or(InvalidHash::Damaged)?;
        let is_legal = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"./".contains(&byte))
        };
        sound(is_legal(salt) && is_legal(digest) && digest.len() == length && !salt.is_empty())?;
        within(rounds <= MAX_ROUNDS && salt.len() <= MAX_SALT)?;
        Ok(Self { stored, rounds })
    }
}

impl Hash for Stored<'_> {
    fn verify(&self, password: &[u8], _: &[u8]) -> Result<bool, InvalidHash> {
        if password.len() > MAX_CRYPT_PASSWORD {
            return Ok(false);
        }
        match ShaCrypt::default().verify_password(password, self.stored) {
            Ok(()) => Ok(true),
            Err(Error::PasswordInvalid) => Ok(false),
            Err(_) => Err(InvalidHash::Damaged),
        }
    }

    fn weakness(&self) -> Option<&'static str> {
        (self.rounds < DEFAULT_ROUNDS).then_some("SHA-crypt of fewer than 5,000 rounds")
    }
}
