//! The fields of a request that are a few bits wide.
//!
//! bindgen counts their places from the first of them on, C from the 32-bit word in which that stands. Both
//! come to the same where the first begins a word. In nginx 1.30 it does not: a port stands before it. There
//! nginx-sys's own functions read and write other bits, and C is asked in their place. Where they agree, this
//! costs nothing.

use core::ffi::c_uint;
use core::mem::offset_of;

use nginx_sys::{
    ngx_buf_s, ngx_connection_s, ngx_event_pipe_s, ngx_event_s, ngx_http_core_loc_conf_s,
    ngx_http_headers_in_t, ngx_http_request_t, ngx_http_upstream_s, ngx_peer_connection_s,
    ngx_variable_value_t,
};

use super::shim;

macro_rules! begins_a_word {
    ($type:ty) => {
        offset_of!($type, _bitfield_1) % size_of::<c_uint>() == 0
    };
}

/// Whether nginx-sys and C find the same bits.
const AGREE: bool = begins_a_word!(ngx_http_request_t);

// Those of the other structures are read by nginx-sys's functions everywhere.
const _: () = assert!(
    begins_a_word!(ngx_buf_s)
        && begins_a_word!(ngx_connection_s)
        && begins_a_word!(ngx_event_pipe_s)
        && begins_a_word!(ngx_event_s)
        && begins_a_word!(ngx_http_core_loc_conf_s)
        && begins_a_word!(ngx_http_headers_in_t)
        && begins_a_word!(ngx_http_upstream_s)
        && begins_a_word!(ngx_peer_connection_s)
        && begins_a_word!(ngx_variable_value_t)
);

macro_rules! read {
    ($($doc:literal $name:ident $shim:ident;)*) => {$(
        #[doc = $doc]
        #[inline]
        #[allow(clippy::disallowed_methods)]
        pub fn $name(request: &ngx_http_request_t) -> u32 {
            if AGREE {
                request.$name()
            } else {
                // SAFETY: it reads a field of a request that is borrowed.
                unsafe { shim::$shim(request) }
            }
        }
    )*};
}

macro_rules! write {
    ($($doc:literal $name:ident $shim:ident;)*) => {$(
        #[doc = $doc]
        #[inline]
        #[allow(clippy::disallowed_methods)]
        pub fn $name(request: &mut ngx_http_request_t, value: bool) {
            if AGREE {
                request.$name(value.into());
            } else {
                // SAFETY: it writes to a field of a request that nobody else refers to.
                unsafe { shim::$shim(request, value.into()) }
            }
        }
    )*};
}

read! {
    "Whether a subrequest is one that nobody waits for." background rga_background;
    "Whether the answer comes from a cache." cached rga_cached;
    "Whether a subrequest has been answered." done rga_done;
    "Whether a filter has begun another answer." filter_finalize rga_filter_finalize;
    "Whether no body is to be sent." header_only rga_header_only;
    "Whether nginx itself has led the request here." internal rga_internal;
    "Whether the path has bytes that are escaped." quoted_uri rga_quoted_uri;
    "Whether the body is still being read." reading_body rga_reading_body;
    "How often the request may still move to another location." uri_changes rga_uri_changes;
    "Whether the path is still that of the target." valid_unparsed_uri rga_valid_unparsed_uri;
}

write! {
    "Whether ranges of the answer may be sent." set_allow_ranges rga_set_allow_ranges;
    "Whether conditions count for nothing." set_disable_not_modified rga_set_disable_not_modified;
    "Whether no other page answers an error." set_error_page rga_set_error_page;
    "Whether a filter reads the body." set_filter_need_in_memory rga_set_filter_need_in_memory;
    "Whether no body is to be sent." set_header_only rga_set_header_only;
    "Whether the connection goes on after the answer." set_keepalive rga_set_keepalive;
}
