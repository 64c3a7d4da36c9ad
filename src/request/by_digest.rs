//! What a granted request names by a digest: whose it is, as the key of a cache; and where answers came from.
//!
//! Read by `variables`, by `stored`, and by the filter that passes on what a cache has kept.

use std::hash::Hasher;

use registry_auth::backend::AllowList;
use registry_auth::blob::{self, AnswerHead, Content, Registry};
use registry_auth::{InvalidRecord, RecordRef, RequestResult, Source};
use registry_auth_metrics::counters as numbers;
use siphasher::sip::SipHasher13;

use crate::conf::{Location, Settings};
use crate::ffi::peer;
use crate::ffi::request::Request;
use crate::request::context::{Context, Origin};
use crate::request::identity::Identity;
use crate::worker::counters;

/// A repository, and what of it a request names by a digest.
pub struct Named<'r> {
    /// The repository.
    pub repository: &'r [u8],
    /// A blob or a manifest.
    pub content: Content<'r>,
    /// Who was let in.
    pub identity: &'r Identity,
}

/// What a request names by a digest, once it was granted here. Not with a query, which some registry may go
/// by; nor to be changed; nor where `allow=` lets it go to no registry.
pub fn named<'r>(request: &'r Request, context: &'r Context) -> Option<Named<'r>> {
    if !is_granted(context) || !context.is_about_copy(request) || !request.args().is_empty() {
        return None;
    }
    if !matches!(request.method(), b"GET" | b"HEAD") {
        return None;
    }
    let repository = request.kept::<Context>(context.repository.as_ref()?);
    let identity = context.identity(request)?;
    let allow = &request.location::<Location>()?.allow;
    Some(Named {
        repository,
        content: blob::content(request.uri(), repository)?,
        identity,
    })
    .filter(|_| allow.is_empty() || may_be_asked(identity, allow) == Ok(true))
}

fn is_granted(context: &Context) -> bool {
    matches!(
        context.result,
        Some(RequestResult::Granted | RequestResult::Anonymous)
    )
}

/// Whether some registry may be asked for this sender: one that nginx.conf names, or a backend with a
/// permitted address.
fn may_be_asked(identity: &Identity, allow: &AllowList) -> Result<bool, InvalidRecord> {
    let Some(record) = identity.backends() else {
        return Ok(true);
    };
    for peer in RecordRef::decode(record)?.peers() {
        for address in peer?.addresses() {
            if allow.permits(address?) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The names of the backends to which requests of this sender go; none where it is the registry that
/// nginx.conf names.
pub fn backends(identity: &Identity) -> Result<Vec<&[u8]>, InvalidRecord> {
    let Some(record) = identity.backends() else {
        return Ok(Vec::new());
    };
    let peers = RecordRef::decode(record)?.peers();
    peers.map(|peer| Ok(peer?.name)).collect()
}

/// Whether a request has a key: a `GET` that was granted here and names content by a digest, where it is
/// known which registry is asked, and that it is asked for just that.
pub fn has_key(request: &Request, context: &Context) -> bool {
    let is_known = |location: &Location| location.neighbours.keeps_path;
    request.method() == b"GET"
        && request.location::<Location>().is_some_and(is_known)
        && named(request, context).is_some()
        && peer::upstream_name(request).is_some()
}

/// `$registry_auth_blob`: the key under which nginx may keep the answer, as the same is answered to all who
/// may ask. `None` where there is none, as for HEAD.
pub fn cache_key(request: &mut Request) -> Option<Vec<u8>> {
    let has_key = request.existing_context::<Context, _>(|request, context| has_key(request, context));
    if has_key != Some(true) {
        return None;
    }
    // While the state of the request is not lent: its host may be made of our variables.
    let host = request.with_location::<Location, _>(host)??;
    let key = request.existing_context::<Context, _>(|request, context| {
        let named = named(request, context)?;
        let registry = Registry {
            prefix: Settings::of(request)?.space.prefix.as_bytes(),
            upstream: &peer::upstream_name(request)?,
            host: &host,
            backends: &backends(named.identity).ok()?,
        };
        let asked = accepted(request);
        Some(blob::cache_key(registry, named.repository, named.content, asked))
    });
    key.flatten()
}

/// The host by which the registry is asked, where nginx.conf says one: several registries may be behind one
/// address. Else it is the name of the upstream.
fn host(request: &mut Request, location: &Location) -> Option<Vec<u8>> {
    let mut hosts = Vec::new();
    for host in location.neighbours.hosts() {
        hosts.push(host.as_ref()?.evaluate(request)?.to_vec());
    }
    // Neither a blank nor a comma is in a host.
    Some(hosts.join(&b", "[..]))
}

/// A number for what the client accepts: a manifest is not sent to those who do not accept its type. The same
/// after a restart, as the cache outlives that.
fn accepted(request: &Request) -> u64 {
    let mut accepted = SipHasher13::new();
    for value in request.headers(b"accept") {
        accepted.write(value);
        accepted.write(b"\n");
    }
    accepted.finish()
}

/// Whether nginx may keep the answer that an upstream has just begun, by that key.
pub fn may_be_kept(request: &mut Request) -> bool {
    let may = request.existing_context::<Context, _>(|request, context| {
        let named = named(request, context).filter(|_| has_key(request, context))?;
        let head = AnswerHead {
            status: request.upstreams_status(),
            length: request.upstreams_length(),
            is_encoded: request.upstreams_headers(b"content-encoding").next().is_some(),
            is_part: request.upstreams_headers(b"content-range").next().is_some(),
            digest: single(request.upstreams_headers(b"docker-content-digest")),
        };
        Some(blob::may_be_kept(head, named.content.digest))
    });
    may.flatten() == Some(true)
}

/// The only one, if there is just one.
fn single<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> Option<&'v [u8]> {
    let first = values.next();
    values.next().is_none().then_some(first).flatten()
}

/// `$registry_auth_source`: where the answer came from; `None` where none of these has answered.
pub fn source(request: &Request, context: &Context) -> Option<Source> {
    if context.origin == Some(Origin::Store) && !request.is_subrequest() {
        return Some(Source::Store);
    }
    let is_let_through = matches!(
        context.outcome(),
        Some(RequestResult::Granted | RequestResult::Anonymous)
    );
    if !is_let_through {
        return None;
    }
    // The registry's own list is asked for by subrequests.
    let is_registrys = request.has_upstreams_answer() || context.is_catalog;
    is_registrys.then(|| match request.is_cached() {
        true => Source::Cache,
        false => Source::Backend,
    })
}

/// Counts where the answer to a request came from.
pub fn count_source(request: &mut Request) {
    if request.is_subrequest() {
        return;
    }
    let found = request.existing_context::<Context, _>(|request, context| source(request, context));
    if let Some(source) = found.flatten() {
        counters::count(numbers::source(source));
        counters::add(numbers::source_bytes(source), request.bytes_sent());
    }
}
