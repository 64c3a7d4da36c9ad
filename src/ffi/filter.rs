//! Header and body filters: the chain as nginx builds it, with ours in it.

use core::cell::Cell;
use core::marker::PhantomData;

use nginx_sys::{
    NGX_ERROR, NGX_OK, ngx_buf_t, ngx_chain_t, ngx_http_output_body_filter_pt,
    ngx_http_output_header_filter_pt, ngx_http_request_t, ngx_http_top_body_filter,
    ngx_http_top_header_filter, ngx_int_t,
};

use super::flags;
use super::guard::guard;
use super::pool::OutOfMemory;
use super::request::Request;

/// An answer that cannot be sent, as memory is out or a challenge cannot be made: the connection is dropped.
pub struct Unsendable;

impl From<OutOfMemory> for Unsendable {
    fn from(_: OutOfMemory) -> Self {
        Self
    }
}

/// What a filter does with answers.
pub trait Filter: 'static {
    /// Whether it has to see the headers of this answer. Asked for each one, hence to be cheap.
    fn sees_header(request: &mut Request) -> bool;
    /// Whether it has to see this part of a body. As `sees_header`.
    fn sees_body(request: &mut Request) -> bool;
    /// Sees the answer's status and headers before they are sent.
    fn header(request: &mut Request) -> Result<Head, Unsendable>;
    /// What becomes of a part of the body that comes.
    fn body(request: &mut Request, body: &Pieces) -> Replacement;
}

/// What becomes of status and headers.
pub enum Head {
    /// They go out.
    Send,
    /// They go out, and this after them as the whole body. What was to be the body is not waited for.
    Replace(Vec<u8>),
    /// They do not: the answer is that of a subrequest which we made, and its whole body is
    /// [`Replacement::Taken`].
    Take,
    /// As `Take`, and its body is not wanted, nor waited for.
    Enough,
}

/// A part of a body, as nginx passes it on.
pub struct Pieces(*mut ngx_chain_t);

impl Pieces {
    /// Gives each buffer's bytes to `f`. An error where one is not in memory, or `f` gives one.
    pub fn each(&self, mut f: impl FnMut(&[u8]) -> Result<(), ()>) -> Result<(), ()> {
        self.buffers(|buffer| {
            let in_memory = buffer.memory() != 0 || buffer.temporary() != 0 || buffer.mmap() != 0;
            if !in_memory {
                return if buffer.in_file() != 0 { Err(()) } else { Ok(()) };
            }
            let length = (buffer.last as usize).saturating_sub(buffer.pos as usize);
            if length == 0 {
                return Ok(());
            }
            // SAFETY: what a buffer in memory holds lies between `pos` and `last`, and stays there during the
            // call.
            f(unsafe { core::slice::from_raw_parts(buffer.pos, length) })
        })
    }

    /// Marks all of it as sent, so that its owner may use the memory again.
    fn take(&self) {
        let taken = self.buffers(|buffer| {
            buffer.pos = buffer.last;
            buffer.file_pos = buffer.file_last;
            Ok(())
        });
        debug_assert!(taken.is_ok());
    }

    fn buffers(&self, mut f: impl FnMut(&mut ngx_buf_t) -> Result<(), ()>) -> Result<(), ()> {
        let mut link = self.0;
        // SAFETY: nginx's own chain of its own buffers, during the call.
        while let Some(here) = unsafe { link.as_ref() } {
            // SAFETY: as above; nobody else refers to the buffer meanwhile.
            if let Some(buffer) = unsafe { here.buf.as_mut() } {
                f(buffer)?;
            }
            link = here.next;
        }
        Ok(())
    }
}

/// What becomes of a piece of the body.
pub enum Replacement {
    /// It goes on as it is.
    Keep,
    /// Nothing goes out: another body has been sent in its place.
    Drop,
    /// Nothing goes out, of a subrequest.
    Taken,
    /// Nothing goes out, of a subrequest, and what is still to come of its body is not wanted.
    Enough,
}

/// A header filter.
type HeaderFilter = unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t;

/// The rest of the chain. nginx sets it up before it forks.
struct Next {
    header: Cell<ngx_http_output_header_filter_pt>,
    body: Cell<ngx_http_output_body_filter_pt>,
}

// SAFETY: nginx reads its configuration, and filters answers, on one thread.
unsafe impl Sync for Next {}

static NEXT: Next = Next {
    header: Cell::new(None),
    body: Cell::new(None),
};

/// Puts `F` in front of the filters so far: for a module's postconfiguration.
pub fn install<F: Filter>(_filter: PhantomData<F>) {
    // SAFETY: nginx's chain heads, written by one module after another on one thread.
    unsafe {
        NEXT.header.set(ngx_http_top_header_filter);
        ngx_http_top_header_filter = Some(header::<F>);
        NEXT.body.set(ngx_http_top_body_filter);
        ngx_http_top_body_filter = Some(body::<F>);
    }
}

/// Whether a filter has to see an answer: also where it could not say.
#[inline]
fn sees(r: *mut ngx_http_request_t, sees: impl FnOnce(&mut Request) -> bool) -> bool {
    // SAFETY: nginx's own pointer, valid during the call of the filter.
    guard(true, || unsafe { Request::from_raw(r) }.is_none_or(sees))
}

unsafe extern "C" fn header<F: Filter>(r: *mut ngx_http_request_t) -> ngx_int_t {
    match NEXT.header.get() {
        // SAFETY: the next filter, with what nginx gave us.
        Some(next) if !sees(r, F::sees_header) => unsafe { next(r) },
        // SAFETY: as above.
        _ => unsafe { seen_header::<F>(r) },
    }
}

/// The way of an answer that the filter has to see.
///
/// # Safety
/// As of `header`.
#[cold]
#[inline(never)]
unsafe fn seen_header<F: Filter>(r: *mut ngx_http_request_t) -> ngx_int_t {
    let seen = guard(Err(Unsendable), || {
        // SAFETY: nginx's own pointer, valid during the call.
        unsafe { Request::from_raw(r) }.map_or(Err(Unsendable), F::header)
    });
    match (seen, NEXT.header.get()) {
        // SAFETY: the next filter, with what nginx gave us.
        (Ok(Head::Send), Some(next)) => unsafe { next(r) },
        // SAFETY: what nginx gave us.
        (Ok(Head::Replace(body)), Some(next)) => unsafe { replace(r, &body, next) },
        (Ok(Head::Take), _) => {
            // The body is to be read here.
            // SAFETY: nginx's own pointer, valid during the call.
            unsafe { flags::set_filter_need_in_memory(&mut *r, true) };
            NGX_OK as ngx_int_t
        }
        (Ok(Head::Enough), _) => {
            // An upstream is done with a request whose header is all that is wanted.
            // SAFETY: nginx's own pointer, valid during the call.
            unsafe { flags::set_header_only(&mut *r, true) };
            NGX_OK as ngx_int_t
        }
        _ => NGX_ERROR as ngx_int_t,
    }
}

/// Sends status and headers, and the whole body that belongs to them. Whoever makes the answer sees that no
/// other one is wanted, as where HEAD is answered; an upstream is then done.
///
/// # Safety
/// As of `header`.
unsafe fn replace(r: *mut ngx_http_request_t, body: &[u8], next: HeaderFilter) -> ngx_int_t {
    const ERROR: ngx_int_t = NGX_ERROR as ngx_int_t;
    let made = guard(None, || {
        // SAFETY: nginx's own pointer, valid during the call.
        let request = unsafe { Request::from_raw(r) }?;
        request.announce_end();
        request.keep_no_answer();
        request.last_body(body)
    });
    let (Some(chain), Some(next_body)) = (made, NEXT.body.get()) else {
        return ERROR;
    };
    // SAFETY: the next filters, with what nginx gave us and a chain of the request's pool, which lives as
    // long as they may run.
    unsafe {
        let sent = next(r);
        if sent == ERROR || sent > NGX_OK as ngx_int_t || flags::header_only(&*r) != 0 {
            return sent;
        }
        if next_body(r, chain) == ERROR {
            return ERROR;
        }
        flags::set_header_only(&mut *r, true);
        sent
    }
}

unsafe extern "C" fn body<F: Filter>(r: *mut ngx_http_request_t, chain: *mut ngx_chain_t) -> ngx_int_t {
    let Some(next) = NEXT.body.get() else {
        return NGX_ERROR as ngx_int_t;
    };
    // Without a chain it is a flush of what was sent before.
    match !chain.is_null() && sees(r, F::sees_body) {
        // SAFETY: what nginx gave us.
        true => unsafe { seen_body::<F>(r, chain) },
        // SAFETY: the next filter, with what nginx gave us.
        false => unsafe { next(r, chain) },
    }
}

/// The way of a part of a body that the filter has to see.
///
/// # Safety
/// As of `body`, with a chain.
#[cold]
#[inline(never)]
unsafe fn seen_body<F: Filter>(r: *mut ngx_http_request_t, chain: *mut ngx_chain_t) -> ngx_int_t {
    let Some(next) = NEXT.body.get() else {
        return NGX_ERROR as ngx_int_t;
    };
    let instead = guard(Err(Unsendable), || {
        // SAFETY: nginx's own pointer, valid during the call.
        let request = unsafe { Request::from_raw(r) }.ok_or(Unsendable)?;
        let pieces = Pieces(chain);
        match F::body(request, &pieces) {
            Replacement::Keep => Ok(Some(chain)),
            // An upstream waits for the buffers that it sent.
            Replacement::Drop => {
                pieces.take();
                Ok(Some(core::ptr::null_mut()))
            }
            Replacement::Taken => {
                pieces.take();
                Ok(None)
            }
            Replacement::Enough => {
                pieces.take();
                request.end_upstream();
                Ok(None)
            }
        }
    });
    match instead {
        // SAFETY: the chain is nginx's own or one made of the request's pool.
        Ok(Some(chain)) => unsafe { next(r, chain) },
        Ok(None) => NGX_OK as ngx_int_t,
        Err(Unsendable) => NGX_ERROR as ngx_int_t,
    }
}
