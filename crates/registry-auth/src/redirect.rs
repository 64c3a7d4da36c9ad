//! Where a backend's `Location` leads its client: to this server, or away from it.
//!
//! Called by the nginx module for answers of V1 registries, whose clients may send their password wherever
//! they were led. Invariant: what is not surely a path of this server leads away. So a client that reads more
//! into a URL than this does is led nowhere else.

/// The path that a `Location` means at this server, which clients know as `host` (a name or an address, with
/// its port unless that is the scheme's own); `None` if it leads away, or cannot be told. A redirect should
/// go on as this path: so it changes neither the host nor the scheme.
pub fn path_here<'l>(location: &'l [u8], host: &[u8]) -> Option<&'l [u8]> {
    // Blanks and control characters are dropped by some clients, and `\` is a `/` to some.
    if !location
        .iter()
        .all(|byte| byte.is_ascii_graphic() && *byte != b'\\')
    {
        return None;
    }
    let path = match without_scheme(location) {
        Some(rest) => {
            let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'))?;
            let (authority, path) = rest.split_at_checked(end)?;
            if host.is_empty() || !authority.eq_ignore_ascii_case(host) {
                return None;
            }
            path
        }
        None => location,
    };
    // `//` begins another host.
    match path {
        [b'/', b'/', ..] => None,
        [b'/', ..] => Some(path),
        _ => None,
    }
}

/// What follows `http://` or `https://`, in any case.
fn without_scheme(url: &[u8]) -> Option<&[u8]> {
    [&b"https://"[..], b"http://"].into_iter().find_map(|scheme| {
        let (begin, rest) = url.split_at_checked(scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}
