//! The access phase: which right does the request need, who asks, and may they?
//!
//! Runs once to ask the store and once more with its answer; again after an internal redirect, where what is known of the
//! sender is kept but the decision is made anew. Nothing is passed on without a [`Permit`].

use std::borrow::Cow;
use std::sync::Arc;

use registry_auth::codec::RecordRef;
use registry_auth::credentials::{self, Buffer, Credentials};
use registry_auth::denial::LogLevel;
use registry_auth::policy::{self, MountDecision, Permit};
use registry_auth::route::{self, Method, Need, Route};
use registry_auth::{challenge, mount, Denial, Subject, UserName};
use registry_auth_redis::{Outcome, Secret};

use crate::completions;
use crate::conf::Settings;
use crate::context::{Context, Identity, Stage};
use crate::ffi::log::Level;
use crate::ffi::request::Request;
use crate::module::RegistryAuth;

/// What nginx is told.
pub enum Access {
    /// The gate is off here.
    Off,
    /// The request may go on.
    Granted,
    /// The store was asked; the handler runs again when it has answered.
    Waiting,
    /// The request is refused with this status; `response` writes the rest.
    Refused(u16),
}

/// What one pass comes to.
enum Step {
    Permit { result: &'static str, strip: bool },
    Ask { user: Option<(Box<str>, Secret)> },
    Deny(Denial),
}

/// The access handler.
pub fn handle(request: &mut Request) -> Access {
    let Some(settings) = request
        .location::<RegistryAuth>()
        .and_then(|location| location.settings.as_ref())
    else {
        return Access::Off;
    };
    request
        .with_context::<RegistryAuth, _>(|request, context| pass(request, context, settings))
        .unwrap_or(Access::Refused(500))
}

fn pass(request: &mut Request, context: &mut Context, settings: &Settings) -> Access {
    let outcome = match std::mem::take(&mut context.stage) {
        waiting @ Stage::Waiting(_) => {
            context.stage = waiting;
            return Access::Waiting;
        }
        Stage::Answered(outcome) => Some(outcome),
        Stage::Idle => None,
    };
    context.denial = None;
    match step(request, context, settings, outcome) {
        Step::Permit { result, strip } => {
            if strip && strip_mount(request).is_none() {
                return refuse(request, context, settings, Denial::unavailable());
            }
            context.result = result;
            Access::Granted
        }
        Step::Ask { user } => {
            let user = user.as_ref().map(|(name, password)| (&**name, password.clone()));
            match completions::ask(request, &settings.space, user) {
                Some(parking) => {
                    context.cache = "BYPASS";
                    context.stage = Stage::Waiting(parking);
                    Access::Waiting
                }
                None => refuse(request, context, settings, Denial::unavailable()),
            }
        }
        Step::Deny(denial) => refuse(request, context, settings, denial),
    }
}

fn step(request: &Request, context: &mut Context, settings: &Settings, outcome: Option<Outcome>) -> Step {
    let content_type = content_type(request);
    let route = match route::parse(&asked(request, content_type.as_deref()), &settings.routes) {
        Ok(route) => route,
        Err(denial) => return Step::Deny(denial),
    };
    context.repository = route.repository().map(|name| name.as_str().into());
    context.action = route.action().map(|action| action.as_str());

    let mut buffer = Buffer::new();
    let credentials = match (
        &route.need,
        credentials::parse(request.authorization(), &mut buffer),
    ) {
        // Who they are does not matter here, nor whether that can be read: a ping is open to everybody.
        (Need::Nothing, _) => Credentials::None,
        (_, Ok(Credentials::None)) => return Step::Deny(Denial::unauthenticated()),
        (_, Ok(credentials)) => credentials,
        (_, Err(denial)) => return Step::Deny(denial),
    };
    let claimed = match &credentials {
        Credentials::None => None,
        Credentials::Basic { user, .. } => Some(*user),
    };
    if let Some(outcome) = outcome {
        match identify(claimed, settings, outcome) {
            Ok(identity) => context.identity = Some(identity),
            Err(denial) => return Step::Deny(denial),
        }
    }
    match &context.identity {
        Some(identity) if identity.is(claimed, settings) => match decide(identity, claimed, &route, settings)
        {
            Ok(permit) => Step::Permit {
                result: permit.result(),
                strip: permit.mount() == MountDecision::Strip,
            },
            Err(denial) => Step::Deny(denial),
        },
        _ => Step::Ask {
            user: match credentials {
                Credentials::None => None,
                Credentials::Basic { user, password } => {
                    Some((user.as_str().into(), Secret::new(password.as_bytes())))
                }
            },
        },
    }
}

/// The request as the core reads it.
fn asked<'a>(request: &'a Request, content_type: Option<&'a [u8]>) -> route::Request<'a> {
    let method = match request.method() {
        b"GET" => Method::Get,
        b"HEAD" => Method::Head,
        b"POST" => Method::Post,
        b"PUT" => Method::Put,
        b"PATCH" => Method::Patch,
        b"DELETE" => Method::Delete,
        _ => Method::Other,
    };
    match request.target() {
        Some(target) => route::Request::from_target(method, target, request.uri(), content_type),
        None => route::Request {
            method,
            raw_path: request.uri(),
            decided_path: request.uri(),
            args: request.args(),
            content_type,
        },
    }
}

/// All `Content-Type` headers of a request that may start an upload: a backend may read any of several.
fn content_type(request: &Request) -> Option<Cow<'_, [u8]>> {
    if request.method() != b"POST" {
        return None;
    }
    request
        .headers(b"content-type")
        .map(Cow::Borrowed)
        .reduce(|all, one| Cow::Owned([&*all, &*one].join(&b',')))
}

/// What an answer of the store makes of who they claim to be.
fn identify(
    claimed: Option<UserName<'_>>,
    settings: &Settings,
    outcome: Outcome,
) -> Result<Identity, Denial> {
    let space = Arc::clone(&settings.space);
    match (claimed, outcome) {
        (
            Some(user),
            Outcome::Known {
                user: record,
                defaults,
                verified: true,
            },
        ) => Ok(Identity {
            space,
            user: Some((user.as_str().into(), record)),
            defaults,
        }),
        (None, Outcome::Unknown { defaults }) => Ok(Identity {
            space,
            user: None,
            defaults,
        }),
        (_, Outcome::Known { .. } | Outcome::Unknown { .. }) => Err(Denial::bad_credentials()),
        (_, Outcome::Busy) => Err(Denial::hashing_busy()),
        (_, Outcome::Unavailable) => Err(Denial::unavailable()),
        (_, Outcome::BadRecord) => Err(Denial::bad_record()),
    }
}

impl Identity {
    /// Whether this was found out about that user, in these settings' space.
    fn is(&self, claimed: Option<UserName<'_>>, settings: &Settings) -> bool {
        *self.space == *settings.space
            && self.user.as_ref().map(|(name, _)| &**name) == claimed.map(|user| user.as_str())
    }
}

fn decide<'a>(
    identity: &'a Identity,
    user: Option<UserName<'a>>,
    route: &Route<'_>,
    settings: &Settings,
) -> Result<Permit<'a>, Denial> {
    let record = match &identity.user {
        Some((_, record)) => RecordRef::decode(record).map_err(|_| Denial::bad_record())?,
        None => RecordRef::EMPTY,
    };
    policy::decide(
        &Subject {
            user,
            record,
            groups: &[],
        },
        route,
        &settings.rules,
    )
}

/// Takes `mount` and `from` out of the query that is forwarded.
fn strip_mount(request: &mut Request) -> Option<()> {
    let mut args = Vec::new();
    let query = match request.target() {
        Some(target) => target.splitn(2, |byte| *byte == b'?').nth(1).unwrap_or_default(),
        None => request.args(),
    };
    mount::strip(query, &mut args);
    request.set_args(&args)
}

fn refuse(request: &mut Request, context: &mut Context, settings: &Settings, denial: Denial) -> Access {
    if denial.challenges() {
        let mut value = Vec::new();
        match settings.realm.evaluate(request) {
            Some(realm) => challenge::basic(realm, &mut value),
            None => return Access::Refused(500),
        }
        if request.set_challenge(&value).is_none() {
            return Access::Refused(500);
        }
    }
    let user = context.user().unwrap_or("-");
    request.log(
        level(denial.log_level()),
        format_args!("registry_auth: {denial} ({}), user: \"{user}\"", denial.code()),
    );
    let status = denial.status();
    context.refuse(denial, false);
    Access::Refused(status)
}

fn level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::Error,
        LogLevel::Warn => Level::Warn,
        LogLevel::Notice => Level::Notice,
        LogLevel::Info => Level::Info,
    }
}
