//! A load balancer for `upstream {}`: peers that a trait names for each request, tried in turn; the block's own `server` lines
//! where it names none.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use std::net::SocketAddr;

use nginx_sys::{
    ngx_array_push, ngx_conf_t, ngx_http_request_t, ngx_http_upstream_init_peer_pt,
    ngx_http_upstream_init_round_robin, ngx_http_upstream_rr_peers_t, ngx_http_upstream_server_t,
    ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_peer_connection_t, ngx_str_t, ngx_uint_t, NGX_BUSY,
    NGX_ERROR, NGX_OK,
};
use socket2::SockAddr;

use super::conf::Conf;
use super::guard::guard;
use super::request::Request;
use super::{bytes, shim, Module};

/// Names the peers of a request.
pub trait Balancer: 'static {
    /// The module whose upstream configuration holds an [`OwnServers`].
    type Module: Module;

    /// Which peers a request may be sent to.
    fn select(request: &mut Request, upstream: &<Self::Module as Module>::Upstream) -> Selection;

    /// The request is about to be sent to this peer.
    fn chosen(request: &mut Request, name: &str);

    /// Where the upstream's configuration keeps what its `server` lines became.
    fn own_servers(upstream: &mut <Self::Module as Module>::Upstream) -> &mut OwnServers;
    /// The same, to look at.
    fn own_servers_of(upstream: &<Self::Module as Module>::Upstream) -> &OwnServers;
}

/// What [`Balancer::select`] may answer.
pub enum Selection {
    /// These, from the one at `first` on, each once. Never empty.
    Peers {
        /// The candidates.
        peers: Vec<Peer>,
        /// Where to begin; any number.
        first: usize,
    },
    /// The block's own `server` lines.
    OwnServers,
    /// None: the request fails, and the balancer has noted why.
    Refuse,
}

/// One address to send a request to.
pub struct Peer {
    /// What the logs call it.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
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
    ours: &mut <B::Module as Module>::Upstream,
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
            let slot = shim::rga_upstream_srv_conf(*upstream, B::Module::descriptor());
            let Some(ours) = slot.cast::<<B::Module as Module>::Upstream>().as_ref() else {
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
            let slot = shim::rga_upstream_srv_conf(us, B::Module::descriptor());
            let Some(ours) = slot.cast::<<B::Module as Module>::Upstream>().as_mut() else {
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

/// The peers of one request. It lies in the request's pool.
struct Data<B> {
    request: *mut ngx_http_request_t,
    peers: Vec<Target>,
    first: usize,
    tried: usize,
    balancer: PhantomData<B>,
}

struct Target {
    name: String,
    address: SockAddr,
    /// `name` as nginx keeps it: in the request's pool, since logs read it after the peer is gone.
    shown: NonNull<ngx_str_t>,
}

/// `peer.init`: the peers of one request.
unsafe extern "C" fn init_peer<B: Balancer>(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: nginx's own pointers, valid during the call; the slot was filled by `conf::create`.
        let (request, ours) = unsafe {
            let slot = shim::rga_upstream_srv_conf(us, B::Module::descriptor());
            (
                Request::from_raw(r),
                slot.cast::<<B::Module as Module>::Upstream>().as_ref(),
            )
        };
        let (Some(request), Some(ours)) = (request, ours) else {
            return NGX_ERROR as ngx_int_t;
        };
        match B::select(request, ours) {
            Selection::Peers { peers, first } => match install::<B>(request, peers, first) {
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

fn install<B: Balancer>(request: &mut Request, peers: Vec<Peer>, first: usize) -> Option<()> {
    let pool = request.pool()?;
    let mut targets = Vec::with_capacity(peers.len());
    for Peer { name, address } in peers {
        let shown = pool.place(pool.string(address.to_string().as_bytes())?)?;
        targets.push(Target {
            name,
            address: SockAddr::from(address),
            shown,
        });
    }
    let count = targets.len();
    if count == 0 {
        return None;
    }
    let r = request.as_ptr();
    let data = pool.own(Data::<B> {
        request: r,
        peers: targets,
        first: first % count,
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
        let Some(at) = (data.first + data.tried).checked_rem(data.peers.len()) else {
            return NGX_BUSY as ngx_int_t;
        };
        let Some(target) = data.peers.get(at) else {
            return NGX_BUSY as ngx_int_t;
        };
        data.tried += 1;
        pc.set_cached(0);
        pc.connection = ptr::null_mut();
        pc.sockaddr = target.address.as_ptr().cast_mut().cast();
        pc.socklen = target.address.len();
        pc.name = target.shown.as_ptr();
        // SAFETY: the request lives, and no other `Request` of it is in use while nginx connects.
        if let Some(request) = unsafe { Request::from_raw(data.request) } {
            B::chosen(request, &target.name);
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
