//! Content handlers: a location that the module answers itself.

use core::marker::PhantomData;
use std::borrow::Cow;

use nginx_sys::{
    NGX_ERROR, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_OK, ngx_http_discard_request_body, ngx_http_output_filter,
    ngx_http_request_t, ngx_http_send_header, ngx_int_t,
};

use super::bytes;
use super::conf::Conf;
use super::guard::guard;
use super::request::Request;

/// What a location answers.
pub trait Content: 'static {
    /// The answer to a request that has passed all phases before, or a status of nginx's own pages.
    fn answer(request: &mut Request) -> Result<Answer, u16>;
}

/// An answer of our own.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its type.
    pub content_type: Cow<'static, str>,
    /// Headers besides that.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Makes `C` the answer of the location that is being merged, whatever else would answer there: all its
/// directives were read, and the modules that answer set no handler where there is one.
pub fn answer_with<C: Content>(conf: &mut Conf<'_>, _content: PhantomData<C>) {
    // SAFETY: for the merging of locations, which nginx's core has made.
    if let Some(location) = unsafe { conf.core_location() } {
        location.handler = Some(handler::<C>);
    }
}

impl Request {
    /// Makes `C` the answer of this request, whatever its location would answer: once all other phases have
    /// let it pass.
    pub fn answer_with<C: Content>(&mut self, _content: PhantomData<C>) {
        // SAFETY: a valid request before its content phase, which calls the handler once.
        unsafe { (*self.as_ptr()).content_handler = Some(handler::<C>) };
    }
}

unsafe extern "C" fn handler<C: Content>(r: *mut ngx_http_request_t) -> ngx_int_t {
    guard(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t, || {
        // SAFETY: nginx's own pointer, valid during the call.
        let Some(request) = (unsafe { Request::from_raw(r) }) else {
            return NGX_ERROR as ngx_int_t;
        };
        // SAFETY: as above: what was not read of a body is thrown away.
        let discarded = unsafe { ngx_http_discard_request_body(r) };
        if discarded != NGX_OK as ngx_int_t {
            return discarded;
        }
        match C::answer(request) {
            Ok(answer) => send(request, &answer),
            Err(status) => status as ngx_int_t,
        }
    })
}

fn send(request: &mut Request, answer: &Answer) -> ngx_int_t {
    let content_type = match &answer.content_type {
        Cow::Borrowed(text) => Some(bytes::fixed(text)),
        Cow::Owned(text) => request.pool().and_then(|pool| pool.string(text.as_bytes())),
    };
    let Some(content_type) = content_type else {
        return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
    };
    request.become_answer(answer.status.into(), content_type, answer.body.len());
    // What a client knows of an earlier answer is about nothing that has a validator here.
    // SAFETY: a valid request, whose flags nobody else refers to.
    unsafe { (*request.as_ptr()).set_disable_not_modified(1) };
    for (name, value) in &answer.headers {
        if request.add_header(name, value).is_err() {
            return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
        }
    }
    let Some(chain) = request.last_body(&answer.body) else {
        return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
    };
    let r = request.as_ptr();
    // SAFETY: a valid request in its content handler; the chain lies in its pool.
    unsafe {
        let sent = ngx_http_send_header(r);
        if sent == NGX_ERROR as ngx_int_t || sent > NGX_OK as ngx_int_t || (*r).header_only() != 0 {
            return sent;
        }
        ngx_http_output_filter(r, chain)
    }
}
