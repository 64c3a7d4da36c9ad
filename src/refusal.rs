//! A refusal on its way out: challenge, log line, counters. `response` then words the answer.

use registry_auth::denial::LogLevel;
use registry_auth::resource::scope_of;
use registry_auth::{challenge, directive, route, Denial};

use crate::conf::{Bearer, Settings};
use crate::context::Context;
use crate::counters;
use crate::ffi::log::Level;
use crate::ffi::request::Request;
use crate::lines;
use crate::routing;

/// Refuses a request; what nginx is to be told: the status.
pub fn refuse(request: &mut Request, context: &mut Context, settings: &Settings, denial: Denial) -> u16 {
    if denial.challenges() && challenge(request, settings, &denial).is_none() {
        return 500;
    }
    lines::write(
        request,
        level(denial.log_level()),
        format_args!(
            "registry_auth: {denial} ({}){}{}, user: \"{}\"",
            denial.code(),
            if denial.rule().is_some() { ": " } else { "" },
            denial.rule().unwrap_or_default(),
            context.user(request)
        ),
    );
    let status = denial.status();
    context.refuse(request, denial, false);
    counters::count(context.result, context.cache);
    status
}

/// Sets the one challenge: where tokens are to be had, or that a password will do: V1 clients know no tokens. `None` when
/// memory is out.
pub fn challenge(request: &mut Request, settings: &Settings, denial: &Denial) -> Option<()> {
    let mut value = Vec::new();
    match &settings.bearer {
        // The token endpoint itself wants a password.
        Some(bearer) if settings.token.is_none() && !route::is_v1(request.uri()) => {
            bearer_challenge(request, settings, bearer, denial, &mut value)?
        }
        _ => challenge::basic(settings.realm.evaluate(request)?, &mut value),
    }
    request.set_challenge(&value)
}

fn bearer_challenge(
    request: &mut Request,
    settings: &Settings,
    bearer: &Bearer,
    denial: &Denial,
    out: &mut Vec<u8>,
) -> Option<()> {
    let scope = {
        let content_type = routing::content_type(request);
        let wanted = routing::route(request, content_type.as_deref(), settings);
        wanted.map_or_else(|_| String::new(), |route| scope_of(&route))
    };
    let realm = bearer.realm.evaluate(request)?;
    // Variables may come to anything: no client is sent where no scheme is known.
    if !directive::is_url(realm) {
        let realm = String::from_utf8_lossy(realm).into_owned();
        request.log(
            Level::Error,
            format_args!(
                "registry_auth: the variables of \"registry_auth_bearer\" come to no URL: {realm:?}"
            ),
        );
        return None;
    }
    challenge::bearer(
        realm,
        bearer.service.as_bytes(),
        scope.as_bytes(),
        denial.challenge_error(),
        out,
    );
    Some(())
}

fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::Error,
        LogLevel::Warn => Level::Warn,
        LogLevel::Notice => Level::Notice,
        LogLevel::Info => Level::Info,
    }
}
