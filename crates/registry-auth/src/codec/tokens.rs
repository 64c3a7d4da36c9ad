//! The access tokens of an encoded record, read in place, and the state of an account that tokens of the
//! token endpoint are bound to.
//!
//! Called by the nginx module and `policy`. Guarantees, as in `read`: no read past the end, no panic, and a
//! damaged item is an error.

use super::bytes::{next, slice, take, text};
use super::grants::Grants;
use super::record::InvalidRecord;
use crate::password;
use crate::scope::Action;
use crate::token::access_token::{StoredToken, TokenDigest};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// The state of an account: a digest of its stored password, also where there is none, or its mark. A token
/// that was issued in another state is void.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AccountState(pub(crate) [u8; STATE]);

/// The number of bytes of a [`AccountState`]: with 128 bits, two passwords do not have the same by chance.
pub(super) const STATE: usize = 16;

impl AccountState {
    /// The state of a stored password hash. The `!` of a locked account does not count: an account that is
    /// unlocked has its earlier state again. That of a hash which has taken the place of a weak one
    /// ([`crate::password::rehash_argon2id`]) is its mark: tokens of both states know it.
    pub fn of(stored: &[u8]) -> Self {
        let stored = stored.strip_prefix(b"!").unwrap_or(stored);
        password::mark(stored).map_or_else(|| Self::of_hash(stored), Self)
    }

    /// A digest of the stored password hash, whether it has a mark or not: what a password was found to be
    /// right for. The mark is a part of the salt only, and another password may be hashed with the same salt.
    pub fn of_hash(stored: &[u8]) -> Self {
        let stored = stored.strip_prefix(b"!").unwrap_or(stored);
        let digest: [u8; 32] = Sha256::digest(stored).into();
        Self(digest.first_chunk().copied().unwrap_or_default())
    }

    /// The state of two states together: it differs when one of them differs.
    pub fn and(self, other: Self) -> Self {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(self.0)
            .chain_update(other.0)
            .finalize()
            .into();
        Self(digest.first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Debug for AccountState {
    /// Hidden: an attacker could test guesses of the password with it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountState(..)")
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
    /// When it expires, in seconds since 1970.
    pub expires: u64,
    /// Its scopes: it may be used for no more.
    pub scopes: Scopes<'a>,
}

impl TokenRef<'_> {
    /// The state of the access token, to which tokens that are issued for it are bound, as to
    /// `RecordRef::state` of a password.
    pub fn state(&self) -> AccountState {
        AccountState::of(self.digest)
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

/// The scopes of an access token, in place.
#[derive(Clone, Copy, Debug)]
pub struct Scopes<'a>(&'a [u8]);

impl<'a> Scopes<'a> {
    /// The scopes of the encoded bytes that [`Scopes::as_bytes`] gave.
    pub fn from_bytes(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The encoded bytes, to be kept without the record.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether they include this action on the repository of this name.
    pub(crate) fn cover(&self, name: &[u8], action: Action) -> Result<bool, InvalidRecord> {
        Ok(Grants::new(self.0, false).covering(name, action)?.is_some())
    }

    /// Whether one of them includes this action on every repository.
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
