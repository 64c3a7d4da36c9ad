//! `registry_auth_backends`: the peers of a request are its user's backends, else the default ones, else the block's own
//! `server` lines.
//!
//! An address that `allow=` does not permit is never connected to. A user whose backends are all refused or unresolved gets 503
//! rather than somebody else's storage.

use core::marker::PhantomData;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use registry_auth::backend::AllowList;
use registry_auth::codec::{PeerRef, RecordRef};
use registry_auth::{rendezvous, route, Denial, InvalidRecord};

use crate::conf::value::invalid;
use crate::conf::Location;
use crate::context::Context;
use crate::ffi::conf::Conf;
use crate::ffi::log::Level;
use crate::ffi::peer::{self, Balancer, Candidates, OwnServers, Selection};
use crate::ffi::request::{Kept, Request};
use crate::identity::Identity;
use crate::lines;
use crate::routing::query_of;

/// What an upstream{} with `registry_auth_backends` holds.
#[derive(Default)]
pub struct Upstream {
    /// Where a user's backends may be; everywhere without `allow=`.
    pub allow: AllowList,
    /// The block's own `server` lines.
    pub own_servers: OwnServers,
    /// Turns for the round robin over a user's backends.
    pub turns: Turns,
}

/// `registry_auth_backends [allow=cidr[:port] ...]`
pub fn backends(conf: &mut Conf<'_>, upstream: &mut Upstream) -> Result<(), String> {
    const NAME: &str = "registry_auth_backends";
    for argument in conf.texts() {
        let entry = argument
            .strip_prefix(b"allow=")
            .and_then(|entry| std::str::from_utf8(entry).ok())
            .ok_or_else(|| invalid(NAME, argument, "\"allow=cidr[:port]\" is expected"))?;
        upstream
            .allow
            .add(entry)
            .map_err(|error| invalid(NAME, argument, &error.to_string()))?;
        if let Some(network) = upstream.allow.rounded() {
            conf.warn(&format_args!(
                "\"{NAME}\": \"{entry}\" means {network}: low address bits are meaningless"
            ));
        }
    }
    peer::attach(conf, upstream, PhantomData::<UserBackends>).map_err(|error| format!("\"{NAME}\": {error}"))
}

/// Whether the target of each request is looked at. A plain load in the way of each request, unlike a thread's own variable.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Whether it was told that variables have a URI.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Starts a worker: whether variables may put another path in the place of the client's.
pub fn watch(may_differ: bool) {
    WATCHED.store(may_differ, Ordering::Relaxed);
}

/// Whether the target that goes to the backend is the one that was decided about. nginx has made the request to it, and a proxy_pass
/// with variables has shown what they come to.
fn is_as_decided(request: &Request) -> bool {
    let is_gated = request
        .location::<Location>()
        .is_some_and(|location| location.settings.is_some());
    // About a subrequest nothing was decided: it is the administrator's.
    if !is_gated || request.is_subrequest() {
        return true;
    }
    match (request.target(), request.forwarded()) {
        (_, None) => true,
        // Rewritten, or moved here. What it came from, the client chose.
        (None, Some(forwarded)) => request.rewritten_target() == forwarded,
        (Some(target), Some(forwarded)) if target == forwarded => true,
        (Some(target), Some(forwarded)) => {
            if !TOLD.swap(true, Ordering::Relaxed) {
                request.log(
                    Level::Warn,
                    format_args!(
                        "registry_auth: the variables of \"proxy_pass\" have a URI, and another path goes on than the \
                         one that was decided about"
                    ),
                );
            }
            // A mount that was taken out stays out.
            query_of(forwarded).is_empty() || query_of(forwarded) == query_of(target)
        }
    }
}

/// How many users take turns independently of each other.
const TURNS: usize = 64;

/// Round robin positions of one worker, one for all users with the same hash: a single counter would pin users who take turns
/// with each other to one backend each.
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
        if WATCHED.load(Ordering::Relaxed) && !is_as_decided(request) {
            lines::write(
                request,
                Level::Error,
                format_args!(
                    "registry_auth: another path or query would go on than the one that was decided about, by the variables \
                     of \"proxy_pass\""
                ),
            );
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
                    refuse(request, context, "no user was verified")
                });
                Selection::Refuse
            }
        }
    }

    fn chosen(request: &mut Request, name: Kept) {
        request.existing_context::<Context, _>(|request, context| {
            if !request.is_subrequest() || context.awaits(request) {
                context.backend = Some(name);
            }
        });
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
    let user = identity.and_then(|identity| identity.user());
    let user = user.map_or(&[][..], |user| user.as_str().as_bytes());
    let found = match identity {
        Some(identity) => gather(request, &BackendNames(Rc::clone(identity)), upstream, candidates),
        None => Ok(Found::None),
    };
    match found {
        // All pages of a catalogue are of the same backend.
        Ok(Found::Some) if context.is_catalog => Selection::Candidates { first: 0 },
        // So is a push of V1, most of whose requests name no repository.
        Ok(Found::Some) if candidates.count() > 1 && route::is_v1(request.uri()) => {
            candidates.order_by(|name, address| rendezvous::weight(user, name, address));
            Selection::Candidates { first: 0 }
        }
        Ok(Found::Some) => Selection::Candidates {
            first: upstream.turns.next(user),
        },
        Ok(Found::None) if upstream.own_servers.exist() => Selection::OwnServers,
        Ok(Found::None) => {
            refuse(
                request,
                context,
                "neither the user, nor a group, nor the defaults name one",
            );
            Selection::Refuse
        }
        Ok(Found::Refused) => {
            refuse(request, context, "none of them can be used");
            Selection::Refuse
        }
        Err(InvalidRecord) => {
            refuse(request, context, "the record cannot be read");
            Selection::Refuse
        }
    }
}

fn refuse(request: &Request, context: &mut Context, why: &str) {
    let user = context.user(request);
    lines::write(
        request,
        Level::Error,
        format_args!("registry_auth: no backend for user \"{user}\": {why}"),
    );
    context.refuse(request, Denial::no_backend(), true);
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
            lines::write(
                request,
                Level::Error,
                format_args!(
                    "registry_auth: backend \"{}\" ({address}) is not permitted by \"allow\"",
                    shown()
                ),
            );
        } else if candidates.push(request, names, peer.name, address).is_none() {
            lines::write(
                request,
                Level::Error,
                format_args!("registry_auth: backend \"{}\": out of memory", shown()),
            );
        }
    }
    if !resolved {
        lines::write(
            request,
            Level::Error,
            format_args!("registry_auth: backend \"{}\" has no address", shown()),
        );
    }
    Ok(())
}
