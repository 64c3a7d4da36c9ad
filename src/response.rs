//! Our own answers: whatever page nginx would send for a refusal becomes an OCI error in JSON.
//!
//! The refusal itself goes nginx's way, as a status, so that `error_page` and `satisfy any` hold; these filters see the page that
//! nginx makes of it and put the body, and the headers that belong to it, in its place.

use registry_auth::Denial;

use crate::conf::Location;
use crate::context::{Body, Context, Refusal, Stage};
use crate::ffi::filter::{Filter, Head, Pieces, Replacement};
use crate::ffi::request::Request;

/// The filters.
pub struct Answers;

impl Filter for Answers {
    fn header(request: &mut Request) -> Result<Head, ()> {
        let is_subrequest = request.is_subrequest();
        let seen = request.answering_context::<Context, _>(|request, context, redirected| {
            if let (true, Stage::Filtering(filtering)) = (is_subrequest, &mut context.stage) {
                filtering.header(request);
                return Some(Head::Take);
            }
            header(request, context, redirected)?;
            Some(Head::Send)
        });
        match seen {
            Some(Some(head)) => Ok(head),
            Some(None) => Err(()),
            None => Ok(Head::Send),
        }
    }

    fn body(request: &mut Request, pieces: &Pieces) -> Replacement {
        let is_subrequest = request.is_subrequest();
        let seen = request.answering_context::<Context, _>(|_, context, _| {
            if let (true, Stage::Filtering(filtering)) = (is_subrequest, &mut context.stage) {
                filtering.body(pieces);
                return Replacement::Taken;
            }
            body(context)
        });
        seen.unwrap_or(Replacement::Keep)
    }
}

/// Makes the page of a refusal ours. `None` when memory is out.
fn header(request: &mut Request, context: &mut Context, redirected: bool) -> Option<()> {
    // The registry has refused the first page and gives it now, unfiltered.
    let is_registrys = context.is_catalog && request.has_upstream();
    let is_leak = is_registrys && request.status() < 300;
    if is_registrys {
        request.drop_answer_headers(b"link");
    }
    if is_leak {
        context.refuse(Denial::malformed_catalog(), false);
    }
    let Some(refusal) = context.denial.as_mut() else {
        return Some(());
    };
    if !is_leak && !is_its_page(request, refusal, redirected) {
        return Some(());
    }
    let denial = &refusal.denial;
    if request.uri().starts_with(b"/v2") {
        request.add_header("Docker-Distribution-Api-Version", b"registry/2.0")?;
    }
    let settings = request
        .location::<Location>()
        .and_then(|location| location.settings.as_ref());
    if settings.is_some_and(|settings| settings.token.is_some()) {
        request.add_header("Cache-Control", b"no-store")?;
    }
    if let Some(seconds) = denial.retry_after() {
        request.add_header("Retry-After", seconds.to_string().as_bytes())?;
    }
    let mut json = Vec::new();
    denial.write_json(&mut json);
    request.become_json(u32::from(denial.status()), json.len());
    refusal.body = Body::Ready(json);
    Some(())
}

/// Whether the answer at hand is what nginx made of this refusal: with `satisfy any` another module may have let the request in,
/// and a backend may then answer with the same status.
///
/// A page that `error_page` redirected to is the administrator's, and stays. Not so where a backend was wanted: nginx knows no
/// status for that but 500, so that no `error_page` can be meant for it.
fn is_its_page(request: &Request, refusal: &Refusal, redirected: bool) -> bool {
    if !matches!(refusal.body, Body::Pending) {
        return false;
    }
    match refusal.late {
        true => request.status() == 500,
        false => {
            !redirected && request.status() == u32::from(refusal.denial.status()) && !request.has_upstream()
        }
    }
}

fn body(context: &mut Context) -> Replacement {
    let Some(refusal) = context.denial.as_mut() else {
        return Replacement::Keep;
    };
    match std::mem::replace(&mut refusal.body, Body::Sent) {
        Body::Ready(json) => Replacement::With(json),
        Body::Sent => Replacement::Drop,
        Body::Pending => {
            refusal.body = Body::Pending;
            Replacement::Keep
        }
    }
}
