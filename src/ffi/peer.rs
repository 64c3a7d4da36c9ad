//! A load balancer for `upstream {}`: peers that a trait names for each request, tried in turn; the block's own `server` lines
//! where it names none.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use std::net::SocketAddr;

use nginx_sys::{
    ngx_array_create, ngx_array_push, ngx_array_t, ngx_conf_t, ngx_http_request_t,
    ngx_http_upstream_init_peer_pt, ngx_http_upstream_init_round_robin, ngx_http_upstream_rr_peers_t,
    ngx_http_upstream_server_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_peer_connection_t, ngx_str_t,
    ngx_uint_t, socklen_t, NGX_BUSY, NGX_ERROR, NGX_OK,
};

use super::conf::Conf;
use super::guard::guard;
use super::pool::Pool;
use super::request::{Kept, Request};
use super::{bytes, shim, Slot};

/// Names the peers of a request.
pub trait Balancer: 'static {
    /// What an upstream{} holds; among it, an [`OwnServers`].
    type Upstream: Slot;

    /// Which peers a request may be sent to: added to `candidates`, or told by the answer.
    fn select(request: &mut Request, upstream: &Self::Upstream, candidates: &mut Candidates<'_>)
        -> Selection;

    /// The request is about to be sent to this peer.
    fn chosen(request: &mut Request, name: Kept);

    /// Where the upstream's configuration keeps what its `server` lines became.
    fn own_servers(upstream: &mut Self::Upstream) -> &mut OwnServers;
    /// The same, to look at.
    fn own_servers_of(upstream: &Self::Upstream) -> &OwnServers;
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

/// Makes `B` choose the peers of the upstream{} at hand; for the directive's handler. An error is the directive's.
pub fn attach<B: Balancer>(
    conf: &mut Conf<'_>,
    ours: &mut B::Upstream,
    _balancer: PhantomData<B>,
) -> Result<(), String> {
    // SAFETY: the directive stands in upstream{}, whose configuration and servers nginx made before it read the block.
    unsafe {
        let upstream = shim::rga_conf_upstream(conf.as_ptr())
            .as_mut()
            .ok_or("not in an upstream")?;
        if upstream.peer.init_upstream.is_some() {
            return Err("it must stand once, and before any other balancer and keepalive".to_owned());
        }
        // nginx refuses an upstream without servers before it calls init_upstream: a placeholder, taken out again there.
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

/// Refuses upstreams in which another balancer came after `B` and took its place, which nginx only warns of: requests would go
/// to anybody's storage. For a module's postconfiguration; an error names the upstream.
pub fn check<B: Balancer>(conf: &mut Conf<'_>, _balancer: PhantomData<B>) -> Result<(), String> {
    // SAFETY: by then nginx has made all upstreams; their array holds pointers of that type.
    unsafe {
        let main = shim::rga_conf_main_conf(conf.as_ptr(), &raw const nginx_sys::ngx_http_upstream_module);
        let Some(main) = main.cast::<nginx_sys::ngx_http_upstream_main_conf_t>().as_ref() else {
            return Ok(());
        };
        for upstream in main.upstreams.as_slice::<*mut ngx_http_upstream_srv_conf_t>() {
            // An upstream that a proxy_pass names by address has no configuration of its own.
            if (**upstream).srv_conf.is_null() {
                continue;
            }
            let slot = shim::rga_upstream_srv_conf(*upstream, B::Upstream::descriptor());
            let Some(ours) = slot.cast::<B::Upstream>().as_ref() else {
                continue;
            };
            let servers = B::own_servers_of(ours);
            if servers.attached && !servers.set_up {
                return Err(String::from_utf8_lossy(bytes::of((**upstream).host)).into_owned());
            }
        }
    }
    Ok(())
}

/// `peer.init_upstream`: the `server` lines, if any, become round robin's.
unsafe extern "C" fn init_upstream<B: Balancer>(
    cf: *mut ngx_conf_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx's own pointers while it reads the configuration; the servers are an array of that type, ours to shrink.
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

/// Moves the servers that have addresses to the front, in order; how many they are. Only the placeholder has neither an address
/// nor a name to resolve.
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

/// The peers of one request. It lies in the request's pool, as does all that it refers to.
struct Data<B> {
    request: *mut ngx_http_request_t,
    targets: *mut Target,
    count: usize,
    first: usize,
    tried: usize,
    balancer: PhantomData<B>,
}

impl<B> Clone for Data<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Data<B> {}

/// One address, as nginx connects to it.
#[derive(Clone, Copy)]
struct Target {
    address: Address,
    length: socklen_t,
    /// What the balancer calls it.
    name: Kept,
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

/// The peers that a balancer may choose from, gathered in the request's pool.
pub struct Candidates<'p> {
    pool: Pool<'p>,
    targets: *mut ngx_array_t,
}

impl<'p> Candidates<'p> {
    fn new(pool: Pool<'p>) -> Option<Self> {
        // SAFETY: the pool is valid; a target needs no drop and no more than a pool's alignment.
        let targets = unsafe { ngx_array_create(pool.as_ptr(), 1, size_of::<Target>()) };
        (!targets.is_null()).then_some(Candidates { pool, targets })
    }

    /// Adds an address and what it is called. `None` when memory is out.
    pub fn push(&mut self, request: &Request, name: &[u8], address: SocketAddr) -> Option<()> {
        let name_kept = request.keep(name)?;
        let shown = match is_literal(name) {
            true => name_kept.text(),
            false => self.pool.string(address.to_string().as_bytes())?,
        };
        let (address, length) = Address::of(address);
        // SAFETY: the array is ours and of this type; its new element is written whole.
        unsafe {
            let target = ngx_array_push(self.targets).cast::<Target>();
            if target.is_null() {
                return None;
            }
            target.write(Target {
                address,
                length,
                name: name_kept,
                shown,
            });
        }
        Some(())
    }

    /// How many were added.
    pub fn count(&self) -> usize {
        // SAFETY: the array is valid.
        unsafe { (*self.targets).nelts }
    }
}

/// Whether a `host:port` is an address already: formatting it once more, the dearest part of choosing a peer, would give the
/// same text.
fn is_literal(name: &[u8]) -> bool {
    let ip = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b':');
    name.first() == Some(&b'[') || name.iter().all(ip)
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
        let Some(mut candidates) = request.pool().and_then(Candidates::new) else {
            return NGX_ERROR as ngx_int_t;
        };
        match B::select(request, ours, &mut candidates) {
            Selection::Candidates { first } => match install::<B>(request, &candidates, first) {
                Some(()) => NGX_OK as ngx_int_t,
                None => NGX_ERROR as ngx_int_t,
            },
            Selection::OwnServers => match B::own_servers_of(ours).init {
                // SAFETY: round robin's own function, with what nginx gave us.
                Some(init) => unsafe { init(r, us) },
                None => NGX_ERROR as ngx_int_t,
            },
            Selection::Refuse => NGX_ERROR as ngx_int_t,
        }
    })
}

fn install<B: Balancer>(request: &mut Request, candidates: &Candidates<'_>, first: usize) -> Option<()> {
    let pool = request.pool()?;
    let r = request.as_ptr();
    // SAFETY: the array is valid and grows no more.
    let (targets, count) = unsafe {
        (
            (*candidates.targets).elts.cast::<Target>(),
            (*candidates.targets).nelts,
        )
    };
    let first = first.checked_rem(count)?;
    let data = pool.place(Data::<B> {
        request: r,
        targets,
        count,
        first,
        tried: 0,
        balancer: PhantomData,
    })?;
    // SAFETY: nginx has made r->upstream before it asks for peers; the data outlives it, being in the request's pool.
    unsafe {
        let upstream = &mut *(*r).upstream;
        upstream.peer.data = data.as_ptr().cast();
        upstream.peer.get = Some(get::<B>);
        upstream.peer.free = Some(free);
        upstream.peer.tries = count as ngx_uint_t;
        shim::rga_upstream_ssl_sessions(upstream);
    }
    Some(())
}

/// `peer.get`. It may run more often than there are peers: a kept connection that turns out to be closed does not count.
unsafe extern "C" fn get<B: Balancer>(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: `install` set this function and its data; both live as long as the request.
        let (pc, data) = unsafe { (&mut *pc, &mut *data.cast::<Data<B>>()) };
        let Some(at) = (data.first.wrapping_add(data.tried)).checked_rem(data.count) else {
            return NGX_BUSY as ngx_int_t;
        };
        // SAFETY: `at` is below the count of the array that `install` saw.
        let target = unsafe { &mut *data.targets.add(at) };
        data.tried = data.tried.wrapping_add(1);
        pc.set_cached(0);
        pc.connection = ptr::null_mut();
        pc.sockaddr = (&raw mut target.address).cast();
        pc.socklen = target.length;
        pc.name = &mut target.shown;
        // SAFETY: the request lives, and no other `Request` of it is in use while nginx connects.
        if let Some(request) = unsafe { Request::from_raw(data.request) } {
            B::chosen(request, target.name);
        }
        NGX_OK as ngx_int_t
    })
}

/// `peer.free`: a try is used up.
unsafe extern "C" fn free(pc: *mut ngx_peer_connection_t, _data: *mut c_void, _state: ngx_uint_t) {
    // SAFETY: nginx's own pointer, valid during the call.
    let pc = unsafe { &mut *pc };
    pc.tries = pc.tries.saturating_sub(1);
}
