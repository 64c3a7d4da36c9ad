//! Where a V2 registry says that an upload goes on: at this server, whatever host it names.
//!
//! podman, skopeo and buildah send the user's password, or token, to the host that the `Location` of an
//! upload names. A backend may be anybody's, or may not know the name by which clients reach it. Called by
//! `response` for every answer.

use registry_auth::redirect::{upload_here, Upload};
use registry_auth::Denial;

use crate::conf::Location;
use crate::ffi::log::Level;
use crate::ffi::request::Request;
use crate::worker::limited_log;

/// Whether an answer may concern an upload. Blobs that are read may lie at a storage service, to which
/// clients send no password; the state of an upload is a 204.
#[inline]
pub fn may_be(request: &Request) -> bool {
    request.status() == 204 || !matches!(request.method(), b"GET" | b"HEAD")
}

/// Keeps an upload here. A denial where the registry's answer must not go out; an error when memory is out.
pub fn keep_here(request: &mut Request) -> Result<Option<Denial>, ()> {
    if !may_be(request)
        || request.is_subrequest()
        || !request.uri().starts_with(b"/v2/")
        || !request.is_of_upstream()
    {
        return Ok(None);
    }
    let is_gated = request
        .location::<Location>()
        .is_some_and(|location| location.settings.is_some());
    if !is_gated {
        return Ok(None);
    }
    let mut path = None;
    {
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
    }
    if let Some(path) = path {
        request.drop_answer_headers(b"location");
        request.add_header("Location", &path).ok_or(())?;
    }
    Ok(None)
}
