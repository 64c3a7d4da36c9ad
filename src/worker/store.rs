//! The worker's helper thread, seen from nginx's side: jobs go out in batches, answers come back by an
//! eventfd.
//!
//! One store a worker, from `init_process` to `exit_process`. Only tickets cross to the helper. Jobs of one
//! round of the event loop are handed over together, at its end: one send, and one pipeline to Redis, for all
//! of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use registry_auth::token::SigningKeys;
use registry_auth::{Denial, TokenDigest};
use registry_auth_cache::LoginResult;
use registry_auth_lookup::{
    Activity, Completion, Event, Job, Keyspace, LookupOptions, Outcome, Proof as ToVerify, Store,
};
use registry_auth_metrics::counters::{CONNECTIONS, FAILED_LOOKUPS, FAILOVERS, OUTAGES, REFUSED_HASHES};
use registry_auth_redis::Secret;
use smallvec::SmallVec;

use crate::conf::{Settings, StoreOptions};
use crate::ffi::event::{self, Deferred, EventFd, Idle, NginxThread};
use crate::ffi::log;
use crate::ffi::never_cancel::never_cancel;
use crate::ffi::request::Request;
use crate::ffi::suspend::{Suspension, resume};
use crate::request::context::{Answered, Asked, Context, Question, Stage, TokenOwner, Unproven};
use crate::request::credential::Proof;
use crate::request::identity::{Identity, IdentityError, Records};
use crate::worker::cache::{self, Miss};
use crate::worker::counters;
use crate::worker::state::{StoreQueue, WORKER};

/// Milliseconds that a waiting request's own timer allows beyond the lookup's limit. The helper ends each
/// lookup within its own limits; the timer is for what must not happen, a helper that died, and keeps a
/// shutting down worker alive. A login may have to wait for the passwords in front of it in the hashing
/// queue, hence so long.
const GRACE: u64 = 60_000;
/// Milliseconds between two looks whether the zone's records are in doubt.
const LOOK: usize = 250;
/// The same after a connection has begun, and how often.
const QUICK_LOOK: usize = 20;
const QUICK_LOOKS: u32 = 100;
/// How long a worker that leaves waits at most to hear what it knows better than others.
const LEAVE: Duration = Duration::from_millis(100);
/// Events for which an empty list keeps room.
const ROOM: usize = 4096;

/// Starts the worker's store. `token_keys`: those of the tokens that stay valid where a stored hash is
/// replaced.
pub fn start(
    thread: NginxThread,
    options: &StoreOptions,
    token_keys: Option<SigningKeys>,
) -> Result<(), String> {
    let (event_fd, notifier) = EventFd::open(thread, answers).map_err(|error| error.to_string())?;
    let notifier = Arc::new(notifier);
    let helpers_notifier = Arc::clone(&notifier);
    let wait = u64::try_from(options.timeout.as_millis())
        .unwrap_or(u64::MAX)
        .saturating_add(GRACE);
    never_cancel(thread);
    let store = Store::start(LookupOptions {
        endpoint: options.endpoint.clone(),
        timeout: options.timeout,
        connect_timeout: options.connect_timeout,
        hashing: options.hashing,
        changes: options.cache.as_ref().map(|_| options.changes),
        last_use: options.token_use,
        rehash: options.rehash,
        token_keys,
        prefixes: options.prefixes.clone(),
        wake: Box::new(move || notifier.notify()),
        spawn: Box::new(move |name, event_fd, work| {
            helpers_notifier.spawn_with_own_fds(name, event_fd, work)
        }),
    })
    .map_err(|error| error.to_string())?;
    let mut queue = StoreQueue {
        store,
        batch: Vec::new(),
        events: Vec::new(),
        flush: Deferred::new(thread, hand_over),
        look: Deferred::new(thread, look),
        quick_looks: QUICK_LOOKS,
        wait,
        server: options.endpoint.to_string().into(),
        address: None,
        waiting: 0,
        _event_fd: event_fd,
    };
    if options.cache.is_some() {
        queue.look.post_in(QUICK_LOOK);
    }
    WORKER.with(|worker| worker.store.replace(Some(queue)));
    Ok(())
}

/// Stops it; requests that still wait are answered by nobody, for the worker is about to leave.
pub fn stop() {
    drop(WORKER.with(|worker| worker.store.take()));
}

/// Lends the store's queue to `f`; `None` where there is none.
fn with_queue<T>(f: impl FnOnce(&mut StoreQueue) -> Option<T>) -> Option<T> {
    WORKER.with(|worker| worker.store.borrow_mut().as_mut().and_then(f))
}

/// Which Redis is asked, and the address of the server that this worker is connected to, where that is known;
/// `None` where there is no store.
pub fn server() -> Option<(Arc<str>, Option<Arc<str>>)> {
    with_queue(|queue| Some((Arc::clone(&queue.server), queue.address.clone())))
}

/// Lends what the store's threads have done and have to do to `f`, with the number of questions that are not
/// answered yet.
pub fn with_activity(f: impl FnOnce(&Activity, u32)) {
    with_queue(|queue| {
        f(queue.store.activity(), queue.waiting);
        Some(())
    });
}

/// Asks the store about the user of a credential, with the password that proves it. `None` where there is no
/// store, or no memory.
pub fn ask(request: &mut Request, asked: &Asked, password: Secret) -> Option<Suspension> {
    let (user, proof, verified) = match &asked.question {
        Question::Credential { credential, miss, .. } => {
            let proof = match &credential.proof {
                Proof::Password => ToVerify::Password,
                Proof::AccessToken(digest) => ToVerify::AccessToken(digest.clone()),
                Proof::Token(_) => ToVerify::PreVerified,
            };
            (
                credential.user.clone(),
                proof,
                miss.as_ref().and_then(Miss::verified),
            )
        }
        Question::TokenOwner(digest) => (None, ToVerify::AccessToken(digest.clone()), None),
    };
    with_queue(|queue| {
        let on_timeout = |request: &mut Request| note(request, Outcome::Unavailable, false);
        let suspension = Suspension::new(request, queue.wait, on_timeout, cancel)?;
        queue.batch.push(Job {
            ticket: suspension.ticket(),
            space: Arc::clone(&asked.space),
            user,
            password,
            proof,
            from: request.network(),
            verified,
        });
        queue.waiting += 1;
        queue.flush.post();
        Some(suspension)
    })
}

/// The client of a waiting request is gone: its password need not be hashed.
fn cancel(ticket: u64) {
    WORKER.with(|worker| {
        // Where a request ends while another one is being handed over, it is hashed in vain.
        if let Ok(store) = worker.store.try_borrow()
            && let Some(queue) = &*store
        {
            queue.store.cancel(ticket);
        }
    });
}

/// The end of the event loop's round: what was asked in it goes to the helper.
fn hand_over(_: &mut Idle) {
    with_queue(|queue| {
        queue.store.submit(std::mem::take(&mut queue.batch));
        Some(())
    });
}

/// The helper has notified: requests go on, and news is heeded, in the order in which Redis sent it. Each
/// request may ask again, so that the worker is not borrowed meanwhile.
fn answers(idle: &mut Idle) {
    let mut events = Vec::new();
    let mut lines = Vec::new();
    with_queue(|queue| {
        events = std::mem::take(&mut queue.events);
        queue.store.drain(&mut events);
        let answered = events
            .iter()
            .filter(|event| matches!(event, Event::Completion(_)))
            .count();
        queue.waiting = queue
            .waiting
            .saturating_sub(u32::try_from(answered).unwrap_or(u32::MAX));
        queue.store.drain_log(&mut lines);
        Some(())
    });
    for line in lines {
        log::write(
            idle.thread(),
            line.level,
            format_args!("registry_auth: {}", line.message),
        );
    }
    for event in events.drain(..) {
        match event {
            Event::Completion(Completion {
                ticket,
                outcome,
                cacheable,
            }) => {
                match &outcome {
                    Outcome::Unavailable => counters::count(FAILED_LOOKUPS),
                    Outcome::Busy => counters::count(REFUSED_HASHES),
                    _ => {}
                }
                resume(idle, ticket, |request| note(request, outcome, cacheable));
            }
            news => heed(news),
        }
    }
    // The list of a burst is not kept.
    if events.capacity() <= ROOM {
        with_queue(|queue| {
            queue.events = events;
            Some(())
        });
    }
}

/// What Redis tells goes into the zone.
fn heed(news: Event) {
    match news {
        // Of a request that is gone.
        Event::Completion(_) => {}
        Event::Changed(keys) => cache::changed(&keys),
        Event::AllChanged => cache::invalidate_all(),
        Event::ConnectionLost => {
            counters::count(OUTAGES);
            cache::tracking_lost();
            set_address(None);
        }
        Event::Connected { rung, server } => {
            counters::count(CONNECTIONS);
            cache::tracking_started(rung);
            set_address(Some(server));
            with_queue(|queue| {
                queue.quick_looks = QUICK_LOOKS;
                Some(())
            });
        }
        Event::FailedOver => counters::count(FAILOVERS),
        Event::Proved(number) => {
            cache::proved(number);
            // Another worker may have come meanwhile.
            look_again();
        }
    }
}

fn set_address(address: Option<Arc<str>>) {
    with_queue(|queue| {
        queue.address = address;
        Some(())
    });
}

/// Looks once in a while whether the zone's records are in doubt, and asks Redis if this worker can end that.
/// Workers begin, and come back after an outage, at the same time: then they look more often.
fn look(_: &mut Idle) {
    look_again();
    with_queue(|queue| {
        let interval = match queue.quick_looks.checked_sub(1) {
            Some(left) => {
                queue.quick_looks = left;
                QUICK_LOOK
            }
            None => LOOK,
        };
        queue.look.post_in(interval);
        Some(())
    });
}

fn look_again() {
    if let Some(number) = cache::question() {
        with_queue(|queue| {
            queue.store.prove(number);
            Some(())
        });
    }
}

/// The last that this worker does for the others: where the zone's records are in doubt and only it may know
/// of all changes, it hears the last ones. After a reload all new workers are in doubt until an old one has
/// done so, which leaves at once where it has nothing to do. The event loop has ended, so it may wait.
pub fn leave() {
    let deadline = Instant::now() + LEAVE;
    while let Some(number) = cache::question() {
        let mut is_answered = false;
        with_queue(|queue| {
            queue.store.prove(number);
            Some(())
        });
        while !is_answered {
            let mut events = Vec::new();
            with_queue(|queue| {
                queue.store.wait(deadline);
                queue.store.drain(&mut events);
                Some(())
            });
            if events.is_empty() {
                return;
            }
            for event in events {
                is_answered |= matches!(event, Event::Proved(proved) if proved >= number);
                is_answered |= matches!(event, Event::ConnectionLost);
                match event {
                    Event::Proved(number) => cache::proved(number),
                    news => heed(news),
                }
            }
        }
    }
}

/// Puts an answer where the access handler will find it, and where the next requests will. Only where what
/// was asked is still the question: at a location of other accounts the handler begins anew.
fn note(request: &mut Request, outcome: Outcome, cacheable: bool) {
    request.existing_context::<Context, _>(|request, context| {
        let asked = match std::mem::take(&mut context.stage) {
            Stage::Waiting(waiting) => waiting.asked,
            other => {
                context.stage = other;
                return;
            }
        };
        let Asked {
            space,
            question,
            operation,
        } = *asked;
        let is_here = Settings::of(request).is_some_and(|settings| Arc::ptr_eq(&settings.space, &space));
        let (credential, miss, mut login) = match question {
            Question::Credential {
                credential,
                miss,
                login,
            } => (credential, miss, login),
            Question::TokenOwner(digest) => {
                if is_here {
                    context.stage = Stage::Answered(token_owner(&space, digest, outcome), operation);
                }
                return;
            }
        };
        // It is for what the zone knew last to decide yet.
        let is_undecided = matches!(outcome, Outcome::Unavailable) && is_here && cache::is_stale_allowed();
        if let Some(login) = login.take_if(|_| !is_undecided)
            && let Some(result) = login_result(&outcome)
        {
            login.finish(result);
        }
        if !is_here {
            return;
        }
        if let Some(miss) = miss.as_ref().filter(|_| cacheable) {
            cache::put(&space, &credential, miss, &outcome);
        }
        let tags = miss.map(|miss| miss.tags());
        let unproven = Unproven {
            credential,
            tags,
            login,
        };
        context.stage = Stage::Answered(answered(&space, unproven, outcome), operation);
    });
}

/// What an answer of the store makes of an access token without a user's name. It is kept whatever has
/// changed meanwhile: it lets nobody in.
fn token_owner(space: &Keyspace, digest: Box<TokenDigest>, outcome: Outcome) -> Answered {
    let owner = |user, digest| Answered::TokenOwner(Box::new(TokenOwner { user, digest }));
    match outcome {
        Outcome::Owner(user) => {
            cache::put_token_owner(space, &digest, &user);
            owner(Some(user), digest)
        }
        Outcome::Unavailable => owner(None, digest),
        Outcome::Busy => Answered::Busy,
        Outcome::BadRecord => Answered::BadRecord,
        Outcome::NoToken | Outcome::Known { .. } | Outcome::Unknown | Outcome::Anonymous { .. } => {
            Answered::Denied(Box::new(Denial::bad_credentials()))
        }
    }
}

/// What an answer of the store says of a password that was tried. `None` where it goes on counting as one
/// that is under way: else a client could send as many wrong passwords as it likes, none of which is looked
/// at, and be let in by a right one that is known. It may do so by filling its share of the hashing queue; or
/// while Redis is there and does not answer.
fn login_result(outcome: &Outcome) -> Option<LoginResult> {
    Some(match outcome {
        Outcome::Known { verified: true, .. } => LoginResult::Right,
        Outcome::Known { verified: false, .. } | Outcome::Unknown | Outcome::NoToken => LoginResult::Wrong,
        Outcome::Busy => return None,
        Outcome::Unavailable if cache::is_trusted() => return None,
        Outcome::Anonymous { .. } | Outcome::Owner(_) | Outcome::Unavailable | Outcome::BadRecord => {
            LoginResult::Undecided
        }
    })
}

/// What an answer of the store makes of a credential.
fn answered(space: &Arc<Keyspace>, unproven: Unproven, outcome: Outcome) -> Answered {
    let (own, mut groups, public, defaults) = match (&unproven.credential.user, outcome) {
        (
            Some(_),
            Outcome::Known {
                user,
                groups,
                public,
                defaults,
                verified: true,
                ..
            },
        ) => (user, groups.iter().cloned().collect(), public, defaults),
        (None, Outcome::Anonymous { public, defaults }) => {
            (Arc::default(), SmallVec::new(), public, defaults)
        }
        (
            _,
            Outcome::Known { .. }
            | Outcome::Unknown
            | Outcome::NoToken
            | Outcome::Anonymous { .. }
            | Outcome::Owner(_),
        ) => return Answered::Denied(Box::new(unproven.credential.rejection())),
        (_, Outcome::Busy) => return Answered::Busy,
        (_, Outcome::Unavailable) => return Answered::Unavailable(Box::new(unproven)),
        (_, Outcome::BadRecord) => return Answered::BadRecord,
    };
    groups.push(public);
    let credential = unproven.credential;
    match Identity::new(
        space,
        credential,
        Records { own, groups },
        event::unix_seconds(),
        || defaults,
    ) {
        Ok(identity) => Answered::Known(identity),
        Err(IdentityError::Denied(denial)) => Answered::Denied(Box::new(denial)),
        Err(IdentityError::Record | IdentityError::Defaults) => Answered::BadRecord,
    }
}
