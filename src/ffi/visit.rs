//! Which request structure it is, and in which location for the how manieth time: nginx makes a structure for
//! each subrequest, and moves one to another location by an internal redirect. All of them share the module's
//! state; what concerns one of them only says which by a [`Visit`].

use core::ptr::{self, NonNull};

use nginx_sys::{ngx_http_request_t, ngx_http_upstream_t};

use super::flags;
use super::request::Request;

/// One request structure between two internal redirects. Compared only, and only while the main request
/// lives, in whose pool the structures lie: none of them is freed before it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Visit {
    request: NonNull<ngx_http_request_t>,
    /// How often nginx would move it yet: each move takes one, and nothing gives one back.
    moves_left: u32,
}

impl Visit {
    /// Whether it is that of this request structure, be it before a redirect.
    pub fn is_by(&self, request: &Request) -> bool {
        ptr::eq(self.request.as_ptr(), request.as_ref_ptr())
    }
}

/// The upstream that a request structure was last given, if it was. It stays with the structure when nginx
/// moves that. Compared only, while the request lives, in whose pool it lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LastUpstream(*const ngx_http_upstream_t);

impl Request {
    /// The current visit.
    pub fn visit(&self) -> Visit {
        let request = self.as_ref_ptr();
        Visit {
            request: NonNull::from(request),
            moves_left: flags::uri_changes(request),
        }
    }

    /// The visit of the request itself, where this is its copy by which nginx asks anew for an answer that it
    /// has kept (`proxy_cache_background_update`), and has not moved.
    pub fn copied_visit(&self) -> Option<Visit> {
        let copy = self.as_ref_ptr();
        // SAFETY: a subrequest's request outlives it, and lies elsewhere.
        let original = unsafe { copy.main.as_ref() }?;
        let is_copy = self.is_subrequest()
            && flags::background(copy) != 0
            && copy.loc_conf == original.loc_conf
            && copy.method == original.method
            && copy.uri.data == original.uri.data
            && copy.uri.len == original.uri.len;
        is_copy.then(|| Visit {
            request: NonNull::from(original),
            moves_left: flags::uri_changes(original),
        })
    }

    /// The upstream that was last asked, or was about to.
    pub fn last_upstream(&self) -> LastUpstream {
        LastUpstream(self.as_ref_ptr().upstream)
    }

    /// Whether the current answer comes from an upstream, or from the cache in front of it; not so a page
    /// that nginx makes once it is done with one.
    pub fn is_of_upstream(&self) -> bool {
        let request = self.as_ref_ptr();
        // SAFETY: null, or the upstream of a valid request. nginx takes the cleanup away when it finalizes
        // the upstream.
        let upstream = unsafe { request.upstream.as_ref() };
        upstream.is_some_and(|upstream| !upstream.cleanup.is_null() || flags::cached(request) != 0)
    }

    /// Whether this is a subrequest.
    pub fn is_subrequest(&self) -> bool {
        let request = self.as_ref_ptr();
        !ptr::eq(request.main, request)
    }
}
