//! `registry_auth_backends`: the peers of a request are its user's backends, else the default ones, else the
//! block's own `server` lines.
//!
//! Of several backends a repository has one: all of its requests go there, and to the next one while it is
//! down. V1's images belong to no repository, so that there a user has one.
//!
//! An address that `allow=` does not permit is never connected to. A user whose backends are all refused or
//! unresolved gets 503 rather than somebody else's storage.

use core::marker::PhantomData;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use registry_auth::backend::AllowList;
use registry_auth::codec::{PeerRef, RecordRef};
use registry_auth::outages::Outages;
use registry_auth::{Denial, InvalidRecord, rendezvous, route};

use crate::conf::neighbours::Forward;
use crate::conf::{Location, Settings};
use crate::ffi::conf::Conf;
use crate::ffi::event;
use crate::ffi::log::Level;
use crate::ffi::numbers;
use crate::ffi::peer::{self, Balancer, Candidates, OwnServers, Selection};
use crate::ffi::request::{Request, RequestBytes};
use crate::request::context::{Context, Stage};
use crate::request::identity::Identity;
use crate::request::route::query_of;
use crate::worker::limited_log;

/// What an upstream{} with `registry_auth_backends` holds.
#[derive(Default)]
pub struct Upstream {
    /// Where a user's backends may be; everywhere without `allow=`.
    pub allow: AllowList,
    /// The block's own `server` lines.
    pub own_servers: OwnServers,
    /// Which of several backends a request goes to; by repository where nothing is said.
    pub balance: Option<Balance>,
    /// Turns for the round robin over a user's backends.
    pub turns: Turns,
}

/// Which of a user's backends a request goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// That of its repository.
    Repository,
    /// Each one in turn.
    Turn,
}

impl Upstream {
    /// Makes the users' backends the peers of this upstream{}.
    pub fn attach(&mut self, conf: &mut Conf<'_>) -> Result<(), String> {
        numbers::share(&DOWN, OUTAGES);
        peer::attach(conf, self, PhantomData::<UserBackends>)
    }
}

/// How many addresses may be known to be down.
const OUTAGES: usize = 512;

/// What all workers know of addresses that could not be connected to.
static DOWN: OnceLock<&'static [AtomicU64]> = OnceLock::new();

fn outages() -> Outages<'static> {
    Outages(DOWN.get().copied().unwrap_or_default())
}

/// Whether the target of each request is looked at. A plain load in the way of each request, unlike a
/// thread's own variable.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Whether the log says already that variables have a URI.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Starts a worker: whether variables may put another path in the place of the client's.
pub fn watch(may_differ: bool) {
    WATCHED.store(may_differ, Ordering::Relaxed);
}

/// Why a request must not go to a backend, where variables may choose which one, and the path.
#[cold]
fn forbidden(request: &mut Request) -> Option<String> {
    if !is_as_decided(request) {
        return Some(format!(
            "another path or query would go on than the one that was decided about, by the variables of \
             \"{}\"",
            target_directive(request)
        ));
    }
    may_be_steered(request).then(|| {
        format!(
            "a user's registry could steer nginx by \"X-Accel-Redirect\" or SSI, as variables in \"{}\" lead \
             to it, without \"registry_auth\": include proxy.conf there, or its \"proxy_ignore_headers\" and \
             \"ssi off\"",
            target_directive(request)
        )
    })
}

/// Whether the target that goes to the backend is the one that was decided about. nginx has made the request
/// to it, and a proxy_pass with variables has shown what they come to.
fn is_as_decided(request: &Request) -> bool {
    // About a subrequest nothing was decided: it is the administrator's.
    if Settings::of(request).is_none() || request.is_subrequest() {
        return true;
    }
    match (request.target(), request.forwarded()) {
        // Parameters are sent in the place of a target.
        (None, None) if sends_target(request) => request.rewritten_target() == request.written_target(),
        (_, None) => true,
        // Rewritten, or moved here. What it came from, the client chose.
        (None, Some(forwarded)) => request.rewritten_target() == forwarded,
        (Some(target), Some(forwarded)) if target == forwarded => true,
        (Some(target), Some(forwarded)) => {
            if !TOLD.swap(true, Ordering::Relaxed) {
                request.log(
                    Level::Warn,
                    format_args!(
                        "registry_auth: the variables of \"proxy_pass\" have a URI, and another path goes \
                         on than the one that was decided about"
                    ),
                );
            }
            // A mount that was taken out stays out.
            query_of(forwarded).is_empty() || query_of(forwarded) == query_of(target)
        }
    }
}

/// Whether the request is about to go to a user's registry by a location in which that could steer nginx:
/// `conf::check` sees to all but those without a gate whose variables choose the way.
fn may_be_steered(request: &mut Request) -> bool {
    let is_obeyed = || {
        let location = request.location::<Location>();
        location.is_some_and(Location::obeys_answers)
    };
    if !request.may_be_steered() && !is_obeyed() {
        return false;
    }
    let has_backends = request.existing_context::<Context, _>(|request, context| {
        let identity = context.identity(request);
        identity.is_some_and(|identity| identity.backends().is_some())
    });
    has_backends == Some(true)
}

/// Whether the parameters that are sent on here have the target that the client wrote.
fn sends_target(request: &Request) -> bool {
    let location = request.location::<Location>();
    location.is_some_and(|location| location.neighbours.sends_target())
}

/// What says here which path goes on.
fn target_directive(request: &Request) -> String {
    let location = request.location::<Location>();
    let forward = location.and_then(|location| location.neighbours.forward.as_ref());
    forward.map_or_else(|| "proxy_pass".into(), Forward::target_directive)
}

/// How many users take turns independently of each other.
const TURNS: usize = 64;

/// Round robin positions of one worker, one for all users with the same hash: a single counter would pin
/// users who take turns with each other to one backend each.
pub struct Turns([Cell<u32>; TURNS]);

impl Default for Turns {
    fn default() -> Self {
        Turns([const { Cell::new(0) }; TURNS])
    }
}

impl Turns {
    fn next(&self, user: &[u8]) -> usize {
        let hash = user
            .iter()
            .fold(5381_u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(*byte));
        let Some(turn) = self.0.get(hash as usize % TURNS) else {
            return 0;
        };
        turn.replace(turn.get().wrapping_add(1)) as usize
    }
}

/// The record in which the names of a request's backends stand.
#[derive(Clone)]
pub struct BackendNames(Rc<Identity>);

impl BackendNames {
    /// The encoded record; empty where nobody names a backend.
    pub fn record(&self) -> &[u8] {
        self.0.backends().unwrap_or_default()
    }
}

/// The balancer.
pub struct UserBackends;

impl Balancer for UserBackends {
    type Upstream = Upstream;
    type Context = Context;
    type Names = BackendNames;

    fn select(
        request: &mut Request,
        upstream: &Upstream,
        candidates: &mut Candidates<BackendNames>,
    ) -> Selection {
        if WATCHED.load(Ordering::Relaxed)
            && let Some(why) = forbidden(request)
        {
            limited_log::write(request, Level::Error, format_args!("registry_auth: {why}"));
            request.with_context::<Context, _>(|request, context| {
                context.refuse(request, Denial::misconfigured(), true);
            });
            return Selection::Refuse;
        }
        let chosen = request.existing_context::<Context, _>(|request, context| {
            of_context(request, context, upstream, candidates)
        });
        match chosen {
            Some(selection) => selection,
            // No gate on the way here: there is no user, and nothing was asked.
            None if upstream.own_servers.exist() => Selection::OwnServers,
            None => {
                request.with_context::<Context, _>(|request, context| {
                    refuse(request, context, "no user was verified", Denial::no_backend())
                });
                Selection::Refuse
            }
        }
    }

    fn chosen(request: &mut Request, name: RequestBytes) {
        request.existing_context::<Context, _>(|request, context| {
            if !request.is_subrequest() || context.awaits(request) {
                context.backend = Some(name);
            }
        });
    }

    fn tried(address: &[u8], is_reached: bool) {
        if is_reached {
            outages().reached(address)
        } else {
            outages().failed(address, event::now())
        }
    }

    fn gave_up(address: &[u8], since: u64) {
        outages().gave_up(address, since);
    }

    fn own_servers(upstream: &mut Upstream) -> &mut OwnServers {
        &mut upstream.own_servers
    }

    fn own_servers_of(upstream: &Upstream) -> &OwnServers {
        &upstream.own_servers
    }
}

fn of_context(
    request: &Request,
    context: &mut Context,
    upstream: &Upstream,
    candidates: &mut Candidates<BackendNames>,
) -> Selection {
    let identity = context.identity(request);
    let found = match identity {
        Some(identity) => gather(request, &BackendNames(Rc::clone(identity)), upstream, candidates),
        None => Ok(Found::None),
    };
    let (why, denial) = match found {
        Ok(Found::Some) => {
            let is_listed = context.is_catalog && upstream.balance != Some(Balance::Turn);
            let first = match (is_listed, candidates.count()) {
                (true, _) if !route::is_v1(request.uri()) && context.awaits(request) => {
                    match take_part(context, candidates) {
                        Some(()) => 0,
                        // The list says why.
                        None => return Selection::Refuse,
                    }
                }
                (_, 1) => 0,
                _ => choose(request, context, upstream, candidates),
            };
            return Selection::Candidates { first };
        }
        Ok(Found::None) if upstream.own_servers.exist() => return Selection::OwnServers,
        Ok(Found::None) => (
            "neither the user, nor a group, nor the defaults name one (registry-authctl backend set)",
            Denial::no_backend(),
        ),
        Ok(Found::Refused) => (
            "none of those that are stored can be used",
            Denial::no_usable_backend(),
        ),
        Err(InvalidRecord) => (
            "the copy of the record in memory is damaged",
            Denial::no_usable_backend(),
        ),
    };
    refuse(request, context, why, denial);
    Selection::Refuse
}

/// Sends a page of the catalogue to the backend whose turn it is: of all of them together the user's list is
/// made.
fn take_part(context: &mut Context, candidates: &mut Candidates<BackendNames>) -> Option<()> {
    let Stage::Filtering(filtering) = &mut context.stage else {
        return None;
    };
    let now = event::now();
    let is_down = |at| {
        let address = candidates.iter().nth(at).map(|(_, address)| address);
        address.is_some_and(|address| !outages().is_due(address, now))
    };
    let at = filtering.among(candidates.iter().map(|(name, _)| name), is_down)?;
    // They are asked one after the other: the turn to try one that is due begins when it is asked.
    let address = candidates.iter().nth(at).map(|(_, address)| address);
    let tried = address.filter(|address| outages().has_failed(address) && outages().may_try(address, now));
    let turn = tried.map(|_| now);
    candidates.keep_only(at, turn);
    Some(())
}

/// Which of several candidates comes first.
fn choose(
    request: &Request,
    context: &Context,
    upstream: &Upstream,
    candidates: &mut Candidates<BackendNames>,
) -> usize {
    let user = context.user(request).as_bytes();
    // The requests of a push by V1 name no repository, most of them; and what is searched for is where it was
    // pushed to.
    let key = match (route::is_v1(request.uri()), upstream.balance) {
        (true, _) => user,
        // All pages of a catalogue are of the same backend, which has what the others have.
        (false, Some(Balance::Turn)) if context.is_catalog => return 0,
        (false, Some(Balance::Turn)) => return upstream.turns.next(user),
        (false, _) => match context
            .repository
            .as_ref()
            .map(|name| request.kept::<Context>(name))
        {
            // Such as the ping of a login: it is all the same where it goes.
            None | Some([]) => user,
            Some(name) => name,
        },
    };
    let now = event::now();
    candidates.order_by(
        |name, address| rendezvous::rank(key, name, address),
        |address| outages().has_failed(address),
        |address| outages().may_try(address, now),
        now,
    );
    0
}

fn refuse(request: &Request, context: &mut Context, why: &str, denial: Denial) {
    let user = context.user(request);
    limited_log::write(
        request,
        Level::Error,
        format_args!("registry_auth: no backend for user \"{user}\": {why}"),
    );
    context.refuse(request, denial, true);
}

enum Found {
    /// Nobody names a backend.
    None,
    /// There are candidates.
    Some,
    /// Some are named, and none is left.
    Refused,
}

fn gather(
    request: &Request,
    names: &BackendNames,
    upstream: &Upstream,
    candidates: &mut Candidates<BackendNames>,
) -> Result<Found, InvalidRecord> {
    let Some(record) = names.0.backends() else {
        return Ok(Found::None);
    };
    for peer in RecordRef::decode(record)?.peers() {
        add(request, names, &peer?, upstream, candidates)?;
    }
    Ok(match candidates.count() {
        0 => Found::Refused,
        _ => Found::Some,
    })
}

/// Adds a backend's addresses, as far as they are permitted.
fn add(
    request: &Request,
    names: &BackendNames,
    peer: &PeerRef<'_>,
    upstream: &Upstream,
    candidates: &mut Candidates<BackendNames>,
) -> Result<(), InvalidRecord> {
    let shown = || String::from_utf8_lossy(peer.name);
    let mut resolved = false;
    for address in peer.addresses() {
        let address = address?;
        resolved = true;
        if !upstream.allow.permits(address) {
            limited_log::write(
                request,
                Level::Error,
                format_args!(
                    "registry_auth: backend \"{}\" ({address}) is not permitted by \"allow\" of \
                     \"registry_auth_backends\"",
                    shown()
                ),
            );
        } else if candidates.push(request, names, peer.name, address).is_none() {
            limited_log::write(
                request,
                Level::Error,
                format_args!("registry_auth: backend \"{}\": out of memory", shown()),
            );
        }
    }
    if !resolved {
        limited_log::write(
            request,
            Level::Error,
            format_args!("registry_auth: backend \"{}\" has no address", shown()),
        );
    }
    Ok(())
}
