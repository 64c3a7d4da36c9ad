//! `$registry_auth_*`: what the log and the rest of the configuration may know of the decision.

use std::borrow::Cow;

use registry_auth::route::{RouteKind, mount};
use registry_auth::scope::Action;
use registry_auth::{RequestResult, Source, route as routes};
use registry_auth_metrics::counters::CacheState;

use crate::ffi::request::{Request, RequestBytes};
use crate::ffi::variable::Variables;
use crate::request::by_digest;
use crate::request::context::Context;
use crate::request::route;

/// The variables.
pub struct RegistryAuth;

impl Variables for RegistryAuth {
    const NAMES: &'static [&'static str] = &[
        "registry_auth_user",
        "registry_auth_repository",
        "registry_auth_action",
        "registry_auth_result",
        "registry_auth_cache",
        "registry_auth_backend",
        "registry_auth_error",
        "registry_auth_reference",
        "registry_auth_digest",
        "registry_auth_token",
        "registry_auth_rule",
        "registry_auth_source",
        "registry_auth_blob",
        "registry_auth_no_blob",
        "registry_auth_decision",
    ];

    fn value(request: &mut Request, index: usize, out: &mut Vec<u8>) {
        let name = Self::NAMES.get(index).copied().unwrap_or_default();
        match name {
            "registry_auth_blob" => out.extend(by_digest::cache_key(request).unwrap_or_default()),
            // For nginx's own directives, which know no "not".
            "registry_auth_no_blob" => out.extend(by_digest::cache_key(request).is_none().then_some(b'1')),
            name => {
                request.existing_context::<Context, _>(|request, context| match name {
                    "registry_auth_digest" => {
                        out.extend_from_slice(&digest(request, context).unwrap_or_default())
                    }
                    "registry_auth_error" => out.extend(context.error(request).unwrap_or_default()),
                    "registry_auth_rule" => out.extend(context.rule(request).unwrap_or_default().bytes()),
                    name => out.extend_from_slice(text(request, context, name)),
                });
            }
        }
    }
}

fn text<'r>(request: &'r Request, context: &'r Context, name: &str) -> &'r [u8] {
    let kept = |kept: &Option<RequestBytes>| {
        kept.as_ref()
            .map_or(&[][..], |kept| request.kept::<Context>(kept))
    };
    match name {
        "registry_auth_user" => context.user(request).as_bytes(),
        "registry_auth_repository" => kept(&context.repository),
        "registry_auth_action" => context.action.map_or("", |action| action.as_str()).as_bytes(),
        "registry_auth_decision" => context.result.map_or("", RequestResult::as_str).as_bytes(),
        "registry_auth_result" => context.outcome().map_or("", RequestResult::as_str).as_bytes(),
        "registry_auth_cache" => context.cache.map_or("", CacheState::as_str).as_bytes(),
        "registry_auth_source" => by_digest::source(request, context)
            .map_or("", Source::as_str)
            .as_bytes(),
        // Of a subrequest's nothing is kept.
        "registry_auth_backend" if request.is_subrequest() => &[],
        "registry_auth_backend" => kept(&context.backend),
        "registry_auth_reference" => reference(request, context).unwrap_or_default(),
        "registry_auth_token" => token(request, context).unwrap_or_default().as_bytes(),
        _ => &[],
    }
}

/// The tag or digest that was asked for. It follows the repository in the path that was decided on, which
/// need not be the request's path any more.
fn reference<'r>(request: &'r Request, context: &Context) -> Option<&'r [u8]> {
    let path = request.kept_path::<Context>(context.repository.as_ref()?);
    routes::reference(path).or_else(|| {
        // Names of V1 that are no part of the path.
        let is_here = context.is_about(request);
        is_here.then(|| routes::reference(request.uri())).flatten()
    })
}

/// The digest of the content: of a blob that is pushed or mounted, as the client says in the query, whose
/// registry may say anything of it; else as the registry's answer says, also beside a form, which registries
/// read first. Nothing of what is no digest.
fn digest<'r>(request: &'r Request, context: &Context) -> Option<Cow<'r, [u8]>> {
    if context.action == Some(Action::Push) && context.kind == RouteKind::Upload && !route::has_form(request)
    {
        // An error page has another query.
        let query = match context.is_about(request) {
            true => route::query(request),
            false => route::query_of(request.written_target()),
        };
        if let Some(digest) = mount::pushed_digest(query) {
            return Some(digest);
        }
    }
    let mut digests = request.answer_headers(b"docker-content-digest");
    let digest = digests.next().filter(|digest| routes::is_digest(digest));
    digest.map(Cow::Borrowed)
}

/// The id of the access token by which the user was verified, at first hand or by a token that was issued for
/// it.
fn token<'c>(request: &Request, context: &'c Context) -> Option<&'c str> {
    context.identity(request)?.access_token()
}
