//! [`RecordRef`]: an encoded record, read in place. No copy, no allocation, and constant work until an item
//! is asked for.
//!
//! Called on every request by `policy` and the nginx module. Guarantees: no read past the end and no panic,
//! whatever the bytes are; an iterator gives an error at the first damaged item and then ends.

use super::bytes::{next, short, slice, take, text};
use super::grants::{GrantRef, Grants};
use super::record::{HAS_PASSWORD, HEADER, InvalidRecord, Peer, Record, SEALED, VERSION};
use super::tokens::{AccountState, STATE, TokenRef, Tokens};
use crate::token::access_token::TokenDigest;
use std::net::{IpAddr, SocketAddr};

/// The bytes in the place of a sealed record's password: the mark of a locked account, and a state.
const SEAL: usize = 1 + STATE;
/// The same, with another state for passwords than for tokens.
const LONG_SEAL: usize = SEAL + STATE;

/// A view of an encoded record.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    password: Option<&'a [u8]>,
    is_sealed: bool,
    groups: &'a [u8],
    peers: &'a [u8],
    denials: &'a [u8],
    grants: &'a [u8],
    tokens: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// A record without anything in it.
    pub const EMPTY: RecordRef<'static> = RecordRef {
        password: None,
        is_sealed: false,
        groups: &[],
        peers: &[],
        denials: &[],
        grants: &[],
        tokens: &[],
    };

    /// Makes the view of an encoded record.
    ///
    /// # Errors
    /// [`InvalidRecord`] for another version, or for lengths that do not add up.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, InvalidRecord> {
        // All of it at once: a request reads two headers or more, and this halves what each part costs.
        let (header, mut rest) = bytes.split_first_chunk::<HEADER>().ok_or(InvalidRecord)?;
        let (&[version, flags, low, high], lengths) = header.split_first_chunk::<4>().ok_or(InvalidRecord)?;
        if version != VERSION || flags & !(HAS_PASSWORD | SEALED) != 0 {
            return Err(InvalidRecord);
        }
        let (&[groups, peers, denials, grants, tokens], _) = lengths
            .as_chunks::<4>()
            .0
            .split_first_chunk::<5>()
            .ok_or(InvalidRecord)?;
        let password_length = u16::from_le_bytes([low, high]);
        let password = slice(&mut rest, password_length.into()).ok_or(InvalidRecord)?;
        let is_sealed = flags & SEALED != 0;
        let password = match flags & HAS_PASSWORD != 0 {
            true if !is_sealed || matches!(password.len(), SEAL | LONG_SEAL) => Some(password),
            false if password.is_empty() && !is_sealed => None,
            _ => return Err(InvalidRecord),
        };
        let mut section = |length| {
            let length = u32::from_le_bytes(length) as usize;
            slice(&mut rest, length).ok_or(InvalidRecord)
        };
        let record = Self {
            password,
            is_sealed,
            groups: section(groups)?,
            peers: section(peers)?,
            denials: section(denials)?,
            grants: section(grants)?,
            tokens: section(tokens)?,
        };
        rest.is_empty().then_some(record).ok_or(InvalidRecord)
    }

    /// The stored password hash, with the `!` of a locked account. `None` also if it is damaged or sealed: no
    /// password can be verified then.
    pub fn password(&self) -> Option<&'a str> {
        match self.is_sealed {
            true => None,
            false => std::str::from_utf8(self.password?).ok(),
        }
    }

    /// The state of the account: a digest of the stored password. A sealed record has the same state.
    pub fn state(&self) -> AccountState {
        match self.password {
            Some([_, digest @ ..]) if self.is_sealed => {
                AccountState(digest.first_chunk().copied().unwrap_or_default())
            }
            stored => AccountState::of(stored.unwrap_or_default()),
        }
    }

    /// What a password is bound to that was found to be right: a digest of the stored password hash. A sealed
    /// record has the same.
    pub fn hash_state(&self) -> AccountState {
        match self.password {
            Some(sealed) if self.is_sealed => AccountState(sealed.last_chunk().copied().unwrap_or_default()),
            stored => AccountState::of_hash(stored.unwrap_or_default()),
        }
    }

    /// Appends the record without its password, which is not needed any more once it was verified. In its
    /// place are the mark of a locked account, [`RecordRef::state`], and [`RecordRef::hash_state`] where that
    /// is another. A sealed record is appended as it is.
    ///
    /// # Errors
    /// [`InvalidRecord`] for a section over 4 GiB.
    pub fn seal(&self, out: &mut Vec<u8>) -> Result<(), InvalidRecord> {
        let lock = if self.is_locked() { b'!' } else { b' ' };
        let sections = [self.groups, self.peers, self.denials, self.grants, self.tokens];
        let (state, of_hash) = (self.state(), self.hash_state());
        let is_long = state != of_hash;
        let seal = if is_long { LONG_SEAL } else { SEAL };
        out.extend_from_slice(&[VERSION, HAS_PASSWORD | SEALED]);
        out.extend_from_slice(&(seal as u16).to_le_bytes());
        for section in sections {
            let length = u32::try_from(section.len()).map_err(|_| InvalidRecord)?;
            out.extend_from_slice(&length.to_le_bytes());
        }
        out.push(lock);
        out.extend_from_slice(&state.0);
        if is_long {
            out.extend_from_slice(&of_hash.0);
        }
        sections.iter().for_each(|section| out.extend_from_slice(section));
        Ok(())
    }

    /// Appends all that decides whether a credential of the user is right. A cache binds verified credentials
    /// to it.
    pub fn write_credentials(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash_state().0);
        out.extend_from_slice(self.tokens);
    }

    /// The access tokens, in no order.
    pub fn tokens(&self) -> Tokens<'a> {
        Tokens(self.tokens)
    }

    /// The access token of this digest.
    ///
    /// # Errors
    /// [`InvalidRecord`] where a token before it is damaged.
    pub fn token(&self, digest: TokenDigest) -> Result<Option<TokenRef<'a>>, InvalidRecord> {
        for token in self.tokens() {
            let token = token?;
            if digest.matches(token.digest) {
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    /// The access token of this id.
    ///
    /// # Errors
    /// [`InvalidRecord`] where a token before it is damaged.
    pub fn token_named(&self, id: &str) -> Result<Option<TokenRef<'a>>, InvalidRecord> {
        for token in self.tokens() {
            let token = token?;
            if token.id == id {
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    /// Whether the account is locked.
    pub fn is_locked(&self) -> bool {
        self.password.is_some_and(|stored| stored.first() == Some(&b'!'))
    }

    /// The names of the groups, in order.
    pub fn groups(&self) -> Groups<'a> {
        Groups(self.groups)
    }

    /// Whether there is any backend, without reading them.
    pub fn has_peers(&self) -> bool {
        !self.peers.is_empty()
    }

    /// The backends, in order.
    pub fn peers(&self) -> Peers<'a> {
        Peers(self.peers)
    }

    /// Whether there is any grant, without reading them.
    pub fn has_grants(&self) -> bool {
        !self.denials.is_empty() || !self.grants.is_empty()
    }

    /// All grants, denials first.
    pub fn grants(&self) -> impl Iterator<Item = Result<GrantRef<'a>, InvalidRecord>> + use<'a> {
        self.denials().chain(self.rights())
    }

    /// The grants that deny.
    pub fn denials(&self) -> Grants<'a> {
        Grants::new(self.denials, true)
    }

    /// The grants that allow.
    pub fn rights(&self) -> Grants<'a> {
        Grants::new(self.grants, false)
    }

    /// An owned copy.
    ///
    /// # Errors
    /// [`InvalidRecord`] for a damaged item, or a sealed record.
    pub fn to_record(&self) -> Result<Record, InvalidRecord> {
        if self.is_sealed {
            return Err(InvalidRecord);
        }
        let peer = |peer: PeerRef<'_>| {
            Ok(Peer {
                name: std::str::from_utf8(peer.name)
                    .map_err(|_| InvalidRecord)?
                    .to_owned(),
                addresses: peer.addresses().collect::<Result<_, _>>()?,
            })
        };
        Ok(Record {
            password: self
                .password
                .map(|text| std::str::from_utf8(text).map(str::to_owned))
                .transpose()
                .map_err(|_| InvalidRecord)?,
            groups: self
                .groups()
                .map(|group| group.map(str::to_owned))
                .collect::<Result<_, _>>()?,
            backends: self
                .peers()
                .map(|item| item.and_then(peer))
                .collect::<Result<_, _>>()?,
            grants: self
                .grants()
                .map(|item| item.and_then(|grant| grant.to_grant()))
                .collect::<Result<_, _>>()?,
            tokens: self
                .tokens()
                .map(|item| item.and_then(|token| token.to_stored()))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// The groups of a record.
#[derive(Clone, Debug)]
pub struct Groups<'a>(&'a [u8]);

impl<'a> Iterator for Groups<'a> {
    type Item = Result<&'a str, InvalidRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        next(&mut self.0, text)
    }
}

/// The backends of a record.
#[derive(Clone, Debug)]
pub struct Peers<'a>(&'a [u8]);

impl<'a> Iterator for Peers<'a> {
    type Item = Result<PeerRef<'a>, InvalidRecord>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        next(&mut self.0, |rest| {
            let name = short(rest)?;
            let [count] = take(rest)?;
            let before = *rest;
            for _ in 0..count {
                let [family] = take(rest)?;
                slice(rest, address_length(family)?)?;
            }
            Some(PeerRef {
                name,
                addresses: before.get(..before.len() - rest.len())?,
            })
        })
    }
}

/// A backend, in place.
#[derive(Clone, Copy, Debug)]
pub struct PeerRef<'a> {
    /// `host:port` as stored, as bytes: a request need not check that it is text.
    pub name: &'a [u8],
    addresses: &'a [u8],
}

impl<'a> PeerRef<'a> {
    /// Its addresses; empty if the name could not be resolved.
    pub fn addresses(&self) -> Addresses<'a> {
        Addresses(self.addresses)
    }
}

/// The addresses of a backend.
#[derive(Clone, Debug)]
pub struct Addresses<'a>(&'a [u8]);

impl Iterator for Addresses<'_> {
    type Item = Result<SocketAddr, InvalidRecord>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        next(&mut self.0, socket_address)
    }
}

/// The number of bytes of an address after its family; `None` for an unknown family.
#[inline]
fn address_length(family: u8) -> Option<usize> {
    match family {
        4 => Some(6),
        6 => Some(18),
        _ => None,
    }
}

#[inline]
fn socket_address(rest: &mut &[u8]) -> Option<SocketAddr> {
    let ip = match take(rest)? {
        [4] => IpAddr::from(take::<4>(rest)?),
        [6] => IpAddr::from(take::<16>(rest)?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_le_bytes(take(rest)?)))
}
