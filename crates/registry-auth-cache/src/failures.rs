//! Failed logins: how many different wrong passwords one client has tried in a period, for one user and for all users together.
//!
//! Two counters, of the client for the user and of the client alone. A client that repeats one wrong password counts once, however
//! often it asks: most clients do (containerd five times a request). Nobody else's failures count: the client is part of both keys.
//!
//! A login under way counts from when it is begun ([`Cache::attempt`]) until it is known what it came to ([`Cache::settle`]): else a
//! client that tries a thousand passwords at once would have them all tried. Invariant: in a period, no more different passwords
//! of a client are found to be wrong than its limits say, whatever comes at once; and once they are, no password of it is looked
//! at until the period is over ([`Cache::blocked`]), the right one included, since that one being let in would tell which it is.

use crate::cache::{Cache, Keys};
use crate::layout::{entry, root, List, PLACES, SLOT};
use crate::memory::{Memory, Numbers, Write};
use crate::records::{replace, Fact, Kind, Tag};
use crate::table::{At, Table};

/// Most that can be configured, for one user.
pub const MOST: u32 = 100;
/// Most that can be configured, for all users together.
pub const MOST_OF_ADDRESS: u32 = 10_000;
/// Milliseconds after which a client may come again whose logins under way are as many as it may try.
pub const SOON: u64 = 1_000;

/// A value: `u32` place of the network (see [`root::PLACES`]), `u16` failed, `u16` failed and under way; of a user, then room
/// for [`MOST`] times `u32`, a part of a tag each, whatever the limit: it may change over a reload. The failed ones come first. So one
/// wrong password in four thousand million is taken for another one and not counted, but nobody can tell which.
const PLACE: usize = 0;
const FAILED: usize = 4;
const ALL: usize = 6;
const TAGS: usize = 8;
/// Bytes of a part of a tag.
const PART: usize = 4;
const OF_USER: usize = TAGS + PART * MOST as usize;
const OF_ADDRESS: usize = TAGS;
/// Longest key that is kept as it is; a tag stands for a longer one.
const KEY: usize = 64;
const _: () = assert!(entry::SIZE + KEY + OF_USER <= SLOT);

/// The limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    /// Different wrong passwords that are borne, for one user; one more is refused.
    pub number: u32,
    /// And for all users together.
    pub address: u32,
    /// Milliseconds from the first of them until all are forgotten.
    pub period: u64,
}

/// A client who logs in as a user.
#[derive(Clone, Copy)]
pub struct Guesser<'k> {
    /// The key of the counter for the user.
    pub user: Fact<'k>,
    /// The key of the counter for all users.
    pub address: Fact<'k>,
    /// The hash of the client's network, by which [`may_be_blocked`] asks.
    pub network: u64,
}

/// Whether a login may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Attempt {
    /// It may, and what it comes to is to be settled with this.
    Go(Reserved),
    /// Not for so many milliseconds.
    Wait(u64),
}

/// What a login under way has reserved: nothing, where the same password failed before, or is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved(Option<Periods>);

/// The ends of the periods in which something was reserved: it is given back in these only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Periods {
    user: u64,
    address: u64,
}

#[cfg(test)]
impl Reserved {
    /// The ends of the periods of both counters.
    pub(crate) fn periods(self) -> Option<(u64, u64)> {
        self.0.map(|periods| (periods.user, periods.address))
    }
}

/// What a login came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The password is right.
    Right,
    /// It is wrong, or there is no such user.
    Wrong,
    /// That was not found out.
    Open,
}

/// Whether anybody may be blocked, of whatever network: never false where somebody is. `peek` is as of [`may_be_blocked`].
#[inline]
pub fn may_any_be_blocked(peek: impl Fn(usize) -> Option<u64>) -> bool {
    // With the unused number behind it, which is 0.
    !matches!(peek(List::BLOCKED.at() + 8), None | Some(0))
}

/// Whether anybody of a network may be blocked: never false where somebody is. `peek` reads a number of the block without the lock, by
/// its offset from the root; `network` is the hash of the network, which is wanted only where anybody is blocked at all.
#[inline]
pub fn may_be_blocked(peek: impl Fn(usize) -> Option<u64>, network: impl FnOnce() -> u64) -> bool {
    if !may_any_be_blocked(&peek) {
        return false;
    }
    let place = network() as usize % PLACES;
    let pair = peek(root::PLACES + 8 * (place / 2)).unwrap_or(0).to_ne_bytes();
    pair.as_slice().get_u32(4 * (place % 2)) != 0
}

impl<M: Memory> Cache<'_, M> {
    /// Milliseconds for which the client must wait before any password of it is looked at, if a limit is reached.
    pub fn blocked(&mut self, who: &Guesser<'_>, limit: Failures, now: u64) -> Option<u64> {
        let digests = Digests::of(&self.keys(), who);
        let counters = [
            (digests.user(who), number(limit)),
            (digests.address(who), address(limit)),
        ];
        let mut left = None;
        for (fact, most) in counters {
            let Some(at) = self.table.current(fact, now) else {
                continue;
            };
            if self.table.failed(at) < most {
                continue;
            }
            // It may have been counted by a location where the limit is higher.
            if self.table.list(at) != List::BLOCKED {
                self.change(|table| table.block(at, now));
            }
            // Where the configured period became shorter, so does the wait.
            let until = self.table.expires(at).saturating_sub(now).min(limit.period);
            left = left.max(Some(until));
        }
        if left.is_none() && self.table.swept(now).is_some() {
            self.change(|table| table.sweep_blocked(now));
        }
        left
    }

    /// Begins a login. The password counts from now on, unless it did already.
    pub fn attempt(&mut self, who: &Guesser<'_>, tag: Tag, limit: Failures, now: u64) -> Attempt {
        if let Some(left) = self.blocked(who, limit, now) {
            return Attempt::Wait(left);
        }
        let digests = Digests::of(&self.keys(), who);
        let (user, client) = (digests.user(who), digests.address(who));
        let at = self.table.current(user, now);
        if at.is_some_and(|at| self.table.position(at, tag).is_some()) {
            return Attempt::Go(Reserved(None));
        }
        let is_full = |at: Option<At>, most| at.is_some_and(|at| self.table.all(at) >= most);
        if is_full(at, number(limit)) || is_full(self.table.current(client, now), address(limit)) {
            return Attempt::Wait(SOON);
        }
        let periods = self.change(|table| {
            let address = table.opened(client, OF_ADDRESS, who.network, limit, now)?;
            table.put_count(address, ALL, table.all(address).saturating_add(1));
            let address = table.expires(address);
            let user = table.opened(user, OF_USER, who.network, limit, now)?;
            table.push_tag(user, tag);
            let user = table.expires(user);
            Some(Periods { user, address })
        });
        match periods {
            Some(periods) => Attempt::Go(Reserved(Some(periods))),
            // A block without a slot for it cannot count.
            None => Attempt::Wait(SOON),
        }
    }

    /// Ends a login that was begun with the same password.
    pub fn settle(
        &mut self,
        who: &Guesser<'_>,
        tag: Tag,
        reserved: Reserved,
        settled: Settled,
        limit: Failures,
        now: u64,
    ) {
        match settled {
            Settled::Wrong => self.failed(who, tag, limit, now),
            Settled::Right | Settled::Open => self.give_back(who, tag, reserved, settled, now),
        }
    }

    /// Counts a wrong password, unless it has been counted.
    pub fn failed(&mut self, who: &Guesser<'_>, tag: Tag, limit: Failures, now: u64) {
        let digests = Digests::of(&self.keys(), who);
        let (user, client) = (digests.user(who), digests.address(who));
        let at = self.table.current(user, now);
        let position = at.and_then(|at| self.table.position(at, tag));
        if let (Some(at), Some(position)) = (at, position) {
            if position < self.table.failed(at) {
                if !self.table.is_touched(at, now) {
                    self.change(|table| table.used(at, now));
                }
                return;
            }
        }
        self.change(|table| {
            if let Some(address) = table.opened(client, OF_ADDRESS, who.network, limit, now) {
                let (failed, all) = (table.failed(address).saturating_add(1), table.all(address));
                // What was under way in an earlier period, or was pushed out since, is not in the number yet.
                let all = match position {
                    Some(_) => all.max(failed),
                    None => all.saturating_add(1),
                };
                table.put_count(address, ALL, all);
                table.put_count(address, FAILED, failed);
                table.block_from(address, crate::failures::address(limit), now);
            }
            if let Some(user) = table.opened(user, OF_USER, who.network, limit, now) {
                if table.position(user, tag).is_none() {
                    table.push_tag(user, tag);
                }
                if let Some(position) = table.position(user, tag) {
                    let failed = table.failed(user);
                    table.swap_tags(user, position, failed);
                    table.put_count(user, FAILED, failed + 1);
                }
                table.block_from(user, number(limit), now);
            }
        });
    }

    /// A password does not count any more: it is right, whatever it was before, or nothing was found out.
    fn give_back(&mut self, who: &Guesser<'_>, tag: Tag, reserved: Reserved, settled: Settled, now: u64) {
        let digests = Digests::of(&self.keys(), who);
        let (user, client) = (digests.user(who), digests.address(who));
        let at = self.table.current(user, now);
        let position = at.and_then(|at| self.table.position(at, tag));
        let Some((at, position)) = at.zip(position) else {
            return;
        };
        let periods = reserved.0;
        let is_under_way = position >= self.table.failed(at);
        let is_ours = periods.is_some_and(|periods| periods.user == self.table.expires(at));
        if settled == Settled::Open && !(is_under_way && is_ours) {
            return;
        }
        self.change(|table| {
            table.drop_tag(at, position);
            if table.all(at) == 0 {
                table.remove(at);
            }
            let address = table.current(client, now).filter(|_| is_under_way);
            let address =
                address.filter(|at| periods.is_some_and(|periods| periods.address == table.expires(*at)));
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
    /// A counter whose period is not over.
    fn current(&self, fact: Fact<'_>, now: u64) -> Option<At> {
        self.find(fact.hash, fact.key)
            .filter(|at| now < self.expires(*at))
    }

    /// A counter whose period is not over; a new one where there is none.
    fn opened(
        &mut self,
        fact: Fact<'_>,
        length: usize,
        network: u64,
        limit: Failures,
        now: u64,
    ) -> Option<At> {
        if let Some(at) = self.current(fact, now) {
            self.used(at, now);
            return Some(at);
        }
        let expires = now.saturating_add(limit.period);
        let value = replace(self, Kind::Failures, fact, length, expires, now)?;
        self.memory
            .put_u32(value + PLACE, (network % PLACES as u64) as u32);
        self.memory.put_u32(value + FAILED, 0);
        self.find(fact.hash, fact.key)
    }

    /// Moves it to the front of those that have not reached their limit.
    fn used(&mut self, at: At, now: u64) {
        if self.list(at) == List::FAILURES {
            self.bring_first(at, now);
        }
    }

    /// Notes that it has reached its limit, if it has.
    fn block_from(&mut self, at: At, most: u32, now: u64) {
        if self.failed(at) >= most {
            self.sweep_blocked(now);
            self.block(at, now);
        }
    }

    fn failed(&self, at: At) -> u32 {
        self.memory.bytes().get_u16(at.value + FAILED).into()
    }

    /// Failed, and under way.
    fn all(&self, at: At) -> u32 {
        self.memory.bytes().get_u16(at.value + ALL).into()
    }

    fn put_count(&mut self, at: At, offset: usize, count: u32) {
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        self.memory.put_u16(at.value + offset, count);
    }

    /// Where a password is among those of a counter.
    fn position(&self, at: At, tag: Tag) -> Option<u32> {
        (0..self.all(at).min(MOST)).find(|index| self.tag(at, *index) == tag.half() as u32)
    }

    fn tag(&self, at: At, index: u32) -> u32 {
        self.memory
            .bytes()
            .get_u32(at.value + TAGS + PART * index as usize)
    }

    fn put_tag(&mut self, at: At, index: u32, tag: u32) {
        // What was damaged must not have us write into another entry.
        if index < MOST {
            self.memory.put_u32(at.value + TAGS + PART * index as usize, tag);
        }
    }

    /// Adds a password that is under way.
    fn push_tag(&mut self, at: At, tag: Tag) {
        let all = self.all(at);
        if all < MOST {
            self.put_tag(at, all, tag.half() as u32);
            self.put_count(at, ALL, all + 1);
        }
    }

    fn swap_tags(&mut self, at: At, one: u32, other: u32) {
        let (first, second) = (self.tag(at, one), self.tag(at, other));
        self.put_tag(at, one, second);
        self.put_tag(at, other, first);
    }

    /// Takes a password out, with the failed ones in front as before.
    fn drop_tag(&mut self, at: At, position: u32) {
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

/// What stands for keys that are too long.
struct Digests {
    user: Option<[u8; 16]>,
    address: Option<[u8; 16]>,
}

impl Digests {
    fn of(keys: &Keys, who: &Guesser<'_>) -> Self {
        let digest = |key: &[u8]| (key.len() > KEY).then(|| keys.tag(key).0.to_ne_bytes());
        Self {
            user: digest(who.user.key),
            address: digest(who.address.key),
        }
    }

    fn user<'k>(&'k self, who: &Guesser<'k>) -> Fact<'k> {
        let key = self.user.as_ref().map_or(who.user.key, |digest| digest);
        Fact { key, ..who.user }
    }

    fn address<'k>(&'k self, who: &Guesser<'k>) -> Fact<'k> {
        let key = self.address.as_ref().map_or(who.address.key, |digest| digest);
        Fact { key, ..who.address }
    }
}

/// The limit for one user, within what can be counted.
fn number(limit: Failures) -> u32 {
    limit.number.clamp(1, MOST)
}

/// The limit for all users, within what can be counted.
fn address(limit: Failures) -> u32 {
    limit.address.clamp(1, MOST_OF_ADDRESS)
}
