//! What a request counts for, by user and by repository (`registry_auth_usage`).
//!
//! Called in the log phase. Only who was verified and what was let through counts: a name that was merely
//! claimed is nowhere a user.

use registry_auth::route::RouteKind;
use registry_auth::{Action, RequestResult};

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
        let user = context.found.as_ref();
        let repository = context.repository.as_ref();
        let repository = repository.map_or(&[][..], |name| request.kept::<Context>(name));
        if repository.is_empty() && user.is_none_or(|identity| identity.user().is_none()) {
            return;
        }
        usage::add(user, repository, |counts| {
            counts.requests += 1;
            counts.bytes_in += request.bytes_received();
            counts.bytes_out += request.bytes_sent();
            match transfer(request, context) {
                Some(Transfer::Pull) => {
                    counts.pulls += 1;
                    // No earlier than any before it.
                    counts.last_pull = event::unix_seconds();
                }
                Some(Transfer::Push) => counts.pushes += 1,
                None => {}
            }
            (1..400).contains(&request.status())
        });
    });
}

/// What became of an image.
enum Transfer {
    Pull,
    Push,
}

/// Whether an image was pulled or pushed: its manifest was sent, or was stored. Of V1: the list of its
/// layers.
#[inline]
fn transfer(request: &Request, context: &Context) -> Option<Transfer> {
    match (context.class(), request.status()) {
        ((RouteKind::Manifest, Some(Action::Pull)), 200) => request.is_get().then_some(Transfer::Pull),
        ((RouteKind::Manifest, Some(Action::Push)), 201) => Some(Transfer::Push),
        ((RouteKind::Repository, Some(Action::Pull)), 200) => {
            is_list_of_images(request).then_some(Transfer::Pull)
        }
        ((RouteKind::Repository, Some(Action::Push)), 200 | 204) => {
            is_list_of_images(request).then_some(Transfer::Push)
        }
        _ => None,
    }
}

fn is_list_of_images(request: &Request) -> bool {
    request.uri().ends_with(b"/images")
}
