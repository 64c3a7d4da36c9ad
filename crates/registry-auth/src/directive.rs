//! The values of nginx directives, as far as they can be judged without nginx.
//!
//! Called by the module while it reads the configuration: which values can only be a mistake, and which lead
//! requests to another place than their author believes. Guarantee: no error message repeats a part of a URL
//! that may contain a password.

use std::net::Ipv6Addr;

/// Whether a text, in which nginx evaluates no variables, has one: `$name` or `${name}`.
pub fn has_variable(text: &[u8]) -> bool {
    text.windows(2)
        .any(|pair| matches!(pair, [b'$', next] if next.is_ascii_alphabetic() || matches!(next, b'_' | b'{')))
}

/// Whether a text is what other directives take to turn something on or off, and so is hardly meant as a
/// name.
pub fn is_switch(text: &[u8]) -> bool {
    const SWITCHES: [&str; 10] = [
        "on", "off", "yes", "no", "true", "false", "enable", "enabled", "disable", "disabled",
    ];
    SWITCHES
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word.as_bytes()))
}

/// Whether variables may decide with which path `proxy_pass` with this value sends a request on.
/// `$request_uri`, too: it is what the client wrote, and the path may have been rewritten since.
pub fn may_replace_path(url: &[u8]) -> bool {
    url.contains(&b'$')
}

/// Whether `proxy_pass` with this value sends on what the client wrote, also where that was rewritten.
pub fn sends_request_uri(url: &[u8]) -> bool {
    variables(url).any(|(_, name, _)| name == b"request_uri")
}

/// The name of the upstream in a `proxy_pass`, `uwsgi_pass` or the like; `None` where variables choose it.
/// Variables that hold a path choose none.
pub fn upstream_name(url: &[u8]) -> Option<&[u8]> {
    let target = match url.windows(3).position(|window| window == b"://") {
        Some(at) => url.get(at + 3..).unwrap_or_default(),
        None => url,
    };
    let first = variables(target).next();
    let end = target
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'$'))
        .unwrap_or(target.len());
    let is_chosen = match first {
        Some((before, name, _)) if before.len() == end => {
            end == 0 || !matches!(name, b"request_uri" | b"uri" | b"document_uri")
        }
        Some(_) => false,
        None => target.get(end) == Some(&b'$'),
    };
    let is_scheme_chosen = url.len() > target.len() && url.starts_with(b"$");
    (!is_chosen && !is_scheme_chosen).then(|| target.get(..end).unwrap_or_default())
}

/// Whether two values of `proxy_pass`, without variables and URI, lead to the same server or upstream.
pub fn is_same_server(one: &[u8], other: &[u8]) -> bool {
    let server = |url: &[u8]| {
        let after = url.windows(3).position(|window| window == b"://");
        let server = url.get(after.map_or(0, |at| at + 3)..).unwrap_or_default();
        match server.strip_prefix(b"unix:") {
            // The case of a path matters.
            Some(_) => server.to_vec(),
            None => server.to_ascii_lowercase(),
        }
    };
    server(one) == server(other)
}

/// Whether a key under which nginx keeps answers tells the user to whom they were given: it has
/// `$registry_auth_user`, with nothing in front that a client chooses, and apart from what follows. Else the
/// key of one user could be written by another: with `$request_uri$registry_auth_user`, `/a` of the user
/// `lice` would be `/alice` of the anonymous.
pub fn tells_user(key: &[u8]) -> bool {
    tells(key, b"registry_auth_user")
}

/// Whether a key under which nginx keeps answers tells the content, and who has it: it has
/// `$registry_auth_blob`, as [`tells_user`] wants it of the user.
pub fn tells_blob(key: &[u8]) -> bool {
    tells(key, b"registry_auth_blob")
}

/// Whether a key is another one in each server that has another name. A client may choose `$host` where no
/// server has that name, and servers have addresses and ports in common.
pub fn tells_server(key: &[u8]) -> bool {
    variables(key).any(|(_, name, _)| name == b"server_name")
}

/// Whether a key is another one for each upstream that `proxy_pass` names.
pub fn tells_upstream(key: &[u8]) -> bool {
    variables(key).any(|(_, name, _)| name == b"proxy_host")
}

fn tells(key: &[u8], told: &[u8]) -> bool {
    // What names the server that was asked, and none of it has a blank.
    const HARMLESS: [&[u8]; 9] = [
        b"scheme",
        b"host",
        b"server_name",
        b"server_port",
        b"server_addr",
        b"proxy_host",
        b"proxy_port",
        b"request_method",
        b"https",
    ];
    let found = variables(key).find(|(_, name, _)| !HARMLESS.contains(name));
    let Some((before, name, after)) = found else {
        return false;
    };
    if name != told {
        return false;
    }
    // Neither the name of a host nor that of a user contains one of these separators.
    let begins = !before.contains(&b'$') || matches!(before.last(), Some(b' ' | b'/'));
    let ends = match after.first() {
        None | Some(b' ' | b'/' | b':') => true,
        // A path begins with a slash.
        Some(b'$') => variables(after)
            .next()
            .is_some_and(|(_, name, _)| matches!(name, b"request_uri" | b"uri" | b"document_uri")),
        Some(_) => false,
    };
    begins && ends
}

/// Whether a text is this variable and no more: `$name` or `${name}`.
pub fn is_variable(text: &[u8], name: &str) -> bool {
    matches!(variables(text).next(), Some((b"", found, b"")) if found == name.as_bytes())
}

/// The first variable in a text that is empty until the user is known.
pub fn own_variable(text: &[u8]) -> Option<&str> {
    let mut names = variables(text).map(|(_, name, _)| name);
    let ours = names.find(|name| name.starts_with(b"registry_auth_"))?;
    std::str::from_utf8(ours).ok()
}

/// What stands before one of nginx's variables, its name, and what stands after it.
type Variable<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// The variables of a text, in order.
fn variables(text: &[u8]) -> impl Iterator<Item = Variable<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + text.get(from..)?.iter().position(|byte| *byte == b'$')?;
        let (before, rest) = text.split_at_checked(at)?;
        let rest = rest.get(1..)?;
        let (name, after) = match rest.strip_prefix(b"{") {
            Some(rest) => {
                let end = rest.iter().position(|byte| *byte == b'}').unwrap_or(rest.len());
                let (name, after) = rest.split_at_checked(end)?;
                (name, after.get(1..).unwrap_or_default())
            }
            None => {
                let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                let end = rest.iter().position(|byte| !is_part(byte)).unwrap_or(rest.len());
                rest.split_at_checked(end)?
            }
        };
        from = text.len() - after.len();
        Some((before, name, after))
    })
}

/// Whether `proxy_pass` with this value replaces the path of a request by a URI of its own, instead of
/// sending it on as the client wrote it. `$request_uri` is what the client wrote (see [`sends_request_uri`]);
/// a variable that may hold a URI is not judged.
pub fn replaces_path(url: &[u8]) -> bool {
    let target = match url.windows(3).position(|window| window == b"://") {
        Some(at) => url.get(at + 3..).unwrap_or_default(),
        None => url,
    };
    if contains(target, b"$uri") || contains(target, b"${uri}") || contains(target, b"$document_uri") {
        return true;
    }
    match target.strip_prefix(b"unix:") {
        // The path of a socket ends at a colon.
        Some(socket) => socket
            .splitn(2, |byte| *byte == b':')
            .nth(1)
            .is_some_and(|uri| !uri.is_empty()),
        None => target.iter().any(|byte| matches!(byte, b'/' | b'?')),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// The URL of a token endpoint, as `registry_auth_bearer` names it. It may contain variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointUrl<'a> {
    /// `http`, `https` or a variable; empty where a variable begins the URL and may hold more than a scheme.
    pub scheme: &'a str,
    /// The host, without a port; with the brackets of an IPv6 address. All up to the path where a variable
    /// begins the URL.
    pub host: &'a str,
    /// The path, which begins with a slash where it is not empty.
    pub path: &'a str,
}

/// Why a text is no such URL: the part that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// It begins neither with `https://` or `http://` nor with a variable.
    #[error("it begins neither with https:// or http:// nor with a variable")]
    Scheme,
    /// A user or a password in front of the host: all clients would be sent it.
    #[error("a user or a password stands in front of the host, and all clients would be sent it")]
    UserInfo,
    /// No host, or none that can be one.
    #[error("the host is missing, or has characters that no host has")]
    Host,
    /// A port that is no number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// A fragment, which no client sends.
    #[error("it has a fragment (#), which no client sends")]
    Fragment,
    /// Blanks, quotes or characters that are not ASCII.
    #[error("it has blanks, quotes or characters that are not ASCII")]
    Characters,
}

impl<'a> EndpointUrl<'a> {
    /// Parses `https://host[:port][/path][?query]`. A host and a port with variables are taken as they are,
    /// and a variable that begins it may hold a scheme or more; [`is_url`] checks the value when it is used.
    ///
    /// # Errors
    /// [`InvalidUrl`].
    pub fn parse(text: &'a [u8]) -> Result<Self, InvalidUrl> {
        let is_variable = has_variable(text.get(..2).unwrap_or_default());
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
        let after_scheme = ["https", "http"].into_iter().find_map(|scheme| {
            text.strip_prefix(scheme.as_bytes())
                .is_some_and(|rest| rest.starts_with(b"://"))
                .then_some(scheme.len())
        });
        if after_scheme.is_none() && !is_variable {
            return Err(InvalidUrl::Scheme);
        }
        let text = match std::str::from_utf8(text) {
            Ok(text) if text.bytes().all(is_plain) => text,
            _ => return Err(InvalidUrl::Characters),
        };
        let (scheme, rest) = match after_scheme.or_else(|| text.find("://")) {
            Some(at) => text
                .split_at_checked(at)
                .and_then(|(scheme, rest)| Some((scheme, rest.strip_prefix("://")?)))
                .ok_or(InvalidUrl::Scheme)?,
            None => ("", text),
        };
        if is_variable && !is_one_variable(scheme) && !scheme.is_empty() {
            return Err(InvalidUrl::Scheme);
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if authority.contains('@') {
            return Err(InvalidUrl::UserInfo);
        }
        if rest.contains('#') {
            return Err(InvalidUrl::Fragment);
        }
        let path = rest.split('?').next().unwrap_or_default();
        let url = Self {
            scheme,
            host: host(authority)?,
            path,
        };
        // These hold no scheme.
        match scheme.is_empty() && url.is_own_host() {
            true => Err(InvalidUrl::Scheme),
            false => Ok(url),
        }
    }

    /// Whether the host is the one at which this server was reached: by definition, or as the shipped
    /// configuration sets `$registry_host`.
    pub fn is_own_host(&self) -> bool {
        const OWN: [&str; 4] = ["host", "http_host", "server_name", "registry_host"];
        let name = self.host.strip_prefix('$').unwrap_or_default();
        let name = name
            .strip_prefix('{')
            .and_then(|name| name.strip_suffix('}'))
            .unwrap_or(name);
        OWN.contains(&name)
    }

    /// Whether passwords go over the network to it in the clear.
    pub fn is_clear_text(&self) -> bool {
        let is_loopback = self.host == "localhost" || self.host == "[::1]" || self.host.starts_with("127.");
        self.scheme == "http" && !is_loopback
    }
}

/// Whether this is `$name` or `${name}` and no more.
fn is_one_variable(text: &str) -> bool {
    let name = text.strip_prefix('$').unwrap_or_default();
    let name = name
        .strip_prefix('{')
        .and_then(|name| name.strip_suffix('}'))
        .unwrap_or(name);
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether what the variables of a [`EndpointUrl`] came to is a URL that clients can be sent to: its scheme
/// is known, and there is a host. More is not asked: the host may be what the client has sent.
pub fn is_url(text: &[u8]) -> bool {
    let after = |scheme: &[u8]| {
        let (begin, rest) = text.split_at_checked(scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = after(b"https://").or_else(|| after(b"http://"));
    rest.and_then(<[u8]>::first)
        .is_some_and(|first| !matches!(first, b'/' | b'?' | b'#' | b':'))
}

/// The host of `host[:port]`.
fn host(authority: &str) -> Result<&str, InvalidUrl> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(InvalidUrl::Host)?;
        if address.parse::<Ipv6Addr>().is_err() {
            return Err(InvalidUrl::Host);
        }
        match after.strip_prefix(':') {
            None if after.is_empty() => {}
            Some(text) if is_port(text) => {}
            Some(_) => return Err(InvalidUrl::Port),
            None => return Err(InvalidUrl::Host),
        }
        return Ok(authority.get(..address.len() + 2).unwrap_or_default());
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if host.is_empty() || !host.contains('$') && !host.bytes().all(is_host) {
        return Err(InvalidUrl::Host);
    }
    match port {
        Some(port) if !port.contains('$') && !is_port(port) => Err(InvalidUrl::Port),
        _ => Ok(host),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::{
        EndpointUrl, InvalidUrl, has_variable, is_same_server, is_switch, is_url, is_variable,
        may_replace_path, replaces_path, sends_request_uri, tells_server, tells_upstream, tells_user,
        upstream_name,
    };
    use proptest::prelude::*;

    #[test]
    fn a_variable_is_a_dollar_and_a_name() {
        for text in ["$host", "a$host", "${host}", "$_x", "a-$1-$b"] {
            assert!(has_variable(text.as_bytes()), "{text}");
        }
        for text in ["", "$", "a$", "$1", "$ host", "pepper", "{tag}"] {
            assert!(!has_variable(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_switch_is_no_name() {
        for text in ["on", "ON", "Off", "yes", "TRUE", "disabled"] {
            assert!(is_switch(text.as_bytes()), "{text}");
        }
        for text in ["", "Registry", "one", "offline", "onyx"] {
            assert!(!is_switch(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_uri_part_replaces_the_path() {
        for url in [
            "http://registries/",
            "https://registries/v2/",
            "http://10.0.0.1:5000/x",
            "http://[::1]:5000/",
            "http://a?x=1",
            "http://unix:/run/s.sock:/",
            "http://unix:/run/s.sock:/v2/",
            "http://$backend/",
            "http://registries$uri",
            "http://registries${uri}",
            "http://registries$document_uri",
            "http://$backend/$1",
        ] {
            assert!(replaces_path(url.as_bytes()), "{url}");
        }
        for url in [
            "http://registries",
            "https://10.0.0.1:5000",
            "http://[::1]:5000",
            "http://unix:/run/s.sock",
            "http://unix:/run/s.sock:",
            "http://$backend",
            "$target",
            "http://registries$request_uri",
        ] {
            assert!(!replaces_path(url.as_bytes()), "{url}");
        }
    }

    #[test]
    fn a_variable_may_hold_a_uri() {
        for url in [
            "$target",
            "http://$backend",
            "http://a$b$request_uri",
            "http://registries$request_uri",
            "http://registries$1",
        ] {
            assert!(may_replace_path(url.as_bytes()), "{url}");
        }
        for url in ["http://registries", "http://registries/"] {
            assert!(!may_replace_path(url.as_bytes()), "{url}");
        }
    }

    #[test]
    fn what_the_client_wrote_is_known_by_its_variable() {
        for url in [
            "http://registries$request_uri",
            "http://$to${request_uri}",
            "http://a/b$request_uri?c",
        ] {
            assert!(sends_request_uri(url.as_bytes()), "{url}");
        }
        for url in [
            "http://registries",
            "http://$request_uris",
            "http://registries$uri",
            "http://request_uri",
        ] {
            assert!(!sends_request_uri(url.as_bytes()), "{url}");
        }
    }

    #[test]
    fn a_text_is_one_variable_or_more() {
        for text in ["$uri", "${uri}"] {
            assert!(is_variable(text.as_bytes(), "uri"), "{text}");
        }
        for text in ["", "uri", "$", "$uris", "a$uri", "$uri$uri", "${uri}/", "$args"] {
            assert!(!is_variable(text.as_bytes(), "uri"), "{text}");
        }
    }

    #[test]
    fn the_upstream_is_what_stands_before_the_path() {
        for (url, name) in [
            ("http://registries", "registries"),
            ("https://registries/v2/", "registries"),
            ("http://registries$request_uri", "registries"),
            ("http://registries${uri}?a=$b", "registries"),
            ("http://registries/$a", "registries"),
            ("uwsgi://registries", "registries"),
            ("registries", "registries"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("unix:/run/s", "unix:"),
            ("", ""),
        ] {
            assert_eq!(upstream_name(url.as_bytes()), Some(name.as_bytes()), "{url}");
        }
        for url in [
            "$to",
            "http://$to",
            "http://registries$suffix",
            "http://registries-$1/v2/",
            "http://${to}$request_uri",
            "$scheme://registries",
            "http://$request_uri",
            "http://registries$",
        ] {
            assert_eq!(upstream_name(url.as_bytes()), None, "{url}");
        }
    }

    #[test]
    fn a_server_is_known_by_its_name_and_not_by_its_scheme() {
        for (one, other, is_same) in [
            ("http://a:1", "http://a:1", true),
            ("http://a:1", "https://A:1", true),
            ("http://a:1", "http://a:2", false),
            ("http://a", "http://b", false),
            ("http://unix:/run/a", "http://unix:/run/a", true),
            ("http://unix:/run/a", "http://unix:/run/A", false),
        ] {
            assert_eq!(
                is_same_server(one.as_bytes(), other.as_bytes()),
                is_same,
                "{one} {other}"
            );
        }
    }

    #[test]
    fn a_key_tells_the_user_where_no_client_can_write_it() {
        for key in [
            "$registry_auth_user",
            "$registry_auth_user$request_uri",
            "${registry_auth_user}${uri}x",
            "$scheme$proxy_host $registry_auth_user $request_uri",
            "$host ${registry_auth_user} $args",
            "/data/$registry_auth_user$uri",
            "/data/$server_name/$registry_auth_user/$args",
            "a $registry_auth_user:$arg_a",
        ] {
            assert!(tells_user(key.as_bytes()), "{key}");
        }
        for key in [
            "",
            "a",
            "registry_auth_user",
            "$scheme$proxy_host$request_uri",
            "$registry_auth_users/",
            "$registry_auth_repository/$registry_auth_user",
            "$request_uri$registry_auth_user",
            "$request_uri $registry_auth_user",
            "$http_x/$registry_auth_user",
            "$1/$registry_auth_user",
            "$registry_auth_user$args",
            "$registry_auth_user$host",
            "$host$registry_auth_user$request_uri",
            "$host|$registry_auth_user $request_uri",
            "$registry_auth_user|$request_uri",
            "${registry_auth_user}a$request_uri",
            "$remote_user$request_uri",
        ] {
            assert!(!tells_user(key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn a_key_may_tell_the_server_or_the_upstream() {
        for (key, server, upstream) in [
            ("$server_name $registry_auth_user $uri", true, false),
            ("$scheme://$host/$registry_auth_user", false, false),
            ("$proxy_host $registry_auth_user $uri", false, true),
            ("$proxy_host:$server_port $registry_auth_user", false, true),
            ("own $registry_auth_user $request_uri", false, false),
            ("$hostname $https $registry_auth_user", false, false),
        ] {
            let key = key.as_bytes();
            assert_eq!((tells_server(key), tells_upstream(key)), (server, upstream));
        }
    }

    #[test]
    fn the_parts_of_an_endpoint() {
        for (url, host, path) in [
            ("https://a", "a", ""),
            ("https://a/token", "a", "/token"),
            ("http://[::1]:5000/t", "[::1]", "/t"),
            ("$scheme://$http_host/token", "$http_host", "/token"),
            ("https://$host:$server_port/token?a=b", "$host", "/token"),
            (
                "https://registry.example.com:5000/token",
                "registry.example.com",
                "/token",
            ),
            ("https://a_b-c.example?x=/y", "a_b-c.example", ""),
            (
                "$registry_scheme://$registry_host/token",
                "$registry_host",
                "/token",
            ),
            ("${registry_scheme}://a:5000/token", "a", "/token"),
            ("$registry_url/token", "$registry_url", "/token"),
            ("$registry_url", "$registry_url", ""),
        ] {
            let parsed = EndpointUrl::parse(url.as_bytes()).map(|parsed| (parsed.host, parsed.path));
            assert_eq!(parsed, Ok((host, path)), "{url}");
        }
    }

    #[test]
    fn the_part_that_is_wrong_is_named() {
        for (url, error) in [
            ("", InvalidUrl::Scheme),
            ("off", InvalidUrl::Scheme),
            ("ftp://a/token", InvalidUrl::Scheme),
            ("/token", InvalidUrl::Scheme),
            ("$", InvalidUrl::Scheme),
            ("$1://a/token", InvalidUrl::Scheme),
            ("$host/token", InvalidUrl::Scheme),
            ("${http_host}/token", InvalidUrl::Scheme),
            ("$scheme-x://a/token", InvalidUrl::Scheme),
            ("$a$b://a/token", InvalidUrl::Scheme),
            ("$scheme://u@a/token", InvalidUrl::UserInfo),
            ("$scheme://a b/token", InvalidUrl::Characters),
            ("https:/a", InvalidUrl::Scheme),
            ("https://u@a/token", InvalidUrl::UserInfo),
            ("https://u:p@a/token", InvalidUrl::UserInfo),
            ("https://", InvalidUrl::Host),
            ("https:///token", InvalidUrl::Host),
            ("https://:443/token", InvalidUrl::Host),
            ("https://a,b/token", InvalidUrl::Host),
            ("https://[::1/token", InvalidUrl::Host),
            ("https://[x]/token", InvalidUrl::Host),
            ("https://[::1]x/token", InvalidUrl::Host),
            ("https://a:99999/token", InvalidUrl::Port),
            ("https://a:0/token", InvalidUrl::Port),
            ("https://a:/token", InvalidUrl::Port),
            ("https://a:http/token", InvalidUrl::Port),
            ("https://[::1]:x/token", InvalidUrl::Port),
            ("https://a/token#x", InvalidUrl::Fragment),
            ("https://a/to ken", InvalidUrl::Characters),
            ("https://a/\"token\"", InvalidUrl::Characters),
            ("https://é/token", InvalidUrl::Characters),
        ] {
            assert_eq!(EndpointUrl::parse(url.as_bytes()), Err(error), "{url}");
        }
    }

    #[test]
    fn the_own_host_is_known_by_its_variable() {
        let is_own = |url: &str| EndpointUrl::parse(url.as_bytes()).unwrap().is_own_host();
        for host in [
            "$host",
            "$http_host",
            "${server_name}",
            "$registry_host",
            "${registry_host}",
        ] {
            assert!(is_own(&format!("https://{host}/token")), "{host}");
        }
        assert!(!is_own("https://$other/token") && !is_own("https://host/token") && !is_own("$url/token"));
    }

    #[test]
    fn what_variables_came_to_is_a_url_or_not() {
        for url in ["https://a/token", "HTTP://a", "https://[::1]:5/t?x=y"] {
            assert!(is_url(url.as_bytes()), "{url}");
        }
        for url in [
            "",
            "://a/token",
            "http:///token",
            "https://",
            "http://?a",
            "https://:443/token",
            "/token",
            "ftp://a",
            "https:/a",
            "https",
            " https://a",
        ] {
            assert!(!is_url(url.as_bytes()), "{url}");
        }
    }

    #[test]
    fn clear_text_is_all_but_tls_and_the_loopback() {
        let clear = |url: &str| EndpointUrl::parse(url.as_bytes()).unwrap().is_clear_text();
        assert!(clear("http://registry.example.com/token") && clear("http://10.0.0.1/token"));
        for url in [
            "https://a/token",
            "$scheme://a/token",
            "http://localhost/token",
            "http://127.0.0.1:5000/token",
            "http://[::1]/token",
        ] {
            assert!(!clear(url), "{url}");
        }
    }

    proptest! {
        #[test]
        fn an_endpoint_that_is_taken_consists_of_its_parts(
            url in "(https?|[$]scheme|[$]x)://[-a-z0-9.:@$/?#\\[\\] ]{0,20}",
        ) {
            if let Ok(parsed) = EndpointUrl::parse(url.as_bytes()) {
                let start = format!("{}://{}", parsed.scheme, parsed.host);
                prop_assert!(url.starts_with(&start), "{url}");
                prop_assert!(url.contains(parsed.path) && !url.contains(['#', ' ']), "{url}");
                prop_assert!(!parsed.host.contains('@') && !parsed.host.is_empty());
            }
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (has_variable(&bytes), is_switch(&bytes), replaces_path(&bytes));
            let _ = (sends_request_uri(&bytes), tells_user(&bytes), upstream_name(&bytes));
            let _ = EndpointUrl::parse(&bytes);
        }
    }
}
