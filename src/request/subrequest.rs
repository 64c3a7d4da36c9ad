//! Which subrequests may enter a gated location.
//!
//! nginx has no access phase for a subrequest: it goes on as the request itself was let in. Where that has
//! not passed a gate of the same accounts, as beside `auth_request` of a location without a gate, nobody has
//! been asked for a password. Called in the phase before, which nginx has for subrequests, too; not for
//! copies of the request (`slice`, the background update of a cache), which begin where that is.

use registry_auth::RequestResult;

use crate::conf::Settings;
use crate::ffi::log::Level;
use crate::ffi::request::Request;
use crate::request::context::Context;
use crate::worker::limited_log;

/// Whether a request may enter its location as far as it is a subrequest. If not, the log says what to do.
#[inline]
pub fn may_enter(request: &mut Request) -> bool {
    !request.is_subrequest() || Settings::of(request).is_none() || is_let_in(request)
}

#[cold]
fn is_let_in(request: &mut Request) -> bool {
    let is_let_in = request.existing_context::<Context, _>(|request, context| {
        let is_granted = matches!(
            context.result,
            Some(RequestResult::Granted | RequestResult::Anonymous)
        );
        is_granted && context.identity(request).is_some()
    });
    if is_let_in == Some(true) {
        return true;
    }
    limited_log::write(
        request,
        Level::Error,
        format_args!(
            "registry_auth: a subrequest is refused, for the request itself has not passed \"registry_auth\" \
             of the same accounts: \"auth_request\" cannot use the gate for another application"
        ),
    );
    false
}
