//! Who a header says it comes from, without decoding it again: a worker's own memory of `Authorization` headers.
//!
//! Called by `cache`. Decoding and checking a header costs as much as all the rest of a cached request. No header is kept, only its
//! keyed tag, which stands for it; nor is anything said of its password: that is the zone's.

use std::sync::Arc;

use registry_auth::UserNameBuf;
use registry_auth_cache::Tag;
use registry_auth_redis::Space;

/// Headers remembered, each in the one slot that its tag names. Slots are touched only when they are used.
const SLOTS: usize = 1 << 15;

/// What a worker remembers.
#[derive(Default)]
pub struct Memo {
    slots: Vec<Option<Box<Entry>>>,
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
        }
    }
}

impl Memo {
    /// The header with this tag, sent to this space.
    pub fn recall(&self, tag: Tag, space: &Arc<Space>) -> Option<&Entry> {
        let entry = self.slots.get(slot(tag))?.as_ref()?;
        (entry.tag == tag && Arc::ptr_eq(&entry.space, space)).then_some(entry)
    }

    /// Remembers a header.
    pub fn remember(&mut self, entry: Entry) {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, || None);
        }
        if let Some(slot) = self.slots.get_mut(slot(entry.tag)) {
            *slot = Some(Box::new(entry));
        }
    }

    /// Forgets all: the keys by which it was hashed are no longer the zone's.
    pub fn clear(&mut self) {
        self.slots.clear();
    }
}

fn slot(tag: Tag) -> usize {
    tag.low() as usize % SLOTS
}
