//! The configuration: arguments of a directive, errors that nginx prints with file and line, complex values,
//! and the callbacks that keep Rust values in nginx's configuration slots.

use core::ffi::{c_char, c_void};
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use std::path::PathBuf;

use nginx_sys::{
    NGX_LOG_EMERG, NGX_LOG_WARN, NGX_OK, ngx_command_t, ngx_conf_full_name, ngx_conf_log_error, ngx_conf_t,
    ngx_cycle_t, ngx_http_compile_complex_value, ngx_http_compile_complex_value_t, ngx_http_complex_value,
    ngx_http_complex_value_t, ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_core_srv_conf_t,
    ngx_http_err_page_t, ngx_http_server_name_t, ngx_int_t, ngx_parse_time, ngx_str_t, ngx_uint_t,
};

use super::pool::{Lent, Pool};
use super::request::Request;
use super::{Slot, bytes, guard::guard, shim, slots};

/// `NGX_CONF_ERROR` of ngx_conf_file.h.
pub(super) const CONF_ERROR: *mut c_char = usize::MAX as *mut c_char;

/// The configuration being read.
pub struct Conf<'c>(&'c mut ngx_conf_t);

/// Where a directive stands: its file and line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilePosition {
    name: Box<[u8]>,
    line: ngx_uint_t,
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", String::from_utf8_lossy(&self.name), self.line)
    }
}

/// How a location is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LocationKind {
    Exact,
    Prefix,
    Regex,
    Named,
    /// An `if` block within one.
    If,
    /// A limit_except block within one.
    LimitExcept,
    /// What holds where no location is chosen.
    Server,
}

/// What nginx's core knows of a location.
pub struct CoreLocation {
    /// How it is chosen.
    pub kind: LocationKind,
    /// By which name, path or expression.
    pub name: Box<[u8]>,
    /// Whether no client reaches it by itself.
    pub is_internal: bool,
    /// Whether another module answers in it.
    pub is_taken: bool,
    /// Where `error_page` leads from here: for which status, and the path or the name as it is written.
    pub error_pages: Box<[(u32, Box<[u8]>)]>,
    /// Which server it is of; no two have the same number.
    pub server: usize,
    /// The names of that server.
    pub server_names: Box<[Box<[u8]>]>,
}

impl CoreLocation {
    /// Whether it is a block within a location, for some of its requests.
    pub fn is_block(&self) -> bool {
        matches!(self.kind, LocationKind::If | LocationKind::LimitExcept)
    }
}

impl<'c> Conf<'c> {
    /// # Safety
    /// `raw` must be the configuration that nginx handed to a callback which has not returned yet.
    pub(crate) unsafe fn from_raw(raw: *mut ngx_conf_t) -> Option<Conf<'c>> {
        // SAFETY: nginx hands out one valid, unshared pointer.
        unsafe { raw.as_mut() }.map(Conf)
    }

    /// The configuration itself, for nginx's own functions.
    pub(super) fn as_ptr(&mut self) -> *mut ngx_conf_t {
        self.0
    }

    /// The pool that lives as long as this configuration.
    pub fn pool(&self) -> Option<Pool<'c>> {
        // SAFETY: nginx sets the pool before it calls any module.
        unsafe { Pool::from_raw(self.0.pool) }
    }

    /// The directive's arguments, without its name.
    pub fn args(&self) -> &'c [ngx_str_t] {
        if self.0.args.is_null() {
            return &[];
        }
        // SAFETY: `args` is an array of ngx_str_t which nginx has filled for the current directive.
        unsafe { (*self.0.args).as_slice::<ngx_str_t>() }
            .get(1..)
            .unwrap_or_default()
    }

    /// The first argument, or nothing.
    pub fn arg(&self) -> &'c [u8] {
        self.texts().next().unwrap_or_default()
    }

    /// The arguments as bytes.
    pub fn texts(&self) -> impl Iterator<Item = &'c [u8]> + use<'c> {
        // SAFETY: the arguments live in the configuration's pool.
        self.args().iter().map(|arg| unsafe { bytes::of(*arg) })
    }

    /// Prints an error with the current file and line; the caller then returns an error.
    pub fn error(&mut self, message: &dyn fmt::Display) {
        self.print(NGX_LOG_EMERG as usize, message);
    }

    /// Prints a warning with the current file and line.
    pub fn warn(&mut self, message: &dyn fmt::Display) {
        self.print(NGX_LOG_WARN as usize, message);
    }

    fn print(&mut self, level: usize, message: &dyn fmt::Display) {
        let line = message.to_string();
        // SAFETY: the format takes a length and as many bytes.
        unsafe {
            ngx_conf_log_error(
                level,
                self.0,
                0,
                c"%*s".as_ptr().cast::<c_char>(),
                line.len(),
                line.as_ptr(),
            );
        }
    }

    /// Where the current directive stands.
    pub fn position(&self) -> FilePosition {
        // SAFETY: null, or the file that nginx reads; its name lives as long as the configuration.
        let file = unsafe { self.0.conf_file.as_ref() };
        FilePosition {
            // SAFETY: as above.
            name: file.map_or_else(Box::default, |file| unsafe { bytes::of(file.file.name) }.into()),
            line: file.map_or(0, |file| file.line),
        }
    }

    /// Prints what follows, the error that ends it, with the file and line of an earlier directive. To be
    /// called after all of them were read.
    pub fn go_to(&mut self, position: &FilePosition) {
        let mut name = position.name.to_vec();
        // nginx prints the name up to its NUL.
        name.push(0);
        let Some(name) = self.pool().and_then(|pool| pool.string(&name)) else {
            return;
        };
        // SAFETY: null, or the file whose http{} nginx has read to its end: what it goes on with is the
        // buffer, not name and line.
        if let Some(file) = unsafe { self.0.conf_file.as_mut() } {
            file.file.name = ngx_str_t {
                len: name.len - 1,
                data: name.data,
            };
            file.line = position.line;
        }
    }

    /// Prints a warning with the file and line of an earlier directive.
    pub fn warn_at(&mut self, position: &FilePosition, message: &dyn fmt::Display) {
        // SAFETY: null, or the file that nginx reads.
        let before = unsafe { self.0.conf_file.as_ref() }.map(|file| (file.file.name, file.line));
        self.go_to(position);
        self.warn(message);
        // SAFETY: as above.
        if let (Some(file), Some((name, line))) = (unsafe { self.0.conf_file.as_mut() }, before) {
            file.file.name = name;
            file.line = line;
        }
    }

    /// What nginx's core knows of the current location.
    pub fn location(&mut self) -> Option<CoreLocation> {
        // SAFETY: the core's slots of the current location and server, which it fills for each.
        unsafe {
            let location = self.core_location()?;
            let kind = match () {
                () if location.lmt_excpt() != 0 => LocationKind::LimitExcept,
                () if location.noname() != 0 => LocationKind::If,
                () if location.named() != 0 => LocationKind::Named,
                () if shim::rga_is_regex(location) != 0 => LocationKind::Regex,
                () if location.exact_match() != 0 => LocationKind::Exact,
                () if location.name.len == 0 => LocationKind::Server,
                () => LocationKind::Prefix,
            };
            let name = bytes::of(location.name).into();
            let (is_internal, is_taken) = (location.internal == 1, location.handler.is_some());
            let pages = location.error_pages.as_ref();
            let pages = pages.map_or(&[][..], |pages| pages.as_slice::<ngx_http_err_page_t>());
            let error_pages = pages
                .iter()
                .map(|page| (page.status as u32, bytes::of(page.value.value).into()))
                .collect();
            let server = shim::rga_conf_srv_conf(self.0, &raw const ngx_http_core_module)
                .cast::<ngx_http_core_srv_conf_t>()
                .as_ref()?;
            let names = server.server_names.as_slice::<ngx_http_server_name_t>();
            Some(CoreLocation {
                kind,
                name,
                is_internal,
                is_taken,
                error_pages,
                server: ptr::from_ref(server).addr(),
                server_names: names.iter().map(|name| bytes::of(name.name).into()).collect(),
            })
        }
    }

    /// # Safety
    /// Within a callback about a location.
    pub(super) unsafe fn core_location(&mut self) -> Option<&mut ngx_http_core_loc_conf_t> {
        // SAFETY: as the caller says; the core fills the slot for each location, and no other reference to it
        // is in use.
        unsafe {
            shim::rga_conf_loc_conf(self.0, &raw const ngx_http_core_module)
                .cast::<ngx_http_core_loc_conf_t>()
                .as_mut()
        }
    }

    /// `path` as nginx resolves it: relative to the configuration's folder.
    pub fn path(&mut self, path: &[u8]) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStrExt;
        // ngx_conf_full_name() wants a string with a NUL behind it.
        let mut terminated = path.to_vec();
        terminated.push(0);
        let copy = self.pool()?.copy(&terminated)?;
        let mut name = ngx_str_t {
            len: path.len(),
            data: copy.as_mut_ptr(),
        };
        // SAFETY: the cycle is set while a configuration is read; the string is ours and terminated.
        unsafe {
            if ngx_conf_full_name(self.0.cycle, &mut name, 1) != NGX_OK as ngx_int_t {
                return None;
            }
            Some(PathBuf::from(std::ffi::OsStr::from_bytes(bytes::of(name))))
        }
    }

    /// A time as nginx writes it (`500ms`, `2s`, `1m`), in milliseconds.
    pub fn milliseconds(text: &[u8]) -> Option<u64> {
        let mut line = ngx_str_t {
            len: text.len(),
            data: text.as_ptr().cast_mut(),
        };
        // SAFETY: the line is valid and only read.
        let time = unsafe { ngx_parse_time(&mut line, 0) };
        u64::try_from(time).ok()
    }

    /// Compiles the first argument as a string with variables.
    pub fn complex_value(&mut self) -> Option<ComplexValue> {
        self.complex_value_at(0)
    }

    /// Compiles that argument as a string with variables.
    pub fn complex_value_at(&mut self, at: usize) -> Option<ComplexValue> {
        let source = *self.args().get(at)?;
        self.compile_string(source)
    }

    /// Compiles a copy of `text` as a string with variables.
    pub fn compile(&mut self, text: &[u8]) -> Option<ComplexValue> {
        let source = self.pool()?.string(text)?;
        self.compile_string(source)
    }

    fn compile_string(&mut self, mut source: ngx_str_t) -> Option<ComplexValue> {
        let mut value = MaybeUninit::<ngx_http_complex_value_t>::zeroed();
        // SAFETY: all-zero is a valid ngx_http_compile_complex_value_t, as nginx's own ngx_memzero() of it.
        let mut ccv = unsafe { MaybeUninit::<ngx_http_compile_complex_value_t>::zeroed().assume_init() };
        ccv.cf = self.0;
        ccv.value = &mut source;
        ccv.complex_value = value.as_mut_ptr();
        // SAFETY: the three pointers are valid for the call; what it keeps lies in the configuration's pool.
        unsafe {
            if ngx_http_compile_complex_value(&mut ccv) != NGX_OK as ngx_int_t {
                return None;
            }
            let pool = self.pool()?;
            Lent::to(pool, pool.place(value.assume_init())?).map(ComplexValue)
        }
    }
}

/// A compiled string with variables. It has no value once the configuration is gone that it was read from.
#[derive(Clone)]
pub struct ComplexValue(Lent<ngx_http_complex_value_t>);

impl ComplexValue {
    /// The value for one request; `None` when memory is out, or the configuration gone.
    pub fn evaluate<'r>(&self, request: &'r mut Request) -> Option<&'r [u8]> {
        let mut text = ngx_str_t {
            len: 0,
            data: ptr::null_mut(),
        };
        let value = self.0.get()?.as_ptr();
        // SAFETY: request, value and result are valid; the result lies in the request's pool or in the
        // configuration's.
        unsafe {
            if ngx_http_complex_value(request.as_ptr(), value, &mut text) != NGX_OK as ngx_int_t {
                return None;
            }
            Some(bytes::of(text))
        }
    }
}

/// One directive: what reads its arguments into a slot.
pub trait Directive {
    /// What nginx's slot holds.
    type Target;

    /// Reads the arguments; an error is printed with the directive's file and line.
    fn set(conf: &mut Conf<'_>, target: &mut Self::Target) -> Result<(), String>;
}

/// `ngx_command_t.set` of a directive whose slot is `D::Target`.
///
/// # Safety
/// For nginx alone, in a command whose `conf` selects a slot that holds a `D::Target`.
pub unsafe extern "C" fn set<D: Directive>(
    cf: *mut ngx_conf_t,
    _cmd: *mut ngx_command_t,
    slot: *mut c_void,
) -> *mut c_char {
    guard(CONF_ERROR, || {
        // SAFETY: nginx's own pointers, valid during the call; the command names the slot's type.
        let (Some(mut conf), Some(target)) = (unsafe { Conf::from_raw(cf) }, unsafe {
            slot.cast::<D::Target>().as_mut()
        }) else {
            return CONF_ERROR;
        };
        match D::set(&mut conf, target) {
            Ok(()) => ptr::null_mut(),
            Err(message) => {
                conf.error(&message);
                CONF_ERROR
            }
        }
    })
}

/// `create_main_conf`, `create_srv_conf`, `create_loc_conf`: a default value that the configuration's pool
/// drops.
///
/// # Safety
/// For nginx alone.
pub unsafe extern "C" fn create<T: Default + 'static>(cf: *mut ngx_conf_t) -> *mut c_void {
    guard(ptr::null_mut(), || {
        // SAFETY: nginx's own pointer, valid during the call.
        let made = unsafe { Conf::from_raw(cf) }.and_then(|conf| conf.pool()?.own(T::default()));
        made.map_or(ptr::null_mut(), |slot: NonNull<T>| slot.as_ptr().cast())
    })
}

/// What is completed once http{} has been read.
pub trait Complete {
    /// Fills in defaults, and refuses what does not fit together.
    fn complete(&mut self) -> Result<(), String>;
}

/// `init_main_conf`.
///
/// # Safety
/// For nginx alone, with a slot made by `create::<T>`.
pub unsafe extern "C" fn complete<T: Complete + 'static>(
    cf: *mut ngx_conf_t,
    slot: *mut c_void,
) -> *mut c_char {
    guard(CONF_ERROR, || {
        // SAFETY: nginx's own pointers, valid during the call.
        let (conf, slot) = unsafe { (Conf::from_raw(cf), slot.cast::<T>().as_mut()) };
        let (Some(mut conf), Some(slot)) = (conf, slot) else {
            return CONF_ERROR;
        };
        match slot.complete() {
            Ok(()) => ptr::null_mut(),
            Err(message) => {
                conf.error(&message);
                CONF_ERROR
            }
        }
    })
}

/// What a location inherits.
pub trait Merge: Slot<Kind = slots::Location> {
    /// What the module keeps once for http{}.
    type Main: Slot<Kind = slots::Http>;

    /// Takes from `outer` what is not set here, and resolves what handlers will see.
    fn merge(&mut self, outer: &Self, main: &mut Self::Main, conf: &mut Conf<'_>) -> Result<(), String>;
}

/// `merge_loc_conf`.
///
/// # Safety
/// For nginx alone, with slots made by `create::<T>`.
pub unsafe extern "C" fn merge<T: Merge>(
    cf: *mut ngx_conf_t,
    outer: *mut c_void,
    inner: *mut c_void,
) -> *mut c_char {
    guard(CONF_ERROR, || {
        // SAFETY: nginx's own pointers, valid during the call; outer, inner and main are three different
        // slots, to which no reference is in use: `create` filled them before any directive was read.
        let (conf, outer, inner, main) = unsafe {
            let main = shim::rga_conf_main_conf(cf, T::Main::descriptor());
            (
                Conf::from_raw(cf),
                outer.cast::<T>().as_ref(),
                inner.cast::<T>().as_mut(),
                main.cast::<T::Main>().as_mut(),
            )
        };
        let (Some(mut conf), Some(outer), Some(inner), Some(main)) = (conf, outer, inner, main) else {
            return CONF_ERROR;
        };
        match inner.merge(outer, main, &mut conf) {
            Ok(()) => ptr::null_mut(),
            Err(message) => {
                conf.error(&message);
                CONF_ERROR
            }
        }
    })
}

/// What the module keeps for http{} of a running cycle; `None` where the configuration has no http{}.
///
/// # Safety
/// `cycle` must be the cycle that nginx handed to a process hook; the result must not outlive it.
pub unsafe fn of_cycle<'c, T: Slot<Kind = slots::Http>>(cycle: *mut ngx_cycle_t) -> Option<&'c T> {
    // SAFETY: as the caller says; the slot was filled by `create::<T>`.
    unsafe {
        shim::rga_cycle_main_conf(cycle, T::descriptor())
            .cast::<T>()
            .as_ref()
    }
}
