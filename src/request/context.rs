//! What is known of one request, from the access phase to the access log.
//!
//! nginx's subrequests share it, and it survives internal redirects: what holds for one request structure, or
//! in one location, only says so ([`Visit`]; the space of an identity). Invariant: `found` holds a user only
//! after what proves that user was verified.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use registry_auth::policy;
use registry_auth::route::RouteKind;
use registry_auth::scope::Action;
use registry_auth::token::TokenRequest;
use registry_auth::{Access, Denial, RequestResult, Subject, TokenDigest, UserNameBuf};
use registry_auth_lookup::Keyspace;
use registry_auth_metrics::counters::CacheState;

use crate::conf::{MAX_FORM, Settings};
use crate::endpoints::catalog::Filtering;
use crate::endpoints::granting::Granting;
use crate::endpoints::usage_page::UsagePage;
use crate::ffi::body::Taken;
use crate::ffi::content::Answer;
use crate::ffi::request::{Request, RequestBytes};
use crate::ffi::suspend::Suspension;
use crate::ffi::visit::{LastUpstream, Visit};
use crate::request::credential::Credential;
use crate::request::identity::Identity;
use crate::request::operation::Operation;
use crate::worker::cache::failures::Login;
use crate::worker::cache::{Miss, Tags};

/// The module's state of one request.
#[derive(Default)]
pub struct Context {
    /// The visit that was last decided on.
    visit: Option<Visit>,
    /// What the access phase is waiting for or has got.
    pub stage: Stage,
    /// The user, and what the store said of them, for `access` alone; all others ask [`Context::identity`],
    /// which says what of it concerns them.
    pub found: Option<Rc<Identity>>,
    /// Whether the sender was warned of an access token's end.
    pub is_warned: bool,
    /// The repository that was decided on.
    pub repository: Option<RequestBytes>,
    /// What the request's route leads to.
    pub kind: RouteKind,
    /// The action that was decided on.
    pub action: Option<Action>,
    /// Whether it was allowed because the repository is in the user's own namespace.
    pub by_namespace: bool,
    /// `$registry_auth_decision`, once the request was decided: who was let through was so, whatever became
    /// of the answer. That is [`Context::outcome`].
    pub result: Option<RequestResult>,
    /// `$registry_auth_cache`, once the zone or the store was asked.
    pub cache: Option<CacheState>,
    /// What has the answer to the request itself, where that is no registry.
    pub origin: Option<Origin>,
    /// Whether the catalogue is wanted, of which nothing may go out as it comes.
    pub is_catalog: bool,
    /// `$registry_auth_backend`: the backend that was last chosen for the request itself.
    pub backend: Option<RequestBytes>,
    /// In an allocation of its own: a request that is let through to its registry does without, and has but
    /// one thing to drop.
    rare: Option<Box<Rare>>,
}

/// What is known of the requests that are refused, or answered here.
#[derive(Default)]
struct Rare {
    /// What has come of the form that the token endpoint is sent.
    form: Option<Taken>,
    /// What the token endpoint was asked for.
    token_request: Option<Rc<TokenRequest>>,
    /// And what it may grant of that.
    granted: Option<Access>,
    /// What of the catalogue the client may see, once it is made.
    answer: Option<Answer>,
    /// How the request itself was refused last, be it in the place of a registry's answer.
    refused_as: Option<RequestResult>,
    /// And why, for a log; empty where it was not.
    refused_by: Cow<'static, str>,
    /// The refusals that are being answered, one for each request structure at most.
    refusals: Vec<Refusal>,
}

/// What has the answer to a request, in the place of a registry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The page that only asks whether logins can be decided, which they can.
    Health,
    /// The registry's own disk.
    Store,
}

/// Where the access phase stands, or what comes after it.
#[derive(Default)]
pub enum Stage {
    /// Nothing has been asked, or what was asked is dealt with.
    #[default]
    Idle,
    /// The store was asked.
    Waiting(Waiting),
    /// The store has answered.
    Answered(Answered, Option<Box<Operation<'static>>>),
    /// The registry was asked for its catalogue.
    Filtering(Box<Filtering>),
    /// What a token is asked for was judged in part.
    Granting(Box<Granting>),
    /// The access phase is over, and its location shows what is counted: a page in the making for each
    /// request structure that leads there.
    Showing(Vec<(Visit, UsagePage)>),
}

/// A request that waits for the store's answer.
pub struct Waiting {
    /// What was asked.
    pub asked: Box<Asked>,
    /// Held for its drop, which forgets the request.
    pub _suspension: Suspension,
}

/// What the store was asked. The answer is good for nothing else.
pub struct Asked {
    /// Whose accounts.
    pub space: Arc<Keyspace>,
    /// What about them.
    pub question: Question,
    /// What the request asks of the gate; `None` where nothing is to be decided.
    pub operation: Option<Box<Operation<'static>>>,
}

/// What is to be found out about a request's user.
#[expect(clippy::large_enum_variant, reason = "each lies in the box of an `Asked`")]
pub enum Question {
    /// Whether a credential is good.
    Credential {
        /// The user whom the request names, and the kind of proof.
        credential: Credential,
        /// Set where the zone was asked and knew nothing: the store's answer is to be put there.
        miss: Option<Miss>,
        /// Set where the password counts as tried: what it comes to is to be settled.
        login: Option<Login>,
    },
    /// Whose access token it is that came without a user's name.
    TokenOwner(Box<TokenDigest>),
}

/// What the store could not be asked.
pub struct Unproven {
    /// The user whom the request names, and the kind of proof.
    pub credential: Credential,
    /// Fingerprints of what it sent to prove that, where there is a zone.
    pub tags: Option<Tags>,
    /// As in [`Question::Credential`], where what the zone knew last may decide yet.
    pub login: Option<Login>,
}

/// Whose an access token is said to be, which is not verified yet.
pub struct TokenOwner {
    /// The user; `None` where Redis could not be asked.
    pub user: Option<UserNameBuf>,
    /// The token's digest.
    pub digest: Box<TokenDigest>,
}

/// What the store has answered.
pub enum Answered {
    /// The user.
    Known(Rc<Identity>),
    /// Whose an access token is said to be. Boxed, as it is rare and large.
    TokenOwner(Box<TokenOwner>),
    /// No such user, not this password, or what was right and is good no more.
    Denied(Box<Denial>),
    /// The hashing queue is full.
    Busy,
    /// Redis could not be asked.
    Unavailable(Box<Unproven>),
    /// A record that is needed cannot be read.
    BadRecord,
}

/// A denial, and how far its answer has got.
pub struct Refusal {
    /// Whose, and where: the page that nginx makes of it is that of the same visit.
    pub visit: Visit,
    /// What had been asked by then: an answer of another upstream is none of the refusal's.
    pub upstream: LastUpstream,
    /// Why, and with what status.
    pub denial: Denial,
    /// Whether it was refused only when a backend was wanted, after the access phase.
    pub late: bool,
    /// Whether it has its answer.
    pub is_answered: bool,
}

/// A request was moved while the registry's catalogue is awaited.
pub struct StillFiltering;

impl Context {
    /// Notes where the request is. At another place than before everything is decided anew; what is known of
    /// the sender stays. An error where pages of the registry are still to be taken: with them forgotten,
    /// they would go out as they come.
    pub fn enter(&mut self, visit: Visit) -> Result<(), StillFiltering> {
        if self.visit == Some(visit) {
            return Ok(());
        }
        if matches!(self.stage, Stage::Filtering(_)) {
            return Err(StillFiltering);
        }
        if self.visit.replace(visit).is_none() {
            return Ok(());
        }
        self.stage = Stage::Idle;
        self.repository = None;
        self.kind = RouteKind::None;
        self.action = None;
        self.result = None;
        self.origin = None;
        self.is_catalog = false;
        self.rare = None;
        Ok(())
    }

    /// Whether it was this very request that was decided on, and here.
    pub fn is_about(&self, request: &Request) -> bool {
        self.visit == Some(request.visit())
    }

    /// Whether that is so, or it is the copy by which nginx asks anew for what it has kept of it.
    pub fn is_about_copy(&self, request: &Request) -> bool {
        self.is_about(request)
            || request
                .copied_visit()
                .is_some_and(|visit| self.visit == Some(visit))
    }

    /// What the request is for those who count requests.
    #[inline]
    pub fn class(&self) -> (RouteKind, Option<Action>) {
        (self.kind, self.action)
    }

    /// Whether a subrequest is a page of the catalogue that the request itself is answered with.
    pub fn awaits(&self, request: &Request) -> bool {
        matches!(&self.stage, Stage::Filtering(filtering) if filtering.is_page(request))
    }

    /// Whether anything but a challenge may have to be changed in an answer to the request or to a subrequest
    /// of it. Not so for most.
    #[inline]
    pub fn touches_answers(&self) -> bool {
        self.is_catalog || self.has_refusals() || matches!(self.stage, Stage::Filtering(_))
    }

    #[inline]
    fn has_refusals(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.refusals.is_empty())
    }

    /// Begins to take a form.
    pub fn begin_form(&mut self) {
        self.rare.get_or_insert_default().form = Some(Taken::new(MAX_FORM));
    }

    /// What has come of the form, while one is taken.
    #[inline]
    pub fn form(&mut self) -> Option<&mut Taken> {
        self.rare.as_mut()?.form.as_mut()
    }

    /// What has come of the form, of which nothing more is taken.
    pub fn take_form(&mut self) -> Option<Taken> {
        self.rare.as_mut()?.form.take()
    }

    /// What the token endpoint was asked for.
    #[inline]
    pub fn token_request(&self) -> Option<&Rc<TokenRequest>> {
        self.rare.as_ref()?.token_request.as_ref()
    }

    /// Notes what the token endpoint is asked for.
    pub fn set_token_request(&mut self, asked: TokenRequest) {
        self.rare.get_or_insert_default().token_request = Some(Rc::new(asked));
    }

    /// What a token may be issued for.
    pub fn granted(&self) -> Option<&Access> {
        self.rare.as_ref()?.granted.as_ref()
    }

    /// Notes what a token may be issued for.
    pub fn set_granted(&mut self, granted: Access) {
        self.rare.get_or_insert_default().granted = Some(granted);
    }

    /// Takes what the client may see of the catalogue, once it is made.
    pub fn take_answer(&mut self) -> Option<Answer> {
        self.rare.as_mut()?.answer.take()
    }

    /// Keeps what the client may see of the catalogue.
    pub fn set_answer(&mut self, answer: Answer) {
        self.rare.get_or_insert_default().answer = Some(answer);
    }

    /// Who was verified, as far as it concerns the location where a request is: one of other accounts knows
    /// nothing of them, be it that of a subrequest, which is not asked who it comes from, or one that has not
    /// asked yet.
    pub fn identity(&self, request: &Request) -> Option<&Rc<Identity>> {
        let identity = self.found.as_ref()?;
        Settings::of(request)
            .is_none_or(|settings| identity.is_of(&settings.space))
            .then_some(identity)
    }

    /// The verified user, as far as it concerns this location; empty where there is none.
    pub fn user(&self, request: &Request) -> &str {
        match self.identity(request).and_then(|identity| identity.user()) {
            Some(name) => name.as_str(),
            None => "",
        }
    }

    /// Notes that the request of a request structure is denied, as is decided of it.
    pub fn deny(&mut self, request: &Request, denial: Denial) {
        if !request.is_subrequest() {
            self.result = Some(denial.result());
        }
        self.refuse(request, denial, false);
    }

    /// Notes a refusal of a request structure, be it that its answer is refused: who was let through was so.
    /// What is logged of the request is what became of itself, not of one beside it.
    pub fn refuse(&mut self, request: &Request, denial: Denial, late: bool) {
        self.forget_refusal(request);
        let rare = self.rare.get_or_insert_default();
        if !request.is_subrequest() {
            rare.refused_as = Some(denial.result());
            rare.refused_by = match denial.rule() {
                Some(rule) => Cow::Owned(rule.to_owned()),
                None => denial.message.clone(),
            };
        }
        rare.refusals.push(Refusal {
            visit: request.visit(),
            upstream: request.last_upstream(),
            denial,
            late,
            is_answered: false,
        });
    }

    /// `$registry_auth_result`: what became of the request, once it was decided. A refusal that came later
    /// than the decision counts, which `result` does not know.
    pub fn outcome(&self) -> Option<RequestResult> {
        let refused_as = self.rare.as_ref().and_then(|rare| rare.refused_as);
        refused_as.or(self.result)
    }

    /// The rule by which the request was decided, in words: `$registry_auth_rule`. A permit's is looked for
    /// again, so that no request pays for it whose log does not have it.
    pub fn rule(&self, request: &Request) -> Option<Cow<'static, str>> {
        match self.outcome()? {
            RequestResult::Granted | RequestResult::Anonymous => {
                let repository = self.repository.as_ref();
                let repository = repository.map(|name| request.kept::<Context>(name));
                let find = |subject: &Subject<'_>| {
                    let wanted = repository.zip(self.action);
                    policy::rule_of(subject, wanted, self.by_namespace)
                        .map(|rule| (rule.to_string(), rule.group()))
                };
                let Some(identity) = self.found.as_deref() else {
                    return find(&Subject::ANONYMOUS).map(|(rule, _)| Cow::Owned(rule));
                };
                let (rule, group) = identity.with_subject(find).ok()??;
                Some(Cow::Owned(
                    match group.and_then(|index| identity.group_name(index)) {
                        Some(name) => format!("{rule} {name}"),
                        None => rule,
                    },
                ))
            }
            _ => Some(self.rare.as_ref()?.refused_by.clone()),
        }
    }

    /// The refusal of this request structure that is being answered.
    pub fn refusal(&mut self, request: &Request) -> Option<&mut Refusal> {
        let mut refusals = self.rare.as_mut()?.refusals.iter_mut();
        refusals.find(|refusal| refusal.visit.is_by(request))
    }

    /// The body of the answer to that refusal, for the page of an `error_page`.
    pub fn error(&self, request: &Request) -> Option<Vec<u8>> {
        let mut refusals = self.rare.as_ref()?.refusals.iter();
        let refusal = refusals.find(|refusal| refusal.visit.is_by(request))?;
        let mut json = Vec::new();
        refusal.denial.write_json(&mut json);
        Some(json)
    }

    /// Takes that refusal, which is to be answered by another.
    pub fn take_refusal(&mut self, request: &Request) -> Option<Denial> {
        let refusals = &mut self.rare.as_mut()?.refusals;
        let at = refusals.iter().position(|refusal| refusal.visit.is_by(request))?;
        Some(refusals.swap_remove(at).denial)
    }

    /// Something else is answered.
    pub fn forget_refusal(&mut self, request: &Request) {
        if let Some(rare) = &mut self.rare {
            rare.refusals.retain(|refusal| !refusal.visit.is_by(request));
        }
    }
}
