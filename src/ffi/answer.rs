//! The answer of an upstream, where nginx takes for its body what clients read as another answer.
//!
//! nginx passes a final status below 200 on, which clients skip; and what begins with no status line it calls
//! HTTP/0.9, and then sends no headers of its own either. And it passes a reason phrase on as it is.

use nginx_sys::{NGX_HTTP_VERSION_9, NGX_HTTP_VERSION_10};

use super::bytes;
use super::request::Request;

/// What is wrong with an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It begins with no status line that nginx knows.
    NoHttp,
    /// It is final for nginx, and not for clients.
    Interim(u32),
    /// Its status line has a control character, at which a client may take the line to end.
    Reason,
}

impl Request {
    /// What is wrong with the current answer, where an upstream has sent it.
    #[inline]
    pub fn malformed(&self) -> Option<Malformed> {
        let request = self.as_ref_ptr();
        // SAFETY: a text of nginx's, or of the upstream's, which lives as long as the request.
        let line = unsafe { bytes::of(request.headers_out.status_line) };
        let is_doubtful = request.headers_out.status < 200
            || request.http_version < NGX_HTTP_VERSION_10 as usize
            || (line != b"200 OK" && line.iter().any(is_control));
        if is_doubtful { self.doubtful() } else { None }
    }

    #[cold]
    fn doubtful(&self) -> Option<Malformed> {
        if self.is_subrequest() || !self.is_of_upstream() {
            return None;
        }
        let version = self.client_version();
        let status = self.status();
        if self.as_ref_ptr().http_version != version || status == 0 {
            return Some(Malformed::NoHttp);
        }
        // Also a 101 that the client has asked for: what came through the tunnel would go to the registry
        // undecided, and no route of a registry upgrades.
        if status < 200 {
            Some(Malformed::Interim(status))
        } else {
            Some(Malformed::Reason)
        }
    }

    /// Has nginx send the answer that takes the place of a malformed one as any other: with headers, and
    /// without a tunnel after it.
    pub fn mend(&mut self) {
        let version = self.client_version();
        let request = self.as_ptr();
        // SAFETY: a valid request; its upstream is null or lies in its pool.
        unsafe {
            (*request).http_version = version;
            if let Some(upstream) = (*request).upstream.as_mut() {
                upstream.set_upgrade(0);
            }
        }
    }

    /// The version that the client speaks, in nginx's way. An upstream's answer may have left another one in
    /// its place, also in its parts.
    fn client_version(&self) -> usize {
        // SAFETY: what the client has written, in its connection's buffers, or a text of nginx's.
        let protocol = unsafe { bytes::of(self.as_ref_ptr().http_protocol) };
        let parts = protocol
            .strip_prefix(b"HTTP/")
            .and_then(|version| core::str::from_utf8(version).ok())
            .and_then(|version| version.split_once('.'));
        let number = parts.and_then(|(major, minor)| {
            let major: usize = major.parse().ok()?;
            major.checked_mul(1000)?.checked_add(minor.parse().ok()?)
        });
        // A request of HTTP/0.9 names no version.
        number.unwrap_or(NGX_HTTP_VERSION_9 as usize)
    }
}

/// A tab may stand in a reason phrase.
fn is_control(byte: &u8) -> bool {
    byte.is_ascii_control() && *byte != b'\t'
}
