//! What a granted request names by a digest: whose it is, as the key of a cache; and where answers came from.
//!
//! Read by `variables`, by `stored`, and by the filter that passes on what a cache has kept.

use std::hash::Hasher;

use registry_auth::blob::{self, Content};
use registry_auth::{InvalidRecord, RecordRef, RequestResult, Source};
use registry_auth_metrics::counters as numbers;
use siphasher::sip::SipHasher13;

use crate::conf::Location;
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
/// by; nor to be changed.
pub fn named<'r>(request: &'r Request, context: &'r Context) -> Option<Named<'r>> {
    if !is_granted(context) || !context.is_about(request) || !request.args().is_empty() {
        return None;
    }
    if !matches!(request.method(), b"GET" | b"HEAD") {
        return None;
    }
    let repository = request.kept::<Context>(context.repository.as_ref()?);
    Some(Named {
        repository,
        content: blob::content(request.uri(), repository)?,
        identity: context.identity(request)?,
    })
}

fn is_granted(context: &Context) -> bool {
    matches!(
        context.result,
        Some(RequestResult::Granted | RequestResult::Anonymous)
    )
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

/// `$registry_auth_blob`: the key under which nginx may keep the answer, as the same is answered to all who
/// may ask. `None` where there is none, as for HEAD.
pub fn cache_key(request: &Request, context: &Context) -> Option<Vec<u8>> {
    if request.method() != b"GET" || !request.location::<Location>()?.neighbours.keeps_path {
        return None;
    }
    let named = named(request, context)?;
    let backends = backends(named.identity).ok()?;
    let default = match backends[..] {
        [] => peer::upstream_name(request)?,
        _ => Vec::new(),
    };
    // A manifest is not sent to those who do not accept its type. The same hash after a restart, as the cache
    // outlives that.
    let mut accepted = SipHasher13::new();
    for value in request.headers(b"accept") {
        accepted.write(value);
        accepted.write(b"\n");
    }
    let key = blob::cache_key(
        backends,
        &default,
        named.repository,
        named.content,
        accepted.finish(),
    );
    Some(key)
}

/// `$registry_auth_source`: where the answer came from; `None` where none of these has answered.
pub fn source(request: &Request, context: &Context) -> Option<Source> {
    if context.origin == Some(Origin::Store) && !request.is_subrequest() {
        return Some(Source::Store);
    }
    if !is_granted(context) {
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
