//! What a request counts for, by user and by repository (`registry_auth_usage`).
//!
//! Called in the log phase. Only who was verified and what was let through counts: a name that was merely
//! claimed is nowhere a user.

use registry_auth::route::RouteKind;
use registry_auth::{Action, RequestResult};

use crate::ffi::request::Request;
use crate::request::context::Context;
use crate::worker::usage::{self, Counting};

/// Counts a request.
pub fn count(request: &mut Request) {
    if request.is_subrequest() {
        return;
    }
    usage::with(|counting| {
        request.existing_context::<Context, _>(|request, context| add(request, context, counting));
    });
}

#[inline(always)]
fn add(request: &Request, context: &Context, counting: &mut Counting<'_>) {
    if !matches!(
        context.result,
        Some(RequestResult::Granted | RequestResult::Anonymous)
    ) {
        return;
    }
    let user = context.found.as_ref();
    let repository = match &context.repository {
        Some(name) => request.kept::<Context>(name),
        None => &[],
    };
    if repository.is_empty() && user.is_none_or(|identity| identity.user().is_none()) {
        return;
    }
    let counts = counting.of(user, repository, || (1..400).contains(&request.status()));
    counts.requests += 1;
    counts.bytes_in += request.bytes_received();
    counts.bytes_out += request.bytes_sent();
    match transfer(request, context) {
        Some(Transfer::Pull) => counts.pulls += 1,
        Some(Transfer::Push) => counts.pushes += 1,
        None => {}
    }
}

/// What became of an image.
enum Transfer {
    Pull,
    Push,
}

/// Whether an image was pulled or pushed: its manifest was sent, or was stored. Of V1: the list of its
/// layers.
#[inline(always)]
fn transfer(request: &Request, context: &Context) -> Option<Transfer> {
    match context.class() {
        (RouteKind::Manifest, Some(Action::Pull)) => {
            (request.status() == 200 && request.is_get()).then_some(Transfer::Pull)
        }
        (RouteKind::Manifest | RouteKind::Repository, Some(action)) => {
            rare_transfer(request, context.kind, action)
        }
        _ => None,
    }
}

#[cold]
fn rare_transfer(request: &Request, kind: RouteKind, action: Action) -> Option<Transfer> {
    match (kind, action, request.status()) {
        (RouteKind::Manifest, Action::Push, 201) => Some(Transfer::Push),
        (RouteKind::Repository, Action::Pull, 200) => is_list_of_images(request).then_some(Transfer::Pull),
        (RouteKind::Repository, Action::Push, 200 | 204) => {
            is_list_of_images(request).then_some(Transfer::Push)
        }
        _ => None,
    }
}

fn is_list_of_images(request: &Request) -> bool {
    request.uri().ends_with(b"/images")
}
