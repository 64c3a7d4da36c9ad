//! Where a backend's `Location` header leads the client: to this server, or to another one.
//!
//! Called by the nginx module for answers of V1 registries and for uploads, because clients may send their
//! password wherever they are led. Guarantee: whatever is not surely a path of this server counts as leading
//! away, so a client that reads a URL otherwise than this file does is led nowhere else.

/// The path that a `Location` means at this server, which clients know as `host` (a name or an address, with
/// its port unless that is the scheme's own); `None` if it leads away, or if that is not sure. A redirect
/// should go on as this path: so it changes neither the host nor the scheme.
pub fn path_here<'l>(location: &'l [u8], host: &[u8]) -> Option<&'l [u8]> {
    if !is_plain(location) {
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

/// Where an upload goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload<'l> {
    /// Here, as the registry has written it: a path, or a URL of this server by https.
    AsWritten,
    /// At this path: the URL names another host, or has clients send their password in the clear.
    Path(&'l [u8]),
}

/// Where the `Location` of an upload leads at this server, which clients know as `host`; `None` where it
/// names no path of the API. Some clients (containers/image) send their password to whatever host it names.
pub fn upload_here<'l>(location: &'l [u8], host: &[u8]) -> Option<Upload<'l>> {
    if !is_plain(location) {
        return None;
    }
    let Some(rest) = without_scheme(location) else {
        let first = location.split(|byte| matches!(byte, b'/' | b'?' | b'#')).next()?;
        // A `:` in the first segment ends a scheme; `//` begins another host.
        let leads_away = location.is_empty() || location.starts_with(b"//") || first.contains(&b':');
        return (!leads_away).then_some(Upload::AsWritten);
    };
    let slash = memchr::memchr(b'/', rest)?;
    let (authority, path) = rest.split_at_checked(slash)?;
    let is_encrypted = location.len() - rest.len() == b"https://".len();
    if is_encrypted && !host.is_empty() && authority.eq_ignore_ascii_case(host) {
        return Some(Upload::AsWritten);
    }
    path.starts_with(b"/v2/").then_some(Upload::Path(path))
}

/// Whether a URL has no bytes that clients read differently: blanks and control characters are dropped by
/// some, and `\` is a `/` to some.
fn is_plain(url: &[u8]) -> bool {
    url.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'\\')
}

/// What follows `http://` or `https://`, in any case.
fn without_scheme(url: &[u8]) -> Option<&[u8]> {
    [&b"https://"[..], b"http://"].into_iter().find_map(|scheme| {
        let (begin, rest) = url.split_at_checked(scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}
