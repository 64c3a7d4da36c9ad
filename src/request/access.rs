//! The access phase: which right does the request need, who is the user, and may they?
//!
//! Runs once to ask the store and once more with its answer; again after an internal redirect, where what is
//! known of the sender is kept but the decision is made anew. Nothing is passed on without a [`Permit`]. The
//! token endpoint is no route: the user there is found out the same way, `granting` says what the token may
//! hold, and `token` then answers.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use registry_auth::policy::{self, MountDecision, Permit, Rule};
use registry_auth::route::{Need, RouteKind};
use registry_auth::{Denial, RequestResult, TokenDigest, UserNameBuf};
use registry_auth_cache::{FailureLimits, LoginResult, Tag};
use registry_auth_metrics::counters::CacheState;
use registry_auth_redis::Secret;

use crate::conf::{Location, Settings};
use crate::endpoints::catalog::{self, Filtering, ListKind, Next};
use crate::endpoints::granting::{self, Granted, Granting};
use crate::endpoints::{health, token};
use crate::ffi::content::{Answer, Content};
use crate::ffi::event;
use crate::ffi::log::Level;
use crate::ffi::pool::OutOfMemory;
use crate::ffi::request::Request;
use crate::request::authenticate::{Authentication, PresentedCredentials, authenticate, password};
use crate::request::context::{
    Answered, Asked, Context, Origin, Question, Stage, TokenOwner, Unproven, Waiting,
};
use crate::request::credential::{Credential, Proof};
use crate::request::identity::Identity;
use crate::request::operation::Operation;
use crate::request::refusal::{challenge, refuse};
use crate::request::route::{Strip, content_type, query, query_of, route_of, strip_query};
use crate::worker::cache::failures;
use crate::worker::cache::{self, Age, Miss, Tags};
use crate::worker::counters;
use crate::worker::limited_log;
use crate::worker::store;
use crate::worker::turns::Slice;

/// What the phase answers to nginx.
pub enum PhaseResult {
    /// The gate is off here.
    Off,
    /// The request may go on.
    Granted,
    /// It may go on as [`without_query`] says.
    Stripped,
    /// The store was asked; the handler runs again when it has answered.
    Waiting,
    /// The body is to be read; the handler runs again when it is there.
    ReadBody,
    /// The request is refused with this status; `response` writes the rest.
    Refused(u16),
}

/// What one pass comes to.
enum Step {
    Permit {
        result: RequestResult,
        strip: Option<Strip>,
        listing: Option<ListKind>,
    },
    Ask {
        /// Boxed, as each decision would else be moved with room for it.
        asked: Box<Asked>,
        password: Secret,
    },
    /// What a token is asked for is more than a slice of time is enough for.
    LineUp(Box<Granting>),
    ReadBody,
    /// Logins can be decided, which is what the page of `registry_auth_health` says.
    Healthy,
}

/// The access handler.
pub fn handle(request: &mut Request) -> PhaseResult {
    let passed = request.with_location::<Location, _>(|request, location| {
        let settings = location.settings.as_ref()?;
        let passed = request.with_context::<Context, _>(|request, context| pass(request, context, settings));
        Some(passed.unwrap_or(PhaseResult::Refused(500)))
    });
    passed.flatten().unwrap_or(PhaseResult::Off)
}

fn pass(request: &mut Request, context: &mut Context, settings: &Settings) -> PhaseResult {
    if context.enter(request.visit()).is_err() {
        return PhaseResult::Refused(500);
    }
    let step = match context.stage {
        // Nearly always: there is nothing to take out then, and nothing to drop.
        Stage::Idle => first(request, context, settings),
        _ => match std::mem::take(&mut context.stage) {
            waiting @ Stage::Waiting(_) => {
                context.stage = waiting;
                return PhaseResult::Waiting;
            }
            Stage::Filtering(filtering) => return filter(request, context, settings, filtering),
            Stage::Granting(granting) if granting.is_in_line() => {
                context.stage = Stage::Granting(granting);
                return PhaseResult::Waiting;
            }
            Stage::Granting(granting) => grant(context, settings, granting, &Slice::of_turn()),
            Stage::Answered(answer, operation) => answered(request, context, settings, answer, operation),
            // Another location's.
            Stage::Idle | Stage::Showing(_) => first(request, context, settings),
        },
    };
    match step {
        Ok(Step::Permit {
            result,
            listing: Some(kind),
            ..
        }) => {
            context.result = Some(result);
            context.is_catalog = true;
            let started = match &context.found {
                Some(identity) => catalog::start(request, kind, identity, settings),
                None => Err(Denial::unavailable()),
            };
            match started {
                Ok(filtering) if warn(request, context).is_ok() => {
                    context.stage = Stage::Filtering(filtering);
                    PhaseResult::Waiting
                }
                Ok(_) => refused(request, context, settings, Denial::unavailable()),
                Err(denial) => refused(request, context, settings, denial),
            }
        }
        Ok(Step::Permit { result, strip, .. }) => {
            if let Some(what) = strip {
                return strip_and_permit(request, context, settings, what, result);
            }
            if warn(request, context).is_err() {
                return refused(request, context, settings, Denial::unavailable());
            }
            context.result = Some(result);
            counters::count_decision(context.class(), context.result, context.cache);
            PhaseResult::Granted
        }
        Ok(Step::Ask { asked, password }) => match store::ask(request, &asked, password) {
            Some(suspension) => {
                context.stage = Stage::Waiting(Waiting {
                    asked,
                    _suspension: suspension,
                });
                PhaseResult::Waiting
            }
            None => {
                if let Question::Credential {
                    login: Some(login), ..
                } = asked.question
                {
                    login.finish(LoginResult::Undecided);
                }
                refused(request, context, settings, Denial::unavailable())
            }
        },
        Ok(Step::LineUp(mut granting)) => match granting.line_up(request, note_turn) {
            Ok(()) => {
                context.stage = Stage::Granting(granting);
                PhaseResult::Waiting
            }
            Err(OutOfMemory) => refused(request, context, settings, Denial::unavailable()),
        },
        Ok(Step::ReadBody) => {
            context.begin_form();
            PhaseResult::ReadBody
        }
        // Not counted: nobody was let in.
        Ok(Step::Healthy) => {
            context.origin = Some(Origin::Health);
            PhaseResult::Granted
        }
        Err(denial) => refused(request, context, settings, denial),
    }
}

/// Permits a request without a part of its query.
#[cold]
fn strip_and_permit(
    request: &mut Request,
    context: &mut Context,
    settings: &Settings,
    what: Strip,
    result: RequestResult,
) -> PhaseResult {
    if strip_query(request, what).is_err() || warn(request, context).is_err() {
        return refused(request, context, settings, Denial::unavailable());
    }
    context.result = Some(result);
    PhaseResult::Stripped
}

/// Grants a request that has lost a part of its query, unless that part would go on all the same. Not within
/// the pass: variables that nginx evaluates here may tell what was decided.
#[cold]
pub fn without_query(request: &mut Request) -> PhaseResult {
    let is_lost = loses_query(request);
    let passed = request.with_location::<Location, _>(|request, location| {
        let settings = location.settings.as_ref()?;
        request.with_context::<Context, _>(|request, context| {
            if !is_lost {
                return refused(request, context, settings, Denial::misconfigured());
            }
            counters::count_decision(context.class(), context.result, context.cache);
            PhaseResult::Granted
        })
    });
    passed.flatten().unwrap_or(PhaseResult::Refused(500))
}

/// Whether what was taken out of the query does not go on by a variable of `proxy_pass` that has the query
/// from before.
fn loses_query(request: &mut Request) -> bool {
    let query_of_url = request.with_location::<Location, _>(|request, location| {
        let Some(url) = location.forwarded_url() else {
            return Some(Vec::new());
        };
        url.evaluate(request).map(|url| query_of(url).to_vec())
    });
    let Some(forwarded) = query_of_url.unwrap_or_default() else {
        return false;
    };
    let is_lost = forwarded.is_empty() || forwarded == query(request);
    if !is_lost {
        limited_log::write(
            request,
            Level::Error,
            format_args!(
                "registry_auth: another path or query would go on than the one that was decided about, by \
                 the variables of \"proxy_pass\""
            ),
        );
    }
    is_lost
}

fn refused(request: &mut Request, context: &mut Context, settings: &Settings, denial: Denial) -> PhaseResult {
    PhaseResult::Refused(refuse(request, context, settings, denial))
}

/// Tells whose access token is near its end, once.
#[inline]
fn warn(request: &mut Request, context: &mut Context) -> Result<(), OutOfMemory> {
    match &context.found {
        Some(identity) if identity.access_token().is_some() => {
            let warning = identity.warning(event::unix_seconds());
            warn_by(request, context, warning)
        }
        _ => Ok(()),
    }
}

#[inline(never)]
fn warn_by(request: &mut Request, context: &mut Context, warning: Option<String>) -> Result<(), OutOfMemory> {
    match warning {
        Some(warning) if !std::mem::replace(&mut context.is_warned, true) => {
            request.add_header("Warning", warning.as_bytes())
        }
        _ => Ok(()),
    }
}

/// The pass when a page of the registry's catalogue may have come.
fn filter(
    request: &mut Request,
    context: &mut Context,
    settings: &Settings,
    filtering: Box<Filtering>,
) -> PhaseResult {
    let next = match &context.found {
        Some(identity) => filtering.resume(request, identity, settings, note_turn),
        None => Err(Denial::unavailable()),
    };
    match next {
        Ok(Next::Wait(filtering)) => {
            context.stage = Stage::Filtering(filtering);
            PhaseResult::Waiting
        }
        Ok(Next::Answer(answer)) => {
            if answer.status == 401 && challenge(request, settings, &Denial::unauthenticated()).is_err() {
                return refused(request, context, settings, Denial::unavailable());
            }
            counters::count_decision(context.class(), context.result, context.cache);
            context.set_answer(answer);
            request.answer_with(PhantomData::<Filtered>);
            PhaseResult::Granted
        }
        Ok(Next::Status(status)) => {
            counters::count_decision(context.class(), context.result, context.cache);
            PhaseResult::Refused(status)
        }
        Err(denial) => refused(request, context, settings, denial),
    }
}

/// Notes that it is the turn of a request's list, or of what its token may be issued for.
fn note_turn(request: &mut Request) {
    request.existing_context::<Context, _>(|_, context| match &mut context.stage {
        Stage::Filtering(filtering) => filtering.take_turn(),
        Stage::Granting(granting) => granting.take_turn(),
        Stage::Idle | Stage::Waiting(_) | Stage::Answered(..) | Stage::Showing(_) => {}
    });
}

/// The list that was made, sent in the content phase: other modules of the access phase may still refuse the
/// request.
struct Filtered;

impl Content for Filtered {
    fn answer(request: &mut Request) -> Result<Answer, u16> {
        let made = request.existing_context::<Context, _>(|request, context| {
            if context.is_about(request) {
                context.take_answer()
            } else {
                None
            }
        });
        made.flatten().ok_or(500)
    }
}

/// The first pass in a location: what is needed, and who is the user?
fn first(request: &mut Request, context: &mut Context, settings: &Settings) -> Result<Step, Denial> {
    if settings.is_health {
        return health::question(request, settings).map(|asked| Step::Ask {
            asked: Box::new(asked),
            password: Secret::default(),
        });
    }
    if settings.token.is_some() && context.token_request().is_none() {
        let form = context.take_form();
        match token::request(request, form, settings)? {
            Some(asked) => context.set_token_request(asked),
            None => return Ok(Step::ReadBody),
        }
    }
    let request = &*request;
    let content_type = content_type(request);
    let operation = operation(request, content_type.as_deref(), context, settings)?;
    let presented = match &operation {
        // Who they are does not matter for what is open to everybody, nor whether that can be read.
        Operation::Registry(route) if matches!(route.need, Need::Nothing) => PresentedCredentials::NOBODY,
        _ => match authenticate(request, settings, &operation)? {
            Authentication::Cached(identity) => {
                if settings.failures.is_some() && failures::is_anybody_blocked() {
                    throttle(request, settings, identity.credential(), Some(identity.tag()))?;
                }
                context.cache = Some(CacheState::Hit);
                context.found = Some(identity);
                return decide(context, &operation, settings);
            }
            Authentication::Unverified(presented) => presented,
            Authentication::Ownerless(digest) => match last_owner(context, settings, &digest, Age::Fresh) {
                Some(user) => PresentedCredentials::of_owner(request, settings, user, digest, true),
                None => return Ok(ask_owner(context, settings, digest, operation)),
            },
        },
    };
    look_up(request, context, settings, operation, presented)
}

/// Reads the operation of a request; `content_type` is what [`content_type`] gave, which lives
/// longer than it.
#[inline]
fn operation<'r>(
    request: &'r Request,
    content_type: Option<&'r [u8]>,
    context: &mut Context,
    settings: &Settings,
) -> Result<Operation<'r>, Denial> {
    if settings.token.is_some()
        && let Some(asked) = context.token_request().map(Rc::clone)
    {
        context.kind = RouteKind::Token;
        return Ok(Operation::IssueToken(asked));
    }
    let route = route_of(request, content_type, settings)?;
    context.repository = route
        .repository()
        .and_then(|name| request.keep_own::<Context>(name.as_bytes()));
    context.kind = route.kind;
    context.action = route.action();
    Ok(Operation::Registry(route))
}

/// Decides by what the zone knows of presented credentials, or asks the store about them.
fn look_up(
    request: &Request,
    context: &mut Context,
    settings: &Settings,
    operation: Operation<'_>,
    presented: PresentedCredentials,
) -> Result<Step, Denial> {
    let tag = presented.tags.map(|tags| tags.credential);
    throttle(request, settings, &presented.credential, tag)?;
    if context
        .found
        .as_ref()
        .is_some_and(|identity| identity.matches(&presented.credential, &settings.space))
    {
        return decide(context, &operation, settings);
    }
    context.found = None;
    let limited = limited(settings, &presented.credential).zip(presented.tags);
    let PresentedCredentials { credential, tags, .. } = &presented;
    let known = cached(context, settings, credential, *tags, Age::Fresh);
    let miss = match (known, presented.is_guess) {
        (Ok(Cached::Known(identity)), _) => {
            context.found = Some(identity);
            return decide(context, &operation, settings);
        }
        // Nobody is refused by a guess.
        (Ok(Cached::Missed(_)) | Err(_), true) => {
            return match presented.credential.proof {
                Proof::AccessToken(digest) => Ok(ask_owner(context, settings, digest, operation)),
                Proof::Password | Proof::Token(_) => Err(Denial::unavailable()),
            };
        }
        (Ok(Cached::Missed(miss)), false) => miss,
        (Err(denial), false) => {
            // Known to be wrong, perhaps by what another client has tried.
            if let Some(((user, limit), tags)) = limited {
                failures::count_failure(request, &settings.space, user, tags.credential, limit);
            }
            return Err(denial);
        }
    };
    let password = match (&presented.credential.user, &presented.credential.proof) {
        (Some(_), Proof::Password) => password(operation.sent(request), presented.password)?,
        _ => Secret::default(),
    };
    let login = match limited {
        Some(((user, limit), tags)) => {
            failures::begin(request, &settings.space, user, tags.credential, limit)
                .map_err(Denial::too_many_failures)?
        }
        None => None,
    };
    Ok(Step::Ask {
        asked: Box::new(Asked {
            space: Arc::clone(&settings.space),
            question: Question::Credential {
                credential: presented.credential,
                miss,
                login,
            },
            operation: Some(operation.into_owned()),
        }),
        password,
    })
}

/// Asks Redis whose an access token is that came without a user's name.
fn ask_owner(
    context: &mut Context,
    settings: &Settings,
    digest: Box<TokenDigest>,
    operation: Operation<'_>,
) -> Step {
    context.found = None;
    context.cache = Some(match cache::tag(&settings.space, b"") {
        Some(_) => CacheState::Miss,
        None => CacheState::Bypass,
    });
    Step::Ask {
        asked: Box::new(Asked {
            space: Arc::clone(&settings.space),
            question: Question::TokenOwner(digest),
            operation: Some(operation.into_owned()),
        }),
        password: Secret::default(),
    }
}

/// Whose an access token was the last time: by this very request, or by another.
fn last_owner(context: &Context, settings: &Settings, digest: &TokenDigest, age: Age) -> Option<UserNameBuf> {
    let found = context.found.as_ref().filter(|identity| {
        let is_by_it = matches!(&identity.credential().proof, Proof::AccessToken(by) if **by == *digest);
        is_by_it && identity.is_of(&settings.space)
    });
    match found {
        Some(identity) => identity.credential().user.clone(),
        None => cache::token_owner(&settings.space, digest, age),
    }
}

/// What the zone knows of the user.
enum Cached {
    Known(Rc<Identity>),
    /// Nothing that may be used; what the store answers is to be put with this.
    Missed(Option<Miss>),
}

/// Who logs in, and how often they may fail. That counts passwords only: a token is signed, and what has 190
/// random bits is not guessed.
#[inline]
fn limited<'c>(settings: &Settings, credential: &'c Credential) -> Option<(&'c UserNameBuf, FailureLimits)> {
    match (settings.failures, &credential.proof, &credential.user) {
        (Some(limit), Proof::Password, Some(user)) => Some((user, limit)),
        _ => None,
    }
}

/// Whoever has failed too often is refused whatever the password, known to be right or not: being let in
/// would tell which it is. So is who has as many logins under way, unless this password is one of those.
#[inline(never)]
fn throttle(
    request: &Request,
    settings: &Settings,
    credential: &Credential,
    tag: Option<Tag>,
) -> Result<(), Denial> {
    let Some((user, limit)) = limited(settings, credential) else {
        return Ok(());
    };
    match failures::wait_for(request, &settings.space, user, tag, limit) {
        Some(seconds) => Err(Denial::too_many_failures(seconds)),
        None => Ok(()),
    }
}

/// What the zone knows of the user.
fn cached(
    context: &mut Context,
    settings: &Settings,
    credential: &Credential,
    tags: Option<Tags>,
    age: Age,
) -> Result<Cached, Denial> {
    let space = &settings.space;
    // Without a header only what concerns everybody is asked for, which no credential is bound to.
    let Some(tags) = tags.or_else(|| cache::tag(space, b"").map(Tags::from)) else {
        context.cache = Some(CacheState::Bypass);
        return Ok(Cached::Missed(None));
    };
    let known = match (cache::find(space, credential, tags, age), age) {
        (cache::ZoneAnswer::Known(identity), _) => Cached::Known(identity),
        (cache::ZoneAnswer::Wrong, Age::Fresh) => {
            context.cache = Some(CacheState::Hit);
            return Err(credential.rejection());
        }
        (cache::ZoneAnswer::Denied(denial), _) => {
            context.cache = Some(CacheState::Hit);
            return Err(denial);
        }
        (cache::ZoneAnswer::Miss(miss), Age::Fresh) => Cached::Missed(Some(miss)),
        // Nobody is turned away for good while Redis cannot be asked.
        (cache::ZoneAnswer::Wrong | cache::ZoneAnswer::Miss(_), Age::Stale)
        | (cache::ZoneAnswer::None, _) => Cached::Missed(None),
    };
    context.cache = Some(match (&known, age) {
        (Cached::Known(_), Age::Fresh) => CacheState::Hit,
        (Cached::Known(_), Age::Stale) => CacheState::Stale,
        (Cached::Missed(_), _) => CacheState::Miss,
    });
    Ok(known)
}

/// The pass with the store's answer; nothing has changed since the first but that.
fn answered(
    request: &Request,
    context: &mut Context,
    settings: &Settings,
    answer: Answered,
    operation: Option<Box<Operation<'static>>>,
) -> Result<Step, Denial> {
    let identity = match answer {
        Answered::Known(identity) => identity,
        Answered::TokenOwner(owner) => match *owner {
            TokenOwner {
                user: Some(user),
                digest,
            } => {
                let operation = *operation.ok_or_else(Denial::unavailable)?;
                let presented = PresentedCredentials::of_owner(request, settings, user, digest, false);
                let step = look_up(request, context, settings, operation, presented);
                // Redis was asked, if only for a name.
                if context.cache == Some(CacheState::Hit) {
                    context.cache = Some(CacheState::Miss);
                }
                return step;
            }
            TokenOwner { user: None, digest } => {
                let user =
                    last_owner(context, settings, &digest, Age::Stale).ok_or_else(Denial::unavailable)?;
                let presented = PresentedCredentials::of_owner(request, settings, user, digest, true);
                let found = stale(context, settings, &presented.credential, presented.tags)?;
                found.ok_or_else(Denial::unavailable)?
            }
        },
        Answered::Denied(denial) => return Err(*denial),
        Answered::Busy => return Err(Denial::hashing_busy()),
        Answered::BadRecord => return Err(Denial::bad_record()),
        Answered::Unavailable(unproven) => {
            let Unproven {
                credential,
                tags,
                login,
            } = *unproven;
            let found = stale(context, settings, &credential, tags);
            if let Some(login) = login {
                // A client that is let in by what the zone knew last has the right password: so one that is
                // not has guessed.
                login.finish(match found {
                    Ok(Some(_)) => LoginResult::Right,
                    Ok(None) | Err(_) => LoginResult::Wrong,
                });
            }
            found?.ok_or_else(Denial::unavailable)?
        }
    };
    if settings.is_health {
        return Ok(Step::Healthy);
    }
    let operation = operation.ok_or_else(Denial::unavailable)?;
    context.found = Some(identity);
    decide(context, &operation, settings)
}

/// While Redis is unreachable: what the zone knew last, where `stale=` allows that.
fn stale(
    context: &mut Context,
    settings: &Settings,
    credential: &Credential,
    tags: Option<Tags>,
) -> Result<Option<Rc<Identity>>, Denial> {
    if !cache::is_stale_allowed() {
        return Ok(None);
    }
    Ok(match cached(context, settings, credential, tags, Age::Stale)? {
        Cached::Known(identity) => Some(identity),
        Cached::Missed(_) => None,
    })
}

fn decide(context: &mut Context, operation: &Operation<'_>, settings: &Settings) -> Result<Step, Denial> {
    let identity = context.found.as_ref().ok_or_else(Denial::unavailable)?;
    let route = match operation {
        Operation::Registry(route) => route,
        Operation::IssueToken(_) => return grant(context, settings, Box::default(), &Slice::at_first()),
    };
    let by_namespace = &mut context.by_namespace;
    let decision = identity.with_subject(|subject| {
        let permit: Permit<'_> = policy::decide(subject, route, &settings.rules)
            .map_err(|denial| denial.with_group(|index| identity.group_name(index)))?;
        *by_namespace = matches!(permit.rule(), Rule::Own);
        Ok(Step::Permit {
            result: permit.result(),
            strip: match (permit.mount(), route.names_mirrored && !settings.passes_ns) {
                (MountDecision::Keep, false) => None,
                (MountDecision::Strip, false) => Some(Strip::Mount),
                (MountDecision::Keep, true) => Some(Strip::Ns),
                (MountDecision::Strip, true) => Some(Strip::Both),
            },
            listing: match route.need {
                Need::Catalog => Some(ListKind::Catalog),
                Need::Search => Some(ListKind::Search),
                _ => None,
            },
        })
    });
    decision.unwrap_or_else(|_| Err(Denial::bad_record()))
}

/// Judges what a token is asked for, for a slice of time.
fn grant(
    context: &mut Context,
    settings: &Settings,
    granting: Box<Granting>,
    slice: &Slice,
) -> Result<Step, Denial> {
    let (Some(identity), Some(asked)) = (&context.found, context.token_request()) else {
        return Err(Denial::unavailable());
    };
    match granting::grant(identity, asked, settings, granting, slice)? {
        Granted::Whole(granted, result) => {
            context.set_granted(granted);
            Ok(Step::Permit {
                result,
                strip: None,
                listing: None,
            })
        }
        Granted::Part(granting) => Ok(Step::LineUp(granting)),
    }
}
