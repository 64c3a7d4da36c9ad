//! The access phase: which right does the request need, who asks, and may they?
//!
//! Runs once to ask the store and once more with its answer; again after an internal redirect, where what is known of the
//! sender is kept but the decision is made anew. Nothing is passed on without a [`Permit`].

use std::borrow::Cow;
use std::cell::RefCell;
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
use crate::ffi::request::{Kept, Request};
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
}

thread_local! {
    /// Where credentials are decoded to: one for all requests, since clearing 3 KiB for each would cost more than deciding it.
    static BUFFER: RefCell<Buffer> = const { RefCell::new(Buffer::new()) };
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
    let step = match outcome {
        Some(outcome) => answered(request, context, settings, outcome),
        None => BUFFER.with_borrow_mut(|buffer| {
            let step = first(request, context, settings, buffer);
            buffer.wipe();
            step
        }),
    };
    match step {
        Ok(Step::Permit { result, strip }) => {
            if strip && strip_mount(request).is_none() {
                return refuse(request, context, settings, Denial::unavailable());
            }
            context.result = result;
            Access::Granted
        }
        Ok(Step::Ask { user }) => match completions::ask(request, &settings.space, user) {
            Some(parking) => {
                context.cache = "BYPASS";
                context.stage = Stage::Waiting(parking);
                Access::Waiting
            }
            None => refuse(request, context, settings, Denial::unavailable()),
        },
        Err(denial) => refuse(request, context, settings, denial),
    }
}

/// The first pass in a location: what is needed, and who asks?
fn first(
    request: &Request,
    context: &mut Context,
    settings: &Settings,
    buffer: &mut Buffer,
) -> Result<Step, Denial> {
    let content_type = content_type(request);
    let route = route::parse(&asked(request, content_type.as_deref()), &settings.routes)?;
    context.repository = route
        .repository()
        .and_then(|name| request.keep(name.as_str().as_bytes()));
    context.action = route.action().map(|action| action.as_str());

    // Who they are does not matter for what is open to everybody, nor whether that can be read.
    let credentials = match route.need {
        Need::Nothing => Credentials::None,
        _ => credentials::parse(request.authorization(), buffer)?,
    };
    let user = match credentials {
        Credentials::Basic { user, .. } => Some(user),
        Credentials::None if matches!(route.need, Need::Nothing) => None,
        Credentials::None => return Err(Denial::unauthenticated()),
    };
    if context
        .identity
        .as_ref()
        .is_some_and(|identity| identity.is(request, user, settings))
    {
        return decide(request, context, &route, settings);
    }
    context.identity = None;
    context.claimed = user.and_then(|user| request.keep(user.as_str().as_bytes()));
    Ok(Step::Ask {
        user: match credentials {
            Credentials::Basic { user, password } => {
                Some((user.as_str().into(), Secret::new(password.as_bytes())))
            }
            Credentials::None => None,
        },
    })
}

/// The pass with the store's answer; nothing has changed since the first but that.
fn answered(
    request: &Request,
    context: &mut Context,
    settings: &Settings,
    outcome: Outcome,
) -> Result<Step, Denial> {
    let content_type = content_type(request);
    let route = route::parse(&asked(request, content_type.as_deref()), &settings.routes)?;
    context.identity = Some(identify(context.claimed.take(), settings, outcome)?);
    decide(request, context, &route, settings)
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
fn identify(claimed: Option<Kept>, settings: &Settings, outcome: Outcome) -> Result<Identity, Denial> {
    let space = Arc::clone(&settings.space);
    match (claimed, outcome) {
        (
            Some(name),
            Outcome::Known {
                user: record,
                defaults,
                verified: true,
            },
        ) => Ok(Identity {
            space,
            user: Some((name, record)),
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
    fn is(&self, request: &Request, user: Option<UserName<'_>>, settings: &Settings) -> bool {
        let same = match (&self.user, user) {
            (Some((name, _)), Some(user)) => request.kept(name) == user.as_str().as_bytes(),
            (None, None) => true,
            _ => false,
        };
        same && *self.space == *settings.space
    }
}

fn decide(
    request: &Request,
    context: &Context,
    route: &Route<'_>,
    settings: &Settings,
) -> Result<Step, Denial> {
    let identity = context.identity.as_ref().ok_or_else(Denial::unavailable)?;
    let (user, record) = match &identity.user {
        Some((name, record)) => {
            let user = UserName::parse(request.kept(name)).map_err(|_| Denial::bad_credentials())?;
            (
                Some(user),
                RecordRef::decode(record).map_err(|_| Denial::bad_record())?,
            )
        }
        None => (None, RecordRef::EMPTY),
    };
    let permit: Permit<'_> = policy::decide(
        &Subject {
            user,
            record,
            groups: &[],
        },
        route,
        &settings.rules,
    )?;
    Ok(Step::Permit {
        result: permit.result(),
        strip: permit.mount() == MountDecision::Strip,
    })
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
    let user = String::from_utf8_lossy(context.user(request));
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
