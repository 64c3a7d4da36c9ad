//! What a token may be issued for: the wanted resources that the user has a right to, found in slices of
//! time.
//!
//! Called by `access` for a request to the token endpoint. Guarantee: however many scopes a client asks for
//! and however many grants the user has, other requests of the worker have their turn in between.

use registry_auth::policy;
use registry_auth::token::{MAX_ACCESS, TokenRequest};
use registry_auth::{Access, Denial, RequestResult};

use crate::conf::Settings;
use crate::ffi::pool::OutOfMemory;
use crate::ffi::request::Request;
use crate::request::identity::Identity;
use crate::worker::turns::{InLine, Slice};

/// What the sender may have, as far as that was judged.
#[derive(Default)]
pub struct Granting {
    judged: policy::PartialAccess,
    /// Held while others have their turn.
    line: Option<InLine>,
}

/// What was judged.
pub enum Granted {
    /// All of it, and how the request was decided.
    Whole(Access, RequestResult),
    /// A part: there is a turn to be waited for.
    Part(Box<Granting>),
}

impl Granting {
    /// Waits for its turn, which `on_turn` then notes by [`Granting::take_turn`].
    pub fn line_up(&mut self, request: &mut Request, on_turn: fn(&mut Request)) -> Result<(), OutOfMemory> {
        self.line = Some(InLine::new(request, on_turn)?);
        Ok(())
    }

    /// Notes that it is its turn.
    pub fn take_turn(&mut self) {
        self.line = None;
    }

    /// Whether it waits.
    pub fn is_in_line(&self) -> bool {
        self.line.is_some()
    }
}

/// What of that the sender may have. What scopes and grants there are is theirs, and their administrator's,
/// to say: so it takes a slice of time, and goes on in another.
pub fn grant(
    identity: &Identity,
    asked: &TokenRequest,
    settings: &Settings,
    mut granting: Box<Granting>,
    slice: &Slice,
) -> Result<Granted, Denial> {
    asked.check_account(identity.user())?;
    let judged = &mut granting.judged;
    let is_whole = identity
        .with_subject(|subject| judged.go_on(subject, &asked.resources(), &settings.rules, || slice.go_on()))
        .map_err(|_| Denial::bad_record())??;
    if !is_whole {
        return Ok(Granted::Part(granting));
    }
    let granted = granting.judged.into_access();
    if granted.size() > MAX_ACCESS {
        return Err(Denial::bad_token_request(
            "what the scopes grant takes more than 5000 bytes",
        ));
    }
    let result = if identity.user().is_some() {
        RequestResult::Granted
    } else {
        RequestResult::Anonymous
    };
    Ok(Granted::Whole(granted, result))
}
