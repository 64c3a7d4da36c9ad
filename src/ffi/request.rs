//! A request: what the client sent, what will be forwarded, and the module's own state for it.

mod headers_out;

use core::cell::{Cell, UnsafeCell};
use core::ffi::c_void;
use core::fmt;
use core::net::IpAddr;
use core::ptr::{self, NonNull};

use nginx_sys::{
    NGX_ESCAPE_URI, NGX_HTTP_GET, ngx_escape_uri, ngx_http_request_t, ngx_list_part_t, ngx_module_t,
    ngx_pool_cleanup_add, ngx_str_t, ngx_table_elt_t,
};
use registry_auth::Network;

use super::event::NginxThread;
use super::log::{self, Level};
use super::pool::{OutOfMemory, Pool};
use super::slot_pool::{Block, Blocks, Linked};
use super::{Slot, bytes, flags, guard::guard, slots};

/// The module's state of a request.
pub trait InRequest: Slot<Kind = slots::Request> {}

impl<C: Slot<Kind = slots::Request>> InRequest for C {}

/// One request, borrowed from nginx for the length of a callback.
#[repr(transparent)]
pub struct Request(ngx_http_request_t);

/// The module's state of one request, in a block that the request's pool drops when it is destroyed, which is
/// after the access log.
#[repr(C)]
struct RequestState<C> {
    /// The descriptor of the module it belongs to: what tells it from other modules' cleanup data.
    owner: *mut ngx_module_t,
    /// The number of this state: no other one of this process has had it, or will.
    serial: u64,
    /// Whether a closure holds the value now.
    taken: Cell<bool>,
    /// What else the request owns.
    owned: Blocks,
    value: UnsafeCell<C>,
}

/// Bytes in a request's pool or state, or of its path; see [`Request::keep_own`]. Whoever has them longer
/// than that state, which is known by its number, or asks another request, reads nothing.
#[derive(Clone, Copy)]
pub struct RequestBytes {
    state: u64,
    text: ngx_str_t,
    /// Where they are a part of the path: how many bytes of it are before them, and how many after them.
    around: [u32; 2],
}

/// The number of the state that is made next. A worker that makes a million a second has numbers for half a
/// million years.
struct Serial(Cell<u64>);

// SAFETY: only nginx's thread has requests, and so uses it.
unsafe impl Sync for Serial {}

static NEXT: Serial = Serial(Cell::new(1));

impl Request {
    /// # Safety
    /// `raw` must be the request that nginx handed to a callback which has not returned yet, and no other
    /// `Request` of it may be in use.
    pub(crate) unsafe fn from_raw<'r>(raw: *mut ngx_http_request_t) -> Option<&'r mut Request> {
        // SAFETY: Request is transparent over the structure; the caller vouches for the pointer.
        unsafe { raw.cast::<Request>().as_mut() }
    }

    /// The request itself, for nginx's own functions.
    pub(super) fn as_ptr(&mut self) -> *mut ngx_http_request_t {
        &mut self.0
    }

    /// The request itself, to read.
    pub(super) fn as_ref_ptr(&self) -> &ngx_http_request_t {
        &self.0
    }

    /// nginx's thread: no other one has a request.
    pub fn thread(&self) -> NginxThread {
        // SAFETY: a request, which holds pointers, is not sent to other threads; nginx's has made it.
        unsafe { NginxThread::new() }
    }

    /// The pool that lives as long as the request.
    pub fn pool(&self) -> Option<Pool<'_>> {
        // SAFETY: a request has a pool until it is freed, which it is not while it is borrowed.
        unsafe { Pool::from_raw(self.0.pool) }
    }

    fn text(&self, s: ngx_str_t) -> &[u8] {
        // SAFETY: the strings of a request live in its or its connection's pool.
        unsafe { bytes::of(s) }
    }

    /// The method as the client wrote it.
    pub fn method(&self) -> &[u8] {
        self.text(self.0.method_name)
    }

    /// Whether it is a GET, as nginx has read the method: for those who count. What is decided goes by the
    /// method as it is written, which goes on to a registry.
    #[inline]
    pub fn is_get(&self) -> bool {
        self.0.method == NGX_HTTP_GET as usize
    }

    /// nginx's normalised path, which chose the location.
    pub fn uri(&self) -> &[u8] {
        self.text(self.0.uri)
    }

    /// The target as proxy_pass without a URI forwards it: as the client wrote it, query and all. `None`
    /// where nginx has rewritten the path: then it forwards [`Request::uri`] and [`Request::args`].
    pub fn target(&self) -> Option<&[u8]> {
        (flags::valid_unparsed_uri(&self.0) != 0).then(|| self.text(self.0.unparsed_uri))
    }

    /// The target as `$request_uri` has it: as the client wrote it, whatever has become of it since.
    pub fn written_target(&self) -> &[u8] {
        self.text(self.0.unparsed_uri)
    }

    /// The target as proxy_pass without a URI forwards it where nginx has rewritten the path:
    /// [`Request::uri`], escaped anew, and [`Request::args`].
    pub fn rewritten_target(&self) -> Vec<u8> {
        let path = self.uri();
        let is_escaped = flags::quoted_uri(&self.0) != 0 || flags::internal(&self.0) != 0;
        let mut target = vec![0; path.len() * if is_escaped { 3 } else { 1 }];
        let length = match is_escaped {
            // SAFETY: nginx writes three bytes at most for each of the path, and reads no more than the path.
            true => unsafe {
                let (from, to) = (path.as_ptr().cast_mut(), target.as_mut_ptr());
                let end = ngx_escape_uri(to, from, path.len(), NGX_ESCAPE_URI as usize);
                end.saturating_sub(to.addr())
            },
            false => {
                target.copy_from_slice(path);
                path.len()
            }
        };
        target.truncate(length);
        if !self.args().is_empty() {
            target.push(b'?');
            target.extend_from_slice(self.args());
        }
        target
    }

    /// Whether the current answer comes from a cache, or is to be kept in one or in a file.
    #[inline]
    pub fn is_kept(&self) -> bool {
        // SAFETY: null, or this request's upstream, which lies in its pool.
        !self.0.cache.is_null()
            || unsafe { self.0.upstream.as_ref() }.is_some_and(|upstream| upstream.store() != 0)
    }

    /// Whether the answer comes out of a cache.
    #[inline]
    pub fn is_cached(&self) -> bool {
        flags::cached(&self.0) != 0
    }

    /// Whether an upstream has answered, be it out of a cache.
    pub fn has_upstreams_answer(&self) -> bool {
        // SAFETY: null, or this request's upstream, which lies in its pool.
        unsafe { self.0.upstream.as_ref() }.is_some_and(|upstream| upstream.headers_in.status_n != 0)
    }

    /// The status that an upstream has answered with; 0 before it has.
    pub fn upstreams_status(&self) -> u32 {
        // SAFETY: null, or this request's upstream, which lies in its pool.
        unsafe { self.0.upstream.as_ref() }.map_or(0, |upstream| upstream.headers_in.status_n as u32)
    }

    /// How many bytes an upstream has announced as its answer's body.
    pub fn upstreams_length(&self) -> Option<u64> {
        // SAFETY: as in `upstreams_status`.
        let upstream = unsafe { self.0.upstream.as_ref() }?;
        u64::try_from(upstream.headers_in.content_length_n).ok()
    }

    /// The values of all headers of that name (in lower case) that an upstream has answered with, whether
    /// they are passed on or not.
    pub fn upstreams_headers<'r>(&'r self, name: &'r [u8]) -> impl Iterator<Item = &'r [u8]> {
        // SAFETY: as in `upstreams_status`.
        let first = match unsafe { self.0.upstream.as_ref() } {
            Some(upstream) => &raw const upstream.headers_in.headers.part,
            None => ptr::null(),
        };
        self.values(first, name)
    }

    /// Whether an upstream has sent a `Location`, be it out of a cache.
    #[inline]
    pub fn has_upstreams_location(&self) -> bool {
        // SAFETY: null, or this request's upstream, which lies in its pool.
        unsafe { self.0.upstream.as_ref() }.is_some_and(|upstream| !upstream.headers_in.location.is_null())
    }

    /// The target that goes to the backend, where a proxy module has made the request to it.
    pub fn forwarded(&self) -> Option<&[u8]> {
        // SAFETY: null or the request's own structure.
        let upstream = unsafe { self.0.upstream.as_ref() }?;
        Some(self.text(upstream.uri)).filter(|target| !target.is_empty())
    }

    /// nginx's query, without its question mark.
    pub fn args(&self) -> &[u8] {
        self.text(self.0.args)
    }

    /// Replaces the query in all places from which nginx forwards it; an empty one goes with its question
    /// mark.
    pub fn set_args(&mut self, args: &[u8]) -> Result<(), OutOfMemory> {
        let pool = self.pool().ok_or(OutOfMemory)?;
        let mut unparsed = match self.target() {
            Some(target) => target
                .split(|byte| *byte == b'?')
                .next()
                .unwrap_or_default()
                .to_vec(),
            None => self.uri().to_vec(),
        };
        if !args.is_empty() {
            unparsed.push(b'?');
            unparsed.extend_from_slice(args);
        }
        let unparsed = pool.string(&unparsed).ok_or(OutOfMemory)?;
        let args = pool.string(args).ok_or(OutOfMemory)?;
        self.0.args = args;
        self.0.unparsed_uri = unparsed;
        self.forget_target();
        Ok(())
    }

    /// The value of the Authorization header; nginx refuses a second one with 400.
    pub fn authorization(&self) -> Option<&[u8]> {
        self.header_value(self.0.headers_in.authorization)
    }

    fn header_value(&self, header: *mut ngx_table_elt_t) -> Option<&[u8]> {
        // SAFETY: null, or an entry of the request's headers.
        unsafe { header.as_ref() }.map(|header| self.text(header.value))
    }

    /// The values of all request headers of that name (in lower case), in order.
    pub fn headers<'r>(&'r self, name: &'r [u8]) -> impl Iterator<Item = &'r [u8]> {
        self.values(&raw const self.0.headers_in.headers.part, name)
    }

    /// `part` is the first of one of the request's own lists.
    fn values<'r>(
        &'r self,
        mut part: *const ngx_list_part_t,
        name: &'r [u8],
    ) -> impl Iterator<Item = &'r [u8]> {
        let mut next = 0;
        core::iter::from_fn(move || {
            loop {
                // SAFETY: the parts of an ngx_list_t of ngx_table_elt_t; each holds `nelts` entries.
                let header = unsafe {
                    let list = part.as_ref()?;
                    if next >= list.nelts {
                        part = list.next;
                        next = 0;
                        continue;
                    }
                    &*list.elts.cast::<ngx_table_elt_t>().add(next)
                };
                next += 1;
                if self.text(header.key).eq_ignore_ascii_case(name) {
                    return Some(self.text(header.value));
                }
            }
        })
    }

    /// Whether the client sends a body, too.
    pub fn has_body(&self) -> bool {
        self.0.headers_in.content_length_n > 0 || self.0.headers_in.chunked() != 0
    }

    /// Bytes of the request that have come so far, with its headers (`$request_length`).
    pub fn bytes_received(&self) -> u64 {
        u64::try_from(self.0.request_length).unwrap_or_default()
    }

    /// Bytes of the answer that were sent so far, with its headers (`$bytes_sent`).
    pub fn bytes_sent(&self) -> u64 {
        // SAFETY: a request has a connection until it is freed.
        u64::try_from(unsafe { (*self.0.connection).sent }).unwrap_or_default()
    }

    /// The network that the client's address stands in; what realip says, where that is in use.
    pub fn network(&self) -> Network {
        // SAFETY: a request has a connection, and that an address of its family's size, until it is freed.
        unsafe {
            let address = (*self.0.connection).sockaddr;
            if address.is_null() {
                return Network::Local;
            }
            match libc::c_int::from((*address).sa_family) {
                libc::AF_INET => {
                    let address = &*address.cast::<libc::sockaddr_in>();
                    IpAddr::from(address.sin_addr.s_addr.to_ne_bytes()).into()
                }
                libc::AF_INET6 => {
                    let address = &*address.cast::<libc::sockaddr_in6>();
                    IpAddr::from(address.sin6_addr.s6_addr).into()
                }
                _ => Network::Local,
            }
        }
    }

    /// Ends the reading of what an upstream still sends: nothing of it is wanted any more. For body filters;
    /// nginx then closes the connection to the upstream, and the answer is complete.
    pub(super) fn end_upstream(&mut self) {
        // SAFETY: null, or this request's upstream, which lies in its pool, as its pipe does; nginx looks at
        // both once the filters have returned.
        unsafe {
            let Some(upstream) = self.0.upstream.as_mut() else {
                return;
            };
            // What ends an answer that is not buffered.
            upstream.length = 0;
            let is_stored = upstream.cacheable() != 0 || upstream.store() != 0;
            match upstream.pipe.as_mut() {
                // Half an answer is not to be kept for others.
                Some(pipe) if is_stored => pipe.set_upstream_error(1),
                Some(pipe) => pipe.set_upstream_done(1),
                None => {}
            }
        }
    }

    /// Has nginx keep nothing of the answer that an upstream sends, and so need nothing more of it.
    pub fn keep_no_answer(&mut self) {
        // SAFETY: null, or this request's upstream, which lies in its pool.
        if let Some(upstream) = unsafe { self.0.upstream.as_mut() } {
            upstream.set_cacheable(0);
            upstream.set_store(0);
        }
    }

    /// Whether the error log takes lines of this level about the request.
    pub fn logs(&self, level: Level) -> bool {
        // SAFETY: a request has a connection, and that a log, until it is freed.
        unsafe { log::takes((*self.0.connection).log, level) }
    }

    /// Writes a line to the error log, with the request that it is about.
    pub fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        // SAFETY: a request has a connection, and that a log, until it is freed.
        unsafe { log::write_at((*self.0.connection).log, level, message) }
    }

    /// Keeps bytes as long as the module's state of this request: cheaper than a box, and never freed one by
    /// one. Those that are a part of the path that the client sent are not copied: that lies where it is
    /// until the request is freed, also after a redirect to another one. `None` when memory is out, or there
    /// is no state.
    pub fn keep_own<C: InRequest>(&self, bytes: &[u8]) -> Option<RequestBytes> {
        let path = self.uri().as_ptr_range();
        let part = bytes.as_ptr_range();
        let is_part = path.start <= part.start && part.end <= path.end;
        let text = if is_part {
            ngx_str_t {
                len: bytes.len(),
                data: bytes.as_ptr().cast_mut(),
            }
        } else {
            self.pool()?.string(bytes)?
        };
        // SAFETY: in the pool that drops the state, or where the path is.
        let mut kept = unsafe { self.keep_owned::<C>(text) }?;
        if is_part {
            // nginx holds no path of 4 GiB.
            let before = part.start.addr() - path.start.addr();
            let after = path.end.addr() - part.end.addr();
            kept.around = [before as u32, after as u32];
        }
        Some(kept)
    }

    /// # Safety
    /// `text` must live as long as the state of this request: in its pool, where its path does, or in
    /// something that the state owns (see [`Request::own`]).
    pub(super) unsafe fn keep_owned<C: InRequest>(&self, text: ngx_str_t) -> Option<RequestBytes> {
        let state = self.serial::<C>()?;
        Some(RequestBytes {
            state,
            text,
            around: [0; 2],
        })
    }

    /// The number of the module's state of this request, where nginx knows it.
    fn serial<C: InRequest>(&self) -> Option<u64> {
        // SAFETY: null, or what `make` or `find` put there, which lives as long as the request's pool.
        unsafe { self.slot::<C>().as_ref() }.map(|state| state.serial)
    }

    /// Has the module's state of this request own a value, which then stays where it is as long as the
    /// request. `None` where there is no state.
    pub(super) fn own<C: InRequest, T: 'static>(
        &mut self,
        block: Block<Linked<T>>,
    ) -> Option<NonNull<Linked<T>>> {
        let slot = self.find::<C>()?;
        // SAFETY: `find` gives a slot that lives as long as the request's pool.
        Some(unsafe { &(*slot).owned }.add(block))
    }

    /// The bytes that this request kept; nothing for another one's.
    #[inline]
    pub fn kept<C: InRequest>(&self, kept: &RequestBytes) -> &[u8] {
        match self.serial::<C>() {
            // SAFETY: the state in which they are kept is there, and with it they.
            Some(state) if state == kept.state => unsafe { bytes::of(kept.text) },
            _ => &[],
        }
    }

    /// The whole path of which this request kept these bytes, whatever its path is now; the bytes themselves
    /// where they are of no path.
    pub fn kept_path<C: InRequest>(&self, kept: &RequestBytes) -> &[u8] {
        let [before, after] = kept.around.map(|length| length as usize);
        match self.serial::<C>() {
            // SAFETY: as in `kept`; so many bytes of the path, which lies where it was, are around them.
            Some(state) if state == kept.state => unsafe {
                bytes::of(ngx_str_t {
                    len: before + kept.text.len + after,
                    data: kept.text.data.wrapping_sub(before),
                })
            },
            _ => &[],
        }
    }

    /// The location's part of the configuration, while nothing is done to the request.
    #[inline]
    pub fn location<L: Slot<Kind = slots::Location>>(&self) -> Option<&L> {
        // SAFETY: nginx has as many slots as modules, and the module's was filled by `conf::create::<L>` and
        // is not written to after the configuration was read; it outlives the request.
        unsafe {
            let slots = self.0.loc_conf;
            (*slots.add((*L::descriptor()).ctx_index)).cast::<L>().as_ref()
        }
    }

    /// Lends the location's part of the configuration to `f`, beside the request. `None` where there is none.
    #[inline]
    pub fn with_location<L: Slot<Kind = slots::Location>, T>(
        &mut self,
        f: impl FnOnce(&mut Request, &L) -> T,
    ) -> Option<T> {
        let location: *const L = self.location::<L>()?;
        // SAFETY: as in `location`. It is not the request's, which may be moved to another location
        // meanwhile; nor can the request be freed, and the configuration with it, while `f` has it.
        Some(f(self, unsafe { &*location }))
    }

    /// Lends the module's state of this request to `f`, making it first where there is none. `None` when
    /// memory is out, or within another closure of the same request.
    pub fn with_context<C: InRequest, T>(&mut self, f: impl FnOnce(&mut Request, &mut C) -> T) -> Option<T> {
        let slot = match self.find::<C>() {
            Some(slot) => slot,
            None => self.make::<C>()?,
        };
        self.lend::<C, T>(slot, f)
    }

    /// As [`Request::with_context`], but only where there is a state.
    pub fn existing_context<C: InRequest, T>(
        &mut self,
        f: impl FnOnce(&mut Request, &mut C) -> T,
    ) -> Option<T> {
        let slot = self.find::<C>()?;
        self.lend::<C, T>(slot, f)
    }

    fn lend<C: InRequest, T>(
        &mut self,
        slot: *mut RequestState<C>,
        f: impl FnOnce(&mut Request, &mut C) -> T,
    ) -> Option<T> {
        // SAFETY: `find` and `make` give a slot that lives as long as the request's pool.
        let slot = unsafe { &*slot };
        if slot.taken.replace(true) {
            return None;
        }
        // SAFETY: `taken` makes this the only reference.
        let result = f(self, unsafe { &mut *slot.value.get() });
        slot.taken.set(false);
        Some(result)
    }

    /// What nginx has in this request's slot: null, or what `make` or `find` put there.
    #[inline]
    fn slot<C: InRequest>(&self) -> *mut RequestState<C> {
        // SAFETY: nginx has as many slots as modules for each request.
        unsafe { (*self.0.ctx.add((*C::descriptor()).ctx_index)).cast() }
    }

    /// Puts a state into that slot.
    fn set_slot<C: InRequest>(&mut self, state: *mut RequestState<C>) {
        // SAFETY: as in `slot`.
        unsafe { *self.0.ctx.add((*C::descriptor()).ctx_index) = state.cast() };
    }

    /// The state, also after an internal redirect or for a subrequest, where nginx has none in `r->ctx`: as
    /// ngx_http_realip_get_module_ctx() does, by the pool's list of cleanups.
    #[inline]
    fn find<C: InRequest>(&mut self) -> Option<*mut RequestState<C>> {
        let direct = self.slot::<C>();
        if !direct.is_null() {
            return Some(direct);
        }
        let main: *const ngx_http_request_t = self.0.main;
        let is_plain = flags::internal(&self.0) == 0 && flags::filter_finalize(&self.0) == 0;
        if is_plain && ptr::eq(main, &self.0) {
            None
        } else {
            self.find_hidden()
        }
    }

    /// The state where it is not in nginx's slot, and puts it there.
    #[cold]
    fn find_hidden<C: InRequest>(&mut self) -> Option<*mut RequestState<C>> {
        // SAFETY: subrequests share the main request's pool. A record with our handler holds what `make`
        // registered; its owner is looked at all the same, since a linker may fold equal functions into one.
        unsafe {
            let mut cleanup = (*self.0.pool).cleanup;
            while let Some(record) = cleanup.as_ref() {
                if record
                    .handler
                    .is_some_and(|handler| handler as usize == drop_slot::<C> as *const () as usize)
                {
                    let slot = record.data.cast::<RequestState<C>>();
                    if ptr::eq((*slot).owner, C::descriptor()) {
                        self.set_slot(slot);
                        return Some(slot);
                    }
                }
                cleanup = record.next;
            }
        }
        None
    }

    fn make<C: InRequest>(&mut self) -> Option<*mut RequestState<C>> {
        let state = Block::new(|| RequestState {
            owner: C::descriptor(),
            serial: NEXT.0.replace(NEXT.0.get() + 1),
            taken: Cell::new(false),
            owned: Blocks::default(),
            value: UnsafeCell::new(C::default()),
        })?;
        // SAFETY: the pool is valid and gives null or a record that is ours to fill. The handler is set with
        // a whole slot only, which it drops.
        unsafe {
            let cleanup = ngx_pool_cleanup_add(self.0.pool, 0).as_mut()?;
            let slot = state.into_raw().as_ptr();
            cleanup.data = slot.cast();
            cleanup.handler = Some(drop_slot::<C>);
            self.set_slot(slot);
            Some(slot)
        }
    }
}

/// Gives each entry of a request's list of headers, whose first part this is, to `f`.
fn entries(part: *const ngx_list_part_t, mut f: impl FnMut(&mut ngx_table_elt_t)) {
    let mut part = part;
    // SAFETY: the parts of an ngx_list_t of ngx_table_elt_t; each holds `nelts` entries, to which nobody else
    // refers meanwhile.
    unsafe {
        while let Some(list) = part.as_ref() {
            for at in 0..list.nelts {
                f(&mut *list.elts.cast::<ngx_table_elt_t>().add(at));
            }
            part = list.next;
        }
    }
}

/// Drops the state when the request's pool goes.
unsafe extern "C" fn drop_slot<C: InRequest>(data: *mut c_void) {
    guard((), || {
        let Some(slot) = NonNull::new(data.cast::<RequestState<C>>()) else {
            return;
        };
        // SAFETY: `make` registered exactly this slot, and a pool runs each cleanup once, before it frees
        // anything.
        drop(unsafe { Block::from_raw(slot) });
    });
}
