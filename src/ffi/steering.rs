//! What an upstream steers nginx by, to an internal location or to another rate: the headers `X-Accel-*`, and
//! the commands of SSI in a body. Where each location keeps which of them nginx heeds.
//!
//! nginx keeps that beside much else in its modules' own structures. The directive that sets it
//! (`proxy_ignore_headers`, `ssi`) says at which place, whatever the version of nginx.

use core::ptr::{self, NonNull};

use nginx_sys::{
    NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MODULE, NGX_HTTP_UPSTREAM_IGN_XA_BUFFERING,
    NGX_HTTP_UPSTREAM_IGN_XA_CHARSET, NGX_HTTP_UPSTREAM_IGN_XA_EXPIRES, NGX_HTTP_UPSTREAM_IGN_XA_LIMIT_RATE,
    NGX_HTTP_UPSTREAM_IGN_XA_REDIRECT, ngx_command_t, ngx_conf_set_bitmask_slot, ngx_conf_set_flag_slot,
    ngx_flag_t, ngx_module_t, ngx_uint_t,
};

use super::bytes;
use super::conf::Conf;
use super::observe;
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
        let owner = owner(directive.as_bytes(), conf)?;
        if !owner.sets(ngx_conf_set_bitmask_slot as *const ()) {
            return None;
        }
        // SAFETY: the command sets a bit mask.
        unsafe { owner.place(conf) }.map(Self)
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

/// Whether nginx obeys the commands of SSI in the bodies that one location sends.
pub struct Ssi(Lent<ngx_flag_t>);

/// A module keeps what its directive sets in no way that is known here.
pub struct Unknown;

impl Ssi {
    /// What `ssi` sets in the current location; for the merging of locations. `None` where nginx has no SSI.
    pub fn here(conf: &mut Conf<'_>) -> Result<Option<Self>, Unknown> {
        let Some(owner) = owner(b"ssi", conf) else {
            return Ok(None);
        };
        if !owner.sets(ngx_conf_set_flag_slot as *const ()) {
            return Err(Unknown);
        }
        // SAFETY: the command sets a flag.
        let place = unsafe { owner.place(conf) }.ok_or(Unknown)?;
        Ok(Some(Self(place)))
    }

    /// Has the location obey none. For a module's postconfiguration, as [`Ignored::add_all_that_steer`].
    pub fn turn_off(&self) {
        if let Some(place) = self.0.get() {
            // SAFETY: as in `here`; the configuration is there, or it led nowhere.
            unsafe { *place.as_ptr() = 0 };
        }
    }

    /// Whether it obeys them.
    pub fn is_on(&self) -> bool {
        // SAFETY: as above.
        self.0
            .get()
            .is_some_and(|place| unsafe { place.as_ptr().read() } == 1)
    }
}

/// A directive of a location, and its module.
struct Owner {
    module: *const ngx_module_t,
    command: *const ngx_command_t,
}

impl Owner {
    /// Whether the directive sets a value of its location by this function of nginx.
    fn sets(&self, by: *const ()) -> bool {
        // SAFETY: a row of a module's table, which is there as long as the module.
        let command = unsafe { &*self.command };
        let set = command.set.map(|set| set as *const ());
        command.conf == NGX_HTTP_LOC_CONF_OFFSET && set == Some(by)
    }

    /// Where the module keeps that of the current location.
    ///
    /// # Safety
    /// The directive must set a `T` of its location.
    unsafe fn place<T: 'static>(&self, conf: &mut Conf<'_>) -> Option<Lent<T>> {
        let pool = conf.pool()?;
        // SAFETY: the module's slot of the current location, in which its command sets a T at this offset. It
        // lies in the configuration's pool. nginx's modules write to it by the same thread, while nothing
        // here reads it.
        unsafe {
            let slot = NonNull::new(shim::rga_conf_loc_conf(conf.as_ptr(), self.module))?;
            Lent::to(pool, slot.byte_add((*self.command).offset).cast())
        }
    }
}

/// The module with that directive.
fn owner(directive: &[u8], conf: &mut Conf<'_>) -> Option<Owner> {
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
                if bytes::of((*command).name) == directive && !observe::is_observers(&*command) {
                    return Some(Owner {
                        module: ptr::from_ref(module),
                        command,
                    });
                }
                command = command.add(1);
            }
        }
    }
    None
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
