//! `$registry_auth_*`: what the log and the rest of the configuration may know of the decision.

use registry_auth::RequestResult;

use crate::ffi::request::{Request, RequestBytes};
use crate::ffi::variable::Variables;
use crate::request::context::Context;
use crate::worker::counters::CacheState;

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
    ];

    fn value(request: &mut Request, index: usize, out: &mut Vec<u8>) {
        let name = Self::NAMES.get(index).copied().unwrap_or_default();
        request.existing_context::<Context, _>(|request, context| match name {
            "registry_auth_error" => out.extend(context.error(request).unwrap_or_default()),
            name => out.extend_from_slice(text(request, context, name)),
        });
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
        "registry_auth_result" => context.result.map_or("", RequestResult::as_str).as_bytes(),
        "registry_auth_cache" => context.cache.map_or("", CacheState::as_str).as_bytes(),
        // Of a subrequest's nothing is kept.
        "registry_auth_backend" if request.is_subrequest() => &[],
        "registry_auth_backend" => kept(&context.backend),
        _ => &[],
    }
}
