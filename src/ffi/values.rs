//! The values of nginx's variables, which it keeps for a request and all its subrequests: what holds no more,
//! it is to find out anew.

use core::ptr::NonNull;

use nginx_sys::{ngx_http_core_main_conf_t, ngx_http_variable_t, ngx_http_variable_value_t};

use super::bytes;
use super::request::Request;

/// The variable that holds a request's target. nginx evaluates it once, and takes what a query was for what
/// it is.
const TARGET: &[u8] = b"request_uri";

impl Request {
    /// A copy of what nginx has evaluated of variables so far, but for the target, for a subrequest that has
    /// another one: `set` and auth_request have put values there that only they can. `None` when memory is
    /// out.
    pub(super) fn copy_values(&self) -> Option<NonNull<ngx_http_variable_value_t>> {
        let pool = self.pool()?;
        let names = self.indexed()?;
        let own = pool.place_all::<ngx_http_variable_value_t>(names.len())?;
        // SAFETY: nginx gives each request as many values as variables have indices, and a subrequest those
        // of its main request. The copies have room, and are nobody else's.
        unsafe {
            own.as_ptr()
                .copy_from_nonoverlapping(self.as_ref_ptr().variables, names.len());
            forget_target(names, own.as_ptr());
        }
        Some(own)
    }

    /// Has nginx evaluate the target anew, as it was changed.
    pub(super) fn forget_target(&mut self) {
        let values = self.as_ref_ptr().variables;
        if let Some(names) = self.indexed() {
            // SAFETY: as above; nobody else refers to them.
            unsafe { forget_target(names, values) };
        }
    }

    /// The variables that have an index, in order.
    fn indexed(&self) -> Option<&[ngx_http_variable_t]> {
        // SAFETY: nginx has as many slots as modules; its core's has an array of variables, which does not
        // change any more.
        unsafe {
            let slot = self
                .as_ref_ptr()
                .main_conf
                .add(nginx_sys::ngx_http_core_module.ctx_index);
            let core = (*slot).cast::<ngx_http_core_main_conf_t>().as_ref()?;
            Some(core.variables.as_slice::<ngx_http_variable_t>())
        }
    }
}

/// # Safety
/// `values` must be those of the variables, to which nobody else refers.
unsafe fn forget_target(names: &[ngx_http_variable_t], values: *mut ngx_http_variable_value_t) {
    for (at, variable) in names.iter().enumerate() {
        // SAFETY: the caller vouches for it; names are nginx's, as long as the configuration.
        unsafe {
            if bytes::of(variable.name) == TARGET {
                let value = &mut *values.add(at);
                value.set_valid(0);
                value.set_not_found(0);
            }
        }
    }
}
