//! Subrequests: a request of ours for the same path, answered by the same location, whose answer the filters take.
//!
//! As ngx_http_auth_request_module does it: the request waits in the access phase, and its handler runs again once the subrequest is
//! done. nginx gives a subrequest no access phase of its own, and the same request headers.

use core::ptr::{self, NonNull};

use nginx_sys::{
    ngx_http_request_t, ngx_http_subrequest, ngx_int_t, ngx_uint_t, NGX_HTTP_SUBREQUEST_WAITED, NGX_OK,
};

use super::pool::Lent;
use super::request::Request;

/// A subrequest, until its request's pool goes, in which it lies.
pub struct Subrequest(Lent<ngx_http_request_t>);

impl Subrequest {
    /// Whether it was answered, or is there no more.
    pub fn is_done(&self) -> bool {
        // SAFETY: made by nginx in the pool by which it is lent; nginx writes to it on this thread only.
        self.0
            .get()
            .is_none_or(|place| unsafe { place.as_ref() }.done() != 0)
    }

    /// Whether it is this request.
    pub fn is(&self, request: &Request) -> bool {
        self.0
            .get()
            .is_some_and(|place| ptr::eq(place.as_ptr(), request.as_ref_ptr()))
    }
}

impl Request {
    /// Asks for this request's own path with another query. The access handler must say that it waits; it runs again when the
    /// subrequest is done. `None` when memory is out.
    pub fn ask(&mut self, args: &str) -> Option<Subrequest> {
        let pool = self.pool()?;
        let mut args = pool.string(args.as_bytes())?;
        let mut uri = pool.string(self.uri())?;
        let mut subrequest = ptr::null_mut();
        // SAFETY: a valid main request in its access phase; nginx copies the strings' pointers, which lie in the pool.
        let made = unsafe {
            ngx_http_subrequest(
                self.as_ptr(),
                &raw mut uri,
                &raw mut args,
                &raw mut subrequest,
                ptr::null_mut(),
                NGX_HTTP_SUBREQUEST_WAITED as ngx_uint_t,
            )
        };
        if made != NGX_OK as ngx_int_t {
            return None;
        }
        // What is refused is to be seen here: `error_page` would lead the subrequest past the gate to another location's answer.
        // SAFETY: just made by nginx, and valid.
        if let Some(subrequest) = unsafe { subrequest.as_mut() } {
            subrequest.set_error_page(1);
        }
        // SAFETY: nginx has put the subrequest into the pool of this request.
        unsafe { Lent::to(self.pool()?, NonNull::new(subrequest)?) }.map(Subrequest)
    }
}
