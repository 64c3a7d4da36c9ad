//! Failed logins: how many different wrong passwords one client has tried within a period, for one user and
//! for all users.
//!
//! Called by the nginx module under the lock, before and after a password is verified. Each login has two
//! counters: one of the client for the user, one of the client for all users. A client that repeats one wrong
//! password is counted once, however often it asks: most clients do so (containerd five times a request). The
//! failures of other clients do not count, because the client's address is part of both keys.
//!
//! A login is counted from its beginning ([`Cache::begin_login`]) until its result is known
//! ([`Cache::finish_login`]): else a client could try a thousand passwords at the same time. Guarantee:
//! within a period, no more different passwords of a client are found to be wrong than its limits say,
//! however many it tries at once. When a limit is reached, no password of that client is looked at until the
//! period is over ([`Cache::blocked_for`]). That includes the right one: if it were let in, the client would
//! know which it is. While logins under way fill a limit, only the passwords of those are looked at, for the
//! same reason: they may be so until the period is over, as their client may be gone. Where there is no room
//! for all blocks, whole networks are blocked (`wider`).

use crate::cache::Cache;
use crate::keys::{EntryKey, SecretKeys, Tag};
use crate::layout::counter::{ALL, FAILED, PLACE, WIDER_KEYS};
use crate::layout::{List, SLOT, WIDER, counter, entry, root};
use crate::memory::{Memory, Numbers, Write};
use crate::table::{EntryKind, Location, NewEntry, Table};
use crate::wider::{WiderNetwork, place};

/// The largest limit for one user.
pub const MAX_PER_USER: u32 = 100;
/// The largest limit for all users together.
pub const MAX_PER_ADDRESS: u32 = 10_000;
/// Milliseconds after which a client may try again that has as many logins under way as it may have failures.
pub const RETRY_INTERVAL_MS: u64 = 1_000;

/// The offset of the tags of passwords in the counter for a user: room for [`MAX_PER_USER`] times `u32`, a
/// part of a tag each, whatever the limit is, as a reload may change it. The failed ones come first. So one
/// wrong password in 2^32 is taken for another one and is not counted, but nobody can tell which one.
const TAGS: usize = counter::SIZE;
/// Bytes of the part of a tag.
const PART: usize = 4;
const OF_USER: usize = TAGS + PART * MAX_PER_USER as usize;
const OF_ADDRESS: usize = counter::SIZE;
/// Bytes of the longest key that is kept as it is. A longer one is replaced by its tag.
const KEY: usize = 48;
const _: () = assert!(entry::SIZE + KEY + OF_USER <= SLOT);

/// How many logins of a client may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureLimits {
    /// Different wrong passwords for one user after which the client is blocked; 1 to [`MAX_PER_USER`].
    pub per_user: u32,
    /// The same, for all users together; 1 to [`MAX_PER_ADDRESS`].
    pub per_address: u32,
    /// Milliseconds from the first wrong password until all are forgotten.
    pub period: u64,
}

/// The keys by which the logins of a client are counted.
#[derive(Clone, Copy)]
pub struct LoginKeys<'k> {
    /// The key of the counter for the user.
    pub user: EntryKey<'k>,
    /// The key of the counter for all users.
    pub address: EntryKey<'k>,
    /// The hash of the client's network, as [`may_be_blocked`] needs it.
    pub network: u64,
    /// The networks that it lies in, the smaller one first.
    pub wider: [WiderNetwork; WIDER],
}

/// Whether a login may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Attempt {
    /// It may be tried, and must be finished with this.
    Allowed(Reservation),
    /// The client must wait for this number of milliseconds.
    Wait(u64),
}

/// What a login under way has reserved in its counters. It is nothing where the same password has failed
/// before, or is under way already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reservation(Option<Periods>);

/// The ends of the periods in which a login was counted. It is taken back only in these periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Periods {
    user: u64,
    address: u64,
}

#[cfg(test)]
impl Reservation {
    /// The ends of the periods of both counters, in milliseconds.
    pub(crate) fn periods(self) -> Option<(u64, u64)> {
        self.0.map(|periods| (periods.user, periods.address))
    }
}

/// The result of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginResult {
    /// The password is right.
    Right,
    /// The password is wrong, or there is no such user.
    Wrong,
    /// It was not found out whether the password is right.
    Undecided,
}

/// Whether any client may be blocked. Never false where a client is blocked. `peek` is as for
/// [`may_be_blocked`].
#[inline]
pub fn may_any_be_blocked(peek: impl Fn(usize) -> Option<u64>) -> bool {
    // The count of counters that have reached their limit, and that of blocks of wider networks after it.
    !matches!(peek(List::BLOCKED.at() + 8), None | Some(0))
}

/// Whether a client of a network may be blocked. Never false where a client of it is. `peek` reads a `u64` of
/// the block without the lock, by its offset from the root. `network` gives [`LoginKeys::network`] for 0, and
/// the `network` of each of [`LoginKeys::wider`] for the next numbers; it is called only where some client is
/// blocked.
#[inline]
pub fn may_be_blocked(peek: impl Fn(usize) -> Option<u64>, network: impl Fn(usize) -> u64) -> bool {
    let blocked = peek(List::BLOCKED.at() + 8).unwrap_or(0).to_ne_bytes();
    let [counters, wide] = [0, 4].map(|at| blocked.as_slice().get_u32(at));
    if counters == 0 && wide == 0 {
        return false;
    }
    let is_noted = |network: u64| {
        let place = usize::from(place(network));
        let pair = peek(root::PLACES + 8 * (place / 2)).unwrap_or(0).to_ne_bytes();
        pair.as_slice().get_u32(4 * (place % 2)) != 0
    };
    is_noted(network(0)) || (wide != 0 && (1..=WIDER).any(|index| is_noted(network(index))))
}

impl<M: Memory> Cache<'_, M> {
    /// If a limit is reached: for how many milliseconds no password of the client is looked at.
    pub fn blocked_for(&mut self, login: &LoginKeys<'_>, limits: FailureLimits, now: u64) -> Option<u64> {
        let digests = Digests::of(&self.keys(), login);
        let counters = [
            (digests.user(login), per_user(limits)),
            (digests.address(login), per_address(limits)),
        ];
        let mut left = None;
        for (key, most) in counters {
            let Some(at) = self.table.current(key, now) else {
                continue;
            };
            if self.table.failed(at) < most {
                continue;
            }
            // A location with a higher limit may have counted it.
            if self.table.list(at) != List::BLOCKED {
                self.change(|table| table.block(at, now));
            }
            // If a reload has made the period shorter, the wait becomes shorter too.
            let until = self.table.expires(at).saturating_sub(now).min(limits.period);
            left = left.max(Some(until));
        }
        for network in login.wider {
            let Some(block) = self.table.wide_block(network, now) else {
                continue;
            };
            if u32::from(block.of_user) >= per_user(limits)
                || u32::from(block.of_address) >= per_address(limits)
            {
                left = left.max(Some((block.ends - now).min(limits.period)));
            }
        }
        if left.is_none() && (self.table.next_swept(now).is_some() || self.table.wide_blocks() != 0) {
            self.change(|table| {
                table.sweep_blocked(now);
                table.sweep_wide_blocks(now);
            });
        }
        left
    }

    /// For how many milliseconds the password of this tag is not looked at, be it right: that of
    /// [`Cache::blocked_for`], or a moment where the logins under way reach a limit and it is none of theirs.
    /// What is said of a right password must not tell it from the wrong ones that [`Cache::begin_login`]
    /// refuses.
    pub fn wait_for(
        &mut self,
        login: &LoginKeys<'_>,
        tag: Option<Tag>,
        limits: FailureLimits,
        now: u64,
    ) -> Option<u64> {
        if let Some(left) = self.blocked_for(login, limits, now) {
            return Some(left);
        }
        let digests = Digests::of(&self.keys(), login);
        let of_user = self.table.current(digests.user(login), now);
        let is_counted = |(at, tag)| self.table.position(at, tag).is_some();
        if of_user.zip(tag).is_some_and(is_counted) {
            return None;
        }
        let counters = [
            (of_user, per_user(limits)),
            (
                self.table.current(digests.address(login), now),
                per_address(limits),
            ),
        ];
        let is_full = |(at, most): &(Option<Location>, u32)| at.is_some_and(|at| self.table.all(at) >= *most);
        let (full, most) = counters.into_iter().find(is_full)?;
        if let Some(at) = full.filter(|at| self.table.list(*at) != List::BLOCKED) {
            self.change(|table| table.block_from(at, most, now));
        }
        Some(RETRY_INTERVAL_MS)
    }

    /// Begins a login with the password of this tag. The password is counted from now on, unless it was
    /// counted before.
    pub fn begin_login(
        &mut self,
        login: &LoginKeys<'_>,
        tag: Tag,
        limits: FailureLimits,
        now: u64,
    ) -> Attempt {
        if let Some(left) = self.wait_for(login, Some(tag), limits, now) {
            return Attempt::Wait(left);
        }
        let digests = Digests::of(&self.keys(), login);
        let (user, client) = (digests.user(login), digests.address(login));
        let at = self.table.current(user, now);
        if at.is_some_and(|at| self.table.position(at, tag).is_some()) {
            return Attempt::Allowed(Reservation(None));
        }
        let periods = self.change(|table| {
            let address = table.opened(client, OF_ADDRESS, login, limits, now)?;
            table.put_count(address, ALL, table.all(address).saturating_add(1));
            table.block_from(address, per_address(limits), now);
            let address = table.expires(address);
            let user = table.opened(user, OF_USER, login, limits, now)?;
            table.push_tag(user, tag);
            table.block_from(user, per_user(limits), now);
            let user = table.expires(user);
            Some(Periods { user, address })
        });
        match periods {
            Some(periods) => Attempt::Allowed(Reservation(Some(periods))),
            // A block without a free slot cannot count.
            None => Attempt::Wait(RETRY_INTERVAL_MS),
        }
    }

    /// Ends a login that was begun with the password of the same tag.
    pub fn finish_login(
        &mut self,
        login: &LoginKeys<'_>,
        tag: Tag,
        reservation: Reservation,
        result: LoginResult,
        limits: FailureLimits,
        now: u64,
    ) {
        match result {
            LoginResult::Wrong => self.count_failure(login, tag, limits, now),
            LoginResult::Right | LoginResult::Undecided => {
                self.give_back(login, tag, reservation, result, now)
            }
        }
    }

    /// Counts the wrong password of this tag, unless it was counted before.
    pub fn count_failure(&mut self, login: &LoginKeys<'_>, tag: Tag, limits: FailureLimits, now: u64) {
        let digests = Digests::of(&self.keys(), login);
        let (user, client) = (digests.user(login), digests.address(login));
        let at = self.table.current(user, now);
        let position = at.and_then(|at| self.table.position(at, tag));
        if let (Some(at), Some(position)) = (at, position)
            && position < self.table.failed(at)
        {
            if !self.table.is_touched(at, now) {
                self.change(|table| table.mark_counter_used(at, now));
            }
            return;
        }
        self.change(|table| {
            if let Some(address) = table.opened(client, OF_ADDRESS, login, limits, now) {
                let (failed, all) = (table.failed(address).saturating_add(1), table.all(address));
                // A login that began in an earlier period, or was pushed out since, is not in the number yet.
                let all = match position {
                    Some(_) => all.max(failed),
                    None => all.saturating_add(1),
                };
                table.put_count(address, ALL, all);
                table.put_count(address, FAILED, failed);
                table.block_from(address, per_address(limits), now);
            }
            if let Some(user) = table.opened(user, OF_USER, login, limits, now) {
                if table.position(user, tag).is_none() {
                    table.push_tag(user, tag);
                }
                if let Some(position) = table.position(user, tag) {
                    let failed = table.failed(user);
                    table.swap_tags(user, position, failed);
                    table.put_count(user, FAILED, failed + 1);
                }
                table.block_from(user, per_user(limits), now);
            }
        });
    }

    /// A password is not counted any more: it is right, even if it was wrong before, or nothing was found out
    /// about it.
    fn give_back(
        &mut self,
        login: &LoginKeys<'_>,
        tag: Tag,
        reservation: Reservation,
        result: LoginResult,
        now: u64,
    ) {
        let digests = Digests::of(&self.keys(), login);
        let (user, client) = (digests.user(login), digests.address(login));
        let at = self.table.current(user, now);
        let position = at.and_then(|at| self.table.position(at, tag));
        let Some((at, position)) = at.zip(position) else {
            return;
        };
        let periods = reservation.0;
        let is_under_way = position >= self.table.failed(at);
        let of_user = self.table.expires(at);
        let is_ours = periods.is_some_and(|periods| periods.user == of_user);
        if result == LoginResult::Undecided && !(is_under_way && is_ours) {
            return;
        }
        self.change(|table| {
            table.drop_tag(at, position);
            if table.all(at) == 0 {
                table.remove(at);
            }
            let address = table.current(client, now).filter(|_| is_under_way);
            let is_in_it = |of_address| match periods {
                Some(periods) => periods.address == of_address,
                // Another login with this password was counted, in the period of this counter if that began
                // before.
                None => of_address <= of_user,
            };
            let address = address.filter(|at| is_in_it(table.expires(*at)));
            if let Some(at) = address {
                let all = table.all(at).saturating_sub(1).max(table.failed(at));
                table.put_count(at, ALL, all);
                if all == 0 {
                    table.remove(at);
                }
            }
        });
    }
}

impl<M: Memory> Table<'_, M> {
    /// The counter of a key, if its period is not over.
    fn current(&self, key: EntryKey<'_>, now: u64) -> Option<Location> {
        self.find(key).filter(|at| now < self.expires(*at))
    }

    /// The counter of a key, if its period is not over; else a new one. `length` is the size of its value.
    fn opened(
        &mut self,
        key: EntryKey<'_>,
        length: usize,
        login: &LoginKeys<'_>,
        limits: FailureLimits,
        now: u64,
    ) -> Option<Location> {
        if let Some(at) = self.current(key, now) {
            self.mark_counter_used(at, now);
            return Some(at);
        }
        let entry = NewEntry {
            kind: EntryKind::Failures,
            key,
            length,
            expires: now.saturating_add(limits.period),
        };
        let value = self.replace(&entry, now)?;
        let [inner, outer] = login.wider;
        let places = [login.network, inner.network, outer.network].map(place);
        self.memory.put(value + PLACE, &places);
        self.memory.put_u32(value + FAILED, 0);
        for (index, network) in login.wider.into_iter().enumerate() {
            self.memory.put_u64(value + WIDER_KEYS + 8 * index, network.key);
        }
        self.find(key)
    }

    /// Moves a counter to the front of its list, if it has not reached its limit.
    fn mark_counter_used(&mut self, at: Location, now: u64) {
        if self.list(at) == List::FAILURES {
            self.move_to_front(at, now);
        }
    }

    /// Notes that a counter has reached its limit, if it has, be it with logins under way. It stays noted as
    /// long as it counts anything: another location may have a lower limit, which it is still at.
    fn block_from(&mut self, at: Location, most: u32, now: u64) {
        if self.all(at) >= most {
            self.sweep_blocked(now);
            self.block(at, now);
        }
    }

    /// The number of failed logins.
    fn failed(&self, at: Location) -> u32 {
        self.memory.bytes().get_u16(at.value + FAILED).into()
    }

    /// The number of logins that failed or are under way.
    fn all(&self, at: Location) -> u32 {
        self.memory.bytes().get_u16(at.value + ALL).into()
    }

    fn put_count(&mut self, at: Location, offset: usize, count: u32) {
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        self.memory.put_u16(at.value + offset, count);
    }

    /// The index of a password among those of a counter.
    fn position(&self, at: Location, tag: Tag) -> Option<u32> {
        (0..self.all(at).min(MAX_PER_USER)).find(|index| self.tag(at, *index) == tag.half() as u32)
    }

    fn tag(&self, at: Location, index: u32) -> u32 {
        self.memory
            .bytes()
            .get_u32(at.value + TAGS + PART * index as usize)
    }

    fn put_tag(&mut self, at: Location, index: u32, tag: u32) {
        // A damaged counter must not lead to a write into another entry.
        if index < MAX_PER_USER {
            self.memory.put_u32(at.value + TAGS + PART * index as usize, tag);
        }
    }

    /// Adds a password that is under way.
    fn push_tag(&mut self, at: Location, tag: Tag) {
        let all = self.all(at);
        if all < MAX_PER_USER {
            self.put_tag(at, all, tag.half() as u32);
            self.put_count(at, ALL, all + 1);
        }
    }

    fn swap_tags(&mut self, at: Location, one: u32, other: u32) {
        let (first, second) = (self.tag(at, one), self.tag(at, other));
        self.put_tag(at, one, second);
        self.put_tag(at, other, first);
    }

    /// Removes a password. The failed ones stay in front.
    fn drop_tag(&mut self, at: Location, position: u32) {
        let (failed, all) = (self.failed(at), self.all(at));
        let last = match position < failed {
            true => {
                self.swap_tags(at, position, failed - 1);
                self.put_count(at, FAILED, failed - 1);
                failed - 1
            }
            false => position,
        };
        self.swap_tags(at, last, all.saturating_sub(1));
        self.put_count(at, ALL, all.saturating_sub(1));
    }
}

/// The tags of keys that are too long to be kept.
struct Digests {
    user: Option<[u8; 16]>,
    address: Option<[u8; 16]>,
}

impl Digests {
    fn of(keys: &SecretKeys, login: &LoginKeys<'_>) -> Self {
        let digest = |key: &[u8]| (key.len() > KEY).then(|| keys.tag(key).0.to_ne_bytes());
        Self {
            user: digest(login.user.key),
            address: digest(login.address.key),
        }
    }

    fn user<'k>(&'k self, login: &LoginKeys<'k>) -> EntryKey<'k> {
        let key = self.user.as_ref().map_or(login.user.key, |digest| digest);
        EntryKey { key, ..login.user }
    }

    fn address<'k>(&'k self, login: &LoginKeys<'k>) -> EntryKey<'k> {
        let key = self.address.as_ref().map_or(login.address.key, |digest| digest);
        EntryKey { key, ..login.address }
    }
}

/// The limit for one user, within what can be counted.
fn per_user(limits: FailureLimits) -> u32 {
    limits.per_user.clamp(1, MAX_PER_USER)
}

/// The limit for all users, within what can be counted.
fn per_address(limits: FailureLimits) -> u32 {
    limits.per_address.clamp(1, MAX_PER_ADDRESS)
}
