//! Content handlers: a location that the module answers itself, or some of its requests.

use core::marker::PhantomData;
use std::borrow::Cow;

use nginx_sys::{
    NGX_DONE, NGX_ERROR, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_OK, ngx_chain_t, ngx_http_core_run_phases,
    ngx_http_discard_request_body, ngx_http_output_filter, ngx_http_request_t, ngx_http_send_header,
    ngx_int_t,
};

use super::bytes;
use super::conf::Conf;
use super::file::OpenFile;
use super::flags;
use super::guard::guard;
use super::request::Request;
use super::shim;

/// What a location answers.
pub trait Content: 'static {
    /// The answer to a request that has passed all phases before, or a status of nginx's own pages.
    fn answer(request: &mut Request) -> Result<Answer, u16>;
}

/// What a location answers that takes longer to make than a turn of the event loop may.
pub trait GradualContent: 'static {
    /// As [`Content::answer`]; its body in pieces. `None` where the request waits, by a
    /// [`super::suspend::Suspension`]: once that is over, this is called again.
    fn answer(request: &mut Request) -> Result<Option<Answer<Vec<Vec<u8>>>>, u16>;
}

/// An answer of our own.
pub struct Answer<B = Vec<u8>> {
    /// Its status.
    pub status: u16,
    /// Its type.
    pub content_type: Cow<'static, str>,
    /// Headers besides that.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// Its body.
    pub body: B,
}

/// Makes `C` the answer of the location that is being merged, whatever else would answer there: all its
/// directives were read, and the modules that answer set no handler where there is one.
pub fn answer_with<C: Content>(conf: &mut Conf<'_>, _content: PhantomData<C>) {
    // SAFETY: for the merging of locations, which nginx's core has made.
    if let Some(location) = unsafe { conf.core_location() } {
        location.handler = Some(handler::<C>);
    }
}

/// The same of an answer that is made gradually.
pub fn answer_gradually_with<C: GradualContent>(conf: &mut Conf<'_>, _content: PhantomData<C>) {
    // SAFETY: as in `answer_with`.
    if let Some(location) = unsafe { conf.core_location() } {
        location.handler = Some(gradual_handler::<C>);
    }
}

/// What answers some requests of a location in the place of its own handler.
pub trait Shortcut: 'static {
    /// The answer to a request that has passed all phases before; `None` where the location's own handler
    /// is to answer.
    fn answer(request: &mut Request) -> Option<FileAnswer>;

    /// That handler.
    fn otherwise(request: &Request) -> Option<Handler>;
}

/// The handler of a location, as another module has set it.
#[derive(Clone, Copy)]
pub struct Handler(unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t);

/// A whole file, of which nginx sends the ranges that the client asks for.
pub struct FileAnswer {
    /// The file.
    pub file: OpenFile,
    /// Its type.
    pub content_type: &'static str,
    /// Its entity tag, with quotes.
    pub etag: Vec<u8>,
    /// Headers besides these.
    pub headers: Vec<(&'static str, Vec<u8>)>,
}

/// Puts `S` before what answers in the location that is being merged, and gives back what that is: its own
/// handler, or, where it has none yet, this one. `None` where nothing answers, and nothing is changed.
pub fn put_before<S: Shortcut>(
    conf: &mut Conf<'_>,
    outer: Option<Handler>,
    _shortcut: PhantomData<S>,
) -> Option<Handler> {
    // SAFETY: for the merging of locations, which nginx's core has made.
    let location = unsafe { conf.core_location() }?;
    let own = location.handler.map(Handler).or(outer)?;
    location.handler = Some(shortcut::<S>);
    Some(own)
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
    // SAFETY: nginx's own pointer, valid during the call.
    unsafe {
        answer(r, |request| match C::answer(request) {
            Ok(answer) => {
                let body = request.last_body(&answer.body);
                send(request, &answer, answer.body.len(), body)
            }
            Err(status) => status as ngx_int_t,
        })
    }
}

unsafe extern "C" fn gradual_handler<C: GradualContent>(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: nginx's own pointer, valid during the call.
    unsafe {
        answer(r, |request| match C::answer(request) {
            Ok(Some(mut answer)) => {
                let pieces = core::mem::take(&mut answer.body);
                let length = pieces.iter().map(Vec::len).sum();
                let body = request.pieces_body(pieces);
                send(request, &answer, length, body)
            }
            Ok(None) => wait(request),
            Err(status) => status as ngx_int_t,
        })
    }
}

/// Has `f` answer a request, of which nothing but its body is left to be read.
///
/// # Safety
/// `r` must be a request that nginx's content phase hands over.
unsafe fn answer(r: *mut ngx_http_request_t, f: impl FnOnce(&mut Request) -> ngx_int_t) -> ngx_int_t {
    guard(NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t, || {
        // SAFETY: as the caller says.
        let Some(request) = (unsafe { Request::from_raw(r) }) else {
            return NGX_ERROR as ngx_int_t;
        };
        // SAFETY: as above: what was not read of a body is thrown away.
        let discarded = unsafe { ngx_http_discard_request_body(r) };
        if discarded != NGX_OK as ngx_int_t {
            return discarded;
        }
        f(request)
    })
}

/// Has the content phase come again once the request goes on.
fn wait(request: &mut Request) -> ngx_int_t {
    // SAFETY: a valid request in its content handler, whose NGX_DONE takes the hold back.
    unsafe {
        (*request.as_ptr()).write_event_handler = Some(ngx_http_core_run_phases);
        shim::rga_hold(request.as_ptr());
    }
    NGX_DONE as ngx_int_t
}

/// Sends an answer with a body of so many bytes; `None`: memory is out.
fn send<B>(
    request: &mut Request,
    answer: &Answer<B>,
    length: usize,
    body: Option<*mut ngx_chain_t>,
) -> ngx_int_t {
    let content_type = match &answer.content_type {
        Cow::Borrowed(text) => Some(bytes::fixed(text)),
        Cow::Owned(text) => request.pool().and_then(|pool| pool.string(text.as_bytes())),
    };
    let (Some(content_type), Some(body)) = (content_type, body) else {
        return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
    };
    request.become_answer(answer.status.into(), content_type, length);
    // What a client knows of an earlier answer is about nothing that has a validator here.
    // SAFETY: a valid request, whose flags nobody else refers to.
    unsafe { flags::set_disable_not_modified(&mut *request.as_ptr(), true) };
    for (name, value) in &answer.headers {
        if request.add_header(name, value).is_err() {
            return NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
        }
    }
    send_chain(request, body)
}

unsafe extern "C" fn shortcut<S: Shortcut>(r: *mut ngx_http_request_t) -> ngx_int_t {
    const FAILED: ngx_int_t = NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
    let answered = guard(Some(FAILED), || {
        // SAFETY: nginx's own pointer, valid during the call.
        let request = unsafe { Request::from_raw(r) }?;
        S::answer(request).map(|answer| send_file(request, &answer))
    });
    if let Some(answered) = answered {
        return answered;
    }
    let otherwise = guard(None, || {
        // SAFETY: as above.
        S::otherwise(unsafe { Request::from_raw(r) }?)
    });
    match otherwise {
        // SAFETY: the handler of this location, with what nginx gave us.
        Some(Handler(handler)) => unsafe { handler(r) },
        None => FAILED,
    }
}

fn send_file(request: &mut Request, answer: &FileAnswer) -> ngx_int_t {
    const FAILED: ngx_int_t = NGX_HTTP_INTERNAL_SERVER_ERROR as ngx_int_t;
    let r = request.as_ptr();
    // SAFETY: a valid request in its content handler: what was not read of a body is thrown away.
    let discarded = unsafe { ngx_http_discard_request_body(r) };
    if discarded != NGX_OK as ngx_int_t {
        return discarded;
    }
    let Ok(size) = usize::try_from(answer.file.size()) else {
        return FAILED;
    };
    request.become_answer(200, bytes::fixed(answer.content_type), size);
    // SAFETY: a valid request, whose flags nobody else refers to.
    unsafe { flags::set_allow_ranges(&mut *r, true) };
    if request.set_etag(&answer.etag).is_err() {
        return FAILED;
    }
    for (name, value) in &answer.headers {
        if request.add_header(name, value).is_err() {
            return FAILED;
        }
    }
    let Some(chain) = request.file_body(&answer.file) else {
        return FAILED;
    };
    send_chain(request, chain)
}

/// Sends status and headers, and the body where one is wanted.
fn send_chain(request: &mut Request, chain: *mut ngx_chain_t) -> ngx_int_t {
    let r = request.as_ptr();
    // SAFETY: a valid request in its content handler; the chain lies in its pool.
    unsafe {
        let sent = ngx_http_send_header(r);
        if sent == NGX_ERROR as ngx_int_t || sent > NGX_OK as ngx_int_t || flags::header_only(&*r) != 0 {
            return sent;
        }
        ngx_http_output_filter(r, chain)
    }
}
