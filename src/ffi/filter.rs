//! Header and body filters: the chain as nginx builds it, with ours in it.

use core::cell::Cell;
use core::marker::PhantomData;

use nginx_sys::{
    ngx_chain_t, ngx_http_output_body_filter_pt, ngx_http_output_header_filter_pt, ngx_http_request_t,
    ngx_http_top_body_filter, ngx_http_top_header_filter, ngx_int_t, NGX_ERROR,
};

use super::guard::guard;
use super::request::Request;

/// What a filter does with answers.
pub trait Filter: 'static {
    /// Sees the answer's status and headers before they are sent. An error drops the connection.
    fn header(request: &mut Request) -> Result<(), ()>;
    /// Whether the body that comes is to be replaced by another.
    fn body(request: &mut Request) -> Replacement;
}

/// What becomes of a piece of the body.
pub enum Replacement {
    /// It goes on as it is.
    Keep,
    /// This goes out instead, and ends the answer.
    With(Vec<u8>),
    /// Nothing goes out: the replacement has been sent.
    Drop,
}

thread_local! {
    // The rest of the chain. nginx sets it up before it forks, on the thread that stays nginx's own.
    static NEXT_HEADER: Cell<ngx_http_output_header_filter_pt> = const { Cell::new(None) };
    static NEXT_BODY: Cell<ngx_http_output_body_filter_pt> = const { Cell::new(None) };
}

/// Puts `F` in front of the filters so far: for a module's postconfiguration.
pub fn install<F: Filter>(_filter: PhantomData<F>) {
    // SAFETY: nginx's chain heads, written by one module after another on one thread.
    unsafe {
        NEXT_HEADER.set(ngx_http_top_header_filter);
        ngx_http_top_header_filter = Some(header::<F>);
        NEXT_BODY.set(ngx_http_top_body_filter);
        ngx_http_top_body_filter = Some(body::<F>);
    }
}

unsafe extern "C" fn header<F: Filter>(r: *mut ngx_http_request_t) -> ngx_int_t {
    let seen = guard(Err(()), || {
        // SAFETY: nginx's own pointer, valid during the call.
        unsafe { Request::from_raw(r) }.map_or(Err(()), F::header)
    });
    match (seen, NEXT_HEADER.get()) {
        // SAFETY: the next filter, with what nginx gave us.
        (Ok(()), Some(next)) => unsafe { next(r) },
        _ => NGX_ERROR as ngx_int_t,
    }
}

unsafe extern "C" fn body<F: Filter>(r: *mut ngx_http_request_t, chain: *mut ngx_chain_t) -> ngx_int_t {
    let Some(next) = NEXT_BODY.get() else {
        return NGX_ERROR as ngx_int_t;
    };
    if chain.is_null() {
        // A flush of what was sent before.
        // SAFETY: as above.
        return unsafe { next(r, chain) };
    }
    let instead = guard(None, || {
        // SAFETY: nginx's own pointer, valid during the call.
        let request = unsafe { Request::from_raw(r) }?;
        match F::body(request) {
            Replacement::Keep => Some(chain),
            Replacement::With(body) => request.last_body(&body),
            Replacement::Drop => Some(core::ptr::null_mut()),
        }
    });
    match instead {
        // SAFETY: the chain is nginx's own or one made of the request's pool.
        Some(chain) => unsafe { next(r, chain) },
        None => NGX_ERROR as ngx_int_t,
    }
}
