//! Blocks of wider networks: what becomes of a block for which there is no room any more.
//!
//! Used by `table` where a counter that has reached its limit must give way, and by `failures` when it looks
//! for blocks. An attacker with many addresses can have more of them blocked than there are slots. Then the
//! block that is nearest to its end gives way to one of the network that its client lies in, for all users:
//! whoever overflows the room blocks the networks of his own addresses, and frees none of them. Such a block
//! is one of 32 bytes, in sets as those of a processor's cache; where a set is full, one of them gives way to
//! that of the next wider network, and only where no wider one is left it is forgotten.
//!
//! Guarantee: a block is forgotten before its period is over only where a set is full of blocks of the widest
//! networks, or more than [`MAX_MOVES`] would have to give way.

use crate::layout::{BLOCKS_IN_SET, List, PLACES, WIDER, counter, root, wide};
use crate::memory::{Memory, Numbers, Write};
use crate::table::{Location, Table};

/// How many blocks may give way, each for the one before, when one is put: the lock must not be held for
/// long.
const MAX_MOVES: usize = 64;

/// A network that a client lies in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WiderNetwork {
    /// The hash of its key: of the accounts and the network, for all users. Not 0, which no key has but by a
    /// chance of one in 2^64.
    pub key: u64,
    /// The hash of the network alone, as [`crate::failures::may_be_blocked`] needs it.
    pub network: u64,
}

/// A block of a wider network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WideBlock {
    /// The hash of the network's key.
    pub key: u64,
    /// The same of the next wider network; 0 where there is none.
    pub wider: u64,
    /// When the block ends, in milliseconds.
    pub ends: u64,
    /// Logins of one client for one user that have failed or were under way, the most of all clients; 0 where
    /// none was blocked for a user.
    pub of_user: u16,
    /// The same for all users; 0 where none was blocked for all.
    pub of_address: u16,
    /// The place of the network, see [`root::PLACES`]; and that of the next wider one.
    pub places: [u8; WIDER],
}

impl WideBlock {
    /// The block that takes the place of a counter which has reached its limit, be it with logins under way.
    fn of_counter(bytes: &[u8], at: Location, ends: u64) -> Self {
        let all = bytes.get_u16(at.value + counter::ALL);
        let (of_user, of_address) = match at.length {
            counter::SIZE => (0, all),
            _ => (all, 0),
        };
        let places = bytes.slice(at.value + counter::WIDER_PLACES, WIDER);
        Self {
            key: bytes.get_u64(at.value + counter::WIDER_KEYS),
            wider: bytes.get_u64(at.value + counter::WIDER_KEYS + 8),
            ends,
            of_user,
            of_address,
            places: places.first_chunk().copied().unwrap_or_default(),
        }
    }

    /// The block that takes the place of this one; `None` where there is no wider network.
    fn widened(self) -> Option<Self> {
        let [_, place] = self.places;
        (self.wider != 0).then_some(Self {
            key: self.wider,
            wider: 0,
            places: [place, 0],
            ..self
        })
    }

    fn read(bytes: &[u8], at: usize) -> Self {
        Self {
            key: bytes.get_u64(at + wide::KEY),
            wider: bytes.get_u64(at + wide::WIDER),
            ends: bytes.get_u64(at + wide::ENDS),
            of_user: bytes.get_u16(at + wide::OF_USER),
            of_address: bytes.get_u16(at + wide::OF_ADDRESS),
            places: bytes
                .slice(at + wide::PLACES, WIDER)
                .first_chunk()
                .copied()
                .unwrap_or_default(),
        }
    }

    fn write(&self, memory: &mut impl Memory, at: usize) {
        memory.put_u64(at + wide::KEY, self.key);
        memory.put_u64(at + wide::WIDER, self.wider);
        memory.put_u64(at + wide::ENDS, self.ends);
        memory.put_u16(at + wide::OF_USER, self.of_user);
        memory.put_u16(at + wide::OF_ADDRESS, self.of_address);
        memory.put(at + wide::PLACES, &self.places);
    }
}

impl<M: Memory> Table<'_, M> {
    /// Removes a counter that has reached its limit. Unless its period is over, its client's wider network is
    /// blocked instead.
    pub fn widen(&mut self, at: Location, now: u64) {
        let block = WideBlock::of_counter(self.memory.bytes(), at, self.expires(at));
        self.remove(at);
        if now < block.ends {
            self.put_wide_block(block, now);
        }
    }

    /// The block of a network that has not ended yet.
    pub fn wide_block(&self, network: WiderNetwork, now: u64) -> Option<WideBlock> {
        self.set(network.key)
            .map(|at| WideBlock::read(self.memory.bytes(), at))
            .find(|block| block.key == network.key && now < block.ends)
    }

    /// Blocks a network, which may be blocked already. Where its set is full, another block gives way.
    fn put_wide_block(&mut self, block: WideBlock, now: u64) {
        let mut next = Some(block);
        for _ in 0..MAX_MOVES {
            let Some(block) = next else {
                return;
            };
            next = self.swap_wide_block(block, now).and_then(WideBlock::widened);
        }
    }

    /// Puts a block; gives the one that had to give way, and had not ended. That is this one itself in a set
    /// that is full of the widest.
    fn swap_wide_block(&mut self, block: WideBlock, now: u64) -> Option<WideBlock> {
        let read = |at: &usize| WideBlock::read(self.memory.bytes(), *at);
        if let Some(at) = self.set(block.key).find(|at| read(at).key == block.key) {
            let earlier = read(&at);
            let earlier = match now < earlier.ends {
                true => earlier,
                false => WideBlock::default(),
            };
            let both = WideBlock {
                ends: block.ends.max(earlier.ends),
                of_user: block.of_user.max(earlier.of_user),
                of_address: block.of_address.max(earlier.of_address),
                ..block
            };
            both.write(self.memory, at);
            return None;
        }
        // One that is free or has ended; else one that a wider one can take the place of; else the one that
        // is nearest to its end.
        let at = self.set(block.key).min_by_key(|at| {
            let block = read(at);
            let is_live = block.key != 0 && now < block.ends;
            (is_live, is_live && block.wider == 0, block.ends)
        })?;
        let earlier = read(&at);
        let is_live = earlier.key != 0 && now < earlier.ends;
        if is_live && earlier.wider == 0 && block.wider != 0 {
            return Some(block);
        }
        self.clear_wide_block(at);
        block.write(self.memory, at);
        self.count_wide_block(block, 1);
        is_live.then_some(earlier)
    }

    /// Removes the blocks of the next set that have ended. All sets have their turn.
    pub fn sweep_wide_blocks(&mut self, now: u64) {
        if self.wide_blocks() == 0 {
            return;
        }
        let turn = self.memory.bytes().get_u32(self.root + root::WIDE_TURN);
        self.memory
            .put_u32(self.root + root::WIDE_TURN, turn.wrapping_add(1));
        for at in self.set(turn.into()) {
            let block = WideBlock::read(self.memory.bytes(), at);
            if block.key != 0 && block.ends <= now {
                self.clear_wide_block(at);
            }
        }
    }

    /// How many blocks of wider networks there are, with those that have ended and were not removed yet.
    pub fn wide_blocks(&self) -> u32 {
        self.memory.bytes().get_u32(self.root + List::BLOCKED.at() + 12)
    }

    fn clear_wide_block(&mut self, at: usize) {
        let block = WideBlock::read(self.memory.bytes(), at);
        if block.key != 0 {
            WideBlock::default().write(self.memory, at);
            self.count_wide_block(block, u32::MAX);
        }
    }

    fn count_wide_block(&mut self, block: WideBlock, more: u32) {
        let [place, _] = block.places;
        self.add_to_place(place, more);
        let number = self.wide_blocks().wrapping_add(more);
        self.memory.put_u32(self.root + List::BLOCKED.at() + 12, number);
    }

    /// The offsets of the blocks of the set in which a key's block lies. None where there are no sets.
    fn set(&self, key: u64) -> impl Iterator<Item = usize> + use<M> {
        let bytes = self.memory.bytes();
        let (first, sets) = (
            bytes.get_u32(self.root + root::WIDE) as usize,
            bytes.get_u32(self.root + root::WIDE_SETS),
        );
        let blocks = match first {
            0 => 0,
            _ => BLOCKS_IN_SET,
        };
        // A remainder of a u32, which fits.
        let set = (key % u64::from(sets.max(1))) as usize;
        (0..blocks).map(move |index| first + wide::SIZE * (set * BLOCKS_IN_SET + index))
    }
}

/// The place of a network, see [`root::PLACES`].
pub(crate) fn place(network: u64) -> u8 {
    // Less than PLACES.
    (network % PLACES as u64) as u8
}
