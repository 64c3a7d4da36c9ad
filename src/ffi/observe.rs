//! Directives of other modules, seen while nginx reads them: what else stands in a location of ours, and
//! where.
//!
//! nginx hands a directive to the first module that has a command of that name. A descriptor of ours that
//! comes before the modules in question has commands with the names of theirs: each one lets an [`Observer`]
//! see the directive and then does what nginx would have done, calls the owner's command. Nothing of the
//! other modules is changed, and what they make of it stands.

use core::ffi::{CStr, c_char, c_void};
use core::ptr;

use nginx_sys::{
    NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MODULE, ngx_command_t, ngx_conf_t, ngx_module_t, ngx_uint_t,
};

use super::bytes::{self, terminated};
use super::conf::{CONF_ERROR, Conf};
use super::guard::guard;
use super::{Slot, shim, slots};

/// Who sees directives of other modules.
pub trait Observer: 'static {
    /// What of a location takes notice of them.
    type Target: Slot<Kind = slots::Location>;
    /// The names of the directives.
    const NAMES: &'static [&'static CStr];
    /// The descriptor whose commands these are.
    fn descriptor() -> *mut ngx_module_t;
    /// Sees one: its name, and its arguments in `conf`.
    fn see(target: &mut Self::Target, name: &'static str, conf: &mut Conf<'_>);
}

/// A row without a name ends a table of commands.
pub const END: ngx_command_t = ngx_command_t {
    name: nginx_sys::ngx_str_t {
        len: 0,
        data: ptr::null_mut(),
    },
    type_: 0,
    set: None,
    conf: 0,
    offset: 0,
    post: ptr::null_mut(),
};

/// What tells the rows of observers from those of the owners: nginx itself never looks at it.
static MARK: u8 = 0;

fn mark() -> *mut c_void {
    (&raw const MARK).cast_mut().cast()
}

/// Whether a row is an observer's, and not that of the module which has the directive.
pub(super) fn is_observers(row: &ngx_command_t) -> bool {
    row.post == mark()
}

/// Fills the table with those directives that a module of this nginx has; for the descriptor's
/// preconfiguration. The last row always ends it.
pub fn fill<O: Observer>(conf: &mut Conf<'_>, rows: &mut [ngx_command_t]) {
    let mut free = rows.iter_mut();
    for name in O::NAMES {
        let Some((_, command)) = owner::<O>(conf, name.to_bytes(), 0) else {
            continue;
        };
        // SAFETY: a row of a module's table, as `owner` found it.
        let kind = unsafe { (*command).type_ };
        if let Some(row) = free.next() {
            *row = ngx_command_t {
                name: terminated(name),
                type_: kind,
                set: Some(set::<O>),
                conf: NGX_HTTP_LOC_CONF_OFFSET,
                offset: 0,
                post: mark(),
            };
        }
    }
    free.for_each(|row| *row = END);
}

/// The first HTTP module after the observer's that has a command of this name for one of these contexts (0:
/// for any), and the command.
fn owner<O: Observer>(
    conf: &mut Conf<'_>,
    name: &[u8],
    contexts: ngx_uint_t,
) -> Option<(*mut ngx_module_t, *mut ngx_command_t)> {
    let ours = O::descriptor();
    let mut is_after = false;
    // SAFETY: nginx sets the cycle and its modules, a list that ends with null, before it reads http{}. Each
    // module's commands are null or a table that a row without a name ends.
    unsafe {
        let mut next = (*(*conf.as_ptr()).cycle).modules;
        while let Some(module) = next.read().as_mut() {
            next = next.add(1);
            if ptr::eq(module, ours) {
                is_after = true;
                continue;
            }
            if !is_after || module.type_ != NGX_HTTP_MODULE as ngx_uint_t || module.commands.is_null() {
                continue;
            }
            let mut command = module.commands;
            while (*command).name.len > 0 {
                let fits = contexts == 0 || (*command).type_ & contexts != 0;
                if fits && bytes::of((*command).name) == name {
                    return Some((module, command));
                }
                command = command.add(1);
            }
        }
    }
    None
}

/// The `set` of a row.
unsafe extern "C" fn set<O: Observer>(
    cf: *mut ngx_conf_t,
    row: *mut ngx_command_t,
    _slot: *mut c_void,
) -> *mut c_char {
    guard(CONF_ERROR, || {
        let (module, command) = {
            // SAFETY: nginx's own pointers, valid during the call; the row is one that `fill` made, of one of
            // the names.
            let (Some(mut conf), name) = (unsafe { Conf::from_raw(cf) }, unsafe { bytes::of((*row).name) })
            else {
                return CONF_ERROR;
            };
            // SAFETY: as above.
            let contexts = unsafe { (*cf).cmd_type };
            let Some(found) = owner::<O>(&mut conf, name, contexts) else {
                conf.error(&format_args!("no module has the directive any more"));
                return CONF_ERROR;
            };
            let name = O::NAMES.iter().find(|known| known.to_bytes() == name);
            // SAFETY: the slot of the current location was filled by `conf::create`; nobody else refers to it
            // during the call.
            let target = unsafe {
                shim::rga_conf_loc_conf(cf, O::Target::descriptor())
                    .cast::<O::Target>()
                    .as_mut()
            };
            if let (Some(Ok(name)), Some(target)) = (name.map(|name| name.to_str()), target) {
                O::see(target, name, &mut conf);
            }
            found
        };
        // SAFETY: what nginx does with a directive: the owner's command, with the owner's slot of the context
        // that it names.
        unsafe {
            let slot = shim::rga_command_conf(cf, command, module);
            match (*command).set {
                Some(set) => set(cf, command, slot),
                None => CONF_ERROR,
            }
        }
    })
}
