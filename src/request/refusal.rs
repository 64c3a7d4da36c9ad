//! A refusal on its way out: challenge, log line, counters. `Denial` has its words, and `response` puts
//! them in the place of an answer.

use std::sync::atomic::{AtomicBool, Ordering};

use registry_auth::denial::LogLevel;
use registry_auth::resource::scope_of;
use registry_auth::{Denial, challenge, directive, route};

use crate::conf::{Bearer, Settings};
use crate::ffi::filter::Unsendable;
use crate::ffi::log::Level;
use crate::ffi::pool::OutOfMemory;
use crate::ffi::request::Request;
use crate::request::context::Context;
use crate::request::route::{content_type, route_of};
use crate::worker::counters;
use crate::worker::limited_log;

/// Refuses a request. Answers the status, which the handler gives to nginx.
pub fn refuse(request: &mut Request, context: &mut Context, settings: &Settings, denial: Denial) -> u16 {
    if denial.challenges() && challenge(request, settings, &denial).is_err() {
        return 500;
    }
    limited_log::write(
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
    context.deny(request, denial);
    counters::count_decision(context.class(), context.result, context.cache);
    status
}

/// There is no challenge: memory is out, or its variables come to nothing that can be sent.
#[derive(Debug)]
pub struct NoChallenge;

impl From<OutOfMemory> for NoChallenge {
    fn from(_: OutOfMemory) -> Self {
        Self
    }
}

impl From<NoChallenge> for Unsendable {
    fn from(_: NoChallenge) -> Self {
        Self
    }
}

/// Sets the one challenge: where tokens are to be had, or that a password will do: V1 clients know no tokens.
pub fn challenge(request: &mut Request, settings: &Settings, denial: &Denial) -> Result<(), NoChallenge> {
    let mut value = Vec::new();
    match &settings.bearer {
        // The token endpoint itself wants a password.
        Some(bearer) if settings.token.is_none() && !route::is_v1(request.uri()) => {
            bearer_challenge(request, settings, bearer, denial, &mut value)?
        }
        _ => challenge::basic(settings.realm.evaluate(request).ok_or(NoChallenge)?, &mut value),
    }
    Ok(request.set_challenge(&value)?)
}

fn bearer_challenge(
    request: &mut Request,
    settings: &Settings,
    bearer: &Bearer,
    denial: &Denial,
    out: &mut Vec<u8>,
) -> Result<(), NoChallenge> {
    let scope = {
        let content_type = content_type(request);
        let operation = route_of(request, content_type.as_deref(), settings);
        operation.map_or_else(|_| String::new(), |route| scope_of(&route))
    };
    let says_tls = says_tls(request);
    let realm = bearer.realm.evaluate(request).ok_or(NoChallenge)?;
    // Variables may come to anything: no client is sent where no scheme is known.
    if !directive::is_url(realm) {
        let realm = String::from_utf8_lossy(realm).into_owned();
        request.log(
            Level::Error,
            format_args!(
                "registry_auth: the variables of \"registry_auth_bearer\" come to no URL: {realm:?}"
            ),
        );
        return Err(NoChallenge);
    }
    let is_clear = realm
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"http://"));
    let told = (says_tls && is_clear).then(|| String::from_utf8_lossy(realm).into_owned());
    challenge::bearer(
        realm,
        bearer.service.as_bytes(),
        scope.as_bytes(),
        denial.challenge_error(),
        out,
    );
    if let Some(realm) = told {
        log_front(request, &realm);
    }
    Ok(())
}

/// Whether the log says already that a front is not known.
static TOLD: AtomicBool = AtomicBool::new(false);

/// Whether the request says that it came by TLS, and the log does not say so yet.
fn says_tls(request: &Request) -> bool {
    let mut said = request.headers(b"x-forwarded-proto");
    !TOLD.load(Ordering::Relaxed) && said.any(|scheme| scheme.eq_ignore_ascii_case(b"https"))
}

/// A balancer that ends TLS and is not listed in behind-balancer.conf: clients are then sent to http://, with
/// their passwords. Anybody can send this header, so that it is logged once a worker, and nothing goes by it.
fn log_front(request: &Request, realm: &str) {
    TOLD.store(true, Ordering::Relaxed);
    request.log(
        Level::Warn,
        format_args!(
            "registry_auth: clients are sent to {realm} for tokens, but this request came with \
             \"X-Forwarded-Proto: https\": is its sender a balancer that behind-balancer.conf does not list?"
        ),
    );
}

fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::Error,
        LogLevel::Warn => Level::Warn,
        LogLevel::Notice => Level::Notice,
        LogLevel::Info => Level::Info,
    }
}
