//! The access phase: which right does the request need, who asks, and may they?
//!
//! Runs once to ask the store and once more with its answer; again after an internal redirect, where what is known of the
//! sender is kept but the decision is made anew. Nothing is passed on without a [`Permit`].

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use registry_auth::credentials::{self, Buffer, Credentials};
use registry_auth::denial::LogLevel;
use registry_auth::policy::{self, MountDecision, Permit};
use registry_auth::route::{Need, Route};
use registry_auth::{challenge, Denial, UserNameBuf};
use registry_auth_cache::Tag;
use registry_auth_redis::Secret;

use crate::cache::{self, Age, Header};
use crate::catalog::{self, Filtering, Next};
use crate::completions;
use crate::conf::{Location, Settings};
use crate::context::{Answered, Context, Stage};
use crate::counters;
use crate::ffi::log::Level;
use crate::ffi::request::Request;
use crate::identity::Identity;
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
    Permit {
        result: &'static str,
        strip: bool,
        is_catalog: bool,
    },
    Ask {
        user: Option<(Arc<str>, Secret)>,
    },
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
        Stage::Filtering(filtering) => return filter(request, context, settings, filtering),
        Stage::Answered(answered) => Some(answered),
        Stage::Idle => None,
    };
    context.denial = None;
    context.is_catalog = false;
    let step = match outcome {
        Some(answer) => answered(request, context, settings, answer),
        None => BUFFER.with_borrow_mut(|buffer| {
            let step = first(request, context, settings, buffer);
            buffer.wipe();
            step
        }),
    };
    match step {
        Ok(Step::Permit {
            result,
            is_catalog: true,
            ..
        }) => {
            context.result = result;
            context.is_catalog = true;
            match catalog::start(request) {
                Ok(filtering) => {
                    context.stage = Stage::Filtering(filtering);
                    Access::Waiting
                }
                Err(denial) => refuse(request, context, settings, denial),
            }
        }
        Ok(Step::Permit { result, strip, .. }) => {
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

/// The pass when a page of the registry's catalogue may have come.
fn filter(
    request: &mut Request,
    context: &mut Context,
    settings: &Settings,
    filtering: Box<Filtering>,
) -> Access {
    let next = match &context.identity {
        Some(identity) => filtering.resume(request, identity, &settings.rules),
        None => Err(Denial::unavailable()),
    };
    match next {
        Ok(Next::Wait(filtering)) => {
            context.stage = Stage::Filtering(filtering);
            Access::Waiting
        }
        Ok(Next::Answer(answer)) => {
            counters::count(context.result, context.cache);
            context.answer = Some(Box::new(answer));
            request.answer_with(PhantomData::<catalog::Filtered>);
            Access::Granted
        }
        Ok(Next::PassOn) => {
            counters::count(context.result, context.cache);
            Access::Granted
        }
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
        .and_then(|name| request.keep_own(name.as_str().as_bytes()));
    context.action = route.action();

    let who = match route.need {
        // Who they are does not matter for what is open to everybody, nor whether that can be read.
        Need::Nothing => Who::default(),
        _ => match who(request, settings, &route.need, buffer)? {
            Sender::Known(identity) => {
                context.cache = "HIT";
                context.identity = Some(identity);
                return decide(context, &route, settings);
            }
            Sender::Claims(who) => who,
        },
    };
    let user = who.user.as_ref().map(UserNameBuf::as_name);
    if context
        .identity
        .as_ref()
        .is_some_and(|identity| identity.is(user, &settings.space))
    {
        return decide(context, &route, settings);
    }
    context.identity = None;
    context.claimed = who.user.clone();
    if let Some(identity) = cached(context, settings, who.tag, Age::Fresh)? {
        context.identity = Some(identity);
        return decide(context, &route, settings);
    }
    if let (Some(user), Some(limit)) = (user, settings.failures) {
        if let Some(seconds) = cache::blocked(request, &settings.space, user, limit) {
            // A right password is never locked out, nor while Redis cannot be asked about it.
            let identity = match cache::is_trusted() {
                true => None,
                false => stale(request, context, settings)?,
            };
            context.identity = Some(identity.ok_or_else(|| Denial::too_many_failures(seconds))?);
            return decide(context, &route, settings);
        }
    }
    let user = match who.user {
        Some(user) => Some((user.to_shared(), password(request, who.password, buffer)?)),
        None => None,
    };
    Ok(Step::Ask { user })
}

/// Who asks.
enum Sender {
    /// It was verified before, and still holds.
    Known(Rc<Identity>),
    /// By their own account.
    Claims(Who),
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

fn who(
    request: &Request,
    settings: &Settings,
    need: &Need<'_>,
    buffer: &mut Buffer,
) -> Result<Sender, Denial> {
    let sent = request.authorization();
    // The anonymous may have what is public: repositories. For anything else they are asked who they are.
    let may_be_anonymous = matches!(need, Need::Repository(_));
    let header = match sent {
        // Is not the same as none, of which this is the tag.
        Some(b"") => return Err(Denial::bad_credentials()),
        None if !may_be_anonymous => return Err(Denial::unauthenticated()),
        sent => sent.unwrap_or_default(),
    };
    let tag = match cache::header(&settings.space, header) {
        Some(Header::Known(identity)) => return Ok(Sender::Known(identity)),
        Some(Header::Names(tag, user)) => {
            return Ok(Sender::Claims(Who {
                user,
                password: None,
                tag: Some(tag),
            }))
        }
        Some(Header::Unread(tag)) => Some(tag),
        None => None,
    };
    let (user, password) = match credentials::parse(sent, buffer)? {
        Credentials::None if !may_be_anonymous => return Err(Denial::unauthenticated()),
        Credentials::None => (None, None),
        Credentials::Basic { user, password } => {
            (Some(user.to_owned()), Some(Secret::new(password.as_bytes())))
        }
    };
    if let Some(tag) = tag {
        cache::remember(tag, &settings.space, user.as_ref());
    }
    Ok(Sender::Claims(Who { user, password, tag }))
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
    context: &mut Context,
    settings: &Settings,
    tag: Option<Tag>,
    age: Age,
) -> Result<Option<Rc<Identity>>, Denial> {
    let space = &settings.space;
    // Without a header only what concerns everybody is asked for, which no credential is bound to.
    let Some(tag) = tag.or_else(|| cache::tag(space, b"")) else {
        context.cache = "BYPASS";
        return Ok(None);
    };
    let known = match (cache::find(space, context.claimed.as_ref(), tag, age), age) {
        (cache::Answer::Known(identity), _) => Some(identity),
        (cache::Answer::Wrong, Age::Fresh) => {
            context.cache = "HIT";
            return Err(Denial::bad_credentials());
        }
        (cache::Answer::Miss(miss), Age::Fresh) => {
            context.miss = Some(miss);
            None
        }
        // Nobody is turned away for good while Redis cannot be asked.
        (cache::Answer::Wrong | cache::Answer::Miss(_), Age::Stale) | (cache::Answer::None, _) => None,
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
    answer: Answered,
) -> Result<Step, Denial> {
    let content_type = routing::content_type(request);
    let route = routing::route(request, content_type.as_deref(), settings)?;
    let identity = match answer {
        Answered::Known(identity) => identity,
        Answered::Wrong => return Err(Denial::bad_credentials()),
        Answered::Busy => return Err(Denial::hashing_busy()),
        Answered::BadRecord => return Err(Denial::bad_record()),
        Answered::Unavailable => stale(request, context, settings)?.ok_or_else(Denial::unavailable)?,
    };
    context.identity = Some(identity);
    decide(context, &route, settings)
}

/// While Redis is unreachable: what the zone knew last, where that is borne.
fn stale(
    request: &Request,
    context: &mut Context,
    settings: &Settings,
) -> Result<Option<Rc<Identity>>, Denial> {
    if !cache::is_stale_allowed() {
        return Ok(None);
    }
    let tag = cache::tag(&settings.space, request.authorization().unwrap_or_default());
    cached(context, settings, tag, Age::Stale)
}

fn decide(context: &Context, route: &Route<'_>, settings: &Settings) -> Result<Step, Denial> {
    let identity = context.identity.as_ref().ok_or_else(Denial::unavailable)?;
    let decision = identity.with_subject(|subject| {
        let permit: Permit<'_> = policy::decide(subject, route, &settings.rules)?;
        Ok(Step::Permit {
            result: permit.result(),
            strip: permit.mount() == MountDecision::Strip,
            is_catalog: matches!(route.need, Need::Catalog),
        })
    });
    decision.unwrap_or_else(|_| Err(Denial::bad_record()))
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
            "registry_auth: {denial} ({}){}{}, user: \"{}\"",
            denial.code(),
            if denial.rule().is_some() { ": " } else { "" },
            denial.rule().unwrap_or_default(),
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
