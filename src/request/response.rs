//! Our own answers: whatever page nginx would send for a refusal becomes an OCI error in JSON.
//!
//! The refusal itself goes nginx's way, as a status, so that `error_page` and `satisfy any` hold; these
//! filters see the page that nginx makes of it and put the body, and the headers that belong to it, in its
//! place.

use std::borrow::Cow;
use std::marker::PhantomData;

use registry_auth::Denial;
use registry_auth::route::RouteKind;

use crate::conf::{Location, Settings};
use crate::endpoints::catalog::Filtering;
use crate::ffi::answer::Malformed;
use crate::ffi::filter::{Filter, Head, Pieces, Replacement, Unsendable};
use crate::ffi::log::Level;
use crate::ffi::peer;
use crate::ffi::pool::OutOfMemory;
use crate::ffi::request::Request;
use crate::request::by_digest;
use crate::request::context::{Context, Refusal, Stage};
use crate::request::foreign_addresses;
use crate::request::refusal::{NoChallenge, challenge};
use crate::upstream::UserBackends;
use crate::worker::limited_log;

/// The filters.
pub struct Answers;

impl Filter for Answers {
    fn sees_header(request: &mut Request) -> bool {
        request.malformed().is_some()
            || foreign_addresses::may_lead_away(request)
            || request.has_upstreams_challenge()
            || is_kept_doubtfully(request)
            || Self::sees_body(request)
            || may_run_scripts(request)
    }

    fn sees_body(request: &mut Request) -> bool {
        let is_touched = request.existing_context::<Context, _>(|_, context| context.touches_answers());
        is_touched.unwrap_or(false)
    }

    fn header(request: &mut Request) -> Result<Head, Unsendable> {
        let foreign = match malformed(request) {
            None => foreign_addresses::keep_here(request)?,
            malformed => malformed,
        };
        if request.has_upstreams_challenge() {
            challenge_instead(request)?;
        }
        if request.is_kept() && keeps_by_blob(request) {
            keep_content_only(request);
        }
        let nobodys = (is_of_no_blob(request) || is_nobodys(request)).then(Denial::misconfigured);
        if may_run_scripts(request) {
            run_none(request)?;
        }
        if foreign.is_some() || nobodys.is_some() {
            // There is none where another module has let the request in.
            request.with_context::<Context, _>(|_, _| ()).ok_or(Unsendable)?;
        }
        let seen = request.existing_context::<Context, _>(|request, context| {
            let strangers = is_strangers(request).then(Denial::misconfigured).or(nobodys);
            if page(context, request).is_some() {
                let is_ours = context.awaits(request) && context.identity(request).is_some();
                // Refused before it went to the registry, as where there is no backend.
                let refused = context.take_refusal(request).or(strangers);
                if let Some(filtering) = page(context, request) {
                    filtering.header(request, is_ours, refused);
                }
                let is_settled = page(context, request).is_some_and(|filtering| filtering.is_settled());
                return Ok(if is_settled { Head::Enough } else { Head::Take });
            }
            header(request, context, strangers.or(foreign))
        });
        Ok(seen.transpose()?.unwrap_or(Head::Send))
    }

    fn body(request: &mut Request, pieces: &Pieces) -> Replacement {
        let seen = request.existing_context::<Context, _>(|request, context| {
            if page(context, request).is_some() {
                let backend = users_backend(request, context);
                let is_wanted = page(context, request)
                    .is_some_and(|filtering| filtering.body(request, pieces, backend.as_deref()));
                return if is_wanted {
                    Replacement::Taken
                } else {
                    Replacement::Enough
                };
            }
            body(request, context)
        });
        seen.unwrap_or(Replacement::Keep)
    }
}

/// Whether a browser may take the answer of a registry for a page of this host and run its scripts: any that
/// is not of a type by which it does not. One that does not say its type may be looked at by browsers.
#[inline]
fn may_run_scripts(request: &mut Request) -> bool {
    let is_data = matches!(
        request.answer_type(),
        b"application/octet-stream"
            | b"application/json"
            | b"application/json; charset=utf-8"
            | b"application/vnd.oci.image.manifest.v1+json"
            | b"application/vnd.oci.image.index.v1+json"
            | b"application/vnd.docker.distribution.manifest.v2+json"
            | b"application/vnd.docker.distribution.manifest.list.v2+json"
    );
    // What has no body is no page.
    let is_empty = || matches!(request.status(), 204 | 304);
    if is_data || is_empty() || !request.is_of_upstream() || request.is_subrequest() {
        return false;
    }
    let is_on_route = |_: &mut Request, context: &mut Context| context.class().0 != RouteKind::None;
    match request.existing_context::<Context, _>(is_on_route) {
        Some(is_on_route) => is_on_route,
        // Another module has let the request in, by `satisfy any`, and nobody has read its route.
        None => Settings::of(request).is_some() && is_below_routes(request.uri()),
    }
}

/// Whether a path is below that of a registry's interface.
fn is_below_routes(path: &[u8]) -> bool {
    path.starts_with(b"/v2/") || path.starts_with(b"/v1/")
}

/// Has a browser run no scripts of the answer, and not look into what is said to be none.
#[cold]
fn run_none(request: &mut Request) -> Result<(), OutOfMemory> {
    request.add_header("X-Content-Type-Options", b"nosniff")?;
    request.add_header("Content-Security-Policy", b"default-src 'none'; sandbox")
}

/// The registry that a page of a list comes from, where that is one that a user, a group or the defaults
/// name.
fn users_backend(request: &Request, context: &Context) -> Option<Box<[u8]>> {
    context.identity(request)?.backends()?;
    let name = context.backend.as_ref()?;
    Some(request.kept::<Context>(name).into())
}

/// The denial in place of what is no answer: a backend may hide one in it that no filter sees, with headers
/// that lead clients away. So wherever a request has come by the gate.
#[inline]
fn malformed(request: &mut Request) -> Option<Denial> {
    let malformed = request.malformed()?;
    if Settings::of(request).is_none() && request.existing_context::<Context, _>(|_, _| ()).is_none() {
        return None;
    }
    let what = match malformed {
        Malformed::NoHttp => "does not answer in HTTP".into(),
        Malformed::Interim(status) => {
            Cow::Owned(format!("answers with the interim status {status}, and no other"))
        }
        Malformed::Reason => "has a control character in its status line".into(),
    };
    limited_log::write(
        request,
        Level::Error,
        format_args!("registry_auth: the registry {what}"),
    );
    request.mend();
    Some(Denial::malformed_answer())
}

/// Whether the answer is kept, or was, by a key that may not tell whose it is.
#[inline]
fn is_kept_doubtfully(request: &Request) -> bool {
    request.is_kept() && (is_kept_blindly(request) || keeps_by_blob(request) || keeps_by_user(request))
}

/// Whether nginx keeps the answer, or has kept it, by a key that does not tell users apart.
fn is_kept_blindly(request: &Request) -> bool {
    let keeps_blindly = |location: &Location| location.neighbours.keeps_blindly;
    request.is_kept() && request.location().is_some_and(keeps_blindly)
}

/// Whether nginx keeps answers here by `$registry_auth_blob`.
fn keeps_by_blob(request: &Request) -> bool {
    let keeps_by_blob = |location: &Location| location.neighbours.keeps_by_blob;
    request.location().is_some_and(keeps_by_blob)
}

/// Whether the answer comes out of a cache whose key is `$registry_auth_blob`.
fn is_kept_by_blob(request: &Request) -> bool {
    request.is_cached() && keeps_by_blob(request)
}

/// Has nginx keep by that key what is the content for sure, and send of it what is meant for everybody:
/// whatever `proxy_no_cache`, `proxy_cache_valid` and `proxy_hide_header` say here, of which a location may
/// have lost what is said around it.
#[cold]
fn keep_content_only(request: &mut Request) {
    if request.is_cached() {
        request.drop_answer_headers(b"set-cookie");
    } else if !by_digest::may_be_kept(request) {
        request.keep_no_answer();
    }
}

/// Whether nginx keeps answers here by a key, or in files, that tells the user.
fn keeps_by_user(request: &Request) -> bool {
    let keeps_by_user = |location: &Location| location.neighbours.keeps_by_user;
    request.location().is_some_and(keeps_by_user)
}

/// Whether the answer comes out of such a cache for a client whom another module has let in, and whose user
/// the gate does not know. Their answers are kept by the same key as those of clients without a login, and
/// come from another registry. So none of theirs is kept.
fn is_nobodys(request: &mut Request) -> bool {
    if !request.is_kept() || !keeps_by_user(request) || !is_of_nobody(request) {
        return false;
    }
    if !request.is_cached() {
        request.keep_no_answer();
        return false;
    }
    limited_log::write(
        request,
        Level::Error,
        format_args!(
            "registry_auth: an answer was kept for clients without a login, who have another registry than \
             those whom \"satisfy any\" lets in without \"registry_auth\": let \"proxy_cache_bypass\" and \
             \"proxy_no_cache\" be set where \"$registry_auth_decision\" is neither \"granted\" nor \
             \"anonymous\""
        ),
    );
    true
}

/// Whether a request goes to users' registries through a gate that does not know its user, nor that there is
/// none.
fn is_of_nobody(request: &mut Request) -> bool {
    let is_known =
        request.existing_context::<Context, _>(|request, context| context.identity(request).is_some());
    let is_gated = is_known.is_some() || Settings::of(request).is_some();
    is_gated && is_known != Some(true) && peer::is_balanced(request, PhantomData::<UserBackends>)
}

/// Whether the answer comes out of a cache by `$registry_auth_blob` though there is no such content. It may
/// be that of another request: the key was the same, as it said nothing.
fn is_of_no_blob(request: &mut Request) -> bool {
    if !is_kept_by_blob(request) {
        return false;
    }
    let has_key =
        request.existing_context::<Context, _>(|request, context| by_digest::has_key(request, context));
    let is_gated = has_key.is_some() || Settings::of(request).is_some();
    if has_key == Some(true) || !is_gated {
        return false;
    }
    limited_log::write(
        request,
        Level::Error,
        format_args!(
            "registry_auth: an answer was kept for which \"$registry_auth_blob\" in \"proxy_cache_key\" is \
             empty: \"proxy_cache_bypass\" and \"proxy_no_cache\" have to say \"$registry_auth_no_blob\""
        ),
    );
    true
}

/// Whether the answer may be what another user's registry has said, as it is kept for everybody. Where it has
/// just come from the right registry, the next user would get it, so that neither is passed on.
fn is_strangers(request: &Request) -> bool {
    if !is_kept_blindly(request) || !peer::is_balanced(request, PhantomData::<UserBackends>) {
        return false;
    }
    let location = request.location::<Location>();
    let name = location.and_then(|location| location.neighbours.kept_blindly());
    let name = name.map_or("", |seen| seen.name);
    let key = if name.ends_with("_cache") { "_key" } else { "" };
    request.log(
        Level::Error,
        format_args!(
            "registry_auth: \"{name}\" would serve to all users what the registry of one has answered: \
             \"{name}{key}\" has to tell them apart by \"$registry_auth_blob\" or \"$registry_auth_user\""
        ),
    );
    true
}

/// What takes this answer, where it is a page of the catalogue.
fn page<'c>(context: &'c mut Context, request: &Request) -> Option<&'c mut Filtering> {
    match &mut context.stage {
        Stage::Filtering(filtering) if filtering.is_page(request) => Some(filtering),
        _ => None,
    }
}

/// Takes back the challenge of a backend, which may be anybody's: clients send their password to where a
/// challenge leads them. A 401 has ours in its place.
///
/// What a subrequest is sent concerns this for auth_request alone, which copies a challenge from it. There
/// the upstream of another location is the administrator's, unless users' backends are.
#[cold]
fn challenge_instead(request: &mut Request) -> Result<(), NoChallenge> {
    let is_strange = Settings::of(request).is_some()
        || if request.is_subrequest() {
            peer::is_balanced(request, PhantomData::<UserBackends>)
        } else {
            request.existing_context::<Context, _>(|_, _| ()).is_some()
        };
    if !is_strange {
        if request.is_subrequest() {
            request.vouch_for_challenge();
        }
        return Ok(());
    }
    if request.drop_upstreams_challenges() || request.status() != 401 {
        return Ok(());
    }
    limited_log::write(
        request,
        Level::Error,
        format_args!(
            "registry_auth: the registry asks for a password itself: remove \"auth\" from the \
             registry's configuration"
        ),
    );
    let challenged = request.with_location::<Location, _>(|request, location| match &location.settings {
        Some(settings) => challenge(request, settings, &Denial::unauthenticated()),
        None => Ok(()),
    });
    challenged.unwrap_or(Ok(()))
}

/// Makes the page of a refusal ours, and what a registry must not send.
fn header(
    request: &mut Request,
    context: &mut Context,
    foreign: Option<Denial>,
) -> Result<Head, OutOfMemory> {
    // The catalogue comes past the gate, as through `try_files` and a location without one.
    let is_registrys = context.is_catalog && is_registrys_catalog(request);
    let leak = if is_registrys && request.status() < 300 {
        Some(Denial::malformed_catalog())
    } else {
        foreign
    };
    let is_leak = leak.is_some();
    if is_registrys {
        request.drop_answer_headers(b"link");
    }
    if let Some(denial) = leak {
        // The registry's headers are about what it has sent.
        request.drop_all_answer_headers();
        context.refuse(request, denial, false);
    }
    let Some(refusal) = context.refusal(request) else {
        return Ok(Head::Send);
    };
    let visit = request.visit();
    if !is_leak && !is_its_page(request, refusal) {
        // Also what takes the place of a page of ours that another filter refuses.
        context.forget_refusal(request);
        return Ok(Head::Send);
    }
    refusal.visit = visit;
    let denial = &refusal.denial;
    if request.uri().starts_with(b"/v2") {
        request.add_header("Docker-Distribution-Api-Version", b"registry/2.0")?;
    }
    if Settings::of(request).is_some_and(|settings| settings.token.is_some()) {
        request.add_header("Cache-Control", b"no-store")?;
    }
    if let Some(seconds) = denial.retry_after() {
        request.add_header("Retry-After", seconds.to_string().as_bytes())?;
    }
    let mut json = Vec::new();
    denial.write_json(&mut json);
    request.become_json(u32::from(denial.status()), json.len());
    refusal.is_answered = true;
    Ok(Head::Replace(json))
}

/// Whether the current answer is what nginx made of this refusal: with `satisfy any` another module may have
/// let the request in, and a backend may then answer with the same status.
///
/// A page that `error_page` redirected to is the administrator's, and stays. Not so where a backend was
/// wanted: nginx knows no status for that but 500, so that no `error_page` can be meant for it.
fn is_its_page(request: &Request, refusal: &Refusal) -> bool {
    if refusal.is_answered {
        return false;
    }
    if refusal.late {
        request.status() == 500
    } else {
        refusal.visit == request.visit()
            && refusal.upstream == request.last_upstream()
            && request.status() == u32::from(refusal.denial.status())
    }
}

/// Whether the catalogue's request itself is answered by a registry. Not so where nginx has moved it to a
/// page of the administrator's, which has another path; a location that it was moved to with its path would
/// send the catalogue.
fn is_registrys_catalog(request: &Request) -> bool {
    const NAME: &[u8] = b"_catalog";
    let path = request.uri();
    let is_list = path.ends_with(b"/search") || path.windows(NAME.len()).any(|part| part == NAME);
    !request.is_subrequest() && request.is_of_upstream() && is_list
}

/// What comes after our answer is whatever it has taken the place of.
fn body(request: &Request, context: &mut Context) -> Replacement {
    let visit = request.visit();
    match context.refusal(request) {
        Some(refusal) if refusal.visit == visit && refusal.is_answered => Replacement::Drop,
        _ => Replacement::Keep,
    }
}
