//! `ngx_str_t` and header entries as byte slices.

use core::ffi::CStr;

use nginx_sys::ngx_str_t;

/// The bytes of an nginx string.
///
/// # Safety
/// `s.data` must be valid for reads of `s.len` bytes for the lifetime that the caller gives the result.
pub unsafe fn of<'a>(s: ngx_str_t) -> &'a [u8] {
    if s.data.is_null() {
        return &[];
    }
    // SAFETY: the caller vouches for the memory; it is not null here, which is all that an empty one needs.
    unsafe { core::slice::from_raw_parts(s.data, s.len) }
}

/// A static string as nginx's.
pub const fn fixed(s: &'static str) -> ngx_str_t {
    ngx_str_t {
        len: s.len(),
        data: s.as_ptr().cast_mut(),
    }
}

/// A static string that ends with a NUL, as nginx's, where it compares by strcmp(); the NUL is not counted.
pub const fn terminated(s: &'static CStr) -> ngx_str_t {
    ngx_str_t {
        len: s.to_bytes().len(),
        data: s.as_ptr().cast_mut().cast(),
    }
}
