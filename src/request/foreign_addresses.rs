//! Where an answer of a registry leads its clients, with their credentials: to this server, whatever host
//! the answer names.
//!
//! Called by `response` for every answer, hence also where another module has let the request in. A backend
//! may be anybody's, or may not know the name by which clients reach it.
//!
//! - V1: docker sends all further requests of a pull or push, each with the user's password, to the host that
//!   `X-Docker-Endpoints` names, and believes that header wherever a redirect has led it.
//! - V2: podman, skopeo and buildah send the user's password, or token, to the host that the `Location` of
//!   an upload names.

use registry_auth::redirect::{self, Upload, upload_here};
use registry_auth::{Denial, route};

use crate::conf::Settings;
use crate::ffi::log::Level;
use crate::ffi::pool::OutOfMemory;
use crate::ffi::request::Request;
use crate::worker::limited_log;

/// Whether an answer may lead clients elsewhere: nearly none does.
#[inline]
pub fn may_lead_away(request: &Request) -> bool {
    route::is_v1(request.uri()) || may_be_upload(request)
}

/// Keeps clients here. A denial where the registry's answer must not go out.
pub fn keep_here(request: &mut Request) -> Result<Option<Denial>, OutOfMemory> {
    match keep_v1_here(request)? {
        None => keep_upload_here(request),
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
    // Layers may lie at a storage service. Clients send it no password, and believe no endpoints of it.
    let is_image = request.uri().starts_with(b"/v1/images/") && matches!(request.method(), b"GET" | b"HEAD");
    if !(300..400).contains(&request.status()) || is_image {
        return Ok(None);
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

/// Whether an answer may be one to an upload. Blobs that are read may lie at a storage service, to which
/// clients send no password; the state of an upload is a 204.
#[inline]
fn may_be_upload(request: &Request) -> bool {
    request.status() == 204 || !matches!(request.method(), b"GET" | b"HEAD")
}

/// Keeps an upload here. A denial where the registry's answer must not go out.
fn keep_upload_here(request: &mut Request) -> Result<Option<Denial>, OutOfMemory> {
    if !may_be_upload(request)
        || request.is_subrequest()
        || !request.uri().starts_with(b"/v2/")
        || !request.is_of_upstream()
        || Settings::of(request).is_none()
    {
        return Ok(None);
    }
    let mut path = None;
    let here = request.headers(b"host").next().unwrap_or_default();
    for location in request.answer_headers(b"location") {
        match upload_here(location, here) {
            Some(Upload::AsWritten) => {}
            Some(Upload::Path(at)) => path = Some(at.to_vec()),
            None => {
                limited_log::write_of_kind(
                    request,
                    Level::Error,
                    "registry_auth: the registry leads an upload away from this server",
                    format_args!(
                        "registry_auth: the registry leads an upload away from this server: {:?}",
                        String::from_utf8_lossy(location)
                    ),
                );
                return Ok(Some(Denial::foreign_redirect()));
            }
        }
    }
    if let Some(path) = path {
        request.drop_answer_headers(b"location");
        request.add_header("Location", &path)?;
    }
    Ok(None)
}
