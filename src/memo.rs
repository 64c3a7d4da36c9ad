//! Who a header says it comes from, without decoding it again: a worker's own memory of `Authorization` headers.
//!
//! Called by `access` where there is a zone. Decoding and checking a header costs as much as all the rest of a cached request. No
//! header is kept, only its keyed tag, which stands for it; nor is anything said of its password: that is the zone's.

use registry_auth::UserNameBuf;
use registry_auth_cache::Tag;

/// Headers remembered, each in the one slot that its tag names. 32 bytes each, of which only those in use are ever touched.
const SLOTS: usize = 1 << 15;

/// What a worker remembers.
#[derive(Default)]
pub struct Memo {
    slots: Vec<Option<Entry>>,
}

struct Entry {
    tag: Tag,
    user: UserNameBuf,
}

impl Memo {
    /// The user of the header with this tag.
    pub fn recall(&self, tag: Tag) -> Option<UserNameBuf> {
        let entry = self.slots.get(slot(tag))?.as_ref()?;
        (entry.tag == tag).then(|| entry.user.clone())
    }

    /// Remembers a header that named this user.
    pub fn remember(&mut self, tag: Tag, user: &UserNameBuf) {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, || None);
        }
        if let Some(slot) = self.slots.get_mut(slot(tag)) {
            *slot = Some(Entry {
                tag,
                user: user.clone(),
            });
        }
    }
}

fn slot(tag: Tag) -> usize {
    tag.low() as usize % SLOTS
}
