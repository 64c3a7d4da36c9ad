//! What one worker remembers, in its own memory, of credentials that it has seen: for a while, what the block said of each.
//!
//! Beside the block, not in it: no lock and no copy. Only a credential's keyed tag is kept, never the credential. What the block
//! said holds while its generation ([`crate::Cache::generation`]) does, and for [`LOOK`] at most. Bounded in number and in bytes: a few
//! give way to each that finds no room, so that no request pays for many.
//!
//! With many users each request finds its own out of the processor's caches, so that what counts is how many places are looked at, and
//! whether one leads to the next: here a set, and what was said.

use std::rc::Rc;

use crate::records::Tag;

/// Credentials that are remembered: sets of [`WAYS`], each tag in the set that it names. Memory is touched only when it is used.
const SETS: usize = 1 << 13;
const WAYS: usize = 4;
/// Milliseconds after which the block is asked again, so that it knows who is still there when it has to make room.
pub const LOOK: u64 = 10_000;
/// Bytes of all that is kept, the sets included.
pub const MOST: usize = 10 << 20;
/// What is larger than this is not kept at all.
pub const LARGEST: usize = 64 << 10;

/// What an allocator takes for an allocation of so many bytes, about: sizes are rounded up to one of some, an eighth apart.
pub const fn allocated(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        bytes => (bytes + bytes / 8 + 15) & !15,
    }
}

/// What a worker remembers: of credentials, what the block said, `S`.
pub struct Memo<S> {
    sets: Vec<Set<S>>,
    /// The sizes of all that is kept, but for the sets.
    size: usize,
    turn: usize,
    /// The set that gives way next.
    hand: usize,
}

/// Halves of tags, together in one line of the processor's cache with what they lead to.
#[repr(align(64))]
struct Set<S> {
    tags: [u64; WAYS],
    said: [Option<Rc<S>>; WAYS],
}

/// Something that the block said.
pub trait Said {
    /// Of which credential, and how long it holds.
    fn stamp(&self) -> &Stamp;
}

/// Of which credential something was said, and how long it holds. The default one never does.
#[derive(Clone, Copy, Default)]
pub struct Stamp {
    tag: Tag,
    generation: u64,
    expires: u64,
    size: usize,
}

impl Stamp {
    /// Of what the block said of a credential at this time (milliseconds) in that generation; `expires` is when it expires (the
    /// same clock), `size` how many bytes it takes.
    pub fn new(tag: Tag, now: u64, generation: u64, expires: u64, size: usize) -> Self {
        Self {
            tag,
            generation,
            expires: expires.min(now.saturating_add(LOOK)),
            size,
        }
    }
}

/// What is remembered of a credential.
pub enum Recalled<'m, S> {
    /// Nothing.
    Nothing,
    /// This was said of it, and it may be otherwise now.
    Past(&'m Rc<S>),
    /// This was said of it, and holds.
    Holds(&'m Rc<S>),
}

impl<S> Default for Memo<S> {
    fn default() -> Self {
        Self {
            sets: Vec::new(),
            size: 0,
            turn: 0,
            hand: 0,
        }
    }
}

impl<S> Default for Set<S> {
    fn default() -> Self {
        Self {
            tags: [0; WAYS],
            said: [const { None }; WAYS],
        }
    }
}

impl<S: Said> Memo<S> {
    /// What was said of the credential of this tag, and whether it holds at this time with that generation (which is asked for only
    /// then).
    #[inline]
    pub fn recall(&self, tag: Tag, now: u64, generation: impl FnOnce() -> Option<u64>) -> Recalled<'_, S> {
        let Some(said) = self.find(tag) else {
            return Recalled::Nothing;
        };
        let stamp = said.stamp();
        match now < stamp.expires && generation() == Some(stamp.generation) {
            true => Recalled::Holds(said),
            false => Recalled::Past(said),
        }
    }

    #[inline]
    fn find(&self, tag: Tag) -> Option<&Rc<S>> {
        let set = self.sets.get(set(tag))?;
        let way = set.tags.iter().position(|half| *half == tag.half())?;
        set.said.get(way)?.as_ref().filter(|said| said.stamp().tag == tag)
    }

    /// Keeps what the block said of a credential, in place of what it said of the same, or of others if there is no room.
    pub fn keep(&mut self, said: Rc<S>) {
        let Stamp { tag, size, .. } = *said.stamp();
        if size > LARGEST {
            return;
        }
        for _ in 0..SETS {
            if self.size + size <= MOST - SETS * size_of::<Set<S>>() {
                break;
            }
            self.make_room();
        }
        if self.sets.is_empty() {
            self.sets.resize_with(SETS, Set::default);
        }
        self.turn = self.turn.wrapping_add(1);
        let Some(set) = self.sets.get_mut(set(tag)) else {
            return;
        };
        let same = set.tags.iter().position(|half| *half == tag.half());
        let free = || set.said.iter().position(Option::is_none);
        let way = same.or_else(free).unwrap_or(self.turn % WAYS);
        let (Some(half), Some(place)) = (set.tags.get_mut(way), set.said.get_mut(way)) else {
            return;
        };
        *half = tag.half();
        self.size += size;
        self.size -= place.replace(said).map_or(0, |earlier| earlier.stamp().size);
    }

    /// Forgets the next set of credentials. All are used as often as others for all that is known, and which come next is chance.
    fn make_room(&mut self) {
        self.hand = (self.hand + 1) % SETS;
        let Some(set) = self.sets.get_mut(self.hand) else {
            return;
        };
        for said in set.said.iter_mut().filter_map(Option::take) {
            self.size -= said.stamp().size;
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.sets.clear();
        self.size = 0;
    }
}

fn set(tag: Tag) -> usize {
    tag.half() as usize % SETS
}

#[cfg(test)]
mod tests {
    use super::{Memo, Recalled, Said, Stamp, LARGEST, LOOK, MOST, SETS, WAYS};
    use crate::records::Tag;
    use std::rc::Rc;

    struct Record {
        stamp: Stamp,
        text: &'static str,
    }

    impl Said for Record {
        fn stamp(&self) -> &Stamp {
            &self.stamp
        }
    }

    /// At this time, in generation 7.
    fn said(tag: u128, now: u64, expires: u64, text: &'static str) -> Rc<Record> {
        let stamp = Stamp::new(Tag(tag), now, 7, expires, 100);
        Rc::new(Record { stamp, text })
    }

    fn recalled(memo: &Memo<Record>, tag: u128, now: u64, generation: u64) -> &'static str {
        match memo.recall(Tag(tag), now, || Some(generation)) {
            Recalled::Nothing => "nothing",
            Recalled::Past(_) => "past",
            Recalled::Holds(said) => said.text,
        }
    }

    #[test]
    fn what_was_said_holds_in_its_time_and_generation() {
        let mut memo = Memo::default();
        assert_eq!(recalled(&memo, 1, 0, 7), "nothing");
        memo.keep(said(1, 0, 500, "alice"));
        assert_eq!(recalled(&memo, 1, 499, 7), "alice");
        assert_eq!(recalled(&memo, 1, 500, 7), "past");
        assert_eq!(recalled(&memo, 1, 499, 8), "past");
        assert!(matches!(memo.recall(Tag(1), 499, || None), Recalled::Past(_)));
        // However long it is good for, the block is asked now and then.
        memo.keep(said(1, 500, u64::MAX, "alice"));
        assert_eq!(recalled(&memo, 1, 499 + LOOK, 7), "alice");
        assert_eq!(recalled(&memo, 1, 500 + LOOK, 7), "past");
        let never = Rc::new(Record {
            stamp: Stamp::default(),
            text: "never",
        });
        memo.keep(never);
        assert_eq!(recalled(&memo, 0, 0, 0), "past");
    }

    #[test]
    fn tags_that_share_a_half_are_told_apart() {
        let mut memo = Memo::default();
        memo.keep(said(1, 0, 500, "alice"));
        let other = 1 | 1 << 64;
        assert_eq!(recalled(&memo, other, 0, 7), "nothing");
        memo.keep(said(other, 0, 500, "bob"));
        assert_eq!(recalled(&memo, other, 0, 7), "bob");
        assert_eq!(recalled(&memo, 1, 0, 7), "nothing");
        // The tag that an empty place seems to have.
        assert_eq!(recalled(&memo, 0, 0, 7), "nothing");
    }

    #[test]
    fn what_is_said_anew_is_in_place_of_what_was_said() {
        let mut memo = Memo::default();
        memo.keep(said(1, 0, 500, "alice"));
        memo.keep(said(1, 0, 500, "bob"));
        assert_eq!(recalled(&memo, 1, 0, 7), "bob");
        assert_eq!(memo.size, 100);
    }

    #[test]
    fn a_full_set_takes_one_more_for_another() {
        let mut memo = Memo::default();
        let tags: Vec<u128> = (0..=WAYS).map(|n| 5 + (n * SETS) as u128).collect();
        for tag in &tags {
            memo.keep(said(*tag, 0, 500, "record"));
            assert_eq!(recalled(&memo, *tag, 0, 7), "record");
        }
        let there = tags.iter().filter(|tag| recalled(&memo, **tag, 0, 7) == "record");
        assert_eq!(there.count(), WAYS);
        assert_eq!(memo.size, 100 * WAYS);
    }

    #[test]
    fn the_size_is_that_of_all_that_was_said_and_few_give_way() {
        let sized = |tag: u128, size: usize| {
            let stamp = Stamp::new(Tag(tag), 0, 7, 500, size);
            Rc::new(Record {
                stamp,
                text: "record",
            })
        };
        let mut memo = Memo::default();
        for n in 0..30 * (MOST / LARGEST) as u128 {
            memo.keep(sized(n, LARGEST));
            if n % 50 == 0 {
                let kept = memo.sets.iter().flat_map(|set| set.said.iter().flatten());
                let sum: usize = kept.map(|said| said.stamp.size).sum();
                assert_eq!(memo.size, sum);
                assert!(sum + SETS * size_of::<super::Set<Record>>() <= MOST);
            }
            assert_eq!(recalled(&memo, n, 0, 7), "record");
        }
        // No more gave way than had to: no four of them are in one set.
        assert!(memo.size > MOST / 2 - 4 * LARGEST, "{}", memo.size);
        let before = memo.size;
        memo.keep(sized(1 << 20, LARGEST + 1));
        assert_eq!((memo.size, recalled(&memo, 1 << 20, 0, 7)), (before, "nothing"));
        memo.clear();
        assert_eq!((memo.size, recalled(&memo, 1, 0, 7)), (0, "nothing"));
    }
}
