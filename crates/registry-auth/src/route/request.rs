//! What decides the route of a request, and which routes are configured.
//!
//! Made by the nginx module, read by `route::parse`. The caller must give the path and the query that nginx
//! will forward, not decoded, beside the path that nginx decides on.

/// The request method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
    /// PATCH
    Patch,
    /// DELETE
    Delete,
    /// Any other method: no route has it.
    Other,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
        Self::Other,
    ];

    /// The method of this name, as it stands in a request.
    #[must_use]
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"PATCH" => Self::Patch,
            b"DELETE" => Self::Delete,
            _ => Self::Other,
        }
    }
}

/// The parts of a request that decide its route.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// The path that will be forwarded, before the first `?`, not decoded.
    pub raw_path: &'a [u8],
    /// The path that nginx decides on (`r->uri`): decoded and normalised.
    pub decided_path: &'a [u8],
    /// The query that will be forwarded, after the first `?`, not decoded. **Not** nginx's `r->args`: that
    /// ends at a `#`, which the forwarded query does not.
    pub args: &'a [u8],
    /// The `Content-Type` of the request; where it has several, all of them, joined by commas: the backend
    /// may use any of them.
    pub content_type: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Makes a request of the target as it will be forwarded (nginx's `r->unparsed_uri`), which is split into
    /// path and query.
    pub fn from_target(
        method: Method,
        target: &'a [u8],
        decided_path: &'a [u8],
        content_type: Option<&'a [u8]>,
    ) -> Self {
        let (raw_path, args) = match memchr::memchr(b'?', target) {
            Some(at) => target.split_at(at),
            None => (target, &[][..]),
        };
        let args = args.strip_prefix(b"?").unwrap_or(args);
        Self {
            method,
            raw_path,
            decided_path,
            args,
            content_type,
        }
    }
}

/// The configured routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteOptions {
    /// Whether `/v1/images/…` is served (`registry_auth_v1_images`).
    pub v1_images: bool,
}

#[cfg(test)]
mod tests {
    use super::{Method, Request};

    #[test]
    fn the_query_begins_at_the_first_question_mark_wherever_that_is() {
        for length in 0..40 {
            for mark in 0..=length {
                for filler in [b'a', b'/', b'>', b'@', 0x3e, 0xbf, 0xff, 0] {
                    let mut target = vec![filler; length];
                    if let Some(byte) = target.get_mut(mark) {
                        *byte = b'?';
                    }
                    let request = Request::from_target(Method::Get, &target, b"", None);
                    assert_eq!(request.raw_path, vec![filler; mark.min(length)], "{target:?}");
                    assert_eq!(request.args.len(), length.saturating_sub(mark + 1), "{target:?}");
                }
            }
        }
    }
}
