//! Reading an encoded record in place: no copy, no allocation, constant work until an item is asked for.
//!
//! Called on every request by `policy` and the nginx module. Invariant: no read past the end and no panic for any
//! bytes; iterators yield an error at the first damaged item and then end.

use super::tokens::{State, TokenRef, Tokens, STATE};
use super::{InvalidRecord, Peer, Record, HAS_PASSWORD, HEADER, SEALED, VERSION};
use crate::access_token::TokenDigest;
use crate::grant::Grant;
use crate::pattern::{self, Pattern};
use crate::scope::{Action, Actions};
use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};

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
    /// The record of somebody of whom nothing is stored.
    pub const EMPTY: RecordRef<'static> = RecordRef {
        password: None,
        is_sealed: false,
        groups: &[],
        peers: &[],
        denials: &[],
        grants: &[],
        tokens: &[],
    };

    /// Checks version and lengths and makes the view.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, InvalidRecord> {
        let mut rest = bytes;
        let [version, flags] = take(&mut rest).ok_or(InvalidRecord)?;
        let password_length = u16::from_le_bytes(take(&mut rest).ok_or(InvalidRecord)?);
        if version != VERSION || flags & !(HAS_PASSWORD | SEALED) != 0 || bytes.len() < HEADER {
            return Err(InvalidRecord);
        }
        let mut lengths = [0; 5];
        for length in &mut lengths {
            *length = u32::from_le_bytes(take(&mut rest).ok_or(InvalidRecord)?) as usize;
        }
        let password = slice(&mut rest, password_length.into()).ok_or(InvalidRecord)?;
        let is_sealed = flags & SEALED != 0;
        let password = match flags & HAS_PASSWORD != 0 {
            true if !is_sealed || password.len() == 1 + STATE => Some(password),
            false if password.is_empty() && !is_sealed => None,
            _ => return Err(InvalidRecord),
        };
        let [groups, peers, denials, grants, tokens] = lengths;
        let mut section = |length| slice(&mut rest, length).ok_or(InvalidRecord);
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

    /// The stored password hash, with the `!` of a locked account. `None` too if it is damaged or sealed: it then verifies nothing.
    pub fn password(&self) -> Option<&'a str> {
        match self.is_sealed {
            true => None,
            false => std::str::from_utf8(self.password?).ok(),
        }
    }

    /// What stands for the stored password, sealed or not.
    pub fn state(&self) -> State {
        match self.password {
            Some([_, digest @ ..]) if self.is_sealed => {
                State(digest.first_chunk().copied().unwrap_or_default())
            }
            stored => State::of(stored.unwrap_or_default()),
        }
    }

    /// Appends the record without its password, which nobody needs once it was verified: in its place stand [`RecordRef::state`] and
    /// the mark of a locked account. A sealed record stays as it is.
    pub fn seal(&self, out: &mut Vec<u8>) -> Result<(), InvalidRecord> {
        let lock = if self.is_locked() { b'!' } else { b' ' };
        let sections = [self.groups, self.peers, self.denials, self.grants, self.tokens];
        out.extend_from_slice(&[VERSION, HAS_PASSWORD | SEALED]);
        out.extend_from_slice(&(1 + STATE as u16).to_le_bytes());
        for section in sections {
            let length = u32::try_from(section.len()).map_err(|_| InvalidRecord)?;
            out.extend_from_slice(&length.to_le_bytes());
        }
        out.push(lock);
        out.extend_from_slice(&self.state().0);
        sections.iter().for_each(|section| out.extend_from_slice(section));
        Ok(())
    }

    /// Appends all that decides whether a credential is right: to bind to it that one was.
    pub fn write_credentials(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.state().0);
        out.extend_from_slice(self.tokens);
    }

    /// The access tokens, in no order.
    pub fn tokens(&self) -> Tokens<'a> {
        Tokens(self.tokens)
    }

    /// The access token of this digest. A damaged one before it is an error.
    pub fn token(&self, digest: TokenDigest) -> Result<Option<TokenRef<'a>>, InvalidRecord> {
        for token in self.tokens() {
            let token = token?;
            if digest.is(token.digest) {
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    /// The access token of this id.
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
    pub fn grants(&self) -> impl Iterator<Item = Result<GrantRef<'a>, InvalidRecord>> + 'a {
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

    /// An owned copy, checked whole. A sealed record has none.
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
    /// `host:port` as stored: text that nobody on a request's way need read.
    pub name: &'a [u8],
    addresses: &'a [u8],
}

impl<'a> PeerRef<'a> {
    /// Its addresses; none if the name could not be resolved.
    pub fn addresses(&self) -> Addresses<'a> {
        Addresses(self.addresses)
    }
}

/// The addresses of a backend.
#[derive(Clone, Debug)]
pub struct Addresses<'a>(&'a [u8]);

impl Iterator for Addresses<'_> {
    type Item = Result<SocketAddr, InvalidRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        next(&mut self.0, socket_address)
    }
}

/// Grants of a record.
#[derive(Clone, Debug)]
pub struct Grants<'a> {
    rest: &'a [u8],
    /// The family that is being read, and what is left of it.
    family: Option<Family<'a>>,
    deny: bool,
}

impl<'a> Grants<'a> {
    pub(super) fn new(section: &'a [u8], deny: bool) -> Self {
        Self {
            rest: section,
            family: None,
            deny,
        }
    }

    /// A grant that speaks of this action on the repository of this name. A damaged family before it is an error: it might have
    /// been in there. A thousand grants in a few families cost a few binary searches.
    pub(crate) fn covering(
        &self,
        name: &[u8],
        action: Action,
    ) -> Result<Option<GrantRef<'a>>, InvalidRecord> {
        let mut rest = self.rest;
        while !rest.is_empty() {
            let family = Family::read(&mut rest).ok_or(InvalidRecord)?;
            if !family.actions.contains(action) {
                continue;
            }
            let Some((head, after)) = name.split_at_checked(family.head) else {
                continue;
            };
            if family.tail.is_empty() && !after.is_empty() {
                continue;
            }
            if let Some(head) = family.find(head) {
                if pattern::matches_tail(family.tail, after) {
                    return Ok(Some(family.grant(head, self.deny)));
                }
            }
        }
        Ok(None)
    }
}

impl<'a> Iterator for Grants<'a> {
    type Item = Result<GrantRef<'a>, InvalidRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(family) = &mut self.family {
                if let Some(head) = family.next() {
                    return Some(Ok(family.grant(head, self.deny)));
                }
                self.family = None;
            }
            match next(&mut self.rest, Family::read)? {
                Ok(family) => self.family = Some(family),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Grants of the same actions, whose patterns differ in their heads only.
#[derive(Clone, Copy, Debug)]
struct Family<'a> {
    actions: Actions,
    tail: &'a [u8],
    /// Bytes of a head.
    head: usize,
    count: usize,
    /// All heads, in order.
    heads: &'a [u8],
}

impl<'a> Family<'a> {
    #[inline]
    fn read(rest: &mut &'a [u8]) -> Option<Self> {
        let [bits, head, tail] = take(rest)?;
        let count = u32::from_le_bytes(take(rest)?) as usize;
        let head = usize::from(head);
        let tail = slice(rest, tail.into())?;
        let heads = slice(rest, count.checked_mul(head)?)?;
        // There is but one head of no bytes.
        let is_sound = count > 0 && (head > 0 || count == 1);
        is_sound.then_some(Self {
            actions: Actions::from_bits(bits)?,
            tail,
            head,
            count,
            heads,
        })
    }

    fn at(&self, index: usize) -> Option<&'a [u8]> {
        let start = index * self.head;
        self.heads.get(start..start + self.head)
    }

    fn find(&self, head: &[u8]) -> Option<&'a [u8]> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            let there = self.at(middle)?;
            match there.cmp(head) {
                Ordering::Equal => return Some(there),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Takes the first head away.
    fn next(&mut self) -> Option<&'a [u8]> {
        self.count = self.count.checked_sub(1)?;
        slice(&mut self.heads, self.head)
    }

    fn grant(&self, head: &'a [u8], deny: bool) -> GrantRef<'a> {
        GrantRef {
            head,
            tail: self.tail,
            deny,
            actions: self.actions,
        }
    }
}

/// A grant, in place. Its pattern was checked when it was encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrantRef<'a> {
    pub(super) head: &'a [u8],
    pub(super) tail: &'a [u8],
    /// Whether it denies.
    pub deny: bool,
    /// Its actions.
    pub actions: Actions,
}

impl GrantRef<'_> {
    /// The pattern as written.
    pub fn pattern(&self) -> Result<String, InvalidRecord> {
        String::from_utf8([self.head, self.tail].concat()).map_err(|_| InvalidRecord)
    }

    /// An owned, checked copy.
    pub fn to_grant(&self) -> Result<Grant, InvalidRecord> {
        let pattern = Pattern::parse(&self.pattern()?).map_err(|_| InvalidRecord)?;
        Ok(Grant {
            pattern,
            deny: self.deny,
            actions: self.actions,
        })
    }
}

/// The next item of a section; after a damaged one the section is at its end.
#[inline]
pub(super) fn next<'a, T>(
    section: &mut &'a [u8],
    read: impl FnOnce(&mut &'a [u8]) -> Option<T>,
) -> Option<Result<T, InvalidRecord>> {
    if section.is_empty() {
        return None;
    }
    let item = read(section).ok_or(InvalidRecord);
    if item.is_err() {
        *section = &[];
    }
    Some(item)
}

pub(super) fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(short(rest)?).ok()
}

fn short<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let [length] = take(rest)?;
    slice(rest, length.into())
}

/// Bytes of an address after its family; `None` for a family that there is not.
#[inline]
fn address_length(family: u8) -> Option<usize> {
    match family {
        4 => Some(6),
        6 => Some(18),
        _ => None,
    }
}

fn socket_address(rest: &mut &[u8]) -> Option<SocketAddr> {
    let ip = match take(rest)? {
        [4] => IpAddr::from(take::<4>(rest)?),
        [6] => IpAddr::from(take::<16>(rest)?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_le_bytes(take(rest)?)))
}

#[inline]
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

#[inline]
pub(super) fn slice<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}
