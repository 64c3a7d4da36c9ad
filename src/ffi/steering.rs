//! The headers `X-Accel-*`, by which an upstream steers nginx (to an internal location, to another rate):
//! where each location keeps which of them nginx heeds.
//!
//! nginx keeps that beside much else in its modules' own structures. The directive that sets it
//! (`proxy_ignore_headers`) says at which place, whatever the version of nginx.

use core::ptr::{self, NonNull};

use nginx_sys::{
    NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MODULE, NGX_HTTP_UPSTREAM_IGN_XA_BUFFERING,
    NGX_HTTP_UPSTREAM_IGN_XA_CHARSET, NGX_HTTP_UPSTREAM_IGN_XA_EXPIRES, NGX_HTTP_UPSTREAM_IGN_XA_LIMIT_RATE,
    NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT, ngx_command_t, ngx_conf_set_bitmask_slot, ngx_module_t, ngx_uint_t,
};

use super::bytes;
use super::conf::Conf;
use super::pool::Lent;
use super::request::Request;
use super::shim;

/// All headers by which an upstream steers nginx, as nginx marks those that it ignores.
const STEERING: ngx_uint_t = (NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT
    | NGX_HTTP_UPSTREAM_IGN_XA_EXPIRES
    | NGX_HTTP_UPSTREAM_IGN_XA_LIMIT_RATE
    | NGX_HTTP_UPSTREAM_IGN_XA_BUFFERING
    | NGX_HTTP_UPSTREAM_IGN_XA_CHARSET) as ngx_uint_t;

/// Which headers of an upstream's answers one module ignores in one location.
pub struct Ignored(Lent<ngx_uint_t>);

impl Ignored {
    /// What the directive of this name (`proxy_ignore_headers`) sets in the current location; for the merging
    /// of locations. `None` where no module has such a directive, or memory is out.
    pub fn by(directive: &str, conf: &mut Conf<'_>) -> Option<Self> {
        let (module, offset) = owner(directive.as_bytes(), conf)?;
        let pool = conf.pool()?;
        // SAFETY: the module's slot of the current location, in which its command sets a bit mask at this
        // offset. It lies in the configuration's pool. nginx's modules write to it by the same thread, while
        // nothing here reads it.
        unsafe {
            let slot = NonNull::new(shim::rga_conf_loc_conf(conf.as_ptr(), module))?;
            Lent::to(pool, slot.byte_add(offset).cast()).map(Self)
        }
    }

    /// Has the location ignore all headers `X-Accel-*`. For a module's postconfiguration: before, other
    /// locations may still inherit what is set here, or this one what is set around it.
    pub fn add_all_that_steer(&self) {
        if let Some(place) = self.0.get() {
            // SAFETY: as in `by`; the configuration is there, or it led nowhere.
            unsafe { *place.as_ptr() |= STEERING };
        }
    }
}

/// The module with that directive, and where it keeps what that sets.
fn owner(directive: &[u8], conf: &mut Conf<'_>) -> Option<(*const ngx_module_t, usize)> {
    // SAFETY: nginx sets the cycle and its modules, a list that ends with null, before it reads http{}. Each
    // module's commands are null or a table that a row without a name ends.
    unsafe {
        let mut next = (*(*conf.as_ptr()).cycle).modules;
        while let Some(module) = next.read().as_ref() {
            next = next.add(1);
            if module.type_ != NGX_HTTP_MODULE as ngx_uint_t || module.commands.is_null() {
                continue;
            }
            let mut command = module.commands;
            while (*command).name.len > 0 {
                if bytes::of((*command).name) == directive {
                    return is_mask(&*command).then_some((ptr::from_ref(module), (*command).offset));
                }
                command = command.add(1);
            }
        }
    }
    None
}

/// Whether a directive sets a bit mask of its location.
fn is_mask(command: &ngx_command_t) -> bool {
    let set = command.set.map(|set| set as *const () as usize);
    command.conf == NGX_HTTP_LOC_CONF_OFFSET && set == Some(ngx_conf_set_bitmask_slot as *const () as usize)
}

impl Request {
    /// Whether nginx heeds one of these headers in an answer of the upstream that the request goes to.
    pub fn may_be_steered(&self) -> bool {
        // SAFETY: null, or this request's upstream, which lies in its pool, and its configuration, which
        // outlives it.
        let conf = unsafe {
            self.as_ref_ptr()
                .upstream
                .as_ref()
                .and_then(|upstream| upstream.conf.as_ref())
        };
        conf.is_some_and(|conf| conf.ignore_headers & STEERING != STEERING)
    }
}
