//! Facts: the encoded records of users, groups and defaults, and which credentials of a user were verified.
//!
//! A user's fact holds tags of credentials that were right, so that robots may share an account, and of a few that were wrong.
//! They are bound to the stored password: when that changes they are dropped, however the record is refreshed otherwise.

use subtle::{Choice, ConstantTimeEq};

use crate::cache::Cache;
use crate::layout::{root, List};
use crate::memory::{Memory, Numbers};
use crate::table::{At, Table};

/// Credentials that one user may have verified at a time.
const RIGHT: usize = 4;
/// Wrong ones that are remembered: a client that repeats one is answered without hashing it again.
const WRONG: usize = 2;

/// A value: `u64` epoch, `u64` passwords' epoch ([`NOT_PASSWORDS`] where the password is the record's own), for users a
/// [`CREDENTIALS`] block, then the encoded record. An unknown user has no record, and no credentials.
const EPOCH: usize = 0;
const PASSWORDS_EPOCH: usize = 8;
const PLAIN: usize = 16;
/// 16 bytes: what stands for the stored password.
const BINDING: usize = 16;
/// `u32`: where the next right tag goes; `u32`: the next wrong one.
const NEXT_RIGHT: usize = 32;
const NEXT_WRONG: usize = 36;
const RIGHT_TAGS: usize = 40;
const WRONG_TAGS: usize = RIGHT_TAGS + 16 * RIGHT;
const USER: usize = WRONG_TAGS + 16 * WRONG;
const CREDENTIALS: usize = USER - PLAIN;

/// The passwords' epoch of a fact that has nothing to do with it.
const NOT_PASSWORDS: u64 = u64::MAX;

/// Stands for a credential; see [`crate::Keys::tag`].
#[derive(Clone, Copy)]
pub struct Tag(pub(crate) u128);

impl Tag {
    fn is(self, bytes: &[u8]) -> Choice {
        self.0.to_ne_bytes().ct_eq(bytes)
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
    /// Whether it was right.
    pub verified: bool,
    /// When it expires, in milliseconds.
    pub expires: u64,
}

impl<M: Memory> Cache<'_, M> {
    /// What is known of a user and a credential.
    #[inline]
    pub fn user(&mut self, user: Fact<'_>, tag: Tag, moment: Moment) -> Found {
        let Some(at) = self.usable(user, moment) else { return Found::Nothing };
        let (value, length) = self.table.value_at(at);
        if length < USER {
            return Found::Wrong;
        }
        let tags = self.table.memory.slice(value + RIGHT_TAGS, 16 * (RIGHT + WRONG));
        let (right, wrong) = tags.split_at_checked(16 * RIGHT).unwrap_or_default();
        let any = |tags: &[u8]| tags.chunks_exact(16).fold(Choice::from(0), |any, known| any | tag.is(known));
        let (right, wrong) = (bool::from(any(right)), bool::from(any(wrong)));
        match (right, wrong) {
            (true, _) => {
                self.used(at, moment);
                Found::Verified(Known { at: value + USER, length: length - USER })
            }
            (false, true) => Found::Wrong,
            (false, false) => Found::Unverified,
        }
    }

    /// The record of a group, or of the defaults.
    #[inline]
    pub fn fact(&mut self, fact: Fact<'_>, moment: Moment) -> Option<Known> {
        let at = self.usable(fact, moment)?;
        self.used(at, moment);
        let (value, length) = self.table.value_at(at);
        Some(Known { at: value + PLAIN, length: length.checked_sub(PLAIN)? })
    }

    /// The bytes of a record that was found under this lock.
    pub fn record(&self, known: Known) -> &[u8] {
        self.table.memory.slice(known.at, known.length)
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
                let (value, _) = table.value_at(at);
                return write(table.memory, value, epoch, passwords_epoch, put);
            }
            let earlier = found.and_then(|at| credentials(table, at, put.binding));
            let Some(value) = replace(table, List::Facts, user, USER + put.record.len(), put.expires, now) else { return };
            let memory = &mut *table.memory;
            memory.put(value + PLAIN, &earlier.unwrap_or([0; CREDENTIALS]));
            memory.put(value + BINDING, &put.binding.0.to_ne_bytes());
            memory.put(value + USER, put.record);
            write(memory, value, epoch, passwords_epoch, put);
        });
    }

    /// Puts the record of a group or of the defaults.
    pub fn put_fact(&mut self, fact: Fact<'_>, record: &[u8], expires: u64, now: u64) {
        self.put_plain(List::Facts, fact, record, NOT_PASSWORDS, expires, now);
    }

    /// Puts that there is no such user.
    pub fn put_unknown(&mut self, user: Fact<'_>, expires: u64, now: u64) {
        let passwords_epoch = self.number(root::PASSWORDS_EPOCH);
        self.put_plain(List::Strangers, user, &[], passwords_epoch, expires, now);
    }

    fn put_plain(&mut self, list: List, fact: Fact<'_>, record: &[u8], passwords_epoch: u64, expires: u64, now: u64) {
        let epoch = self.epoch();
        self.change(|table| {
            let Some(value) = replace(table, list, fact, PLAIN + record.len(), expires, now) else { return };
            table.memory.put_u64(value + EPOCH, epoch);
            table.memory.put_u64(value + PASSWORDS_EPOCH, passwords_epoch);
            table.memory.put(value + PLAIN, record);
        });
    }

    /// It changed: what was known of it is of no use any more.
    pub fn forget(&mut self, fact: Fact<'_>) {
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
        let (value, _) = self.table.value_at(at);
        let (expires, epoch) = (self.table.expires(at), self.table.memory.get_u64(value + EPOCH));
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
        let passwords_epoch = self.table.memory.get_u64(value + PASSWORDS_EPOCH);
        let current = passwords_epoch == NOT_PASSWORDS || passwords_epoch == self.number(root::PASSWORDS_EPOCH);
        (timely && current).then_some(at)
    }

    fn used(&mut self, at: At, moment: Moment) {
        let (Moment::Fresh(now) | Moment::Stale { now, .. }) = moment;
        if !self.table.is_touched(at, now) {
            self.change(|table| table.touch(at, now));
        }
    }
}

/// Writes what is new of a user although the record is the same: when it was read, and the credential.
fn write<M: Memory>(memory: &mut M, value: usize, epoch: u64, passwords_epoch: u64, put: &Put<'_>) {
    memory.put_u64(value + EPOCH, epoch);
    memory.put_u64(value + PASSWORDS_EPOCH, passwords_epoch);
    match put.verified {
        true => remember(memory, value, NEXT_RIGHT, RIGHT_TAGS, RIGHT, put.tag),
        false => remember(memory, value, NEXT_WRONG, WRONG_TAGS, WRONG, put.tag),
    }
}

/// Whether an entry holds this very record, and the stored password is the same.
fn is_same<M: Memory>(table: &Table<'_, M>, at: At, put: &Put<'_>) -> bool {
    let value = table.value(at);
    let binding = value.get(BINDING..BINDING + 16).unwrap_or_default();
    value.get(USER..) == Some(put.record) && bool::from(put.binding.is(binding))
}

/// The credentials of an entry whose stored password was the same.
fn credentials<M: Memory>(table: &Table<'_, M>, at: At, binding: Tag) -> Option<[u8; CREDENTIALS]> {
    let value = table.value(at);
    let block = value.get(PLAIN..USER)?.first_chunk::<CREDENTIALS>()?;
    let same = binding.is(value.get(BINDING..BINDING + 16)?);
    bool::from(same).then_some(*block)
}

/// Writes a tag over the oldest of its kind.
fn remember<M: Memory>(memory: &mut M, value: usize, next: usize, tags: usize, most: usize, tag: Tag) {
    let held = memory.slice(value + tags, 16 * most);
    if held.chunks_exact(16).any(|known| bool::from(tag.is(known))) {
        return;
    }
    let turn = memory.get_u32(value + next) as usize % most;
    memory.put(value + tags + 16 * turn, &tag.0.to_ne_bytes());
    memory.put_u32(value + next, (turn as u32 + 1) % most as u32);
}

/// A new entry in place of the earlier one; where its value lies.
pub(crate) fn replace<M: Memory>(
    table: &mut Table<'_, M>,
    list: List,
    fact: Fact<'_>,
    length: usize,
    expires: u64,
    now: u64,
) -> Option<usize> {
    if let Some(earlier) = table.find(fact.hash, fact.key) {
        table.remove(earlier);
    }
    let at = table.insert(list, fact.hash, fact.key, length, expires, now)?;
    Some(table.value_at(at).0)
}
