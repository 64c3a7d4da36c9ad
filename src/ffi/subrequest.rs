//! Subrequests: a request of ours for the same path, answered by the same location, whose answer the filters
//! take.
//!
//! As ngx_http_auth_request_module does it: the request waits in the access phase, and its handler runs again
//! once the subrequest is done. nginx gives a subrequest no access phase of its own. It has the request's
//! headers, but for those about its answer.
//!
//! Invariant: however a subrequest ends, the request goes on, and can answer.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use nginx_sys::{
    NGX_ERROR, NGX_HTTP_CLIENT_CLOSED_REQUEST, NGX_HTTP_REQUEST_TIME_OUT, NGX_HTTP_SUBREQUEST_WAITED, NGX_OK,
    ngx_hash_key, ngx_http_post_request, ngx_http_post_subrequest_t, ngx_http_request_t, ngx_http_subrequest,
    ngx_int_t, ngx_list_create, ngx_list_push, ngx_list_t, ngx_str_t, ngx_table_elt_t, ngx_uint_t,
};

use super::bytes;
use super::flags;
use super::pool::Lent;
use super::request::Request;
use super::shim;

/// A subrequest, until its request's pool goes, in which it lies.
pub struct Subrequest(Lent<Asked>);

#[derive(Clone, Copy)]
struct Asked {
    /// Null until it is made.
    request: *mut ngx_http_request_t,
    /// Its query, as it was asked for.
    args: ngx_str_t,
    /// Whether it ended by an error.
    is_broken: bool,
}

impl Subrequest {
    /// Whether it was answered, or is there no more.
    pub fn is_done(&self) -> bool {
        // SAFETY: made by nginx in the pool by which it is lent; nginx writes to it on this thread only.
        self.request()
            .is_none_or(|place| flags::done(unsafe { place.as_ref() }) != 0)
    }

    /// Whether its answer broke off, or there is none: whatever has come of it is not the whole.
    pub fn is_broken(&self) -> bool {
        // SAFETY: as above.
        self.0
            .get()
            .is_none_or(|place| unsafe { place.as_ref() }.is_broken)
    }

    /// Whether it is this request.
    pub fn matches(&self, request: &Request) -> bool {
        self.request()
            .is_some_and(|place| ptr::eq(place.as_ptr(), request.as_ref_ptr()))
    }

    /// Its query, as it was asked for.
    pub fn args(&self) -> &[u8] {
        // SAFETY: as above; the text lies in the same pool.
        self.0
            .get()
            .map_or(&[], |place| unsafe { bytes::of(place.as_ref().args) })
    }

    /// Ends what is still to come of it, as if its upstream had sent nothing for too long.
    pub fn time_out(&self) {
        // SAFETY: as above; an upstream and its connection, where they are, live as long as nginx has not
        // ended the request by them.
        unsafe {
            let upstream = self.request().and_then(|place| place.as_ref().upstream.as_ref());
            let connection = upstream.and_then(|upstream| upstream.peer.connection.as_ref());
            if let Some(read) = connection.and_then(|connection| connection.read.as_mut())
                && read.timer_set() != 0
            {
                shim::rga_add_timer(read, 0);
            }
        }
    }

    fn request(&self) -> Option<NonNull<ngx_http_request_t>> {
        // SAFETY: as above.
        NonNull::new(unsafe { self.0.get()?.as_ref() }.request)
    }
}

/// A subrequest ends. With an error nginx would terminate the main request, which has not answered yet: its
/// client would get nothing at all. So it ends as if it were answered. Not so where it is the client's
/// connection that is broken.
unsafe extern "C" fn ended(r: *mut ngx_http_request_t, data: *mut c_void, rc: ngx_int_t) -> ngx_int_t {
    const ERROR: ngx_int_t = NGX_ERROR as ngx_int_t;
    const TIME_OUT: ngx_int_t = NGX_HTTP_REQUEST_TIME_OUT as ngx_int_t;
    const CLOSED: ngx_int_t = NGX_HTTP_CLIENT_CLOSED_REQUEST as ngx_int_t;
    // SAFETY: nginx's own request, which has a connection, and the data of `ask`, which lies in its pool;
    // Rust does not read it now.
    unsafe {
        let connection = &*(*r).connection;
        match rc {
            ERROR | TIME_OUT | CLOSED if connection.error() == 0 && connection.timedout() == 0 => {
                (*data.cast::<Asked>()).is_broken = true;
                NGX_OK as ngx_int_t
            }
            _ => rc,
        }
    }
}

impl Request {
    /// Asks for this request's own path with another query, for all of it and as it is: conditions, ranges
    /// and encodings are what the client wants of the answer that it gets. The access handler must say that
    /// it waits; it runs again when the subrequest is done. `None` when memory is out.
    pub fn ask(&mut self, args: &[u8]) -> Option<Subrequest> {
        let pool = self.pool()?;
        let mark: &[u8] = if args.is_empty() { b"" } else { b"?" };
        let unparsed = pool.string(&[self.uri(), mark, args].concat())?;
        let variables = self.copy_values()?;
        let mut args = pool.string(args)?;
        let mut uri = pool.string(self.uri())?;
        let headers = plain_headers(self.as_ref_ptr())?;
        let asked = pool.place(Asked {
            request: ptr::null_mut(),
            args,
            is_broken: false,
        })?;
        let end = pool.place(ngx_http_post_subrequest_t {
            handler: Some(ended),
            data: asked.as_ptr().cast(),
        })?;
        // SAFETY: `asked` lies in the pool; nginx's thread alone reads it, and writes to it, one after the
        // other.
        let lent = unsafe { Lent::to(pool, asked) }?;
        let mut subrequest = ptr::null_mut();
        // SAFETY: a valid main request in its access phase; nginx copies the strings' pointers, which lie in
        // the pool, as `end` does.
        let made = unsafe {
            ngx_http_subrequest(
                self.as_ptr(),
                &raw mut uri,
                &raw mut args,
                &raw mut subrequest,
                end.as_ptr(),
                NGX_HTTP_SUBREQUEST_WAITED as ngx_uint_t,
            )
        };
        if made != NGX_OK as ngx_int_t {
            return None;
        }
        let mut place = NonNull::new(subrequest)?;
        // SAFETY: nginx has made the subrequest just now, in the pool of this request, and runs it once this
        // callback is over; the list was made for it, and `asked` is nobody else's.
        unsafe {
            // What is refused is to be seen here: `error_page` would lead the subrequest past the gate to
            // another location's answer.
            flags::set_error_page(place.as_mut(), true);
            // Its own query is what the variables say; nginx gives it those of the main request.
            place.as_mut().variables = variables.as_ptr();
            place.as_mut().unparsed_uri = unparsed;
            set_headers(place.as_mut(), headers);
            (*asked.as_ptr()).request = subrequest;
        }
        Some(Subrequest(lent))
    }
}

impl Request {
    /// Has the access handler of the request that this subrequest is for run again, once this callback is
    /// over. `None` when memory is out.
    pub fn wake_main(&mut self) -> Option<()> {
        // SAFETY: a valid request, whose main request lives at least as long; nginx runs what is posted after
        // its event handlers.
        let posted = unsafe { ngx_http_post_request((*self.as_ptr()).main, ptr::null_mut()) };
        (posted == NGX_OK as ngx_int_t).then_some(())
    }
}

/// What is about the answer that a client gets, in lower case: beside these all that begin with `if-`. A
/// change of protocol is one of the client's connection: nginx would hand that to the registry.
const ABOUT_THE_ANSWER: [&[u8]; 3] = [b"range", b"accept-encoding", b"upgrade"];
const ACCEPT_ENCODING: &str = "accept-encoding";

fn is_about_the_answer(name: &[u8]) -> bool {
    ABOUT_THE_ANSWER
        .iter()
        .any(|about| name.eq_ignore_ascii_case(about))
        || name
            .get(..3)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"if-"))
}

/// The headers of a request, copied, without what is about the answer. `None` when memory is out.
fn plain_headers(request: &ngx_http_request_t) -> Option<*mut ngx_list_t> {
    let shared = &raw const request.headers_in.headers.part;
    // SAFETY: the parts of an ngx_list_t of ngx_table_elt_t, each of which holds `nelts` entries; the new
    // list is made with room for all of them in its first part, and for one more. Entries are copied, with
    // pointers to strings that live as long as the pool.
    unsafe {
        let (mut count, mut part) = (1, shared);
        while let Some(list) = part.as_ref() {
            count += list.nelts;
            part = list.next;
        }
        let own = ngx_list_create(request.pool, count, size_of::<ngx_table_elt_t>());
        if own.is_null() {
            return None;
        }
        part = shared;
        while let Some(list) = part.as_ref() {
            for at in 0..list.nelts {
                let header = &*list.elts.cast::<ngx_table_elt_t>().add(at);
                if !is_about_the_answer(bytes::of(header.key)) {
                    *ngx_list_push(own).cast::<ngx_table_elt_t>().as_mut()? = *header;
                }
            }
            part = list.next;
        }
        let header = ngx_list_push(own).cast::<ngx_table_elt_t>().as_mut()?;
        // All-zero is a valid entry; `next` exists since nginx 1.23.0.
        *header = core::mem::zeroed();
        header.key = bytes::fixed("Accept-Encoding");
        header.value = bytes::fixed("identity");
        header.lowcase_key = bytes::fixed(ACCEPT_ENCODING).data;
        header.hash = ngx_hash_key(header.lowcase_key, ACCEPT_ENCODING.len());
        Some(own)
    }
}

/// Gives a subrequest headers of its own.
///
/// # Safety
/// `own` must be a list of headers of one part, in the subrequest's pool.
unsafe fn set_headers(subrequest: &mut ngx_http_request_t, own: *mut ngx_list_t) {
    let headers = &mut subrequest.headers_in;
    // SAFETY: as the caller says.
    headers.headers = unsafe { *own };
    // What is pushed goes to the list's last part, which for a copy of the list is its own first one.
    headers.headers.last = &raw mut headers.headers.part;
    headers.if_modified_since = ptr::null_mut();
    headers.if_unmodified_since = ptr::null_mut();
    headers.if_match = ptr::null_mut();
    headers.if_none_match = ptr::null_mut();
    headers.if_range = ptr::null_mut();
    headers.range = ptr::null_mut();
    headers.upgrade = ptr::null_mut();
}
