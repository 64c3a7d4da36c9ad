//! The answer of a request as nginx is about to send it: its status, its headers, a body in its place.
//!
//! Used by the filters and by whatever answers. A header that is taken back is taken from the list, and from
//! the places by which nginx's own filters know it.

use core::ptr;

use nginx_sys::{ngx_buf_t, ngx_chain_t, ngx_http_request_t, ngx_str_t, ngx_table_elt_t};

use super::{Request, entries};
use crate::ffi::pool::{OutOfMemory, Pool};
use crate::ffi::{bytes, flags, shim};

impl Request {
    /// The values of all response headers of that name (in lower case), in order.
    pub fn answer_headers<'r>(&'r self, name: &'r [u8]) -> impl Iterator<Item = &'r [u8]> {
        self.values(&raw const self.0.headers_out.headers.part, name)
    }

    /// The type of the answer, with its charset where that is part of it.
    pub fn answer_type(&self) -> &[u8] {
        self.text(self.0.headers_out.content_type)
    }

    /// Whether the answer is a page that nginx has made for a status, or that is configured for it.
    pub fn is_nginxs_page(&self) -> bool {
        self.0.err_status != 0
    }

    /// Takes back all response headers of that name (in lower case).
    pub fn drop_answer_headers(&mut self, name: &[u8]) {
        self.drop_headers(|header| {
            // SAFETY: the strings of a request's headers live as long as it does.
            unsafe { bytes::of(header.key) }.eq_ignore_ascii_case(name)
        });
    }

    /// Takes back all response headers but those that nginx makes of the answer itself.
    pub fn drop_all_answer_headers(&mut self) {
        self.drop_headers(|_| true);
    }

    /// Takes back those response headers that `is_meant` says: from the list, and from the places by which
    /// nginx's filters know them, and print one once more.
    pub(in crate::ffi) fn drop_headers(&mut self, mut is_meant: impl FnMut(&ngx_table_elt_t) -> bool) {
        let request: *mut ngx_http_request_t = &mut self.0;
        // SAFETY: a valid request.
        let part = unsafe { &raw const (*request).headers_out.headers.part };
        entries(part, |header| {
            if is_meant(header) {
                header.hash = 0;
                // SAFETY: as above; it lies beside the list.
                unsafe { forget(request, header) };
            }
        });
    }

    /// Whether a challenge has come here from an upstream: with its answer, or with an earlier one of this
    /// request's, from which nginx copies it when it moves the request to an error page.
    #[inline]
    pub fn has_upstreams_challenge(&self) -> bool {
        // SAFETY: null, or this request's upstream, which lies in its pool.
        match unsafe { self.0.upstream.as_ref() } {
            Some(upstream) if !upstream.headers_in.www_authenticate.is_null() => true,
            Some(_) => !self.0.headers_out.www_authenticate.is_null() && self.has_copied_challenge(),
            None => false,
        }
    }

    #[cold]
    fn has_copied_challenge(&self) -> bool {
        let mut is_copied = false;
        entries(&raw const self.0.headers_out.headers.part, |header| {
            is_copied |= is_copied_challenge(header);
        });
        is_copied
    }

    /// Takes back the challenges that came from an upstream. Whether there is another, of a module that asks
    /// for passwords here.
    pub fn drop_upstreams_challenges(&mut self) -> bool {
        self.drop_headers(is_copied_challenge);
        // SAFETY: null, or this request's upstream, which lies in its pool.
        if let Some(upstream) = unsafe { self.0.upstream.as_mut() } {
            // Where auth_request looks for that of a subrequest.
            upstream.headers_in.www_authenticate = ptr::null_mut();
        }
        !self.0.headers_out.www_authenticate.is_null()
    }

    /// Has the challenge of a subrequest's upstream count as one that a module sets: for auth_request, which
    /// copies it.
    pub fn vouch_for_challenge(&mut self) {
        // SAFETY: null, or this request's upstream, whose headers nobody else refers to meanwhile.
        if let Some(upstream) = unsafe { self.0.upstream.as_ref() } {
            entries(&raw const upstream.headers_in.headers.part, |header| {
                if is_copied_challenge(header) {
                    header.hash = 1;
                }
            });
        }
    }

    /// The current status: of the answer that is being sent.
    pub fn status(&self) -> u32 {
        self.0.headers_out.status as u32
    }

    /// Adds a response header.
    pub fn add_header(&mut self, name: &'static str, value: &[u8]) -> Result<(), OutOfMemory> {
        self.push_header(name, value).map(|_| ()).ok_or(OutOfMemory)
    }

    fn push_header(&mut self, name: &'static str, value: &[u8]) -> Option<*mut ngx_table_elt_t> {
        let value = self.pool()?.string(value)?;
        // SAFETY: a valid request; the entry is null or zeroed and ours to fill.
        unsafe {
            let header = shim::rga_push_header(&mut self.0);
            let entry = header.as_mut()?;
            entry.key = bytes::fixed(name);
            entry.value = value;
            Some(header)
        }
    }

    /// Sets the entity tag of the answer, where nginx's filters look for it.
    pub(in crate::ffi) fn set_etag(&mut self, value: &[u8]) -> Result<(), OutOfMemory> {
        let header = self.push_header("ETag", value).ok_or(OutOfMemory)?;
        self.0.headers_out.etag = header;
        Ok(())
    }

    /// Sets the one challenge, linked where nginx's `satisfy any` looks for it.
    pub fn set_challenge(&mut self, value: &[u8]) -> Result<(), OutOfMemory> {
        self.drop_challenges();
        let header = self.push_header("WWW-Authenticate", value).ok_or(OutOfMemory)?;
        self.0.headers_out.www_authenticate = header;
        Ok(())
    }

    /// Takes back all challenges that the answer has.
    pub fn drop_challenges(&mut self) {
        self.drop_answer_headers(b"www-authenticate");
        self.0.headers_out.www_authenticate = ptr::null_mut();
    }

    /// Makes the current answer one of `status` with a body of `length` bytes of JSON.
    pub fn become_json(&mut self, status: u32, length: usize) {
        self.become_answer(status, bytes::fixed("application/json"), length);
        self.0.err_status = status as usize;
    }

    /// Makes the current answer one of `status` with a body of so many bytes of that type.
    pub(in crate::ffi) fn become_answer(&mut self, status: u32, content_type: ngx_str_t, length: usize) {
        let out = &mut self.0.headers_out;
        out.status = status as usize;
        out.status_line = bytes::fixed("");
        out.content_type = content_type;
        out.content_type_len = out.content_type.len;
        out.content_type_lowcase = ptr::null_mut();
        out.charset = bytes::fixed("");
        out.content_length_n = length as i64;
        // SAFETY: null or an entry of this request's response headers.
        if let Some(header) = unsafe { out.content_length.as_mut() } {
            header.hash = 0;
        }
        out.content_length = ptr::null_mut();
    }

    /// A body of one buffer that ends the answer, in place of another. `None` when memory is out.
    pub(in crate::ffi) fn last_body(&mut self, body: &[u8]) -> Option<*mut ngx_chain_t> {
        let pool = self.pool()?;
        let text = pool.string(body)?;
        let mut buffer = self.last_buffer();
        if !body.is_empty() {
            set_memory(&mut buffer, text);
        }
        link(pool, buffer, ptr::null_mut())
    }

    /// A body of these pieces, which the request has from then on, that ends the answer. `None` when memory
    /// is out.
    pub(in crate::ffi) fn pieces_body(&mut self, pieces: Vec<Vec<u8>>) -> Option<*mut ngx_chain_t> {
        let pool = self.pool()?;
        let pieces = pool.own(pieces)?;
        // SAFETY: the pool has it until it is destroyed, and nobody writes to it.
        let pieces = unsafe { pieces.as_ref() };
        let mut buffer = self.last_buffer();
        let mut next = ptr::null_mut();
        for piece in pieces.iter().rev().filter(|piece| !piece.is_empty()) {
            let text = ngx_str_t {
                len: piece.len(),
                data: piece.as_ptr().cast_mut(),
            };
            set_memory(&mut buffer, text);
            next = link(pool, buffer, next)?;
            // SAFETY: all-zero is a valid ngx_buf_t, as ngx_calloc_buf() makes it.
            buffer = unsafe { core::mem::zeroed() };
        }
        if next.is_null() {
            next = link(pool, buffer, next)?;
        }
        Some(next)
    }

    /// The mark that ends the answer: nginx drops the connection for a buffer in memory without a byte, and
    /// wants a mark alone then.
    fn last_buffer(&self) -> ngx_buf_t {
        let is_main = ptr::eq(self.0.main, &self.0);
        // SAFETY: all-zero is a valid ngx_buf_t, as ngx_calloc_buf() makes it.
        let mut buffer: ngx_buf_t = unsafe { core::mem::zeroed() };
        buffer.set_sync(u32::from(!is_main));
        buffer.set_last_in_chain(1);
        buffer.set_last_buf(u32::from(is_main));
        buffer
    }

    /// Has the answer say that the connection ends with it, where it will: nginx reads no request after a
    /// body that nobody has read.
    pub(in crate::ffi) fn announce_end(&mut self) {
        if flags::reading_body(&self.0) != 0 {
            flags::set_keepalive(&mut self.0, false);
        }
    }
}

/// Whether that is a challenge which has been read from an upstream: it has the hash of its name, and what a
/// module sets has 1.
fn is_copied_challenge(header: &ngx_table_elt_t) -> bool {
    // SAFETY: the strings of a request's headers live as long as it does.
    header.hash > 1 && unsafe { bytes::of(header.key) }.eq_ignore_ascii_case(b"www-authenticate")
}

/// Takes a response header from the places by which nginx knows some, with what nginx concludes from it.
///
/// # Safety
/// The request must be valid, and nobody else may refer to its `headers_out` meanwhile, but to the list of
/// headers.
unsafe fn forget(request: *mut ngx_http_request_t, header: *mut ngx_table_elt_t) {
    // SAFETY: the caller vouches for it.
    unsafe {
        let out = &raw mut (*request).headers_out;
        if ptr::eq((*out).last_modified, header) {
            (*out).last_modified_time = -1;
        }
        if ptr::eq((*out).accept_ranges, header) {
            flags::set_allow_ranges(&mut *request, false);
        }
        let places = [
            &raw mut (*out).server,
            &raw mut (*out).date,
            &raw mut (*out).content_length,
            &raw mut (*out).content_encoding,
            &raw mut (*out).location,
            &raw mut (*out).refresh,
            &raw mut (*out).last_modified,
            &raw mut (*out).content_range,
            &raw mut (*out).accept_ranges,
            &raw mut (*out).www_authenticate,
            &raw mut (*out).expires,
            &raw mut (*out).etag,
        ];
        for place in places {
            if ptr::eq(*place, header) {
                *place = ptr::null_mut();
            }
        }
        shim::rga_forget_header(request, header);
    }
}

/// Has a buffer be of these bytes, which are not written to.
fn set_memory(buffer: &mut ngx_buf_t, text: ngx_str_t) {
    buffer.pos = text.data;
    buffer.last = text.data.wrapping_add(text.len);
    buffer.start = buffer.pos;
    buffer.end = buffer.last;
    buffer.set_memory(1);
    buffer.set_sync(0);
}

/// A link of a chain, in the pool. `None` when memory is out.
fn link(pool: Pool<'_>, buffer: ngx_buf_t, next: *mut ngx_chain_t) -> Option<*mut ngx_chain_t> {
    let buf = pool.place(buffer)?.as_ptr();
    let link = pool.place(ngx_chain_t { buf, next })?;
    Some(link.as_ptr())
}
