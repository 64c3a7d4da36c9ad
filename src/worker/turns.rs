//! The lists that this worker makes, catalogues, searches and pages of usage, all together: how many there
//! are, and whose turn it is to be read.
//!
//! Called by `catalog` and `usage_page`; and, for their turns, by `access` and `granting`, which may have
//! much to judge for a token. What is read is somebody else's, and as long as they like. Invariants: of a
//! turn of the event loop all lists take one slice, however many they are ([`registry_auth::share`]); and
//! there are no more of them than have places, so that the memory that they take is bounded.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use registry_auth::share::{Places, Share, TURN, Time};

use crate::ffi::event::{self, Deferred, Idle, NginxThread};
use crate::ffi::pool::OutOfMemory;
use crate::ffi::request::Request;
use crate::ffi::suspend::{self, Suspension};
use crate::worker::state::{QueuedTurn, Turns, WORKER};

/// Milliseconds from a slice to the next.
const PAUSE: usize = 1;
/// Milliseconds that a list waits for its turn at most. All of them have had theirs long before.
const WAIT: u64 = 10_000;

/// Lets lists be made.
pub fn start(thread: NginxThread) {
    let turns = Turns {
        places: Places::default(),
        time: Time::default(),
        queue: VecDeque::new(),
        later: Deferred::new(thread, give_turns),
    };
    WORKER.with(|worker| worker.turns.replace(Some(turns)));
}

/// No more are made.
pub fn stop() {
    WORKER.with(|worker| worker.turns.take());
}

/// Lends the turns to `f`; `None` where there are none.
fn with_turns<T>(f: impl FnOnce(&mut Turns) -> Option<T>) -> Option<T> {
    WORKER.with(|worker| worker.turns.borrow_mut().as_mut().and_then(f))
}

/// How many lists are being made.
pub fn count() -> usize {
    with_turns(|turns| Some(turns.places.count())).unwrap_or_default()
}

/// The place of a list in the making.
pub struct ListPlace {
    owner: Box<str>,
    share: Share,
}

impl ListPlace {
    /// One for a list of this owner. `None` where the owner has all that one may have.
    pub fn take(owner: String) -> Option<Self> {
        let taken = with_turns(|turns| turns.places.begin(&owner).then_some(()));
        taken.map(|()| Self {
            owner: owner.into(),
            share: Share::default(),
        })
    }

    /// Whether a page of the list comes.
    pub fn is_filled(&self) -> bool {
        self.share.is_page()
    }

    /// A page of the list comes, of this registry, where that is one that users name. Whether there is room
    /// for it.
    pub fn fill(&mut self, backend: Option<&[u8]>) -> bool {
        with_turns(|turns| turns.places.fill(&mut self.share, backend).then_some(())).is_some()
    }

    /// What came is read, and the next page awaited.
    pub fn keep_names(&mut self) {
        with_turns(|turns| {
            turns.places.keep_names(&mut self.share);
            Some(())
        });
    }
}

impl Drop for ListPlace {
    fn drop(&mut self) {
        with_turns(|turns| {
            turns.places.end(&self.owner, &self.share);
            Some(())
        });
    }
}

/// A request that waits for its turn. Dropping it forgets the request.
pub struct InLine {
    _suspension: Suspension,
}

impl InLine {
    /// Has a request wait for its turn; `on_turn` then notes that, and the request goes on.
    pub fn new(request: &mut Request, on_turn: fn(&mut Request)) -> Result<Self, OutOfMemory> {
        let suspension = Suspension::new(request, WAIT, on_turn, |_| ()).ok_or(OutOfMemory)?;
        with_turns(|turns| {
            turns.queue.push_back(QueuedTurn {
                ticket: suspension.ticket(),
                on_turn,
            });
            turns.call();
            Some(())
        });
        Ok(Self {
            _suspension: suspension,
        })
    }
}

/// The time that a page of a list has. Dropping it forgets the request.
pub struct PageTime {
    _suspension: Suspension,
}

impl PageTime {
    /// Has `on_end` called when these milliseconds are over, and the request go on.
    pub fn new(
        request: &mut Request,
        milliseconds: u64,
        on_end: fn(&mut Request),
    ) -> Result<Self, OutOfMemory> {
        let suspension = Suspension::new(request, milliseconds, on_end, |_| ()).ok_or(OutOfMemory)?;
        Ok(Self {
            _suspension: suspension,
        })
    }
}

/// Time for one list to be read.
pub struct Slice {
    start: Instant,
    most: Duration,
    /// Whether nobody else counts it.
    is_counted: bool,
}

impl Slice {
    /// That of a list whose turn it is.
    pub fn of_turn() -> Self {
        let left = with_turns(|turns| Some(turns.left()));
        Self {
            start: Instant::now(),
            most: left.unwrap_or_default().min(TURN),
            is_counted: false,
        }
    }

    /// That of a list before which none waits, and for which there is time yet.
    pub fn at_once() -> Option<Self> {
        let most = with_turns(|turns| {
            let left = turns.left();
            (turns.queue.is_empty() && !left.is_zero()).then_some(left)
        })?;
        Some(Self {
            start: Instant::now(),
            most,
            is_counted: true,
        })
    }

    /// That of a request which needs no more as a rule, and so waits for nobody.
    pub fn at_first() -> Self {
        Self {
            start: Instant::now(),
            most: TURN,
            is_counted: true,
        }
    }

    /// Whether there is time left.
    pub fn go_on(&self) -> bool {
        self.start.elapsed() < self.most
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        if self.is_counted {
            spend(self.start.elapsed());
        }
    }
}

impl Turns {
    /// What is left of the slice of this turn of the loop.
    fn left(&mut self) -> Duration {
        self.time.left(event::now())
    }

    /// Sees to it that those who wait get their turn: at once, or where the slice is used up, in the next
    /// one.
    fn call(&mut self) {
        if self.left().is_zero() {
            self.later.post_in(PAUSE)
        } else {
            self.later.post()
        }
    }
}

fn spend(time: Duration) {
    with_turns(|turns| {
        turns.time.spend(time);
        Some(())
    });
}

/// Gives one after the other its turn, until the slice is used up.
fn give_turns(idle: &mut Idle) {
    loop {
        let next = with_turns(|turns| {
            if turns.left().is_zero() {
                if !turns.queue.is_empty() {
                    turns.call();
                }
                return None;
            }
            turns.queue.pop_front()
        });
        let Some(QueuedTurn { ticket, on_turn }) = next else {
            return;
        };
        let start = Instant::now();
        suspend::resume(idle, ticket, on_turn);
        // With what the request did besides, as asking for another page.
        spend(start.elapsed());
    }
}
