//! The module as nginx loads it: descriptors, the exports table, phase handlers, and what a worker starts and
//! stops.
//!
//! Three descriptors, because one module has one place in nginx's order: the access handler belongs before
//! `ngx_http_access_module` in the list (handlers of a phase run from the last to the first, so that `allow`
//! and `deny` are asked before Redis is), the filters belong between `ngx_http_headers_filter_module` and
//! `ngx_http_copy_filter_module`, and what sees other modules' directives belongs before these modules. Where
//! a configuration uses nothing of ours, nothing is registered.

use core::ffi::{CStr, c_void};
use core::marker::PhantomData;

use nginx_sys::{
    NGX_AGAIN, NGX_DECLINED, NGX_ERROR, NGX_HTTP_FORBIDDEN, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_MODULE,
    NGX_OK, NGX_PROCESS_SINGLE, NGX_PROCESS_WORKER, ngx_array_push, ngx_conf_t, ngx_cycle_t,
    ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_handler_pt, ngx_http_module_t, ngx_http_phases,
    ngx_http_phases_NGX_HTTP_ACCESS_PHASE, ngx_http_phases_NGX_HTTP_LOG_PHASE,
    ngx_http_phases_NGX_HTTP_PREACCESS_PHASE, ngx_http_request_t, ngx_int_t, ngx_module_t, ngx_process,
    ngx_uint_t,
};

use crate::conf::{Location, Main, neighbours};
use crate::endpoints::token;
use crate::ffi::conf::{Conf, complete, create, merge, of_cycle};
use crate::ffi::event::NginxThread;
use crate::ffi::guard::guard;
use crate::ffi::observe::{self, Observer};
use crate::ffi::request::Request;
use crate::ffi::{Slot, body, filter, log, peer, shim, shm, slots, variable};
use crate::request::access::{self, PhaseResult};
use crate::request::by_digest;
use crate::request::context::Context;
use crate::request::{response, subrequest, usage};
use crate::upstream::{BackendNames, Upstream, UserBackends};
use crate::{directives, upstream, variables, worker};

macro_rules! kept_by_this_module {
    ($($slot:ty: $kind:ident),*) => {$(
        // SAFETY: `ACCESS_CONTEXT` registers the callbacks of ffi::conf for the three configurations; a
        // request's slot is written by ffi::request alone.
        unsafe impl Slot for $slot {
            type Kind = slots::$kind;

            fn descriptor() -> *mut ngx_module_t {
                &raw mut ngx_http_registry_auth_module
            }
        }
    )*};
}

kept_by_this_module!(Main: Http, Upstream: Server, Location: Location, Context: Request);

// SAFETY: a record in an identity, which all clones share and which is never changed once it is made; it has
// no interior mutability.
unsafe impl peer::Names for BackendNames {
    fn bytes(&self) -> &[u8] {
        self.record()
    }
}

static ACCESS_CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(preconfiguration),
    postconfiguration: Some(postconfiguration),
    create_main_conf: Some(create::<Main>),
    init_main_conf: Some(complete::<Main>),
    create_srv_conf: Some(create::<Upstream>),
    merge_srv_conf: None,
    create_loc_conf: Some(create::<Location>),
    merge_loc_conf: Some(merge::<Location>),
};

static FILTER_CONTEXT: ngx_http_module_t = ngx_http_module_t {
    postconfiguration: Some(filter_postconfiguration),
    ..NO_CONTEXT
};

static OBSERVER_CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(observer_preconfiguration),
    ..NO_CONTEXT
};

const NO_CONTEXT: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: None,
    postconfiguration: None,
    create_main_conf: None,
    init_main_conf: None,
    create_srv_conf: None,
    merge_srv_conf: None,
    create_loc_conf: None,
    merge_loc_conf: None,
};

/// The access handler, directives, variables and balancer.
#[unsafe(no_mangle)]
pub static mut ngx_http_registry_auth_module: ngx_module_t = ngx_module_t {
    ctx: (&raw const ACCESS_CONTEXT).cast_mut().cast::<c_void>(),
    commands: &raw mut directives::COMMANDS as *mut _,
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_module: Some(init_module),
    init_process: Some(init_process),
    exit_process: Some(exit_process),
    ..ngx_module_t::default()
};

/// The filters.
#[unsafe(no_mangle)]
pub static mut ngx_http_registry_auth_filter_module: ngx_module_t = ngx_module_t {
    ctx: (&raw const FILTER_CONTEXT).cast_mut().cast::<c_void>(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    ..ngx_module_t::default()
};

/// What sees the directives of other modules.
#[unsafe(no_mangle)]
pub static mut ngx_http_registry_auth_observer_module: ngx_module_t = ngx_module_t {
    ctx: (&raw const OBSERVER_CONTEXT).cast_mut().cast::<c_void>(),
    commands: &raw mut directives::OBSERVED as *mut _,
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    ..ngx_module_t::default()
};

/// The observer of what stands beside our directives.
struct Beside;

impl Observer for Beside {
    type Target = Location;
    const NAMES: &'static [&'static CStr] = neighbours::NAMES;

    fn descriptor() -> *mut ngx_module_t {
        &raw mut ngx_http_registry_auth_observer_module
    }

    fn see(location: &mut Location, name: &'static str, conf: &mut Conf<'_>) {
        location.neighbours.see(name, conf);
    }
}

/// The exports table; by hand, because `ngx::ngx_modules!` leaves the order empty.
#[cfg(feature = "export-modules")]
mod exports {
    use core::ffi::c_char;
    use core::ptr;

    use nginx_sys::ngx_module_t;

    use super::{
        ngx_http_registry_auth_filter_module, ngx_http_registry_auth_module,
        ngx_http_registry_auth_observer_module,
    };

    /// A table of names that nginx reads.
    #[repr(transparent)]
    struct Table<const N: usize>([*const c_char; N]);

    // SAFETY: the pointers are to constants.
    unsafe impl<const N: usize> Sync for Table<N> {}

    #[unsafe(no_mangle)]
    static mut ngx_modules: [*mut ngx_module_t; 4] = [
        &raw mut ngx_http_registry_auth_observer_module,
        &raw mut ngx_http_registry_auth_module,
        &raw mut ngx_http_registry_auth_filter_module,
        ptr::null_mut(),
    ];

    #[unsafe(no_mangle)]
    static ngx_module_names: Table<4> = Table([
        c"ngx_http_registry_auth_observer_module".as_ptr(),
        c"ngx_http_registry_auth_module".as_ptr(),
        c"ngx_http_registry_auth_filter_module".as_ptr(),
        ptr::null(),
    ]);

    /// Each of ours goes before the first module that follows it here.
    #[unsafe(no_mangle)]
    static ngx_module_order: Table<7> = Table([
        c"ngx_http_registry_auth_observer_module".as_ptr(),
        c"ngx_http_static_module".as_ptr(),
        c"ngx_http_registry_auth_module".as_ptr(),
        c"ngx_http_access_module".as_ptr(),
        c"ngx_http_registry_auth_filter_module".as_ptr(),
        c"ngx_http_copy_filter_module".as_ptr(),
        ptr::null(),
    ]);
}

unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx's own pointer, valid during the call.
        let Some(mut conf) = (unsafe { Conf::from_raw(cf) }) else {
            return NGX_ERROR as ngx_int_t;
        };
        match variable::register(&mut conf, PhantomData::<variables::RegistryAuth>) {
            Ok(()) => NGX_OK as ngx_int_t,
            Err(message) => {
                conf.error(&message);
                NGX_ERROR as ngx_int_t
            }
        }
    })
}

unsafe extern "C" fn observer_preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx's own pointer, valid during the call; the rows are read by nginx alone, on this
        // thread, after it.
        let (Some(mut conf), Some(rows)) = (unsafe { Conf::from_raw(cf) }, unsafe {
            (&raw mut directives::OBSERVED).as_mut()
        }) else {
            return NGX_ERROR as ngx_int_t;
        };
        observe::fill::<Beside>(&mut conf, rows);
        NGX_OK as ngx_int_t
    })
}

/// What the directives of http{} came to.
///
/// # Safety
/// For a module's postconfiguration, with what nginx handed to it; one at a time.
unsafe fn main_of<'c>(cf: *mut ngx_conf_t) -> Option<&'c mut Main> {
    // SAFETY: as the caller says; the slot was filled by `create` before any directive was read.
    unsafe {
        shim::rga_conf_main_conf(cf, Main::descriptor())
            .cast::<Main>()
            .as_mut()
    }
}

/// Whether this configuration has anything to do for the module.
///
/// # Safety
/// As of [`main_of`].
unsafe fn is_used(cf: *mut ngx_conf_t) -> bool {
    // SAFETY: as the caller says; the one reference is not used any more when the other one is made.
    unsafe {
        main_of(cf).is_some_and(|main| main.has_gate())
            || Conf::from_raw(cf)
                .is_some_and(|mut conf| peer::is_attached(&mut conf, PhantomData::<UserBackends>))
    }
}

/// Adds a handler to one of nginx's phases; whether there was room.
///
/// # Safety
/// As of [`main_of`].
unsafe fn add_handler(cf: *mut ngx_conf_t, phase: ngx_http_phases, handler: PhaseHandler) -> bool {
    // SAFETY: as the caller says; the phase's handlers are an array of that type.
    unsafe {
        let core = shim::rga_conf_main_conf(cf, &raw const ngx_http_core_module);
        let Some(core) = core.cast::<ngx_http_core_main_conf_t>().as_mut() else {
            return false;
        };
        let Some(phase) = core.phases.get_mut(phase as usize) else {
            return false;
        };
        let place = ngx_array_push(&mut phase.handlers).cast::<ngx_http_handler_pt>();
        if place.is_null() {
            return false;
        }
        place.write(Some(handler));
        true
    }
}

/// A handler of a phase.
type PhaseHandler = unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

unsafe extern "C" fn postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx's own pointer, valid during the call, and used by nothing else before the warnings
        // are printed.
        if !unsafe { is_used(cf) } {
            return NGX_OK as ngx_int_t;
        }
        // SAFETY: nginx's own pointer, as it was given to a postconfiguration.
        let is_added = unsafe {
            let counts = main_of(cf).is_some_and(|main| main.has_sources());
            let has_subrequests = main_of(cf).is_some_and(|main| main.has_subrequests());
            let has_usage = main_of(cf).is_some_and(|main| main.usage().is_some());
            add_handler(cf, ngx_http_phases_NGX_HTTP_ACCESS_PHASE, access_handler)
                && (!has_subrequests
                    || add_handler(cf, ngx_http_phases_NGX_HTTP_PREACCESS_PHASE, subrequest_handler))
                && (!counts || add_handler(cf, ngx_http_phases_NGX_HTTP_LOG_PHASE, log_handler))
                && (!has_usage || add_handler(cf, ngx_http_phases_NGX_HTTP_LOG_PHASE, usage_handler))
        };
        if !is_added {
            return NGX_ERROR as ngx_int_t;
        }
        // SAFETY: nginx's own pointer, valid during the call; what http{} holds is elsewhere.
        let (Some(main), Some(mut conf)) = (unsafe { main_of(cf) }, unsafe { Conf::from_raw(cf) }) else {
            return NGX_ERROR as ngx_int_t;
        };
        if let Err(upstream) = peer::check(&mut conf, PhantomData::<UserBackends>) {
            conf.error(&format_args!(
                "another load balancing method replaces \"registry_auth_backends\" in upstream \"{upstream}\""
            ));
            return NGX_ERROR as ngx_int_t;
        }
        if main.has_token_endpoint() {
            body::install(PhantomData::<token::Forms>);
        }
        main.check(&mut conf);
        NGX_OK as ngx_int_t
    })
}

unsafe extern "C" fn filter_postconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx's own pointer, valid during the call.
        if unsafe { is_used(cf) } {
            filter::install(PhantomData::<response::Answers>);
        }
        NGX_OK as ngx_int_t
    })
}

unsafe extern "C" fn access_handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t, || {
        // SAFETY: nginx's own pointer, valid during the call.
        let Some(request) = (unsafe { Request::from_raw(r) }) else {
            return NGX_ERROR as ngx_int_t;
        };
        match access::handle(request) {
            PhaseResult::Stripped => match access::without_query(request) {
                PhaseResult::Granted => NGX_OK as ngx_int_t,
                PhaseResult::Refused(status) => status as ngx_int_t,
                _ => NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t,
            },
            PhaseResult::Off => NGX_DECLINED as ngx_int_t,
            PhaseResult::Granted => NGX_OK as ngx_int_t,
            PhaseResult::Waiting => NGX_AGAIN as ngx_int_t,
            // SAFETY: nginx's own pointer, in a phase handler; `request` is not used after this.
            PhaseResult::ReadBody => unsafe { body::read(r) },
            PhaseResult::Refused(status) => status as ngx_int_t,
        }
    })
}

/// Refuses subrequests that would pass a gate. There only where something sends any.
unsafe extern "C" fn subrequest_handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t, || {
        // SAFETY: nginx's own pointer, valid during the call.
        match unsafe { Request::from_raw(r) }.is_some_and(subrequest::may_enter) {
            true => NGX_DECLINED as ngx_int_t,
            false => NGX_HTTP_FORBIDDEN as ngx_int_t,
        }
    })
}

/// Counts where answers came from. There only where they may come from elsewhere than a registry.
unsafe extern "C" fn log_handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard((), || {
        // SAFETY: nginx's own pointer, valid during the call.
        if let Some(request) = unsafe { Request::from_raw(r) } {
            by_digest::count_source(request);
        }
    });
    NGX_OK as ngx_int_t
}

/// Counts requests by user and by repository. There only with `registry_auth_usage`.
unsafe extern "C" fn usage_handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard((), || {
        // SAFETY: nginx's own pointer, valid during the call.
        if let Some(request) = unsafe { Request::from_raw(r) } {
            usage::count(request);
        }
    });
    NGX_OK as ngx_int_t
}

/// Whether this process answers requests.
fn is_worker() -> bool {
    // SAFETY: set before any process hook runs, and not after.
    let process = unsafe { ngx_process };
    process == NGX_PROCESS_WORKER as ngx_uint_t || process == NGX_PROCESS_SINGLE as ngx_uint_t
}

/// nginx is about to give up what earlier configurations have.
unsafe extern "C" fn init_module(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        shm::give_up_all_but(cycle);
        NGX_OK as ngx_int_t
    })
}

unsafe extern "C" fn init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx's own pointer; the configuration outlives the worker.
        let main = unsafe { of_cycle::<Main>(cycle) };
        let (Some(main), true) = (main, is_worker()) else {
            return NGX_OK as ngx_int_t;
        };
        // SAFETY: nginx calls this, in the process that answers requests.
        let thread = unsafe { NginxThread::new() };
        upstream::watch(main.has_variable_target());
        if let Err(error) = worker::start(thread, main) {
            // Not an error of the worker's: nginx would start it again for ever. Its requests are refused
            // with 503.
            log::write(
                thread,
                log::Level::Error,
                format_args!(
                    "registry_auth: the thread that asks Redis cannot be started, and all requests get 503: \
                     {error}"
                ),
            );
        }
        NGX_OK as ngx_int_t
    })
}

unsafe extern "C" fn exit_process(_cycle: *mut ngx_cycle_t) {
    guard((), worker::stop);
}
