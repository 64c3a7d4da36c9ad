//! The body of a request that the module answers itself, read whole into memory.

use nginx_sys::{
    NGX_DONE, NGX_HTTP_SPECIAL_RESPONSE, ngx_http_core_run_phases, ngx_http_finalize_request,
    ngx_http_read_client_request_body, ngx_http_request_t, ngx_int_t,
};

use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::conf::Conf;
use super::guard::guard;
use super::request::Request;
use super::shim;

/// Reads the body, and runs the phases again from the current one when it is there, as ngx_http_mirror_module
/// does. The caller returns the result from its phase handler.
///
/// # Safety
/// `r` must be a request in a phase handler, of which no [`Request`] is in use any more: the phases may make
/// another one, and may free the request.
pub(crate) unsafe fn read(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: as the caller says. Reading adds to the request's count of users, so that it is there until the
    // count is taken back below, whatever the phases come to.
    unsafe {
        let read = ngx_http_read_client_request_body(r, Some(body_is_there));
        if read >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t {
            return read;
        }
        ngx_http_finalize_request(r, NGX_DONE as ngx_int_t);
    }
    NGX_DONE as ngx_int_t
}

impl Request {
    /// The body that was read; `None` where it was not, does not lie in memory, or is longer than `most`.
    /// What comes after the headers' buffer is full, or later, is in another buffer (nginx heeds no wish for
    /// a single one): they are put together.
    pub fn body(&self, most: usize) -> Option<Zeroizing<Vec<u8>>> {
        let mut pieces = SmallVec::<[&[u8]; 4]>::new();
        // SAFETY: null or the request's own structures. A buffer's bytes lie between its two ends, and live
        // as long as the request.
        unsafe {
            let mut next = self.as_ref_ptr().request_body.as_ref()?.bufs;
            while let Some(link) = next.as_ref() {
                let buffer = link.buf.as_ref()?;
                if buffer.in_file() != 0 {
                    return None;
                }
                // What ends a body in chunks is a buffer without bytes.
                if buffer.pos.is_null() {
                    next = link.next;
                    continue;
                }
                let length = usize::try_from(buffer.last.offset_from(buffer.pos)).ok()?;
                pieces.push(core::slice::from_raw_parts(buffer.pos, length));
                next = link.next;
            }
        }
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        if length > most {
            return None;
        }
        // No second allocation, which would leave a part of it behind.
        let mut body = Zeroizing::new(Vec::with_capacity(length));
        pieces.iter().for_each(|piece| body.extend_from_slice(piece));
        Some(body)
    }

    /// Whether the body was asked for.
    pub fn has_read_body(&self) -> bool {
        !self.as_ref_ptr().request_body.is_null()
    }

    /// The bytes that the client has announced; `None` where it has not.
    pub fn content_length(&self) -> Option<u64> {
        u64::try_from(self.as_ref_ptr().headers_in.content_length_n).ok()
    }
}

unsafe extern "C" fn body_is_there(r: *mut ngx_http_request_t) {
    // SAFETY: nginx's own pointer; as in ngx_http_mirror_body_handler(), the phases go on from where they
    // stand.
    guard((), || unsafe {
        (*r).write_event_handler = Some(ngx_http_core_run_phases);
        ngx_http_core_run_phases(r);
    });
}

/// Has nginx read no longer bodies than this in the location that is being merged, and keep them in memory:
/// nobody has been asked who they are by then.
pub fn limit(conf: &mut Conf<'_>, most: usize) {
    // SAFETY: the current location, whose core part nginx has merged before any other module's.
    unsafe { shim::rga_limit_request_body(conf.as_ptr(), most) };
}
