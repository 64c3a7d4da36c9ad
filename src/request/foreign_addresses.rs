//! Where an answer of a registry leads its clients, with their credentials: to this server, whatever host
//! the answer names.
//!
//! Called by `response` for every answer, hence also where another module has let the request in. A backend
//! may be anybody's, or may not know the name by which clients reach it.
//!
//! - V1: docker sends all further requests of a pull or push, each with the user's password, to the host that
//!   `X-Docker-Endpoints` names, and believes that header wherever a redirect has led it.
//! - V2: podman, skopeo and buildah send the user's password, or token, to the host that the `Location` of
//!   an upload names. And whatever is read, by a redirect a host may ask for a password in its own name,
//!   which containerd then posts to the address in that challenge; Go's clients send theirs unasked to
//!   another port of this host.
//!
//! Blobs may lie at a storage service all the same: at one that the administrator names, or has configured
//! the registry with.

use std::marker::PhantomData;

use registry_auth::redirect::{self, Elsewhere, Here, Place, redirect_here, upload_here};
use registry_auth::{Denial, route};

use crate::conf::{Location, Settings};
use crate::ffi::log::Level;
use crate::ffi::pool::OutOfMemory;
use crate::ffi::request::Request;
use crate::ffi::{peer, variable};
use crate::request::context::Context;
use crate::upstream::UserBackends;
use crate::worker::limited_log;

/// Whether an answer may lead clients elsewhere: nearly none does.
#[inline]
pub fn may_lead_away(request: &Request) -> bool {
    route::is_v1(request.uri()) || request.has_upstreams_location()
}

/// Keeps clients here. A denial where the registry's answer must not go out.
pub fn keep_here(request: &mut Request) -> Result<Option<Denial>, OutOfMemory> {
    match keep_v1_here(request)? {
        None => keep_v2_here(request),
        denial => Ok(denial),
    }
}

/// Keeps the clients of a V1 registry here. A denial where its answer must not go out; an error when memory
/// is out.
fn keep_v1_here(request: &mut Request) -> Result<Option<Denial>, OutOfMemory> {
    if !route::is_v1(request.uri()) || request.is_subrequest() || !request.is_of_upstream() {
        return Ok(None);
    }
    let endpoint = Settings::of(request).map(|settings| settings.v1_endpoint.clone());
    let here = match endpoint {
        None => return Ok(None),
        Some(Some(endpoint)) => endpoint
            .evaluate(request)
            .map(<[u8]>::to_vec)
            .ok_or(OutOfMemory)?,
        Some(None) => request.headers(b"host").next().unwrap_or_default().to_vec(),
    };
    name_endpoints(request, &here)?;
    keep_redirect(request, &here)
}

/// Has `X-Docker-Endpoints` name this server, where there is one: docker pushes to none that has none.
fn name_endpoints(request: &mut Request, here: &[u8]) -> Result<(), OutOfMemory> {
    const NAME: &[u8] = b"x-docker-endpoints";
    let is_named = request.answer_headers(NAME).next().is_some();
    request.drop_answer_headers(NAME);
    if is_named && !here.is_empty() {
        request.add_header("X-Docker-Endpoints", here)
    } else {
        Ok(())
    }
}

/// Lets a redirect to this server go on, as a path; one to another is refused.
fn keep_redirect(request: &mut Request, here: &[u8]) -> Result<Option<Denial>, OutOfMemory> {
    if !(300..400).contains(&request.status()) {
        return Ok(None);
    }
    // Layers may lie at a storage service, of which clients believe no endpoints.
    if request.uri().starts_with(b"/v1/images/") && is_read(request) {
        let is_here = |location: &[u8]| redirect::path_here(location, here).is_some();
        let away: Vec<Vec<u8>> = request
            .answer_headers(b"location")
            .filter(|location| !is_here(location))
            .map(<[u8]>::to_vec)
            .collect();
        let may_go = away.iter().all(|location| may_go_to_storage(request, location));
        return Ok((!may_go).then(Denial::foreign_redirect));
    }
    let mut paths = Vec::new();
    for location in request.answer_headers(b"location") {
        match redirect::path_here(location, here) {
            Some(path) => paths.push(path.to_vec()),
            None => {
                limited_log::write_of_kind(
                    request,
                    Level::Error,
                    "registry_auth: the registry redirects a V1 request to another host",
                    format_args!(
                        "registry_auth: the registry redirects a V1 request to another host: {:?}",
                        String::from_utf8_lossy(location)
                    ),
                );
                return Ok(Some(Denial::foreign_redirect()));
            }
        }
    }
    if let Some(path) = paths.first() {
        request.drop_answer_headers(b"location");
        request.add_header("Location", path)?;
    }
    Ok(None)
}

/// Whether the request only reads.
fn is_read(request: &Request) -> bool {
    matches!(request.method(), b"GET" | b"HEAD")
}

/// The path of a request to the V2 API that a registry has answered, where clients are to be kept here: where
/// there is a gate, or the request has come by one and goes to a user's registry. It is the path that was
/// decided about, if nginx has rewritten that meanwhile.
fn path_of_v2(request: &mut Request) -> Option<Vec<u8>> {
    let decided = request.existing_context::<Context, _>(|request, context| {
        let repository = context.repository.as_ref();
        repository.map(|name| request.kept_path::<Context>(name).to_vec())
    });
    let is_gated = Settings::of(request).is_some()
        || decided.is_some() && peer::is_balanced(request, PhantomData::<UserBackends>);
    if !is_gated {
        return None;
    }
    match decided.flatten() {
        Some(path) if redirect::is_v2(&path) => Some(path),
        // It has a repository, and so was a registry's route.
        Some(_) => Some(request.uri().to_vec()),
        None => Some(request.uri().to_vec()).filter(|path| redirect::is_v2(path)),
    }
}

/// Keeps the clients of a V2 registry here. A denial where its answer must not go out; an error when memory
/// is out.
fn keep_v2_here(request: &mut Request) -> Result<Option<Denial>, OutOfMemory> {
    if !request.has_upstreams_location()
        || request.is_subrequest()
        || !request.is_of_upstream()
        || route::is_v1(request.uri())
    {
        return Ok(None);
    }
    let Some(path) = path_of_v2(request) else {
        return Ok(None);
    };
    let place = match is_read(request) {
        // Whatever the status: what a client sends has its next address in the answer.
        false => Place::Upload,
        true => Place::of(&path),
    };
    if place != Place::Upload && !(300..400).contains(&request.status()) {
        return Ok(None);
    }
    let host = request.headers(b"host").next().unwrap_or_default().to_vec();
    let locations: Vec<Vec<u8>> = request.answer_headers(b"location").map(<[u8]>::to_vec).collect();
    let mut path = None;
    for location in &locations {
        let here = match place {
            Place::Upload => upload_here(location, &host),
            Place::Blob | Place::Registrys => redirect_here(location, &host),
        };
        match here {
            Some(Here::AsWritten) => {}
            Some(Here::Path(at)) => path = Some(at),
            None if place == Place::Blob && may_go_to_storage(request, location) => {}
            None => {
                if place != Place::Blob {
                    tell_of_leading_away(request, place, location);
                }
                return Ok(Some(Denial::foreign_redirect()));
            }
        }
    }
    if let Some(path) = path {
        request.drop_answer_headers(b"location");
        request.add_header("Location", path)?;
    }
    Ok(None)
}

/// Says in the log that a registry has led clients away.
#[cold]
fn tell_of_leading_away(request: &Request, place: Place, location: &[u8]) {
    let what = match place {
        Place::Upload => "leads an upload away from this server",
        Place::Blob | Place::Registrys => "redirects what is no blob to another host",
    };
    limited_log::write_of_kind(
        request,
        Level::Error,
        what,
        format_args!(
            "registry_auth: the registry {what}: {:?}",
            String::from_utf8_lossy(location)
        ),
    );
}

/// Whether a client that reads a blob may be sent there: to a host that the administrator names, or, of a
/// registry that nginx.conf names, to any where nothing is said; not from https to http. If not, the log says
/// why; without the rest of the URL, which may be signed.
#[cold]
fn may_go_to_storage(request: &mut Request, location: &[u8]) -> bool {
    const KIND: &str = "registry_auth: the registry redirects a blob";
    let named = request.location::<Location>().and_then(Location::storage_hosts);
    let Some(elsewhere) = Elsewhere::of(location) else {
        limited_log::write_of_kind(
            request,
            Level::Error,
            KIND,
            format_args!("{KIND} to an address that clients may read in several ways"),
        );
        return false;
    };
    let is_permitted = match named {
        Some(hosts) => hosts.permit(&elsewhere),
        None => !peer::is_balanced(request, PhantomData::<UserBackends>),
    };
    let host = String::from_utf8_lossy(elsewhere.authority);
    if !is_permitted {
        limited_log::write_of_kind(
            request,
            Level::Error,
            KIND,
            format_args!(
                "{KIND} to {host}: if that is a storage service that you trust, name it in \
                 \"registry_auth_redirects\""
            ),
        );
        return false;
    }
    if !elsewhere.is_encrypted && is_encrypted(request) {
        limited_log::write_of_kind(
            request,
            Level::Error,
            KIND,
            format_args!(
                "{KIND} to http://{host}, and the client has come by https: have the registry name its \
                 storage by https"
            ),
        );
        return false;
    }
    true
}

/// Whether the client has come by https, be it to a balancer: `$registry_scheme` of the shipped files, or
/// else nginx's own scheme.
fn is_encrypted(request: &mut Request) -> bool {
    let is_https = |scheme: &[u8]| scheme.eq_ignore_ascii_case(b"https");
    match variable::value_of(request, "registry_scheme").map(is_https) {
        Some(is_https) => is_https,
        None => variable::value_of(request, "scheme").is_some_and(is_https),
    }
}
