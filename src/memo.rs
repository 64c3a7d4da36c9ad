//! What a worker remembers of `Authorization` headers: whom each names, and for a while what the zone said of it.
//!
//! Called by `cache`. Decoding a header costs as much as all the rest of a cached request, and so does looking the user up in the
//! zone. No header is kept, only its keyed tag, which stands for it; and nothing is said of its password but by what the zone said,
//! which holds while the zone's generation does and for [`LOOK`] at most.

use std::rc::Rc;
use std::sync::Arc;

use registry_auth::UserNameBuf;
use registry_auth_cache::Tag;
use registry_auth_redis::Space;

use crate::identity::Identity;

/// Headers that are remembered: sets of [`WAYS`], each tag in the set that it names. Memory is touched only when it is used.
const SETS: usize = 1 << 13;
const WAYS: usize = 4;
/// Milliseconds after which the zone is asked again, so that it knows who is still there when it has to make room.
const LOOK: u64 = 10_000;
/// Bytes of what the zone said that a worker keeps, about; one that is larger than [`LARGEST`] is not kept at all.
const MOST: usize = 16 << 20;
const LARGEST: usize = 64 << 10;

/// What a worker remembers.
#[derive(Default)]
pub struct Memo {
    sets: Vec<Set>,
    /// Bytes of all that the zone said.
    kept: usize,
    turn: usize,
}

/// Halves of tags, together in one line of the processor's cache with what they lead to.
#[derive(Default)]
#[repr(align(64))]
struct Set {
    tags: [u64; WAYS],
    entries: [Option<Box<Entry>>; WAYS],
}

/// A header that was read, and where its user's entry lies in the zone.
pub struct Entry {
    tag: Tag,
    space: Arc<Space>,
    /// Whom it names.
    pub user: UserNameBuf,
    /// The key of the user's entry.
    pub key: Vec<u8>,
    /// The hash of that key.
    pub hash: u64,
    seen: Option<Seen>,
}

/// What the zone said.
struct Seen {
    identity: Rc<Identity>,
    generation: u64,
    until: u64,
}

impl Entry {
    /// A header of this tag, sent to this space.
    pub fn new(tag: Tag, space: &Arc<Space>, user: UserNameBuf, key: Vec<u8>, hash: u64) -> Entry {
        Entry {
            tag,
            space: Arc::clone(space),
            user,
            key,
            hash,
            seen: None,
        }
    }

    /// What the zone said, if its generation is still the one that it was, at this time.
    pub fn identity(&self, generation: impl FnOnce() -> Option<u64>, now: u64) -> Option<&Rc<Identity>> {
        let seen = self.seen.as_ref()?;
        (now < seen.until && generation() == Some(seen.generation)).then_some(&seen.identity)
    }
}

impl Memo {
    /// The header with this tag, sent to this space.
    pub fn recall(&self, tag: Tag, space: &Arc<Space>) -> Option<&Entry> {
        let set = self.sets.get(set(tag))?;
        let way = set.tags.iter().position(|half| *half == tag.low())?;
        let entry = set.entries.get(way)?.as_ref()?;
        (entry.tag == tag && Arc::ptr_eq(&entry.space, space)).then_some(entry)
    }

    /// Remembers a header, in place of another one if need be.
    pub fn remember(&mut self, entry: Entry) {
        if self.sets.is_empty() {
            self.sets.resize_with(SETS, Set::default);
        }
        self.turn = self.turn.wrapping_add(1);
        let Some(set) = self.sets.get_mut(set(entry.tag)) else {
            return;
        };
        let half = entry.tag.low();
        let same = set.tags.iter().position(|known| *known == half);
        let free = || set.entries.iter().position(Option::is_none);
        let way = same.or_else(free).unwrap_or(self.turn % WAYS);
        if let (Some(tag), Some(place)) = (set.tags.get_mut(way), set.entries.get_mut(way)) {
            *tag = half;
            let earlier = place.replace(Box::new(entry));
            let seen = earlier.and_then(|earlier| earlier.seen);
            self.kept -= seen.map_or(0, |seen| seen.identity.size()).min(self.kept);
        }
    }

    /// Keeps what the zone said of a header that is remembered: at that generation, until it expires.
    pub fn keep(&mut self, tag: Tag, identity: &Rc<Identity>, generation: u64, now: u64, expires: u64) {
        let size = identity.size();
        if size > LARGEST {
            return;
        }
        if self.kept.saturating_add(size) > MOST {
            self.clear();
        }
        let Some(set) = self.sets.get_mut(set(tag)) else {
            return;
        };
        let entry = set
            .entries
            .iter_mut()
            .flatten()
            .find(|entry| entry.tag == tag && Arc::ptr_eq(&entry.space, &identity.space));
        if let Some(entry) = entry {
            let earlier = entry.seen.replace(Seen {
                identity: Rc::clone(identity),
                generation,
                until: expires.min(now.saturating_add(LOOK)),
            });
            self.kept -= earlier
                .map_or(0, |earlier| earlier.identity.size())
                .min(self.kept);
            self.kept += size;
        }
    }

    /// Forgets all: the keys by which it was hashed are no longer the zone's.
    pub fn clear(&mut self) {
        self.sets.clear();
        self.kept = 0;
    }
}

fn set(tag: Tag) -> usize {
    tag.low() as usize % SETS
}
