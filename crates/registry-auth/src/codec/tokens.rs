//! Access tokens in an encoded record, read in place; and what tokens of the endpoint are bound to.
//!
//! Called by the nginx module and `policy`. Invariants as in `read`: no read past the end, no panic, damage is an error.

use super::bytes::{next, slice, take, text};
use super::grants::Grants;
use super::record::InvalidRecord;
use crate::scope::Action;
use crate::token::access_token::{StoredToken, TokenDigest};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// What stands for an account's stored password: tokens that were issued under another one are void. Of no password, too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct State(pub(crate) [u8; STATE]);

/// Bytes of a [`State`]: nobody but chance, which is out of the question at 128 bits, makes two passwords' the same.
pub(super) const STATE: usize = 16;

impl State {
    /// Of a stored password, without the `!` of a locked account: an account that is unlocked is what it was.
    pub fn of(stored: &[u8]) -> Self {
        let stored = stored.strip_prefix(b"!").unwrap_or(stored);
        let digest: [u8; 32] = Sha256::digest(stored).into();
        Self(digest.first_chunk().copied().unwrap_or_default())
    }

    /// Of both: another one as soon as one of them is another one.
    pub fn and(self, other: Self) -> Self {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(self.0)
            .chain_update(other.0)
            .finalize()
            .into();
        Self(digest.first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Debug for State {
    /// It is a digest of what an attacker would like to test guesses by.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State(..)")
    }
}

/// The access tokens of a record.
#[derive(Clone, Debug)]
pub struct Tokens<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Tokens<'a> {
    type Item = Result<TokenRef<'a>, InvalidRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        next(&mut self.0, |rest| {
            let id = text(rest)?;
            let digest = slice(rest, 32)?;
            let expires = u64::from_le_bytes(take(rest)?);
            let scopes = u32::from_le_bytes(take(rest)?) as usize;
            let scopes = Scopes(slice(rest, scopes)?);
            Some(TokenRef {
                id,
                digest,
                expires,
                scopes,
            })
        })
    }
}

/// An access token, in place.
#[derive(Clone, Copy, Debug)]
pub struct TokenRef<'a> {
    /// Its id.
    pub id: &'a str,
    pub(super) digest: &'a [u8],
    /// Until when it is good, in seconds since 1970.
    pub expires: u64,
    /// What it may be used for at most.
    pub scopes: Scopes<'a>,
}

impl TokenRef<'_> {
    /// What stands for the token in what is issued for it, as [`RecordRef::state`] does for a password.
    pub fn state(&self) -> State {
        State::of(self.digest)
    }

    /// An owned, checked copy.
    pub(super) fn to_stored(self) -> Result<StoredToken, InvalidRecord> {
        Ok(StoredToken {
            id: self.id.to_owned(),
            digest: TokenDigest(self.digest.first_chunk().copied().ok_or(InvalidRecord)?),
            expires: self.expires,
            created: 0,
            scopes: Grants::new(self.scopes.0, false)
                .map(|item| item.and_then(|grant| grant.to_grant()))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// What an access token may be used for, in place.
#[derive(Clone, Copy, Debug)]
pub struct Scopes<'a>(&'a [u8]);

impl<'a> Scopes<'a> {
    /// Of the encoded bytes that [`Scopes::as_bytes`] gave.
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The encoded bytes, to be kept beside the record.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether this action on the repository of this name is among them.
    pub(crate) fn cover(&self, name: &[u8], action: Action) -> Result<bool, InvalidRecord> {
        Ok(Grants::new(self.0, false).covering(name, action)?.is_some())
    }

    /// Whether this action on every repository is among them, in one scope.
    pub(crate) fn cover_all(&self, action: Action) -> Result<bool, InvalidRecord> {
        for grant in Grants::new(self.0, false) {
            let grant = grant?;
            if grant.head.is_empty() && grant.tail == b"**" && grant.actions.contains(action) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
