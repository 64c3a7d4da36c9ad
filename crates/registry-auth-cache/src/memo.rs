//! What one worker remembers, in its own memory, of credentials that it has seen: what each says, and for a while what the block
//! said of it.
//!
//! Beside the block, not in it: no lock and no copy. Only a credential's keyed tag is kept, never the credential. What the block
//! said holds while its generation ([`crate::Cache::generation`]) does, and for [`LOOK`] at most. Bounded in number and size.

use crate::subjects::Tag;

/// Credentials that are remembered: sets of [`WAYS`], each tag in the set that it names. Memory is touched only when it is used.
const SETS: usize = 1 << 13;
const WAYS: usize = 4;
/// Milliseconds after which the block is asked again, so that it knows who is still there when it has to make room.
pub const LOOK: u64 = 10_000;
/// Bytes of what the block said that are kept, about, and of one thing that it said.
pub const MOST: usize = 16 << 20;
/// What is larger than this is not kept at all.
pub const LARGEST: usize = 64 << 10;

/// What a worker remembers: of a credential `C`, and of what the block said, `S`.
pub struct Memo<C, S> {
    sets: Vec<Set<C, S>>,
    /// The sizes of all that the block said.
    size: usize,
    turn: usize,
}

/// Halves of tags, together in one line of the processor's cache with what they lead to.
#[repr(align(64))]
struct Set<C, S> {
    tags: [u64; WAYS],
    entries: [Option<Box<Entry<C, S>>>; WAYS],
}

struct Entry<C, S> {
    tag: Tag,
    credential: C,
    said: Option<Said<S>>,
}

/// What the block said.
pub struct Said<S> {
    /// What.
    pub what: S,
    /// Its size in bytes, about.
    pub size: usize,
    /// The block's generation at that time.
    pub generation: u64,
    /// When it expires, in milliseconds.
    pub expires: u64,
}

impl<C, S> Default for Memo<C, S> {
    fn default() -> Self {
        Self {
            sets: Vec::new(),
            size: 0,
            turn: 0,
        }
    }
}

impl<C, S> Default for Set<C, S> {
    fn default() -> Self {
        Self {
            tags: [0; WAYS],
            entries: [const { None }; WAYS],
        }
    }
}

impl<C, S> Memo<C, S> {
    /// The credential of this tag, and what the block said of it, if that still holds at this time with that generation (which is
    /// asked for only then).
    #[inline]
    pub fn recall(
        &self,
        tag: Tag,
        now: u64,
        generation: impl FnOnce() -> Option<u64>,
    ) -> Option<(&C, Option<&S>)> {
        let entry = self.entry(tag)?;
        let said = entry.said.as_ref().filter(|said| now < said.expires);
        let said = said.filter(|said| generation() == Some(said.generation));
        Some((&entry.credential, said.map(|said| &said.what)))
    }

    /// The credential of this tag.
    pub fn credential(&self, tag: Tag) -> Option<&C> {
        self.entry(tag).map(|entry| &entry.credential)
    }

    fn entry(&self, tag: Tag) -> Option<&Entry<C, S>> {
        let set = self.sets.get(set(tag))?;
        let way = set.tags.iter().position(|half| *half == tag.half())?;
        set.entries.get(way)?.as_deref().filter(|entry| entry.tag == tag)
    }

    /// Remembers a credential, in place of the one of the same tag, or of another one if there is no room.
    pub fn remember(&mut self, tag: Tag, credential: C) {
        if self.sets.is_empty() {
            self.sets.resize_with(SETS, Set::default);
        }
        self.turn = self.turn.wrapping_add(1);
        let Some(set) = self.sets.get_mut(set(tag)) else {
            return;
        };
        let same = set.tags.iter().position(|half| *half == tag.half());
        let free = || set.entries.iter().position(Option::is_none);
        let way = same.or_else(free).unwrap_or(self.turn % WAYS);
        let (Some(half), Some(place)) = (set.tags.get_mut(way), set.entries.get_mut(way)) else {
            return;
        };
        *half = tag.half();
        let entry = Entry {
            tag,
            credential,
            said: None,
        };
        let earlier = place.replace(Box::new(entry)).and_then(|earlier| earlier.said);
        self.size -= earlier.map_or(0, |said| said.size);
    }

    /// Keeps what the block said at this time of a credential that is remembered; where that would be too much in all, everything
    /// is forgotten first, the credential included.
    pub fn keep(&mut self, tag: Tag, now: u64, mut said: Said<S>) {
        if said.size > LARGEST {
            return;
        }
        if self.size + said.size > MOST {
            self.clear();
        }
        let Some(set) = self.sets.get_mut(set(tag)) else {
            return;
        };
        let Some(entry) = set.entries.iter_mut().flatten().find(|entry| entry.tag == tag) else {
            return;
        };
        said.expires = said.expires.min(now.saturating_add(LOOK));
        self.size += said.size;
        let earlier = entry.said.replace(said);
        self.size -= earlier.map_or(0, |said| said.size);
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
    use super::{Memo, Said, LARGEST, LOOK, MOST, SETS, WAYS};
    use crate::subjects::Tag;

    type Names = Memo<String, &'static str>;

    fn said(generation: u64, expires: u64) -> Said<&'static str> {
        Said {
            what: "record",
            size: 100,
            generation,
            expires,
        }
    }

    fn recalled(memo: &Names, tag: u128, now: u64, generation: u64) -> (Option<&str>, Option<&str>) {
        match memo.recall(Tag(tag), now, || Some(generation)) {
            Some((credential, said)) => (Some(credential), said.copied()),
            None => (None, None),
        }
    }

    #[test]
    fn what_was_said_holds_in_its_time_and_generation() {
        let mut memo = Names::default();
        assert_eq!(recalled(&memo, 1, 0, 7), (None, None));
        memo.remember(Tag(1), "alice".to_owned());
        assert_eq!(recalled(&memo, 1, 0, 7), (Some("alice"), None));
        memo.keep(Tag(1), 0, said(7, 500));
        assert_eq!(recalled(&memo, 1, 499, 7), (Some("alice"), Some("record")));
        assert_eq!(recalled(&memo, 1, 500, 7), (Some("alice"), None));
        assert_eq!(recalled(&memo, 1, 499, 8), (Some("alice"), None));
        assert!(memo.recall(Tag(1), 499, || None).unwrap().1.is_none());
        // However long it is good for, the block is asked now and then.
        memo.keep(Tag(1), 500, said(7, u64::MAX));
        assert_eq!(recalled(&memo, 1, 499 + LOOK, 7), (Some("alice"), Some("record")));
        assert_eq!(recalled(&memo, 1, 500 + LOOK, 7), (Some("alice"), None));
    }

    #[test]
    fn tags_that_share_a_half_are_told_apart() {
        let mut memo = Names::default();
        memo.remember(Tag(1), "alice".to_owned());
        memo.keep(Tag(1), 0, said(7, 500));
        let other = 1 | 1 << 64;
        assert_eq!(recalled(&memo, other, 0, 7), (None, None));
        memo.keep(Tag(other), 0, said(7, 500));
        assert_eq!(recalled(&memo, other, 0, 7), (None, None));
        memo.remember(Tag(other), "bob".to_owned());
        assert_eq!(recalled(&memo, other, 0, 7), (Some("bob"), None));
        assert_eq!(recalled(&memo, 1, 0, 7), (None, None));
        // The tag that an empty place seems to have.
        assert_eq!(recalled(&memo, 0, 0, 7), (None, None));
    }

    #[test]
    fn a_credential_read_anew_is_said_nothing_of() {
        let mut memo = Names::default();
        memo.remember(Tag(1), "alice".to_owned());
        memo.keep(Tag(1), 0, said(7, 500));
        memo.remember(Tag(1), "bob".to_owned());
        assert_eq!(recalled(&memo, 1, 0, 7), (Some("bob"), None));
        assert_eq!(memo.size, 0);
    }

    #[test]
    fn a_full_set_takes_one_more_for_another() {
        let mut memo = Names::default();
        let tags: Vec<u128> = (0..=WAYS).map(|n| 5 + (n * SETS) as u128).collect();
        for tag in &tags {
            memo.remember(Tag(*tag), tag.to_string());
            memo.keep(Tag(*tag), 0, said(7, 500));
            assert_eq!(recalled(&memo, *tag, 0, 7).1, Some("record"));
        }
        let there = tags.iter().filter(|tag| memo.credential(Tag(**tag)).is_some());
        assert_eq!(there.count(), WAYS);
        assert_eq!(memo.size, 100 * WAYS);
    }

    #[test]
    fn the_size_is_that_of_all_that_was_said_and_never_more_than_the_most() {
        let mut memo = Names::default();
        for n in 0..3 * (MOST / LARGEST) as u128 {
            memo.remember(Tag(n), n.to_string());
            memo.keep(
                Tag(n),
                0,
                Said {
                    size: LARGEST,
                    ..said(7, 500)
                },
            );
            let sizes = memo.sets.iter().flat_map(|set| set.entries.iter().flatten());
            let sum: usize = sizes.flat_map(|entry| &entry.said).map(|said| said.size).sum();
            assert_eq!(memo.size, sum);
            assert!(sum <= MOST);
        }
        memo.remember(Tag(1), "large".to_owned());
        memo.keep(
            Tag(1),
            0,
            Said {
                size: LARGEST + 1,
                ..said(7, 500)
            },
        );
        assert_eq!(recalled(&memo, 1, 0, 7), (Some("large"), None));
        memo.clear();
        assert_eq!((memo.size, recalled(&memo, 1, 0, 7)), (0, (None, None)));
    }
}
