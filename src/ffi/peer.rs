//! A load balancer for `upstream {}`: peers that a trait names for each request, tried in turn; the block's
//! own `server` lines where it names none.

use core::cmp::Reverse;
use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use std::net::SocketAddr;

use nginx_sys::{
    NGX_BUSY, NGX_ERROR, NGX_HTTP_GET, NGX_HTTP_HEAD, NGX_HTTP_OPTIONS, NGX_OK, NGX_PEER_FAILED,
    ngx_array_push, ngx_conf_t, ngx_http_request_t, ngx_http_upstream_init_peer_pt,
    ngx_http_upstream_init_round_robin, ngx_http_upstream_rr_peers_t, ngx_http_upstream_server_t,
    ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_int_t, ngx_peer_connection_t, ngx_str_t,
    ngx_uint_t, socklen_t,
};

use smallvec::SmallVec;

use super::conf::Conf;
use super::guard::guard;
use super::request::{Request, RequestBytes};
use super::slot_pool::{Block, Linked};
use super::{Slot, bytes, once, shim, slots};

/// Names the peers of a request.
pub trait Balancer: 'static {
    /// What an upstream{} holds; among it, an [`OwnServers`].
    type Upstream: Slot<Kind = slots::Server>;
    /// The state of a request, which there is when candidates are named. It owns them.
    type Context: Slot<Kind = slots::Request>;
    /// In what the names of candidates stand.
    type Names: Names;

    /// Which peers a request may be sent to: those that it adds to `candidates`, or what it answers.
    fn select(
        request: &mut Request,
        upstream: &Self::Upstream,
        candidates: &mut Candidates<Self::Names>,
    ) -> Selection;

    /// The request is about to be sent to this peer.
    fn chosen(request: &mut Request, name: RequestBytes);

    /// The address, as text, of an ordered candidate was connected to, or could not be.
    fn tried(address: &[u8], is_reached: bool);

    /// The turn to try an address, which a request has had since this time, was not used.
    fn gave_up(address: &[u8], since: u64);

    /// Where the upstream's configuration keeps what its `server` lines became.
    fn own_servers(upstream: &mut Self::Upstream) -> &mut OwnServers;
    /// The same, to look at.
    fn own_servers_of(upstream: &Self::Upstream) -> &OwnServers;
}

/// Bytes in which the names of peers stand.
///
/// # Safety
/// A value and its clones must give the same bytes each time, at the same place, for as long as one of them
/// lives, and nothing may write to them.
pub unsafe trait Names: Clone + 'static {
    /// The bytes.
    fn bytes(&self) -> &[u8];
}

/// What [`Balancer::select`] may answer.
pub enum Selection {
    /// The candidates, of which there is one at least, each once.
    Candidates {
        /// Where to begin; any number.
        first: usize,
    },
    /// The block's own `server` lines.
    OwnServers,
    /// None: the request fails, and the balancer has noted why.
    Refuse,
}

/// How an upstream's own `server` lines pick a peer, and whether the balancer was set up at all.
#[derive(Clone, Copy, Default)]
pub struct OwnServers {
    init: ngx_http_upstream_init_peer_pt,
    attached: bool,
    set_up: bool,
}

impl OwnServers {
    /// Whether the block has `server` lines.
    pub fn exist(&self) -> bool {
        self.init.is_some()
    }
}

/// Makes `B` choose the peers of the current upstream{}; for the directive's handler. An error is the
/// directive's.
pub fn attach<B: Balancer>(
    conf: &mut Conf<'_>,
    ours: &mut B::Upstream,
    _balancer: PhantomData<B>,
) -> Result<(), String> {
    // SAFETY: the directive stands in upstream{}, whose configuration and servers nginx made before it read
    // the block.
    unsafe {
        let upstream = shim::rga_conf_upstream(conf.as_ptr())
            .as_mut()
            .ok_or("not in an upstream")?;
        if upstream.peer.init_upstream.is_some() {
            return Err("it must stand once, and before any other balancer and keepalive".to_owned());
        }
        // nginx refuses an upstream without servers before it calls init_upstream: a placeholder, taken out
        // again there.
        let placeholder = ngx_array_push(upstream.servers).cast::<ngx_http_upstream_server_t>();
        if placeholder.is_null() {
            return Err("out of memory".to_owned());
        }
        placeholder.write(core::mem::zeroed());
        (*placeholder).down = 1;
        upstream.flags = shim::rga_upstream_flags();
        upstream.peer.init_upstream = Some(init_upstream::<B>);
    }
    B::own_servers(ours).attached = true;
    Ok(())
}

/// Refuses upstreams in which another balancer came after `B` and took its place, which nginx only warns of:
/// requests would go to anybody's storage. For a module's postconfiguration; an error names the upstream.
pub fn check<B: Balancer>(conf: &mut Conf<'_>, _balancer: PhantomData<B>) -> Result<(), String> {
    let replaced = find::<B, _>(conf, |ours, host| {
        let servers = B::own_servers_of(ours);
        (servers.attached && !servers.set_up).then(|| String::from_utf8_lossy(host).into_owned())
    });
    replaced.map_or(Ok(()), Err)
}

/// Whether `B` chooses the peers of an upstream; when all upstreams were read.
pub fn is_attached<B: Balancer>(conf: &mut Conf<'_>, _balancer: PhantomData<B>) -> bool {
    find::<B, _>(conf, |ours, _| B::own_servers_of(ours).attached.then_some(())).is_some()
}

/// Whether `B` chooses the peers of the upstream of that name; for the merging of locations, when all
/// upstreams were read.
pub fn is_attached_to<B: Balancer>(conf: &mut Conf<'_>, name: &[u8], balancer: PhantomData<B>) -> bool {
    said_by(conf, name, balancer, |_| ()).is_some()
}

/// What `f` takes from the upstream of that name, where `B` chooses its peers; for the merging of locations,
/// when all upstreams were read.
pub fn said_by<B: Balancer, T>(
    conf: &mut Conf<'_>,
    name: &[u8],
    _balancer: PhantomData<B>,
    f: impl Fn(&B::Upstream) -> T,
) -> Option<T> {
    find::<B, _>(conf, |ours, host| {
        let is_it = B::own_servers_of(ours).attached && host.eq_ignore_ascii_case(name);
        is_it.then(|| f(ours))
    })
}

/// Whether `B` chooses the peers of the upstream that a request goes to, or would have gone to but for a
/// cache. It is found as nginx finds it.
pub fn is_balanced<B: Balancer>(request: &Request, _balancer: PhantomData<B>) -> bool {
    let request = request.as_ref_ptr();
    // SAFETY: null, or structures of a request that is borrowed, and of its configuration, which outlives it;
    // nginx has as many slots as modules, and its upstreams are an array of pointers to such. The slot was
    // filled by `conf::create`.
    unsafe {
        let Some(upstream) = request.upstream.as_ref() else {
            return false;
        };
        let chosen = match (known(upstream), upstream.resolved.as_ref()) {
            (Some(known), _) => known,
            (None, None) => return false,
            (None, Some(resolved)) => {
                let main = *request
                    .main_conf
                    .add(nginx_sys::ngx_http_upstream_module.ctx_index);
                let Some(main) = main.cast::<nginx_sys::ngx_http_upstream_main_conf_t>().as_ref() else {
                    return false;
                };
                let host = bytes::of(resolved.host);
                let is_it = |upstream: &&*mut ngx_http_upstream_srv_conf_t| {
                    let upstream = &***upstream;
                    let is_port =
                        upstream.port == 0 && resolved.no_port != 0 || upstream.port == resolved.port;
                    is_port && bytes::of(upstream.host).eq_ignore_ascii_case(host)
                };
                let all = main.upstreams.as_slice::<*mut ngx_http_upstream_srv_conf_t>();
                match all.iter().find(is_it).and_then(|found| found.as_ref()) {
                    Some(found) => found,
                    None => return false,
                }
            }
        };
        if chosen.srv_conf.is_null() {
            return false;
        }
        let slot = shim::rga_upstream_srv_conf(chosen, B::Upstream::descriptor());
        slot.cast::<B::Upstream>()
            .as_ref()
            .is_some_and(|ours| B::own_servers_of(ours).attached)
    }
}

/// The upstream that a request goes to, where no variable names it.
///
/// # Safety
/// The upstream must be that of a request that is borrowed.
unsafe fn known(upstream: &ngx_http_upstream_t) -> Option<&ngx_http_upstream_srv_conf_t> {
    // SAFETY: null, or of the configuration, which outlives the request.
    unsafe {
        match upstream.upstream.as_ref() {
            None if upstream.resolved.is_null() => upstream.conf.as_ref()?.upstream.as_ref(),
            known => known,
        }
    }
}

/// The name and the port of the upstream that a request goes to, or would have gone to but for a cache: that
/// of an upstream{}, or a host. `None` before one was chosen.
pub fn upstream_name(request: &Request) -> Option<Vec<u8>> {
    // SAFETY: null, or structures of a request that is borrowed, and of its configuration, which outlives it.
    unsafe {
        let upstream = request.as_ref_ptr().upstream.as_ref()?;
        let (host, port) = match (known(upstream), upstream.resolved.as_ref()) {
            (Some(known), _) => (known.host, known.port),
            (None, Some(resolved)) => (resolved.host, resolved.port),
            (None, None) => return None,
        };
        let host = bytes::of(host);
        Some(match port {
            0 => host.to_vec(),
            port => [host, b":", port.to_string().as_bytes()].concat(),
        })
    }
}

/// Whether the upstream of that name, whose peers `B` chooses, has `server` lines of its own; for the merging
/// of locations, when all upstreams were read.
pub fn has_own_servers<B: Balancer>(conf: &mut Conf<'_>, name: &[u8], balancer: PhantomData<B>) -> bool {
    said_by(conf, name, balancer, |ours| B::own_servers_of(ours).exist()) == Some(true)
}

/// The first thing that `f` finds, which looks at what each upstream holds, and at its name.
fn find<B: Balancer, T>(conf: &mut Conf<'_>, f: impl Fn(&B::Upstream, &[u8]) -> Option<T>) -> Option<T> {
    // SAFETY: by then nginx has made all upstreams; their array holds pointers of that type.
    unsafe {
        let main = shim::rga_conf_main_conf(conf.as_ptr(), &raw const nginx_sys::ngx_http_upstream_module);
        let main = main.cast::<nginx_sys::ngx_http_upstream_main_conf_t>().as_ref()?;
        for upstream in main.upstreams.as_slice::<*mut ngx_http_upstream_srv_conf_t>() {
            // An upstream that a proxy_pass names by address has no configuration of its own.
            if (**upstream).srv_conf.is_null() {
                continue;
            }
            let slot = shim::rga_upstream_srv_conf(*upstream, B::Upstream::descriptor());
            let Some(ours) = slot.cast::<B::Upstream>().as_ref() else {
                continue;
            };
            let found = f(ours, bytes::of((**upstream).host));
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

/// `peer.init_upstream`: the `server` lines, if any, become round robin's.
unsafe extern "C" fn init_upstream<B: Balancer>(
    cf: *mut ngx_conf_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx's own pointers while it reads the configuration; the servers are an array of that
        // type, ours to shrink.
        unsafe {
            let upstream = &mut *us;
            let servers = &mut *upstream.servers;
            let kept = strip_placeholder(servers.as_slice_mut::<ngx_http_upstream_server_t>());
            servers.nelts = kept;

            let Some(conf) = Conf::from_raw(cf) else {
                return NGX_ERROR as ngx_int_t;
            };
            let slot = shim::rga_upstream_srv_conf(us, B::Upstream::descriptor());
            let Some(ours) = slot.cast::<B::Upstream>().as_mut() else {
                return NGX_ERROR as ngx_int_t;
            };
            if kept == 0 {
                // `zone` copies the peers, also where there are none.
                let Some(peers) = no_peers(conf, upstream) else {
                    return NGX_ERROR as ngx_int_t;
                };
                upstream.peer.data = peers.cast();
            } else {
                if ngx_http_upstream_init_round_robin(cf, us) != NGX_OK as ngx_int_t {
                    return NGX_ERROR as ngx_int_t;
                }
                B::own_servers(ours).init = upstream.peer.init;
            }
            B::own_servers(ours).set_up = true;
            upstream.peer.init = Some(init_peer::<B>);
        }
        NGX_OK as ngx_int_t
    })
}

/// Moves the servers that have addresses to the front, in order; how many they are. Only the placeholder has
/// neither an address nor a name to resolve.
fn strip_placeholder(servers: &mut [ngx_http_upstream_server_t]) -> usize {
    let mut kept = 0;
    for at in 0..servers.len() {
        let placeholder = servers
            .get(at)
            .is_none_or(|server| server.naddrs == 0 && server.name.len == 0);
        if !placeholder {
            servers.swap(kept, at);
            kept += 1;
        }
    }
    kept
}

fn no_peers(
    conf: Conf<'_>,
    upstream: &mut ngx_http_upstream_srv_conf_t,
) -> Option<*mut ngx_http_upstream_rr_peers_t> {
    // SAFETY: all-zero is a valid, empty ngx_http_upstream_rr_peers_t, as nginx's own ngx_pcalloc() makes it.
    let mut peers: ngx_http_upstream_rr_peers_t = unsafe { MaybeUninit::zeroed().assume_init() };
    peers.name = &mut upstream.host;
    conf.pool()?.place(peers).map(NonNull::as_ptr)
}

/// The peers of one request, which its state owns.
struct Data<B: Balancer> {
    request: *mut ngx_http_request_t,
    candidates: Candidates<B::Names>,
    first: usize,
    tried: usize,
    balancer: PhantomData<B>,
}

impl<B: Balancer> Drop for Data<B> {
    fn drop(&mut self) {
        if let (Some(since), Some(target)) = (self.candidates.turn, self.candidates.targets.first()) {
            // SAFETY: the same text as the name, which `names` keeps, or one in the request's pool, which
            // drops this before it frees its memory.
            B::gave_up(unsafe { bytes::of(target.shown) }, since);
        }
    }
}

/// The peers that a balancer may choose from.
pub struct Candidates<N> {
    /// Where their names stand.
    names: Option<N>,
    targets: SmallVec<[Target; 1]>,
    /// Whether a request that finds a kept connection closed tries the same peer again, and the balancer
    /// learns what becomes of tries.
    is_ordered: bool,
    /// Since when it is this request's turn to try whether the first one is back; `None` once the balancer
    /// has learned what became of that.
    turn: Option<u64>,
}

/// One address, as nginx connects to it.
struct Target {
    address: Address,
    length: socklen_t,
    /// What the balancer calls it.
    name: ngx_str_t,
    /// What nginx's logs call it.
    shown: ngx_str_t,
}

/// An address of either family, of the smallest size that holds both.
#[derive(Clone, Copy)]
#[repr(C)]
union Address {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Address {
    fn of(address: SocketAddr) -> (Address, socklen_t) {
        match address {
            SocketAddr::V4(v4) => {
                let v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(v4.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                (Address { v4 }, size_of::<libc::sockaddr_in>() as socklen_t)
            }
            SocketAddr::V6(v6) => {
                let v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                (Address { v6 }, size_of::<libc::sockaddr_in6>() as socklen_t)
            }
        }
    }
}

impl<N: Names> Candidates<N> {
    /// Adds an address and what it is called, which stands somewhere in `names`. `None` when memory is out,
    /// or it stands elsewhere than the others' names.
    pub fn push(&mut self, request: &Request, names: &N, name: &[u8], address: SocketAddr) -> Option<()> {
        let names = self.names.get_or_insert_with(|| names.clone());
        let (all, part) = (names.bytes().as_ptr_range(), name.as_ptr_range());
        if part.start < all.start || part.end > all.end {
            return None;
        }
        let name_text = ngx_str_t {
            len: name.len(),
            data: name.as_ptr().cast_mut(),
        };
        let shown = if is_literal(name) {
            name_text
        } else {
            request.pool()?.string(address.to_string().as_bytes())?
        };
        let (address, length) = Address::of(address);
        self.targets.push(Target {
            address,
            length,
            name: name_text,
            shown,
        });
        Some(())
    }

    /// Has them tried in the order of a rank, the highest first, which is given a name and the text of the
    /// address; but those that have failed, by that text, come last. `may_try` says whether one of these is
    /// tried nevertheless, if it is its turn, which begins now.
    pub fn order_by<R: Ord>(
        &mut self,
        rank: impl Fn(&[u8], &[u8]) -> R,
        has_failed: impl Fn(&[u8]) -> bool,
        may_try: impl Fn(&[u8]) -> bool,
        now: u64,
    ) {
        self.is_ordered = true;
        // SAFETY: `push` has checked that the name stands in `names`, which lives as long as this, and the
        // other text is the same or in the request's pool.
        self.targets.sort_by_cached_key(|target| unsafe {
            Reverse(rank(bytes::of(target.name), bytes::of(target.shown)))
        });
        // SAFETY: as above.
        let first = self
            .targets
            .iter()
            .position(|target| may_try(unsafe { bytes::of(target.shown) }));
        if let Some(before) = self.targets.get_mut(..=first.unwrap_or_default()) {
            before.rotate_right(1);
        }
        let tried = first.and_then(|_| self.targets.first());
        // SAFETY: as above.
        self.turn = tried.and_then(|target| has_failed(unsafe { bytes::of(target.shown) }).then_some(now));
        if let Some(others) = self.targets.get_mut(1..) {
            // SAFETY: as above.
            others.sort_by_key(|target| has_failed(unsafe { bytes::of(target.shown) }));
        }
    }

    /// Leaves the one at this place alone to be tried; all, where there is none. The balancer learns what
    /// becomes of the try; and that nothing does, where it is the request's `turn`, which began at that time.
    pub fn keep_only(&mut self, at: usize, turn: Option<u64>) {
        self.is_ordered = true;
        self.turn = turn;
        if at < self.targets.len() {
            self.targets.swap(0, at);
            self.targets.truncate(1);
        }
    }

    /// Their names, and the texts of their addresses.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        // SAFETY: as in `order_by`, for as long as this is borrowed.
        self.targets
            .iter()
            .map(|target| unsafe { (bytes::of(target.name), bytes::of(target.shown)) })
    }

    /// How many were added.
    pub fn count(&self) -> usize {
        self.targets.len()
    }
}

/// Whether a `host:port` is an address already: formatting it once more, the dearest part of choosing a peer,
/// would give the same text. A name that has neither letters nor dashes is none that a record can hold.
fn is_literal(name: &[u8]) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const DASHES: u64 = ONES * b'-' as u64;
    // Letters, and '_', have the bit 0x40; digits, '.' and ':' do not. The other half finds a byte that is
    // '-'.
    let is_plain = |eight: &[u8; 8]| {
        let eight = u64::from_ne_bytes(*eight);
        let dash = eight ^ DASHES;
        (eight | (dash.wrapping_sub(ONES) & !dash) >> 1) & (ONES << 6) == 0
    };
    let (eights, _) = name.as_chunks::<8>();
    // The shortest address has more than eight bytes.
    name.first() == Some(&b'[') || (eights.iter().all(is_plain) && name.last_chunk().is_some_and(is_plain))
}

/// `peer.init`: the peers of one request.
unsafe extern "C" fn init_peer<B: Balancer>(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx's own pointers, valid during the call; the slot was filled by `conf::create`.
        let (request, ours) = unsafe {
            let slot = shim::rga_upstream_srv_conf(us, B::Upstream::descriptor());
            (Request::from_raw(r), slot.cast::<B::Upstream>().as_ref())
        };
        let (Some(request), Some(ours)) = (request, ours) else {
            return NGX_ERROR as ngx_int_t;
        };
        let data = Block::new(|| {
            Linked::new(Data::<B> {
                request: r,
                candidates: Candidates {
                    names: None,
                    targets: SmallVec::new(),
                    is_ordered: false,
                    turn: None,
                },
                first: 0,
                tried: 0,
                balancer: PhantomData,
            })
        });
        let Some(mut data) = data else {
            return NGX_ERROR as ngx_int_t;
        };
        let are_set = match B::select(request, ours, &mut data.candidates) {
            Selection::Candidates { first } => {
                data.first = first;
                install(request, data).is_some()
            }
            Selection::OwnServers => match B::own_servers_of(ours).init {
                // SAFETY: round robin's own function, with what nginx gave us.
                Some(init) => unsafe { init(r, us) == NGX_OK as ngx_int_t },
                None => false,
            },
            Selection::Refuse => false,
        };
        // SAFETY: nginx's own pointer, valid during the call.
        let changes = unsafe { (*r).method } & READING == 0;
        if are_set && (!changes || once::wrap(request).is_some()) {
            NGX_OK as ngx_int_t
        } else {
            NGX_ERROR as ngx_int_t
        }
    })
}

/// The methods by which a client only reads: another peer may be asked once more.
const READING: ngx_uint_t = (NGX_HTTP_GET | NGX_HTTP_HEAD | NGX_HTTP_OPTIONS) as ngx_uint_t;

fn install<B: Balancer>(request: &mut Request, data: Block<Linked<Data<B>>>) -> Option<()> {
    let mut place = request.own::<B::Context, _>(data)?;
    // SAFETY: the request's state has just taken it, and refers to it no more until it drops it.
    let data = unsafe { place.as_mut() };
    let count = data.candidates.count();
    if count == 0 {
        return None;
    }
    // SAFETY: nginx has made r->upstream before it asks for peers; the data outlives it, being dropped with
    // the request's pool.
    unsafe {
        let upstream = &mut *(*request.as_ptr()).upstream;
        upstream.peer.data = place.as_ptr().cast();
        upstream.peer.get = Some(get::<B>);
        upstream.peer.free = Some(free::<B>);
        upstream.peer.tries = count as ngx_uint_t;
        shim::rga_upstream_ssl_sessions(upstream);
    }
    Some(())
}

/// `peer.get`. It may run more often than there are peers: a kept connection that turns out to be closed does
/// not count.
unsafe extern "C" fn get<B: Balancer>(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: `install` set this function and its data; both live as long as the request.
        let (pc, data) = unsafe { (&mut *pc, &mut **data.cast::<Linked<Data<B>>>()) };
        let targets = &mut data.candidates.targets;
        let at = (data.first.wrapping_add(data.tried)).checked_rem(targets.len());
        let Some(target) = at.and_then(|at| targets.get_mut(at)) else {
            return NGX_BUSY as ngx_int_t;
        };
        data.tried = data.tried.wrapping_add(1);
        pc.set_cached(0);
        pc.connection = ptr::null_mut();
        pc.sockaddr = (&raw mut target.address).cast();
        pc.socklen = target.length;
        pc.name = &raw mut target.shown;
        // SAFETY: the request lives, and no other `Request` of it is in use while nginx connects. Its state
        // owns the data, and with it what the name stands in.
        unsafe {
            if let Some(request) = Request::from_raw(data.request)
                && let Some(name) = request.keep_owned::<B::Context>(target.name)
            {
                B::chosen(request, name);
            }
        }
        NGX_OK as ngx_int_t
    })
}

/// `peer.free`: a try is used up.
unsafe extern "C" fn free<B: Balancer>(pc: *mut ngx_peer_connection_t, data: *mut c_void, state: ngx_uint_t) {
    // SAFETY: nginx's own pointer, valid during the call; `install` set this function and its data, which
    // live as long as the request.
    let (pc, data) = unsafe { (&mut *pc, &mut **data.cast::<Linked<Data<B>>>()) };
    pc.tries = pc.tries.saturating_sub(1);
    if data.candidates.is_ordered {
        guard((), || note_try(pc, data, state));
    }
}

/// Has the balancer learn what became of a try.
#[inline(never)]
fn note_try<B: Balancer>(pc: &ngx_peer_connection_t, data: &mut Data<B>, state: ngx_uint_t) {
    let has_failed = state & NGX_PEER_FAILED as ngx_uint_t != 0;
    // SAFETY: null, or this request's upstream, which lies in its pool; the request lives.
    let Some(upstream) = (unsafe { (*data.request).upstream.as_ref() }) else {
        return;
    };
    // SAFETY: null, or the current connection, which has both events.
    let is_late = unsafe { pc.connection.as_ref() }.is_some_and(
        |connection| unsafe { (*connection.read).timedout() + (*connection.write).timedout() } != 0,
    );
    let is_sent = upstream.request_sent() != 0;
    // Where nothing could be connected to, nginx has no connection, or has sent nothing.
    let is_refused = has_failed && (pc.connection.is_null() || !is_sent);
    let at = data.first.wrapping_add(data.tried).wrapping_sub(1);
    let at = at.checked_rem(data.candidates.targets.len());
    let Some(target) = at.and_then(|at| data.candidates.targets.get(at)) else {
        return;
    };
    if is_refused || is_sent {
        // The first try is that of the first one.
        data.candidates.turn = None;
        // SAFETY: the same text as the name, or one in the request's pool.
        B::tried(unsafe { bytes::of(target.shown) }, !is_refused);
    }
    let is_stale = has_failed && pc.cached() != 0 && upstream.headers_in.status_n == 0 && !is_late;
    if is_stale && !is_refused {
        // The backend has closed a kept connection, which says nothing of it; nginx does not count that
        // either.
        data.tried = data.tried.wrapping_sub(1);
    }
}
