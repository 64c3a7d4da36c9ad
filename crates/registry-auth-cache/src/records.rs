//! Account records: those of users, groups and defaults, and which credentials of a user were verified.
//!
//! Called by the nginx module under the lock. A user's entry holds the tags of credentials that were right,
//! several of them because robots may share an account, and of a few that were wrong. Guarantees: a tag is
//! found as right only while the stored password is the one that it was verified against, however often the
//! record is put again; and a record is found only in its epoch and before it expires, or within the time
//! that the caller allows for stale ones.

use crate::cache::Cache;
use crate::keys::{EntryKey, HALF, Tag, WHOLE};
use crate::layout::root;
use crate::memory::{Memory, Numbers, Write};
use crate::table::{EntryKind, EntryRef, Location, NewEntry, Table};
use crate::worker_cache::Validity;

/// Right credentials that are kept for one user.
const RIGHT: usize = 4;
/// Wrong credentials that are kept for one user: a client that repeats one is answered without hashing it
/// again.
const WRONG: usize = 2;

/// Offsets within a value: `u64` epoch, `u64` passwords' epoch ([`NOT_PASSWORDS`] where the password is the
/// record's own), for users [`CREDENTIALS`] bytes about their credentials, then the encoded record. The value
/// of a user that does not exist has no record, and only wrong credentials.
const EPOCH: usize = 0;
const PASSWORDS_EPOCH: usize = 8;
const PLAIN: usize = 16;
/// 8 bytes: half of the tag of the stored password, to which the credentials are bound. That two passwords
/// share it happens by chance only, once in 2^64.
const BINDING: usize = PLAIN;
/// Whole tags, the latest first: no client may be able to guess one of these.
const RIGHT_TAGS: usize = BINDING + HALF;
/// Half tags, the latest first.
const WRONG_TAGS: usize = RIGHT_TAGS + WHOLE * RIGHT;
const USER: usize = WRONG_TAGS + HALF * WRONG;
const CREDENTIALS: usize = USER - PLAIN;
/// For a user that does not exist: half tags of what was tried, the latest first, as many as for a user that
/// exists.
const UNKNOWN: usize = HALF * WRONG;

/// The passwords' epoch of a record whose password did not come out of the one hash of all passwords.
const NOT_PASSWORDS: u64 = u64::MAX;

/// How old a record may be.
#[derive(Clone, Copy, Debug)]
pub enum Freshness {
    /// It must be fresh at this time, in milliseconds: of the current epoch, and not expired.
    Fresh(u64),
    /// Redis cannot be reached, so the record may be stale.
    Stale {
        /// The current time, in milliseconds.
        now: u64,
        /// Milliseconds for which a record is used after the connection to Redis was lost, or after the
        /// record has expired, whichever was earlier.
        max_stale: u64,
    },
}

/// What the block says about a user and a credential.
pub enum Found {
    /// Nothing, or nothing that may be used any more.
    Missing,
    /// The user's record is there, but it is not known whether this credential is right.
    Unverified,
    /// The credential is wrong, or there is no such user.
    Wrong,
    /// The credential is right.
    Verified(FoundRecord),
}

/// Where a record lies that was found; see [`Cache::record_bytes`].
#[derive(Clone, Copy)]
pub struct FoundRecord {
    entry: usize,
    at: usize,
    length: usize,
    /// When it expires, in milliseconds.
    pub expires: u64,
}

/// A user's record that is to be put, with the credential that was tried.
pub struct NewRecord<'r> {
    /// The encoded record.
    pub record: &'r [u8],
    /// [`crate::SecretKeys::tag`] of all that decides which credentials are right: the stored password and
    /// the access tokens.
    pub binding: Tag,
    /// Whether the password came out of the one hash of all passwords.
    pub from_passwords: bool,
    /// The tag of the credential that was tried.
    pub tag: Tag,
    /// Whether the credential was right. `None` where it is not one of the user's own credentials, but a
    /// token that the caller has verified by itself.
    pub verified: Option<bool>,
    /// When the record expires, in milliseconds.
    pub expires: u64,
}

impl<M: Memory> Cache<'_, M> {
    /// Finds a user, and whether a credential of this tag is right.
    #[inline]
    pub fn find_user(&mut self, user: EntryKey<'_>, tag: Tag, freshness: Freshness) -> Found {
        let Some(at) = self.usable(user, freshness) else {
            return Found::Missing;
        };
        if at.length < USER {
            return self.unknown(at, tag);
        }
        let bytes = self.table.memory.bytes();
        let right = bytes.slice(at.value + RIGHT_TAGS, WHOLE * RIGHT);
        let wrong = bytes.slice(at.value + WRONG_TAGS, HALF * WRONG);
        if is_any(tag, right, WHOLE) {
            self.mark_used(at, freshness);
            return self.found(at, USER).map_or(Found::Missing, Found::Verified);
        }
        match is_any(tag, wrong, HALF) {
            true => Found::Wrong,
            false => Found::Unverified,
        }
    }

    /// Finds a user for a credential that the caller has verified by itself, such as a signed token: no
    /// password is compared. [`Found::Wrong`] means that there is no such user.
    pub fn find_preverified_user(&mut self, user: EntryKey<'_>, tag: Tag, freshness: Freshness) -> Found {
        let Some(at) = self.usable(user, freshness) else {
            return Found::Missing;
        };
        if at.length < USER {
            return self.unknown(at, tag);
        }
        self.mark_used(at, freshness);
        self.found(at, USER).map_or(Found::Missing, Found::Verified)
    }

    /// Whether a copy of a user's record outside of the block is still what the block says: `found` is what
    /// the block has now, `copy` the copy, and `validity` that of the whole entry with its groups and
    /// defaults. If so, the entry may be used for another while.
    pub fn confirm(&self, found: FoundRecord, copy: &[u8], validity: &Validity, now: u64) -> bool {
        let is_same = self.record_bytes(found) == copy && validity.renew(now, self.generations());
        if is_same {
            validity.refer_to(self.refer(found));
        }
        is_same
    }

    /// Notes that a copy of a user's record is in use, where nothing at all has changed since it was made: it
    /// may be used for another while. `false` where [`Cache::confirm`] has to compare it, too. Takes neither
    /// the key nor its hash, and reads no more of the record than its header.
    pub fn note_use(&mut self, validity: &Validity, now: u64) -> bool {
        let generations = self.generations();
        if !validity.is_current(generations) {
            return false;
        }
        let Some(at) = self.table.follow(validity.entry()) else {
            return false;
        };
        self.mark_used(at, Freshness::Fresh(now));
        validity.renew(now, generations)
    }

    /// Refers to a record that was found, for [`Cache::note_use`].
    pub fn refer(&self, found: FoundRecord) -> EntryRef {
        self.table.refer(found.entry)
    }

    /// The record against which this credential of a user was verified last, however old it is. The
    /// credential is still right if the password that is stored for the user now is the one of this record.
    pub fn find_once_verified(&self, user: EntryKey<'_>, tag: Tag) -> Option<FoundRecord> {
        let at = self.table.find(user)?;
        let right = self.table.value(at).get(..USER)?.slice(RIGHT_TAGS, WHOLE * RIGHT);
        self.found(at, USER).filter(|_| is_any(tag, right, WHOLE))
    }

    /// Finds the record of a group, or of the defaults.
    #[inline]
    pub fn find_record(&mut self, key: EntryKey<'_>, freshness: Freshness) -> Option<FoundRecord> {
        let at = self.usable(key, freshness)?;
        self.mark_used(at, freshness);
        self.found(at, PLAIN)
    }

    /// The record in a value, where it stands behind so many bytes.
    #[inline]
    fn found(&self, at: Location, before: usize) -> Option<FoundRecord> {
        Some(FoundRecord {
            entry: at.entry,
            at: at.value + before,
            length: at.length.checked_sub(before)?,
            expires: self.table.expires(at),
        })
    }

    /// The bytes of a record that was found under this lock.
    #[inline]
    pub fn record_bytes(&self, found: FoundRecord) -> &[u8] {
        self.table.memory.bytes().slice(found.at, found.length)
    }

    /// Puts a user's record, with the credential that was tried. The credentials that were tried before are
    /// kept if `binding` is the same. Where the block had another record that was current, copies of that are
    /// old from now on.
    pub fn put_user(&mut self, user: EntryKey<'_>, new: &NewRecord<'_>, now: u64) {
        let passwords_epoch = match new.from_passwords {
            true => self.number(root::PASSWORDS_EPOCH),
            false => NOT_PASSWORDS,
        };
        let epoch = self.epoch();
        self.change(|table| {
            table.set_number(root::LAST_PUT, epoch);
            let found = table.find(user);
            if let Some(at) = found.filter(|at| is_same(table, *at, new)) {
                // Many requests may have waited for one answer. Each puts it, and only the first changes the
                // record.
                table.set_expires(at, new.expires);
                table.touch(at, now);
                return write(table.memory, at.value, epoch, passwords_epoch, new);
            }
            // Whoever has a copy of a record that is not what the store says now must not go by it, though
            // nobody has heard of a change yet.
            let is_current =
                |at: Location| at.length >= USER && table.memory.bytes().get_u64(at.value + EPOCH) == epoch;
            if found.is_some_and(is_current) {
                table.raise(root::GENERATION);
            }
            let earlier = found.and_then(|at| credentials(table, at, new.binding));
            let entry = NewEntry {
                kind: EntryKind::Record,
                key: user,
                length: USER + new.record.len(),
                expires: new.expires,
            };
            let Some(value) = table.replace(&entry, now) else {
                return;
            };
            let memory = &mut *table.memory;
            memory.put(value + PLAIN, &earlier.unwrap_or([0; CREDENTIALS]));
            memory.put_u64(value + BINDING, new.binding.half());
            memory.put(value + USER, new.record);
            write(memory, value, epoch, passwords_epoch, new);
        });
    }

    /// Puts the record of a group or of the defaults.
    pub fn put_record(&mut self, key: EntryKey<'_>, record: &[u8], expires: u64, now: u64) {
        let entry = NewEntry {
            kind: EntryKind::Record,
            key,
            length: PLAIN + record.len(),
            expires,
        };
        self.put_plain(&entry, record, NOT_PASSWORDS, now);
    }

    /// Puts that there is no such user, which was found out with a credential of this tag. The entry answers
    /// only for the credentials that were tried last, as a known user's entry does for wrong passwords: else
    /// the time of an answer would tell which users exist.
    pub fn put_unknown_user(&mut self, user: EntryKey<'_>, tag: Tag, expires: u64, now: u64) {
        let passwords_epoch = self.number(root::PASSWORDS_EPOCH);
        let earlier = self.table.find(user);
        let earlier = earlier.and_then(|at| self.table.value(at).get(PLAIN..)?.try_into().ok());
        let mut tags: [u8; UNKNOWN] = earlier.unwrap_or([0; UNKNOWN]);
        push::<UNKNOWN>(&mut tags, tag, HALF, &tag.half().to_ne_bytes());
        let entry = NewEntry {
            kind: EntryKind::UnknownUser,
            key: user,
            length: PLAIN + tags.len(),
            expires,
        };
        self.put_plain(&entry, &tags, passwords_epoch, now);
    }

    /// Puts an entry whose value is the two epochs and `rest`.
    fn put_plain(&mut self, entry: &NewEntry<'_>, rest: &[u8], passwords_epoch: u64, now: u64) {
        let epoch = self.epoch();
        self.change(|table| {
            table.set_number(root::LAST_PUT, epoch);
            let Some(value) = table.replace(entry, now) else {
                return;
            };
            table.memory.put_u64(value + EPOCH, epoch);
            table.memory.put_u64(value + PASSWORDS_EPOCH, passwords_epoch);
            table.memory.put(value + PLAIN, rest);
        });
    }

    /// A user has changed: the record is not found any more, except by [`Cache::find_once_verified`].
    pub fn invalidate_user(&mut self, user: EntryKey<'_>) {
        // Also where the record is old already, or not in the block any more: a worker may have a copy.
        self.table.raise(root::GENERATION);
        self.note_change(user);
        let found = self.table.find(user);
        let right = found.and_then(|at| self.table.value(at).get(RIGHT_TAGS..WRONG_TAGS));
        match found.filter(|_| right.is_some_and(|tags| tags.iter().any(|byte| *byte != 0))) {
            // No current epoch is 0, and no floor: so the record is neither fresh nor stale.
            Some(at) => self.table.memory.put_u64(at.value + EPOCH, 0),
            None => self.remove(user),
        }
    }

    /// The record of a group or of the defaults has changed: removes it.
    pub fn invalidate(&mut self, key: EntryKey<'_>) {
        // Also where the record is not in the block any more: a worker may have a copy.
        self.table.raise_generations();
        self.note_change(key);
        self.remove(key);
    }

    fn remove(&mut self, key: EntryKey<'_>) {
        if self.table.find(key).is_some() {
            self.change(|table| {
                if let Some(at) = table.find(key) {
                    table.remove(at);
                }
            });
        }
    }

    /// The entry of a key, if it may still be used.
    #[inline]
    fn usable(&self, key: EntryKey<'_>, freshness: Freshness) -> Option<Location> {
        let at = self.table.find(key)?;
        let dates = self.table.memory.bytes().slice(at.value, PLAIN);
        let (epoch, passwords_epoch) = (dates.get_u64(EPOCH), dates.get_u64(PASSWORDS_EPOCH));
        let expires = self.table.expires(at);
        let timely = match freshness {
            Freshness::Fresh(now) => now < expires && epoch == self.epoch(),
            Freshness::Stale { now, max_stale } => {
                let lost = match self.number(root::LOST_SINCE) {
                    0 => u64::MAX,
                    lost => lost,
                };
                now < expires.min(lost).saturating_add(max_stale)
                    && expires > self.number(root::NOT_STALE)
                    && epoch >= self.number(root::FLOOR)
                    && self.number(root::DOUBT) == 0
            }
        };
        let current =
            passwords_epoch == NOT_PASSWORDS || passwords_epoch == self.number(root::PASSWORDS_EPOCH);
        (timely && current).then_some(at)
    }

    /// What the entry of a user that does not exist says about a credential.
    fn unknown(&self, at: Location, tag: Tag) -> Found {
        let tags = self.table.memory.bytes().slice(at.value + PLAIN, UNKNOWN);
        match is_any(tag, tags, HALF) {
            true => Found::Wrong,
            false => Found::Unverified,
        }
    }

    fn mark_used(&mut self, at: Location, freshness: Freshness) {
        let (Freshness::Fresh(now) | Freshness::Stale { now, .. }) = freshness;
        if !self.table.is_touched(at, now) {
            self.change(|table| table.touch(at, now));
        }
    }
}

/// Whether one of `tags`, of `size` bytes each, is this tag.
#[inline]
fn is_any(tag: Tag, tags: &[u8], size: usize) -> bool {
    tags.chunks_exact(size).any(|known| tag.matches(known))
}

/// Writes what is new about a user although the record may be the same: when it was read, and the credential.
fn write<M: Memory>(memory: &mut M, value: usize, epoch: u64, passwords_epoch: u64, new: &NewRecord<'_>) {
    memory.put_u64(value + EPOCH, epoch);
    memory.put_u64(value + PASSWORDS_EPOCH, passwords_epoch);
    let (whole, half) = (new.tag.0.to_ne_bytes(), new.tag.half().to_ne_bytes());
    let (right, wrong) = match new.verified {
        Some(true) => (whole.as_slice(), [].as_slice()),
        Some(false) => ([].as_slice(), half.as_slice()),
        None => return,
    };
    remember::<M, { WHOLE * RIGHT }>(memory, value + RIGHT_TAGS, new.tag, WHOLE, right);
    remember::<M, { HALF * WRONG }>(memory, value + WRONG_TAGS, new.tag, HALF, wrong);
}

/// Removes a tag from a list of tags, and puts `first` (that tag, or nothing) in front. Where there is no
/// room, the last tag is dropped.
fn remember<M: Memory, const LENGTH: usize>(memory: &mut M, at: usize, tag: Tag, size: usize, first: &[u8]) {
    let held = memory.bytes().slice(at, LENGTH);
    let mut tags: [u8; LENGTH] = held.try_into().unwrap_or([0; LENGTH]);
    push(&mut tags, tag, size, first);
    memory.put(at, &tags);
}

/// As [`remember`], for a list outside of the block.
fn push<const LENGTH: usize>(tags: &mut [u8; LENGTH], tag: Tag, size: usize, first: &[u8]) {
    let held = *tags;
    *tags = [0; LENGTH];
    let others = held.chunks_exact(size).filter(|known| !tag.matches(known));
    let first = first.chunks_exact(size);
    for (to, from) in tags.chunks_exact_mut(size).zip(first.chain(others)) {
        to.copy_from_slice(from);
    }
}

/// Whether an entry holds this very record, bound to the same stored password.
fn is_same<M: Memory>(table: &Table<'_, M>, at: Location, new: &NewRecord<'_>) -> bool {
    let value = table.value(at);
    value.get(USER..) == Some(new.record) && new.binding.matches(value.slice(BINDING, HALF))
}

/// What an entry says about credentials, if they are bound to the same stored password.
fn credentials<M: Memory>(table: &Table<'_, M>, at: Location, binding: Tag) -> Option<[u8; CREDENTIALS]> {
    let value = table.value(at);
    let block = value.get(PLAIN..USER)?.first_chunk::<CREDENTIALS>()?;
    binding.matches(value.slice(BINDING, HALF)).then_some(*block)
}
