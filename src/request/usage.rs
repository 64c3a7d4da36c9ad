//! What a request counts for, by user and by repository (`registry_auth_usage`).
//!
//! Called in the log phase. Only who was verified and what was let through counts: a name that was merely
//! claimed is nowhere a user.

use registry_auth::route::RouteKind;
use registry_auth::{Action, RequestResult, UserName};
use registry_auth_usage::Counts;

use crate::ffi::event;
use crate::ffi::request::Request;
use crate::request::context::Context;
use crate::worker::usage;

/// Counts a request.
pub fn count(request: &mut Request) {
    if request.is_subrequest() {
        return;
    }
    request.existing_context::<Context, _>(|request, context| {
        if !matches!(
            context.result,
            Some(RequestResult::Granted | RequestResult::Anonymous)
        ) {
            return;
        }
        let user = context.found.as_ref().and_then(|identity| identity.user());
        let user = user.as_ref().map_or("", UserName::as_str);
        let repository = context.repository.as_ref();
        let repository = repository.map_or(&[][..], |name| request.kept::<Context>(name));
        if user.is_empty() && repository.is_empty() {
            return;
        }
        let is_pull = is_pull(request, context);
        let counts = Counts {
            requests: 1,
            pulls: is_pull.into(),
            pushes: is_push(request, context).into(),
            bytes_in: request.bytes_received(),
            bytes_out: request.bytes_sent(),
            last_pull: if is_pull { event::unix_seconds() } else { 0 },
        };
        usage::add(user.as_bytes(), repository, &counts);
    });
}

/// Whether an image was pulled: its manifest was sent. Of V1: the list of its layers.
fn is_pull(request: &Request, context: &Context) -> bool {
    match context.class() {
        (RouteKind::Manifest, Some(Action::Pull)) => request.status() == 200 && request.method() == b"GET",
        (RouteKind::Repository, Some(Action::Pull)) => request.status() == 200 && is_list_of_images(request),
        _ => false,
    }
}

/// Whether an image was pushed: its manifest was stored. Of V1: the list of its layers.
fn is_push(request: &Request, context: &Context) -> bool {
    match context.class() {
        (RouteKind::Manifest, Some(Action::Push)) => request.status() == 201,
        (RouteKind::Repository, Some(Action::Push)) => {
            matches!(request.status(), 200 | 204) && is_list_of_images(request)
        }
        _ => false,
    }
}

fn is_list_of_images(request: &Request) -> bool {
    request.uri().ends_with(b"/images")
}
