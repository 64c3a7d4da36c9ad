//! What is known of one request, from the access phase to the access log.
//!
//! It survives internal redirects. Invariant: `identity` holds a user only after that user's password was verified.

use std::rc::Rc;

use registry_auth::scope::Action;
use registry_auth::token::TokenRequest;
use registry_auth::{Access, Denial};

use crate::cache::Miss;
use crate::catalog::Filtering;
use crate::claim::Claim;
use crate::ffi::content::Answer;
use crate::ffi::parking::Parking;
use crate::ffi::request::Kept;
use crate::identity::Identity;

/// The module's state of one request.
#[derive(Default)]
pub struct Context {
    /// What the access phase is waiting for or has got.
    pub stage: Stage,
    /// Who asks, and what the store said of them.
    pub identity: Option<Rc<Identity>>,
    /// Who the request claims to come from, once the store has to be asked.
    pub claimed: Option<Claim>,
    /// What the token endpoint was asked for.
    pub token_request: Option<Rc<TokenRequest>>,
    /// And what it may grant of that.
    pub granted: Option<Box<Access>>,
    /// Whether the sender was warned of an access token's end.
    pub is_warned: bool,
    /// Set where the zone was asked and knew nothing: the store's answer is to be put there.
    pub miss: Option<Miss>,
    /// The repository that was decided on.
    pub repository: Option<Kept>,
    /// The action that was decided on.
    pub action: Option<Action>,
    /// `$registry_auth_result`; empty until decided.
    pub result: &'static str,
    /// `$registry_auth_cache`; empty until the store was asked.
    pub cache: &'static str,
    /// Whether the catalogue is wanted, of which nothing may go out as it comes.
    pub is_catalog: bool,
    /// What of it the client may see, once it is made.
    pub answer: Option<Box<Answer>>,
    /// `$registry_auth_backend`: the backend that was last chosen.
    pub backend: Option<Kept>,
    /// The refusal that is being answered.
    pub denial: Option<Box<Refusal>>,
}

/// Where the access phase stands.
#[derive(Default)]
pub enum Stage {
    /// Nothing has been asked, or what was asked is dealt with.
    #[default]
    Idle,
    /// The store was asked.
    Waiting(#[allow(dead_code, reason = "held for its drop, which forgets the request")] Parking),
    /// The store has answered.
    Answered(Answered),
    /// The registry was asked for its catalogue.
    Filtering(Box<Filtering>),
}

/// What the store has answered.
pub enum Answered {
    /// Who asks.
    Known(Rc<Identity>),
    /// No such user, not this password, or what was right and is good no more.
    Denied(Box<Denial>),
    /// The hashing queue is full.
    Busy,
    /// Redis could not be asked.
    Unavailable,
    /// A record that is needed cannot be read.
    BadRecord,
}

/// A denial, and how far its answer has got.
pub struct Refusal {
    /// Why, and with what status.
    pub denial: Denial,
    /// Whether it was refused only when a backend was wanted, after the access phase.
    pub late: bool,
    /// The answer's body, while its headers are sent and it is not.
    pub body: Body,
}

/// The body of our own answer.
pub enum Body {
    /// The headers have not come by.
    Pending,
    /// The headers are ours: this is to follow.
    Ready(Vec<u8>),
    /// It was sent.
    Sent,
}

impl Context {
    /// Notes a refusal.
    pub fn refuse(&mut self, denial: Denial, late: bool) {
        self.result = denial.result();
        self.denial = Some(Box::new(Refusal {
            denial,
            late,
            body: Body::Pending,
        }));
    }

    /// The verified user; empty where there is none.
    pub fn user(&self) -> &str {
        match self.identity.as_ref().and_then(|identity| identity.user()) {
            Some(name) => name.as_str(),
            None => "",
        }
    }
}
