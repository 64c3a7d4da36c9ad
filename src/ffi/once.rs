//! A request that changes what a registry has is sent to one peer, whichever balancer names the peers: those
//! of [`super::peer`], or a block's own `server` lines.
//!
//! nginx asks the next peer where one fails. Of requests with a body it does so until the first byte of that
//! was sent only where it passes the body on unread; a small one it has read with the header, and a `DELETE`
//! has none. But a registry that gave no answer may have done what was asked, and two would be changed.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

use nginx_sys::{
    NGX_BUSY, NGX_ERROR, NGX_OK, ngx_event_free_peer_pt, ngx_event_get_peer_pt, ngx_http_request_t,
    ngx_int_t, ngx_peer_connection_t, ngx_str_t, ngx_uint_t, socklen_t,
};

use super::guard::guard;
use super::request::Request;
use super::{bytes, shim};

/// Stands between nginx and the balancer for one request.
#[derive(Clone, Copy)]
struct Once {
    request: *mut ngx_http_request_t,
    get: ngx_event_get_peer_pt,
    free: ngx_event_free_peer_pt,
    data: *mut c_void,
    /// How many peers there are left as long as nothing was sent.
    tries: ngx_uint_t,
    sent: Sent,
}

/// Whether the request was sent.
#[derive(Clone, Copy)]
enum Sent {
    /// Not yet: the next peer may be asked.
    No,
    /// To this peer, which alone may have it once more: nginx repeats what it has sent over a kept connection
    /// that the peer had closed.
    To(Peer),
    /// And nobody may have it again.
    Over,
}

/// A copy of a peer's address: the balancer may let go of its own.
#[derive(Clone, Copy)]
struct Peer {
    address: libc::sockaddr_storage,
    length: socklen_t,
    name: ngx_str_t,
}

/// Has the request sent to one of its peers only, which a balancer has just set. `None` when memory is out.
pub(super) fn wrap(request: &mut Request) -> Option<()> {
    let r = request.as_ptr();
    // SAFETY: nginx has made r->upstream before it asks for peers; both live as long as the request's pool.
    let upstream = unsafe { (*r).upstream.as_mut() }?;
    let once = Once {
        request: r,
        get: upstream.peer.get,
        free: upstream.peer.free,
        data: upstream.peer.data,
        tries: 0,
        sent: Sent::No,
    };
    upstream.peer.data = request.pool()?.place(once)?.as_ptr().cast();
    upstream.peer.get = Some(get);
    upstream.peer.free = Some(free);
    // Those of round robin would be called with our data.
    // SAFETY: the upstream of a request, as above.
    unsafe { shim::rga_upstream_ssl_sessions(upstream) };
    Some(())
}

/// `peer.get`. nginx shall not know of further peers while this one has the request: it would take an answer
/// such as 503 for a reason to ask them, and drop it.
unsafe extern "C" fn get(pc: *mut ngx_peer_connection_t, data: *mut c_void) -> ngx_int_t {
    guard(NGX_ERROR as ngx_int_t, || {
        // SAFETY: `wrap` set this function and its data; both live as long as the request.
        let (pc, once) = unsafe { (&mut *pc, &mut *data.cast::<Once>()) };
        match &mut once.sent {
            Sent::No => {
                let Some(get) = once.get else {
                    return NGX_ERROR as ngx_int_t;
                };
                // SAFETY: the balancer's own function and data.
                let got = unsafe { get(pc, once.data) };
                once.tries = pc.tries;
                pc.tries = 1;
                got
            }
            Sent::To(peer) => {
                pc.set_cached(0);
                pc.connection = ptr::null_mut();
                pc.sockaddr = (&raw mut peer.address).cast();
                pc.socklen = peer.length;
                pc.name = &raw mut peer.name;
                NGX_OK as ngx_int_t
            }
            Sent::Over => NGX_BUSY as ngx_int_t,
        }
    })
}

/// `peer.free`: a try is used up, and where the request was sent, all are.
unsafe extern "C" fn free(pc: *mut ngx_peer_connection_t, data: *mut c_void, state: ngx_uint_t) {
    guard((), || {
        // SAFETY: as in `get`.
        let (pc, once) = unsafe { (&mut *pc, &mut *data.cast::<Once>()) };
        if matches!(once.sent, Sent::No) {
            // SAFETY: the request lives, and its upstream with it; nobody else refers to them now.
            let request = unsafe { Request::from_raw(once.request) };
            if let Some(request) = request
                // SAFETY: as above.
                && unsafe { (*request.as_ptr()).upstream.as_ref() }.is_none_or(|it| it.request_sent() != 0)
            {
                // With an answer it is over: nobody is asked again.
                let peer = if state == 0 { None } else { copy(request, pc) };
                once.sent = peer.map_or(Sent::Over, Sent::To);
            }
            pc.tries = once.tries;
            if let Some(free) = once.free {
                // SAFETY: the balancer's own function and data.
                unsafe { free(pc, once.data, state) };
            }
            once.tries = pc.tries;
        }
        if !matches!(once.sent, Sent::No) {
            pc.tries = 0;
        }
    });
}

/// The peer that a connection was made to.
fn copy(request: &Request, pc: &ngx_peer_connection_t) -> Option<Peer> {
    // SAFETY: all-zero is a valid address, of no family.
    let mut address: libc::sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
    let length = usize::try_from(pc.socklen).ok()?;
    if pc.sockaddr.is_null() || length > size_of_val(&address) {
        return None;
    }
    // SAFETY: the address of a peer has the length that stands beside it, for which there is room; its name
    // is null, or a string of the balancer.
    let name = unsafe {
        ptr::copy_nonoverlapping(pc.sockaddr.cast::<u8>(), (&raw mut address).cast::<u8>(), length);
        pc.name.as_ref().map_or(&[][..], |name| bytes::of(*name))
    };
    Some(Peer {
        address,
        length: pc.socklen,
        name: request.pool()?.string(name)?,
    })
}
