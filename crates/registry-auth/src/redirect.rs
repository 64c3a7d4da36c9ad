//! Where a backend's `Location` header leads the client: to this server, or to another one.
//!
//! Called by the nginx module for answers of registries, because clients may send their password wherever
//! they are led: with a request, or when the host there asks for it by a 401. Guarantee: whatever is not
//! surely a path of this server counts as leading away, so a client that reads a URL otherwise than this file
//! does is led nowhere else; but for [`StorageHosts`], which the administrator names.

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

/// Where a client goes on at this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here<'l> {
    /// Where the registry has written: at a path, or a URL of this server by https.
    AsWritten,
    /// At this path: the URL names another host, or has clients send their password in the clear.
    Path(&'l [u8]),
}

/// What a path of V2 is of, as far as a `Location` concerns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An upload, whose `Location` clients use whatever the status.
    Upload,
    /// A blob, which may lie at a storage service.
    Blob,
    /// A manifest, a list, the root: what a registry answers itself.
    Registrys,
}

impl Place {
    /// That of a path. A path that could be of two counts as the one that may lead to less.
    pub fn of(path: &[u8]) -> Self {
        let Some(at) = memchr::memmem::rfind(path, b"/blobs/") else {
            return Self::Registrys;
        };
        match path.get(at + b"/blobs/".len()..).unwrap_or_default() {
            b"uploads" => Self::Upload,
            upload if upload.starts_with(b"uploads/") => Self::Upload,
            digest if digest.contains(&b':') && !digest.contains(&b'/') => Self::Blob,
            _ => Self::Registrys,
        }
    }
}

/// Whether a path is one of the V2 API.
pub fn is_v2(path: &[u8]) -> bool {
    matches!(path.strip_prefix(b"/v2"), Some([] | [b'/', ..]))
}

/// Where the `Location` of an upload leads at this server, which clients know as `host`; `None` where it
/// names no path of the API. Some clients (containers/image) send their password to whatever host it names.
pub fn upload_here<'l>(location: &'l [u8], host: &[u8]) -> Option<Here<'l>> {
    if !is_plain(location) {
        return None;
    }
    let Some(rest) = without_scheme(location) else {
        return is_relative(location).then_some(Here::AsWritten);
    };
    let slash = memchr::memchr(b'/', rest)?;
    let (authority, path) = rest.split_at_checked(slash)?;
    let is_encrypted = location.len() - rest.len() == b"https://".len();
    if is_encrypted && !host.is_empty() && authority.eq_ignore_ascii_case(host) {
        return Some(Here::AsWritten);
    }
    path.starts_with(b"/v2/").then_some(Here::Path(path))
}

/// Where a redirect of what is read leads at this server, which clients know as `host`; `None` if it leads
/// away, or if that is not sure.
pub fn redirect_here<'l>(location: &'l [u8], host: &[u8]) -> Option<Here<'l>> {
    if is_plain(location) && without_scheme(location).is_none() {
        return is_relative(location).then_some(Here::AsWritten);
    }
    path_here(location, host).map(Here::Path)
}

/// Whether a reference without `http://` and `https://` names neither another host nor another scheme.
fn is_relative(location: &[u8]) -> bool {
    let mut segments = location.split(|byte| matches!(byte, b'/' | b'?' | b'#'));
    // A `:` in the first segment ends a scheme; `//` begins another host.
    let has_scheme = segments.next().is_some_and(|first| first.contains(&b':'));
    !location.is_empty() && !location.starts_with(b"//") && !has_scheme
}

/// The host of a URL that leads away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elsewhere<'l> {
    /// Whether clients go there by https.
    pub is_encrypted: bool,
    /// The host as it is written, with its port.
    pub authority: &'l [u8],
    name: &'l [u8],
    port: u16,
}

impl<'l> Elsewhere<'l> {
    /// The host that a URL names; `None` where clients could differ about that.
    pub fn of(location: &'l [u8]) -> Option<Self> {
        if !is_plain(location) {
            return None;
        }
        let rest = without_scheme(location)?;
        let is_encrypted = location.len() - rest.len() == b"https://".len();
        let authority = rest.split(|byte| matches!(byte, b'/' | b'?' | b'#')).next()?;
        let (name, port) = split_port(authority)?;
        let default = if is_encrypted { 443 } else { 80 };
        Some(Self {
            is_encrypted,
            authority,
            name,
            port: port.unwrap_or(default),
        })
    }
}

/// The hosts at which registries may have their blobs: those that the administrator names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageHosts(Vec<StorageHost>);

/// One of them, or all under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageHost {
    name: Box<[u8]>,
    /// Whether all names are meant that end with a dot and this name.
    has_wildcard: bool,
    /// `None` where it is the scheme's own.
    port: Option<u16>,
}

impl FromIterator<StorageHost> for StorageHosts {
    fn from_iter<I: IntoIterator<Item = StorageHost>>(hosts: I) -> Self {
        Self(hosts.into_iter().collect())
    }
}

impl StorageHosts {
    /// Whether blobs may lie there.
    pub fn permit(&self, place: &Elsewhere<'_>) -> bool {
        self.0.iter().any(|host| host.is(place))
    }
}

impl StorageHost {
    /// `name`, `name:port`, `*.name` or `*.name:port`; an address is a name, one of IPv6 in brackets. `None`
    /// for all else, such as a URL.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (has_wildcard, host) = match text.strip_prefix(b"*.") {
            Some(suffix) => (true, suffix),
            None => (false, text),
        };
        let (name, port) = split_port(host)?;
        let is_address = name.starts_with(b"[");
        if has_wildcard && is_address || port == Some(0) {
            return None;
        }
        Some(Self {
            name: name.into(),
            has_wildcard,
            port,
        })
    }

    fn is(&self, place: &Elsewhere<'_>) -> bool {
        let default = if place.is_encrypted { 443 } else { 80 };
        let is_name = if self.has_wildcard {
            let at = place.name.len().checked_sub(self.name.len());
            at.and_then(|at| place.name.split_at_checked(at))
                .is_some_and(|(before, end)| {
                    before.len() > 1 && before.ends_with(b".") && end.eq_ignore_ascii_case(&self.name)
                })
        } else {
            place.name.eq_ignore_ascii_case(&self.name)
        };
        is_name && place.port == self.port.unwrap_or(default)
    }
}

/// A host, as it stands in a URL, and its port. `None` for what is none, such as one with a user's name.
fn split_port(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let end = match authority.first()? {
        b'[' => memchr::memchr(b']', authority)? + 1,
        _ => memchr::memchr(b':', authority).unwrap_or(authority.len()),
    };
    let (name, rest) = authority.split_at_checked(end)?;
    let is_name = match name.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        Some(address) => std::str::from_utf8(address)
            .ok()?
            .parse::<std::net::Ipv6Addr>()
            .is_ok(),
        None => {
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            name.split(|byte| *byte == b'.')
                .all(|label| !label.is_empty() && label.iter().all(is_part))
        }
    };
    let port = match rest {
        [] => None,
        [b':', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            Some(std::str::from_utf8(digits).ok()?.parse().ok()?)
        }
        _ => return None,
    };
    is_name.then_some((name, port))
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
