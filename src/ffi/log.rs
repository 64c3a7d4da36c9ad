//! nginx's error log. Lines are formatted only where the log's level wants them.

use core::ffi::c_char;
use core::fmt;

use super::event::NginxThread;
use nginx_sys::{ngx_log_error_core, ngx_log_t, ngx_uint_t};
pub use registry_auth_redis::log::Level;

/// The level's number (ngx_log.h).
fn number(level: Level) -> ngx_uint_t {
    let number = match level {
        Level::Error => nginx_sys::NGX_LOG_ERR,
        Level::Warn => nginx_sys::NGX_LOG_WARN,
        Level::Notice => nginx_sys::NGX_LOG_NOTICE,
        Level::Info => nginx_sys::NGX_LOG_INFO,
    };
    number as ngx_uint_t
}

/// Writes one line to the worker's own log, outside of any request.
pub fn write(_: NginxThread, level: Level, message: fmt::Arguments<'_>) {
    // SAFETY: ngx_cycle and its log are set before any worker runs and never freed while one does.
    unsafe {
        let cycle = nginx_sys::ngx_cycle;
        if !cycle.is_null() {
            write_to((*cycle).log, number(level), message);
        }
    }
}

/// Writes one line to `log` if its level wants it.
///
/// # Safety
/// `log` must be null or a valid log.
pub(super) unsafe fn write_to(log: *mut ngx_log_t, level: ngx_uint_t, message: fmt::Arguments<'_>) {
    // SAFETY: the caller vouches for the log.
    unsafe {
        if log.is_null() || (*log).log_level < level {
            return;
        }
        let line = message.to_string();
        ngx_log_error_core(
            level,
            log,
            0,
            c"%*s".as_ptr().cast::<c_char>(),
            line.len(),
            line.as_ptr(),
        );
    }
}

/// Whether `log` wants lines of this level.
///
/// # Safety
/// As of [`write_to`].
pub(super) unsafe fn takes(log: *const ngx_log_t, level: Level) -> bool {
    // SAFETY: the caller vouches for the log.
    unsafe { log.as_ref() }.is_some_and(|log| log.log_level >= number(level))
}

/// A [`Level`] on a request's log; see [`super::request::Request::log`].
pub(super) unsafe fn write_at(log: *mut ngx_log_t, level: Level, message: fmt::Arguments<'_>) {
    // SAFETY: the caller vouches for the log.
    unsafe { write_to(log, number(level), message) }
}
