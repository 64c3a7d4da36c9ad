//! What all lists that a worker makes for its clients may take of it: a number of places, and time.
//!
//! Called by the nginx module for catalogues and searches, with its clock. Guarantees: no more places are
//! filled than there are, and neither an owner nor a registry that users name has all of them; within one
//! tick of the clock, no more time is given than a slice, however many lists want it.

use std::collections::HashMap;
use std::time::Duration;

/// The largest number of lists of which a page comes at a time.
pub const PLACES: usize = 32;
/// The largest number of lists that are made for one owner at a time, whether something has come or not.
pub const OF_ONE: usize = PLACES / 4;
/// For how long a page may come, from its first byte on.
pub const PAGE: Duration = Duration::from_secs(30);
/// For how long all lists are read within one tick of the clock, which is a millisecond.
pub const SLICE: Duration = Duration::from_micros(1_000);
/// For how long one list is read while others wait.
pub const TURN: Duration = Duration::from_micros(250);

/// What a list in the making holds in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Held {
    /// Nothing: its first page is awaited.
    #[default]
    Nothing,
    /// Names of the pages so far; the next one is awaited. At most 360 KB: no more names than a page has, and
    /// where each of 50 registries goes on.
    Names,
    /// A page that comes, and what is made of it: at most 2.5 MiB.
    Page,
}

impl Held {
    /// In parts of a place, of which a page takes all.
    fn parts(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Names => 1,
            Self::Page => PARTS,
        }
    }
}

/// The parts of a place.
const PARTS: usize = 6;

/// What a list in the making holds, and of which registry its last page is, where that is one that users
/// name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Share {
    held: Held,
    backend: Option<Box<[u8]>>,
}

impl Share {
    /// Whether a page of the list comes.
    pub fn is_page(&self) -> bool {
        self.held == Held::Page
    }
}

/// The places for lists that are being made, the lists of each owner, and what is held of each registry that
/// users name. A list takes of a place what it holds: a registry that hangs, be it after its first page,
/// would else take all of them from the users of others.
#[derive(Default)]
pub struct Places {
    parts: usize,
    by_owner: HashMap<Box<str>, usize>,
    by_backend: HashMap<Box<[u8]>, usize>,
}

impl Places {
    /// Begins one more list of this owner, which the caller must end. False where the owner has all that one
    /// may have.
    #[must_use]
    pub fn begin(&mut self, owner: &str) -> bool {
        let of_owner = self.by_owner.get(owner).copied().unwrap_or(0);
        if of_owner >= OF_ONE {
            return false;
        }
        self.by_owner.insert(owner.into(), of_owner + 1);
        true
    }

    /// A page of a list comes, of this registry, where that is one that users name. False where there is no
    /// room for it: then the list holds what it has held. A registry gets a place for another page while more
    /// is left than other lists hold of it: half of all at most, and the next one half of what is left.
    #[must_use]
    pub fn fill(&mut self, share: &mut Share, backend: Option<&[u8]>) -> bool {
        let own = share.held.parts();
        let left = (PLACES * PARTS + own).saturating_sub(self.parts);
        let of_backend = backend.and_then(|backend| self.by_backend.get(backend));
        let own_of_it = if share.backend.as_deref() == backend {
            own
        } else {
            0
        };
        let of_others = of_backend.copied().unwrap_or(0).saturating_sub(own_of_it);
        if left < PARTS || of_others >= left {
            return false;
        }
        self.give_back(share);
        self.parts += PARTS;
        if let Some(backend) = backend {
            *self.by_backend.entry(backend.into()).or_default() += PARTS;
        }
        *share = Share {
            held: Held::Page,
            backend: backend.map(Box::from),
        };
        true
    }

    /// What came of a page is read: its names are kept while the next one is awaited.
    pub fn keep_names(&mut self, share: &mut Share) {
        if share.held != Held::Page {
            return;
        }
        self.give_back(share);
        share.held = Held::Names;
        self.parts += share.held.parts();
        if let Some(backend) = &share.backend {
            *self.by_backend.entry(backend.clone()).or_default() += share.held.parts();
        }
    }

    fn give_back(&mut self, share: &Share) {
        let parts = share.held.parts();
        self.parts = self.parts.saturating_sub(parts);
        if let Some(backend) = &share.backend
            && let Some(of_backend) = self.by_backend.get_mut(backend)
        {
            *of_backend = of_backend.saturating_sub(parts);
            if *of_backend == 0 {
                self.by_backend.remove(backend);
            }
        }
    }

    /// How many lists there are.
    pub fn count(&self) -> usize {
        self.by_owner.values().sum()
    }

    /// Ends a list of the owner that holds this.
    pub fn end(&mut self, owner: &str, share: &Share) {
        self.give_back(share);
        let Some(of_owner) = self.by_owner.get_mut(owner) else {
            return;
        };
        *of_owner -= 1;
        if *of_owner == 0 {
            self.by_owner.remove(owner);
        }
    }
}

/// The time that is left of a tick of the clock.
#[derive(Default)]
pub struct Time {
    tick: u64,
    used: Duration,
}

impl Time {
    /// How much of the slice of this tick is left.
    pub fn left(&mut self, tick: u64) -> Duration {
        if self.tick != tick {
            *self = Self {
                tick,
                used: Duration::ZERO,
            };
        }
        SLICE.saturating_sub(self.used)
    }

    /// Uses up time of the tick that [`Time::left`] was called with last.
    pub fn spend(&mut self, time: Duration) {
        self.used = self.used.saturating_add(time);
    }
}
