//! The body of a request that the module answers itself, read whole into memory, and taken from nginx: each
//! piece as it comes, as nginx may give the request up before the last one.

use core::cell::Cell;
use core::marker::PhantomData;
use core::{mem, ptr};

use nginx_sys::{
    NGX_DONE, NGX_ERROR, NGX_HTTP_SPECIAL_RESPONSE, ngx_buf_t, ngx_chain_t, ngx_http_core_run_phases,
    ngx_http_finalize_request, ngx_http_read_client_request_body, ngx_http_request_body_filter_pt,
    ngx_http_request_t, ngx_http_top_request_body_filter, ngx_int_t, ngx_str_t,
};

use smallvec::SmallVec;
use zeroize::{Zeroize, Zeroizing};

use super::conf::Conf;
use super::guard::guard;
use super::request::Request;
use super::shim;

/// The length of a body that was taken, as a header has it.
const NOTHING: &[u8] = b"0";

/// A body, as far as it has come.
pub struct Taken {
    /// With room for the longest, as a larger one would leave copies of it behind.
    bytes: Zeroizing<Vec<u8>>,
    most: usize,
    is_too_long: bool,
}

impl Taken {
    /// Nothing of a body of `most` bytes at most.
    pub fn new(most: usize) -> Self {
        Self {
            bytes: Zeroizing::new(Vec::with_capacity(most)),
            most,
            is_too_long: false,
        }
    }

    fn push(&mut self, piece: &[u8]) {
        self.is_too_long |= piece.len() > self.most - self.bytes.len();
        if !self.is_too_long {
            self.bytes.extend_from_slice(piece);
        }
    }

    /// All of it; `None` where it is too long.
    pub fn whole(self) -> Option<Zeroizing<Vec<u8>>> {
        (!self.is_too_long).then_some(self.bytes)
    }
}

/// Who takes the bodies of some requests.
pub trait Taker: 'static {
    /// Lends what has come of the body of this request to `f`; `None` where nothing is to be taken.
    fn taken<T>(request: &mut Request, f: impl FnOnce(&mut Taken) -> T) -> Option<T>;
}

/// The filters of bodies that nginx has so far.
struct Next(Cell<ngx_http_request_body_filter_pt>);

// SAFETY: nginx reads its configuration, and bodies, on one thread.
unsafe impl Sync for Next {}

static NEXT: Next = Next(Cell::new(None));

/// Has `K` see each piece of a body before nginx keeps it; for a module's postconfiguration.
pub fn install<K: Taker>(_taker: PhantomData<K>) {
    // SAFETY: nginx's chain head, written by one module after another on one thread.
    unsafe {
        NEXT.0.set(ngx_http_top_request_body_filter);
        ngx_http_top_request_body_filter = Some(piece_is_there::<K>);
    }
}

/// A filter of bodies: of one that is taken, nginx keeps as many bytes that say nothing. With fewer it would
/// announce more than it sends on, where it does.
unsafe extern "C" fn piece_is_there<K: Taker>(
    r: *mut ngx_http_request_t,
    chain: *mut ngx_chain_t,
) -> ngx_int_t {
    guard((), || {
        // SAFETY: nginx's own pointer, valid during the call; it reads bodies while no other `Request` is in
        // use.
        if let Some(request) = unsafe { Request::from_raw(r) } {
            // SAFETY: nginx's own chain of buffers, to which nobody else refers during the call.
            K::taken(request, |taken| unsafe { take_from(chain, taken) });
        }
    });
    match NEXT.0.get() {
        // SAFETY: the next filter, with what nginx gave us.
        Some(next) => unsafe { next(r, chain) },
        None => NGX_ERROR as ngx_int_t,
    }
}

/// Takes what is in the buffers of a chain.
///
/// # Safety
/// The chain must be null or one of nginx's, to which nobody else refers meanwhile.
unsafe fn take_from(chain: *mut ngx_chain_t, taken: &mut Taken) {
    // SAFETY: as the caller says.
    unsafe {
        let mut next = chain;
        while let Some(link) = next.as_mut() {
            if let Some(buffer) = link.buf.as_mut() {
                overwrite(buffer, |piece| taken.push(piece));
            }
            next = link.next;
        }
    }
}

/// Lends what is in a buffer to `f`, and overwrites it.
///
/// # Safety
/// The buffer must be one of nginx's, to which nobody else refers meanwhile.
unsafe fn overwrite(buffer: &mut ngx_buf_t, f: impl FnOnce(&[u8])) {
    let length = buffer.last.addr().checked_sub(buffer.pos.addr());
    if buffer.temporary() != 0
        && let Some(length) = length.filter(|length| *length > 0)
    {
        // SAFETY: a buffer that is marked as temporary is nginx's copy of what has come, which may be read
        // and written to between its ends.
        let piece = unsafe { core::slice::from_raw_parts_mut(buffer.pos, length) };
        f(piece);
        piece.zeroize();
    }
}

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
            if let Some(request) = Request::from_raw(r) {
                request.forget_body();
            }
            return read;
        }
        ngx_http_finalize_request(r, NGX_DONE as ngx_int_t);
    }
    NGX_DONE as ngx_int_t
}

impl Request {
    /// Takes the body that was read; `None` where it does not lie in memory, or is longer than `most`. What
    /// comes after the headers' buffer is full, or later, is in another buffer (nginx heeds no wish for a
    /// single one): they are put together.
    ///
    /// The request then has an empty one, and its bytes are overwritten: nothing that nginx does with the
    /// request afterwards (mirror, post_action, error_page, `$request_body`) sends them on or writes them
    /// down.
    pub fn take_body(&mut self, most: usize) -> Option<Zeroizing<Vec<u8>>> {
        let body = self.body(most);
        self.forget_body();
        body
    }

    fn body(&self, most: usize) -> Option<Zeroizing<Vec<u8>>> {
        let mut pieces = SmallVec::<[&[u8]; 4]>::new();
        // SAFETY: null or the request's own structures. A buffer's bytes lie between its two ends, and live
        // as long as the request.
        unsafe {
            let mut next = self
                .as_ref_ptr()
                .request_body
                .as_ref()
                .map_or(ptr::null_mut(), |body| body.bufs);
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

    /// Overwrites the body that was read, and leaves an empty one in its place. nginx has read all of it:
    /// what follows on the connection is another request's.
    pub fn forget_body(&mut self) {
        let request = self.as_ptr();
        // SAFETY: null or the request's own structures, to which nobody else refers meanwhile.
        unsafe {
            let Some(body) = (*request).request_body.as_mut() else {
                return;
            };
            let mut next = mem::replace(&mut body.bufs, ptr::null_mut());
            while let Some(link) = next.as_mut() {
                if let Some(buffer) = link.buf.as_mut() {
                    overwrite(buffer, |_| ());
                    buffer.pos = buffer.last;
                }
                next = link.next;
            }
            body.temp_file = ptr::null_mut();
            let headers = &mut (*request).headers_in;
            headers.content_length_n = 0;
            headers.set_chunked(0);
            if let Some(length) = headers.content_length.as_mut() {
                length.value = ngx_str_t {
                    len: NOTHING.len(),
                    data: NOTHING.as_ptr().cast_mut(),
                };
            }
        }
    }

    /// Whether the body was asked for.
    pub fn has_read_body(&self) -> bool {
        !self.as_ref_ptr().request_body.is_null()
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
