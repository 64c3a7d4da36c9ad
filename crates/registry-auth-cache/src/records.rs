//! Facts: the encoded records of users, groups and defaults, and which credentials of a user were verified.
//!
//! A user's fact holds tags of credentials that were right, so that robots may share an account, and of a few that were wrong.
//! They are bound to the stored password: when that changes they are dropped, however the record is refreshed otherwise.

use crate::cache::Cache;
use crate::layout::{entry, root, List};
use crate::memory::{Memory, Numbers, Write};
use crate::table::{At, New, Table};

/// Credentials that one user may have verified at a time.
const RIGHT: usize = 4;
/// Wrong ones that are remembered: a client that repeats one is answered without hashing it again.
const WRONG: usize = 2;

/// A value: `u64` epoch, `u64` passwords' epoch ([`NOT_PASSWORDS`] where the password is the record's own), for users a
/// [`CREDENTIALS`] block, then the encoded record. An unknown user has no record, and only
/// wrong credentials.
const EPOCH: usize = 0;
const PASSWORDS_EPOCH: usize = 8;
const PLAIN: usize = 16;
/// 8 bytes, half a tag: what stands for the stored password. Nobody but chance can make two of them the same.
const BINDING: usize = PLAIN;
/// Whole tags, the latest first: they are what nobody may guess.
const RIGHT_TAGS: usize = BINDING + HALF;
/// Half tags, the latest first.
const WRONG_TAGS: usize = RIGHT_TAGS + WHOLE * RIGHT;
const USER: usize = WRONG_TAGS + HALF * WRONG;
const CREDENTIALS: usize = USER - PLAIN;
/// An unknown user's: half tags of what was tried, the latest first, as many as a known user's.
const UNKNOWN: usize = HALF * WRONG;
/// Bytes of a tag, and of half of one.
const WHOLE: usize = 16;
const HALF: usize = 8;

/// The passwords' epoch of a fact that has nothing to do with it.
const NOT_PASSWORDS: u64 = u64::MAX;

/// Stands for a credential; see [`crate::Keys::tag`]. Packed, since it is kept in memory that nginx aligns to 8.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(C, packed(8))]
pub struct Tag(pub(crate) u128);

impl Tag {
    /// Whether this is the tag, or the half of one, in `bytes`. How long that takes may tell which bytes differ: of numbers that
    /// nobody without the key can foresee, nor choose.
    #[inline]
    fn is(self, bytes: &[u8]) -> bool {
        match bytes.len() {
            HALF => self.half() == bytes.get_u64(0),
            _ => bytes.first_chunk() == Some(&{ self.0 }.to_ne_bytes()),
        }
    }

    /// Its lower half: as even a spread as a hash.
    pub(crate) fn half(self) -> u64 {
        self.0 as u64
    }
}

/// An entry's key with its hash.
#[derive(Clone, Copy)]
pub struct Fact<'k> {
    /// The key: unique over users, groups and defaults.
    pub key: &'k [u8],
    /// [`crate::Keys::hash`] of it.
    pub hash: u64,
}

/// How old a fact may be.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// Fresh at this time, in milliseconds.
    Fresh(u64),
    /// Redis is unreachable: as old as it was when that began, or when it expired, and this much more.
    Stale {
        /// Now, in milliseconds.
        now: u64,
        /// For how many milliseconds that is borne.
        bearable: u64,
    },
}

/// What is known of a user and a credential.
pub enum Found {
    /// Nothing, or nothing that may be used.
    Nothing,
    /// The user, but not this credential.
    Unverified,
    /// The credential is wrong, or there is no such user.
    Wrong,
    /// The credential is right.
    Verified(Known),
}

/// Where a record lies; see [`Cache::record`].
#[derive(Clone, Copy)]
pub struct Known {
    at: usize,
    length: usize,
    /// When it expires, in milliseconds.
    pub expires: u64,
}

/// What is put about a user.
pub struct Put<'r> {
    /// The encoded record.
    pub record: &'r [u8],
    /// What stands for the stored password: its [`crate::Keys::tag`].
    pub binding: Tag,
    /// Whether the password came out of the one hash of all passwords.
    pub from_passwords: bool,
    /// The credential that was tried.
    pub tag: Tag,
    /// Whether it was right; `None` where it says nothing of the user's credentials, since somebody else vouches for the user.
    pub verified: Option<bool>,
    /// When it expires, in milliseconds.
    pub expires: u64,
}

impl<M: Memory> Cache<'_, M> {
    /// What is known of a user and a credential.
    #[inline]
    pub fn user(&mut self, user: Fact<'_>, tag: Tag, moment: Moment) -> Found {
        let Some(at) = self.usable(user, moment) else {
            return Found::Nothing;
        };
        if at.length < USER {
            return self.unknown(at, tag);
        }
        let bytes = self.table.memory.bytes();
        let right = bytes.slice(at.value + RIGHT_TAGS, WHOLE * RIGHT);
        let wrong = bytes.slice(at.value + WRONG_TAGS, HALF * WRONG);
        if is_any(tag, right, WHOLE) {
            self.used(at, moment);
            return Found::Verified(Known {
                at: at.value + USER,
                length: at.length - USER,
                expires: self.table.expires(at),
            });
        }
        match is_any(tag, wrong, HALF) {
            true => Found::Wrong,
            false => Found::Unverified,
        }
    }

    /// What is known of a user for whom somebody else vouches, with this credential, which says nothing of the user's own.
    pub fn vouched(&mut self, user: Fact<'_>, tag: Tag, moment: Moment) -> Found {
        let Some(at) = self.usable(user, moment) else {
            return Found::Nothing;
        };
        if at.length < USER {
            return self.unknown(at, tag);
        }
        self.used(at, moment);
        Found::Verified(Known {
            at: at.value + USER,
            length: at.length - USER,
            expires: self.table.expires(at),
        })
    }

    /// The record with which a credential of a user was found to be right, however old that is: it still is, as long as what is stored
    /// for the user is the same.
    pub fn was_right(&self, user: Fact<'_>, tag: Tag) -> Option<Known> {
        let at = self.table.find(user.hash, user.key)?;
        let length = at.length.checked_sub(USER)?;
        let right = self.table.value(at).get(RIGHT_TAGS..WRONG_TAGS)?;
        is_any(tag, right, WHOLE).then(|| Known {
            at: at.value + USER,
            length,
            expires: self.table.expires(at),
        })
    }

    /// The record of a group, or of the defaults.
    #[inline]
    pub fn fact(&mut self, fact: Fact<'_>, moment: Moment) -> Option<Known> {
        let at = self.usable(fact, moment)?;
        let length = at.length.checked_sub(PLAIN)?;
        self.used(at, moment);
        Some(Known {
            at: at.value + PLAIN,
            length,
            expires: self.table.expires(at),
        })
    }

    /// The bytes of a record that was found under this lock.
    #[inline]
    pub fn record(&self, known: Known) -> &[u8] {
        self.table.memory.bytes().slice(known.at, known.length)
    }

    /// Puts a user's record and what a credential came to. Earlier credentials stay while the stored password does.
    pub fn put_user(&mut self, user: Fact<'_>, put: &Put<'_>, now: u64) {
        let passwords_epoch = match put.from_passwords {
            true => self.number(root::PASSWORDS_EPOCH),
            false => NOT_PASSWORDS,
        };
        let epoch = self.epoch();
        self.change(|table| {
            let found = table.find(user.hash, user.key);
            if let Some(at) = found.filter(|at| is_same(table, *at, put)) {
                // Many requests may have waited for one answer: each puts it, and only the first one has news.
                table.refresh(at, put.expires);
                table.touch(at, now);
                return write(table.memory, at.value, epoch, passwords_epoch, put);
            }
            let earlier = found.and_then(|at| credentials(table, at, put.binding));
            let length = USER + put.record.len();
            let Some(value) = replace(table, Kind::Fact, user, length, put.expires, now) else {
                return;
            };
            let memory = &mut *table.memory;
            memory.put(value + PLAIN, &earlier.unwrap_or([0; CREDENTIALS]));
            memory.put_u64(value + BINDING, put.binding.half());
            memory.put(value + USER, put.record);
            write(memory, value, epoch, passwords_epoch, put);
        });
    }

    /// Puts the record of a group or of the defaults.
    pub fn put_fact(&mut self, fact: Fact<'_>, record: &[u8], expires: u64, now: u64) {
        self.put_plain(Kind::Fact, fact, record, NOT_PASSWORDS, expires, now);
    }

    /// Puts that there is no such user, found out for this credential. Another one is as unknown as a wrong password of a known
    /// user would be: how long an answer takes must not tell who exists.
    pub fn put_unknown(&mut self, user: Fact<'_>, tag: Tag, expires: u64, now: u64) {
        let passwords_epoch = self.number(root::PASSWORDS_EPOCH);
        let earlier = self.table.find(user.hash, user.key);
        let earlier = earlier.and_then(|at| self.table.value(at).get(PLAIN..)?.try_into().ok());
        let mut tags: [u8; UNKNOWN] = earlier.unwrap_or([0; UNKNOWN]);
        push::<UNKNOWN>(&mut tags, tag, HALF, &tag.half().to_ne_bytes());
        self.put_plain(Kind::Unknown, user, &tags, passwords_epoch, expires, now);
    }

    fn put_plain(
        &mut self,
        kind: Kind,
        fact: Fact<'_>,
        record: &[u8],
        passwords_epoch: u64,
        expires: u64,
        now: u64,
    ) {
        let epoch = self.epoch();
        self.change(|table| {
            let Some(value) = replace(table, kind, fact, PLAIN + record.len(), expires, now) else {
                return;
            };
            table.memory.put_u64(value + EPOCH, epoch);
            table.memory.put_u64(value + PASSWORDS_EPOCH, passwords_epoch);
            table.memory.put(value + PLAIN, record);
        });
    }

    /// A user changed: what was known of them is of no use any more, but for which credentials were right.
    pub fn forget_user(&mut self, user: Fact<'_>) {
        let Some(at) = self.table.find(user.hash, user.key) else {
            return self.forget(user);
        };
        let right = self.table.value(at).get(RIGHT_TAGS..WRONG_TAGS);
        if right.is_none_or(|tags| tags.iter().all(|byte| *byte == 0)) {
            return self.forget(user);
        }
        // Also where it is old already: somebody may have a copy.
        self.table.raise(root::GENERATION);
        // Of no epoch: neither fresh nor stale.
        self.table.memory.put_u64(at.value + EPOCH, 0);
    }

    /// It changed: what was known of it is of no use any more.
    pub fn forget(&mut self, fact: Fact<'_>) {
        // Also where it is no longer here: somebody may have a copy.
        self.table.raise(root::GENERATION);
        if self.table.find(fact.hash, fact.key).is_some() {
            self.change(|table| {
                if let Some(at) = table.find(fact.hash, fact.key) {
                    table.remove(at);
                }
            });
        }
    }

    /// The entry, if it may still be used.
    #[inline]
    fn usable(&self, fact: Fact<'_>, moment: Moment) -> Option<At> {
        let at = self.table.find(fact.hash, fact.key)?;
        let dates = self.table.memory.bytes().slice(at.value, PLAIN);
        let (epoch, passwords_epoch) = (dates.get_u64(EPOCH), dates.get_u64(PASSWORDS_EPOCH));
        let expires = self.table.expires(at);
        let timely = match moment {
            Moment::Fresh(now) => now < expires && epoch == self.epoch(),
            Moment::Stale { now, bearable } => {
                let lost = match self.number(root::LOST) {
                    0 => u64::MAX,
                    lost => lost,
                };
                now < expires.min(lost).saturating_add(bearable) && epoch >= self.number(root::FLOOR)
            }
        };
        let current =
            passwords_epoch == NOT_PASSWORDS || passwords_epoch == self.number(root::PASSWORDS_EPOCH);
        (timely && current).then_some(at)
    }

    /// What is known of a credential of a user who does not exist.
    fn unknown(&self, at: At, tag: Tag) -> Found {
        let tags = self.table.memory.bytes().slice(at.value + PLAIN, UNKNOWN);
        match is_any(tag, tags, HALF) {
            true => Found::Wrong,
            false => Found::Unverified,
        }
    }

    fn used(&mut self, at: At, moment: Moment) {
        let (Moment::Fresh(now) | Moment::Stale { now, .. }) = moment;
        if !self.table.is_touched(at, now) {
            self.change(|table| table.touch(at, now));
        }
    }
}

/// Whether a tag is one of those in `tags`.
#[inline]
fn is_any(tag: Tag, tags: &[u8], size: usize) -> bool {
    tags.chunks_exact(size).any(|known| tag.is(known))
}

/// Writes what is new of a user although the record is the same: when it was read, and the credential.
fn write<M: Memory>(memory: &mut M, value: usize, epoch: u64, passwords_epoch: u64, put: &Put<'_>) {
    memory.put_u64(value + EPOCH, epoch);
    memory.put_u64(value + PASSWORDS_EPOCH, passwords_epoch);
    let (whole, half) = (put.tag.0.to_ne_bytes(), put.tag.half().to_ne_bytes());
    let (right, wrong) = match put.verified {
        Some(true) => (whole.as_slice(), [].as_slice()),
        Some(false) => ([].as_slice(), half.as_slice()),
        None => return,
    };
    remember::<M, { WHOLE * RIGHT }>(memory, value + RIGHT_TAGS, put.tag, WHOLE, right);
    remember::<M, { HALF * WRONG }>(memory, value + WRONG_TAGS, put.tag, HALF, wrong);
}

/// Takes a tag out of a list of them, and puts `first` (the tag, or nothing) in front; the last one goes where there is no room.
fn remember<M: Memory, const LENGTH: usize>(memory: &mut M, at: usize, tag: Tag, size: usize, first: &[u8]) {
    let held = memory.bytes().slice(at, LENGTH);
    let mut tags: [u8; LENGTH] = held.try_into().unwrap_or([0; LENGTH]);
    push(&mut tags, tag, size, first);
    memory.put(at, &tags);
}

/// As [`remember`], of a list in our own memory.
fn push<const LENGTH: usize>(tags: &mut [u8; LENGTH], tag: Tag, size: usize, first: &[u8]) {
    let held = *tags;
    *tags = [0; LENGTH];
    let others = held.chunks_exact(size).filter(|known| !tag.is(known));
    let first = first.chunks_exact(size);
    for (to, from) in tags.chunks_exact_mut(size).zip(first.chain(others)) {
        to.copy_from_slice(from);
    }
}

/// Whether an entry holds this very record, and the stored password is the same.
fn is_same<M: Memory>(table: &Table<'_, M>, at: At, put: &Put<'_>) -> bool {
    let value = table.value(at);
    value.get(USER..) == Some(put.record) && put.binding.is(value.slice(BINDING, HALF))
}

/// The credentials of an entry whose stored password was the same.
fn credentials<M: Memory>(table: &Table<'_, M>, at: At, binding: Tag) -> Option<[u8; CREDENTIALS]> {
    let value = table.value(at);
    let block = value.get(PLAIN..USER)?.first_chunk::<CREDENTIALS>()?;
    binding.is(value.slice(BINDING, HALF)).then_some(*block)
}

/// What an entry is about.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A record.
    Fact,
    /// A user who does not exist.
    Unknown,
    /// Failed logins.
    Failures,
}

/// A new entry in place of the earlier one; where its value lies.
pub(crate) fn replace<M: Memory>(
    table: &mut Table<'_, M>,
    kind: Kind,
    fact: Fact<'_>,
    length: usize,
    expires: u64,
    now: u64,
) -> Option<usize> {
    if let Some(earlier) = table.find(fact.hash, fact.key) {
        table.remove(earlier);
    }
    let list = match kind {
        Kind::Fact => List::of_facts(entry::SIZE + fact.key.len() + length),
        Kind::Unknown => List::UNKNOWN,
        Kind::Failures => List::FAILURES,
    };
    let new = New {
        list,
        hash: fact.hash,
        key: fact.key,
        length,
        expires,
    };
    table.insert(&new, now).map(|at| at.value)
}
