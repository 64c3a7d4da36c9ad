//! `$registry_auth_*`: what the log and the rest of the configuration may know of the decision.

use crate::context::Context;
use crate::ffi::request::Request;
use crate::ffi::variable::Variables;
use crate::module;

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
    ];

    fn value(request: &mut Request, index: usize, out: &mut Vec<u8>) {
        let name = Self::NAMES.get(index).copied().unwrap_or_default();
        request.existing_context::<module::RegistryAuth, _>(|_, context| {
            out.extend_from_slice(text(context, name).as_bytes())
        });
    }
}

fn text<'c>(context: &'c Context, name: &str) -> &'c str {
    match name {
        "registry_auth_user" => context.user().unwrap_or_default(),
        "registry_auth_repository" => context.repository.as_deref().unwrap_or_default(),
        "registry_auth_action" => context.action.unwrap_or_default(),
        "registry_auth_result" => context.result,
        "registry_auth_cache" => context.cache,
        "registry_auth_backend" => &context.backend,
        _ => "",
    }
}
