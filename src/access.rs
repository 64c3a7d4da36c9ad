//! The access phase: which right does the request need, who asks, and may they?
//!
//! Runs once to ask the store and once more with its answer; again after an internal redirect, where what is known of the
//! sender is kept but the decision is made anew. Nothing is passed on without a [`Permit`].

use std::cell::RefCell;
use std::sync::Arc;

use registry_auth::codec::RecordRef;
use registry_auth::credentials::{self, Buffer, Credentials};
use registry_auth::denial::LogLevel;
use registry_auth::policy::{self, MountDecision, Permit};
use registry_auth::route::{Need, Route};
use registry_auth::{challenge, Denial, Subject, UserName, UserNameBuf};
use registry_auth_cache::Tag;
use registry_auth_redis::{Outcome, Secret};

use crate::cache::{self, Age, Answer};
use crate::completions;
use crate::conf::{Location, Settings};
use crate::context::{Context, Identity, Stage};
use crate::counters;
use crate::ffi::log::Level;
use crate::ffi::request::Request;
use crate::routing;

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
        .location::<Location>()
        .and_then(|location| location.settings.as_ref())
    else {
        return Access::Off;
    };
    request
        .with_context::<Context, _>(|request, context| pass(request, context, settings))
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
            if strip && routing::strip_mount(request).is_none() {
                return refuse(request, context, settings, Denial::unavailable());
            }
            context.result = result;
            counters::count(context.result, context.cache);
            Access::Granted
        }
        Ok(Step::Ask { user }) => match completions::ask(request, &settings.space, user) {
            Some(parking) => {
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
    let content_type = routing::content_type(request);
    let route = routing::route(request, content_type.as_deref(), settings)?;
    context.repository = route
        .repository()
        .and_then(|name| request.keep(name.as_str().as_bytes()));
    context.action = route.action().map(|action| action.as_str());

    let who = match route.need {
        // Who they are does not matter for what is open to everybody, nor whether that can be read.
        Need::Nothing => Who::default(),
        _ => who(request, settings, buffer)?,
    };
    let user = who.user.as_ref().map(UserNameBuf::as_name);
    if context
        .identity
        .as_ref()
        .is_some_and(|identity| identity.is(user, settings))
    {
        return decide(request, context, &route, settings);
    }
    context.identity = None;
    context.claimed = who.user.clone();
    if let Some(identity) = cached(request, context, settings, who.tag, Age::Fresh)? {
        context.identity = Some(identity);
        return decide(request, context, &route, settings);
    }
    if let (Some(user), Some(limit)) = (user, settings.failures) {
        if let Some(seconds) = cache::blocked(request, &settings.space, user, limit) {
            // A right password is never locked out, nor while Redis cannot be asked about it.
            let identity = match cache::is_trusted() {
                true => None,
                false => stale(request, context, settings)?,
            };
            context.identity = Some(identity.ok_or_else(|| Denial::too_many_failures(seconds))?);
            return decide(request, context, &route, settings);
        }
    }
    let user = match user {
        Some(user) => Some((user.as_str().into(), password(request, who.password, buffer)?)),
        None => None,
    };
    Ok(Step::Ask { user })
}

/// Who asks, by their own account.
#[derive(Default)]
struct Who {
    user: Option<UserNameBuf>,
    /// What they say to prove it, where it had to be decoded to learn the name.
    password: Option<Secret>,
    /// Stands for their header, where there is a zone.
    tag: Option<Tag>,
}

fn who(request: &Request, settings: &Settings, buffer: &mut Buffer) -> Result<Who, Denial> {
    let header = request.authorization().ok_or_else(Denial::unauthenticated)?;
    let tag = cache::tag(&settings.space, header);
    if let Some(user) = tag.and_then(|tag| cache::recall(tag, &settings.space)) {
        return Ok(Who {
            user: Some(user),
            password: None,
            tag,
        });
    }
    match credentials::parse(Some(header), buffer)? {
        Credentials::None => Err(Denial::unauthenticated()),
        Credentials::Basic { user, password } => {
            let user = user.to_owned();
            if let Some(tag) = tag {
                cache::remember(tag, &settings.space, &user);
            }
            Ok(Who {
                user: Some(user),
                password: Some(Secret::new(password.as_bytes())),
                tag,
            })
        }
    }
}

/// The password of a header, unless it is known.
fn password(request: &Request, known: Option<Secret>, buffer: &mut Buffer) -> Result<Secret, Denial> {
    if let Some(password) = known {
        return Ok(password);
    }
    match credentials::parse(request.authorization(), buffer)? {
        Credentials::Basic { password, .. } => Ok(Secret::new(password.as_bytes())),
        Credentials::None => Err(Denial::unauthenticated()),
    }
}

/// What the zone knows of who asks.
fn cached(
    request: &Request,
    context: &mut Context,
    settings: &Settings,
    tag: Option<Tag>,
    age: Age,
) -> Result<Option<Identity>, Denial> {
    let space = &settings.space;
    // Without a header only the defaults are asked for, which no credential is bound to.
    let Some(tag) = tag.or_else(|| cache::tag(space, b"")) else {
        context.cache = "BYPASS";
        return Ok(None);
    };
    let user = context.claimed.as_ref();
    let answer = cache::find(request, space, user.map(UserNameBuf::as_name), tag, age);
    let identity = |user, defaults| Identity {
        space: Arc::clone(space),
        user,
        defaults,
    };
    let known = match (answer, age) {
        (Answer::Verified { record, defaults }, _) => {
            user.map(|user| identity(Some((user.clone(), record)), defaults))
        }
        (Answer::Defaults(defaults), _) => Some(identity(None, Some(defaults))),
        (Answer::Wrong, Age::Fresh) => {
            context.cache = "HIT";
            return Err(Denial::bad_credentials());
        }
        (Answer::Miss(miss), Age::Fresh) => {
            context.miss = Some(miss);
            None
        }
        // Nobody is turned away for good while Redis cannot be asked.
        (Answer::Wrong | Answer::Miss(_), Age::Stale) | (Answer::None, _) => None,
    };
    context.cache = match (&known, age) {
        (Some(_), Age::Fresh) => "HIT",
        (Some(_), Age::Stale) => "STALE",
        (None, _) => "MISS",
    };
    Ok(known)
}

/// The pass with the store's answer; nothing has changed since the first but that.
fn answered(
    request: &Request,
    context: &mut Context,
    settings: &Settings,
    outcome: Outcome,
) -> Result<Step, Denial> {
    let content_type = routing::content_type(request);
    let route = routing::route(request, content_type.as_deref(), settings)?;
    let identity = match identify(request, context.claimed.clone(), settings, &outcome) {
        Err(denial) if outcome == Outcome::Unavailable => stale(request, context, settings)?.ok_or(denial)?,
        identified => identified?,
    };
    context.identity = Some(identity);
    decide(request, context, &route, settings)
}

/// While Redis is unreachable: what the zone knew last, where that is borne.
fn stale(request: &Request, context: &mut Context, settings: &Settings) -> Result<Option<Identity>, Denial> {
    if !cache::is_stale_allowed() {
        return Ok(None);
    }
    let tag = request
        .authorization()
        .and_then(|header| cache::tag(&settings.space, header));
    cached(request, context, settings, tag, Age::Stale)
}

/// What an answer of the store makes of who they claim to be.
fn identify(
    request: &Request,
    claimed: Option<UserNameBuf>,
    settings: &Settings,
    outcome: &Outcome,
) -> Result<Identity, Denial> {
    let space = Arc::clone(&settings.space);
    let keep = |bytes: &[u8]| request.keep(bytes).ok_or_else(Denial::unavailable);
    match (claimed, outcome) {
        (
            Some(name),
            Outcome::Known {
                user: record,
                defaults,
                verified: true,
                ..
            },
        ) => Ok(Identity {
            space,
            user: Some((name, keep(record)?)),
            defaults: Some(keep(defaults)?),
        }),
        (None, Outcome::Unknown { defaults }) => Ok(Identity {
            space,
            user: None,
            defaults: Some(keep(defaults)?),
        }),
        (_, Outcome::Known { .. } | Outcome::Unknown { .. }) => Err(Denial::bad_credentials()),
        (_, Outcome::Busy) => Err(Denial::hashing_busy()),
        (_, Outcome::Unavailable) => Err(Denial::unavailable()),
        (_, Outcome::BadRecord) => Err(Denial::bad_record()),
    }
}

impl Identity {
    /// Whether this was found out about that user, in these settings' space.
    fn is(&self, user: Option<UserName<'_>>, settings: &Settings) -> bool {
        let same = self.user.as_ref().map(|(name, _)| name.as_name()) == user;
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
            let record = RecordRef::decode(request.kept(record)).map_err(|_| Denial::bad_record())?;
            (Some(name.as_name()), record)
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
    request.log(
        level(denial.log_level()),
        format_args!(
            "registry_auth: {denial} ({}), user: \"{}\"",
            denial.code(),
            context.user()
        ),
    );
    let status = denial.status();
    context.refuse(denial, false);
    counters::count(context.result, context.cache);
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
