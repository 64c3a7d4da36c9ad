//! Subrequests: a request of ours for the same path, answered by the same location, whose answer the filters take.
//!
//! As ngx_http_auth_request_module does it: the request waits in the access phase, and its handler runs again once the subrequest is
//! done. nginx gives a subrequest no access phase of its own, and the same request headers.

use core::ptr;

use nginx_sys::{
    ngx_http_request_t, ngx_http_subrequest, ngx_int_t, ngx_uint_t, NGX_HTTP_SUBREQUEST_WAITED, NGX_OK,
};

use super::request::Request;

/// A subrequest of the request in whose state this is kept; both end with their pool.
pub struct Subrequest(*mut ngx_http_request_t);

impl Subrequest {
    /// Whether it was answered.
    pub fn is_done(&self) -> bool {
        // SAFETY: made by `ask` in the pool of the request whose state holds this, and not freed before that.
        unsafe { (*self.0).done() != 0 }
    }

    /// Whether it is this request.
    pub fn is(&self, request: &Request) -> bool {
        ptr::eq(self.0, request.as_ref_ptr())
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
        (made == NGX_OK as ngx_int_t && !subrequest.is_null()).then_some(Subrequest(subrequest))
    }
}
