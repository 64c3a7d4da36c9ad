//! What other modules' directives say in a location: those that answer in it, and those that change what a
//! registry is sent.
//!
//! Filled by `ffi::observe` while nginx reads them, and judged by `conf::check` once all of them were read.

use core::ffi::CStr;

use registry_auth::directive;

use crate::ffi::conf::{ComplexValue, Conf, FilePosition};

/// nginx's modules that send requests on.
const FORWARDERS: [&str; 5] = ["proxy", "fastcgi", "uwsgi", "scgi", "grpc"];

/// The directives that are looked at. All up to `return` answer requests, or send them elsewhere.
pub const NAMES: &[&CStr] = &[
    c"proxy_pass",
    c"fastcgi_pass",
    c"uwsgi_pass",
    c"scgi_pass",
    c"grpc_pass",
    c"memcached_pass",
    c"empty_gif",
    c"stub_status",
    c"flv",
    c"mp4",
    c"perl",
    c"js_content",
    c"content_by_lua",
    c"content_by_lua_block",
    c"content_by_lua_file",
    c"autoindex",
    c"random_index",
    c"dav_methods",
    c"try_files",
    c"return",
    c"rewrite",
    c"proxy_method",
    c"proxy_set_header",
    c"grpc_set_header",
    c"fastcgi_param",
    c"uwsgi_param",
    c"scgi_param",
    c"proxy_pass_request_headers",
    c"fastcgi_pass_request_headers",
    c"uwsgi_pass_request_headers",
    c"scgi_pass_request_headers",
    c"proxy_cache",
    c"fastcgi_cache",
    c"uwsgi_cache",
    c"scgi_cache",
    c"proxy_cache_key",
    c"fastcgi_cache_key",
    c"uwsgi_cache_key",
    c"scgi_cache_key",
    c"proxy_store",
    c"fastcgi_store",
    c"uwsgi_store",
    c"scgi_store",
    c"xslt_stylesheet",
    c"auth_request",
    c"mirror",
    c"ssi",
    c"add_before_body",
    c"add_after_body",
    c"slice",
    c"proxy_cache_background_update",
    c"fastcgi_cache_background_update",
    c"uwsgi_cache_background_update",
    c"scgi_cache_background_update",
    c"access_by_lua",
    c"access_by_lua_block",
    c"access_by_lua_file",
    c"rewrite_by_lua",
    c"rewrite_by_lua_block",
    c"rewrite_by_lua_file",
    c"js_access",
    c"echo_location",
    c"echo_location_async",
    c"echo_subrequest",
    c"echo_subrequest_async",
    c"limit_req_zone",
    c"limit_conn_zone",
];

/// A directive, and where it stands.
#[derive(Clone)]
pub struct Seen {
    /// Its name.
    pub name: &'static str,
    /// Where it stands.
    pub position: FilePosition,
}

/// A directive that sends requests on.
#[derive(Clone)]
pub struct Forward {
    /// `proxy_pass` or one of its kind.
    pub seen: Seen,
    /// Its place among the modules that forward.
    module: usize,
    /// Where to.
    pub url: Box<[u8]>,
}

impl Forward {
    /// The module, as the names of its directives begin.
    pub fn module(&self) -> &'static str {
        FORWARDERS.get(self.module).copied().unwrap_or_default()
    }

    /// Whether it is `proxy_pass`, the only one whose URL may have a path.
    pub fn is_proxy(&self) -> bool {
        self.module() == "proxy"
    }

    /// Whether the path goes on as it was decided about, to an upstream that no variable chooses.
    fn keeps_path(&self) -> bool {
        self.is_proxy() && !directive::has_variable(&self.url) && !directive::replaces_path(&self.url)
    }

    /// The directive that says which path goes on.
    pub fn target_directive(&self) -> String {
        let module = self.module();
        match module {
            "proxy" => format!("{module}_pass"),
            _ => format!("{module}_param"),
        }
    }

    /// The directive that says which of the registry's headers nginx does not heed.
    pub fn ignoring_directive(&self) -> String {
        format!("{}_ignore_headers", self.module())
    }

    /// The directive that keeps the password here.
    pub fn remedy(&self) -> String {
        let module = self.module();
        match module {
            "proxy" | "grpc" => format!("{module}_set_header Authorization \"\";"),
            _ => format!("{module}_param HTTP_AUTHORIZATION \"\";"),
        }
    }
}

/// A cache, or files, in which nginx keeps answers.
pub struct Kept<'s> {
    /// What says so.
    pub seen: &'s Seen,
    /// The name of the cache; empty of files.
    pub zone: &'s [u8],
    /// The key, or the path of a file, as it is written.
    pub key: &'s [u8],
}

/// What is sent along in place of what the client has sent. nginx takes all of it, or nothing, from the level
/// above.
#[derive(Clone, Default)]
struct Sent {
    /// Whether something is said of the header Authorization.
    sets_authorization: bool,
    /// The values of the header Host; `None` of one that nginx cannot read.
    hosts: Vec<Option<ComplexValue>>,
    /// A parameter that names another method.
    method: Option<Seen>,
    /// A parameter that names another path or query, and which.
    path: Option<(Parameter, &'static str)>,
    /// Whether a parameter has the target that the client wrote.
    has_target: bool,
}

/// A parameter, and its value.
#[derive(Clone)]
pub struct Parameter {
    /// The directive.
    pub seen: Seen,
    /// The value, as it is written.
    pub value: Box<str>,
}

/// What the key of a cache tells of whose an answer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    /// Nothing.
    Blind,
    /// The user.
    User,
    /// The content and its owner, as `$registry_auth_blob` does, where that is not empty.
    Blob,
}

impl Key {
    fn of(text: &[u8]) -> Self {
        match () {
            () if directive::tells_user(text) => Self::User,
            () if directive::tells_blob(text) => Self::Blob,
            () => Self::Blind,
        }
    }
}

/// Files in which answers are kept.
#[derive(Clone)]
struct Files {
    /// What says so.
    seen: Seen,
    /// Whether their paths tell the user.
    is_safe: bool,
    /// Their path, as it is written.
    path: Box<[u8]>,
}

/// What the directives of one module that forwards say.
#[derive(Clone, Default)]
struct Said {
    sent: Option<Sent>,
    /// `proxy_method`, where it may be another method than the client's.
    method: Option<Option<Seen>>,
    /// Whether the client's headers are sent.
    sends_headers: Option<bool>,
    /// The cache, if answers are kept in one, and its name.
    cache: Option<Option<(Seen, Box<[u8]>)>>,
    /// What its key tells, and how it is written.
    key: Option<(Key, Box<[u8]>)>,
    /// The files, if answers are kept in such.
    store: Option<Option<Files>>,
}

/// What stands in one location beside our directives.
#[derive(Default)]
pub struct Neighbours {
    /// The first directive that answers here in the place of others.
    pub answers: Option<Seen>,
    /// `return`, which answers before anybody is asked for a password.
    pub returns: Option<Seen>,
    /// What sends requests on.
    pub forward: Option<Forward>,
    /// Whether that stands around this block, and not in it.
    pub is_forward_inherited: bool,
    /// What makes another document of an answer, by what that says itself.
    pub stylesheet: Option<Seen>,
    /// Whether `rewrite` may have changed the path; also one of the server.
    pub is_rewritten: bool,
    /// Whether nginx keeps what it is sent, by a key that does not tell the user.
    pub keeps_blindly: bool,
    /// Whether nginx keeps what it is sent by `$registry_auth_blob`.
    pub keeps_by_blob: bool,
    /// Whether nginx keeps what it is sent by a key, or in a file, that tells the user.
    pub keeps_by_user: bool,
    /// Whether it is known where requests go from here, and that their path is the one that was decided
    /// about.
    pub keeps_path: bool,
    /// Whether something may send subrequests here.
    pub sends_subrequests: bool,
    auth_request: Option<Option<(Box<[u8]>, FilePosition)>>,
    said: [Said; FORWARDERS.len()],
}

/// Whether a directive of another module than nginx's own may send subrequests.
fn sends_subrequests(name: &str) -> bool {
    name.contains("_by_lua") || name.starts_with("js_") || name.starts_with("echo_")
}

/// nginx counts before it asks who somebody is, and counts nobody whose key is empty.
fn warn_of_key(name: &str, conf: &mut Conf<'_>) {
    let key = conf.arg();
    let Some(variable) = directive::own_variable(key).map(str::to_owned) else {
        return;
    };
    let consequence = if directive::is_variable(key, &variable) {
        ", and nobody is limited"
    } else {
        ""
    };
    conf.warn(&format_args!(
        "\"{name}\" counts before \"registry_auth\" knows the user: \"${variable}\" is empty \
         then{consequence}"
    ));
}

impl Neighbours {
    /// Notes a directive.
    pub fn see(&mut self, name: &'static str, conf: &mut Conf<'_>) {
        if let "limit_req_zone" | "limit_conn_zone" = name {
            return warn_of_key(name, conf);
        }
        let (value, position) = (conf.arg(), conf.position());
        let seen = Seen { name, position };
        match name {
            "return" => self.returns = self.returns.take().or(Some(seen)),
            "rewrite" => self.is_rewritten = true,
            "xslt_stylesheet" => self.stylesheet = self.stylesheet.take().or(Some(seen)),
            "auth_request" => {
                self.sends_subrequests |= value != b"off";
                self.auth_request = Some((value != b"off").then(|| (value.into(), seen.position)));
            }
            "mirror" | "ssi" | "add_before_body" | "add_after_body" => {
                self.sends_subrequests |= value != b"off"
            }
            // Of copies of a request, which `error_page` may move as any other.
            "slice" => self.sends_subrequests |= value != b"0",
            _ if name.ends_with("_cache_background_update") => self.sends_subrequests |= value != b"off",
            "autoindex" | "random_index" | "dav_methods" if value == b"off" => {}
            _ if sends_subrequests(name) && !name.contains("content") => self.sends_subrequests = true,
            _ => {
                self.sends_subrequests |= sends_subrequests(name);
                let (module, what) = name.split_once('_').unwrap_or((name, ""));
                let module = FORWARDERS.iter().position(|forwarder| *forwarder == module);
                match (module, what) {
                    (Some(module), "pass") => {
                        self.forward = Some(Forward {
                            seen: seen.clone(),
                            module,
                            url: value.into(),
                        });
                        self.answers = self.answers.take().or(Some(seen));
                    }
                    (Some(module), what) => {
                        if let Some(said) = self.said.get_mut(module) {
                            said.see(what, seen, conf);
                        }
                    }
                    (None, _) => self.answers = self.answers.take().or(Some(seen)),
                }
            }
        }
    }

    /// Where auth_request asks, and where that stands.
    pub fn auth_request(&self) -> Option<&(Box<[u8]>, FilePosition)> {
        self.auth_request.as_ref()?.as_ref()
    }

    /// Takes from the level above what nginx takes from there; an `if` and a limit_except also go on with
    /// what forwards, and only a server's `rewrite` has been at work in its locations.
    pub fn inherit(&mut self, outer: &Self, is_block: bool, is_outer_server: bool) {
        for (said, outer) in self.said.iter_mut().zip(&outer.said) {
            said.inherit(outer);
        }
        self.stylesheet = self.stylesheet.take().or_else(|| outer.stylesheet.clone());
        self.sends_subrequests |= outer.sends_subrequests;
        if self.auth_request.is_none() {
            self.auth_request.clone_from(&outer.auth_request);
        }
        self.is_rewritten |= outer.is_rewritten && (is_block || is_outer_server);
        if is_block && self.forward.is_none() {
            self.forward.clone_from(&outer.forward);
            self.is_forward_inherited = self.forward.is_some();
        }
        self.keeps_blindly = self.kept_blindly().is_some();
        self.keeps_path = self.forward.as_ref().is_some_and(Forward::keeps_path);
        self.keeps_by_blob = self.has_cache() && self.said().is_some_and(|said| said.key() == Key::Blob);
        self.keeps_by_user = !self.keeps_blindly && !self.keeps_by_blob;
    }

    fn said(&self) -> Option<&Said> {
        self.said.get(self.forward.as_ref()?.module)
    }

    /// What gives the registry another method than the client's.
    pub fn method(&self) -> Option<&Seen> {
        let said = self.said()?;
        let sent = said.sent.as_ref().and_then(|sent| sent.method.as_ref());
        said.method.as_ref().and_then(Option::as_ref).or(sent)
    }

    /// The parameter that gives the registry another path or query than nginx's, and which.
    pub fn path(&self) -> Option<&(Parameter, &'static str)> {
        self.said()?.sent.as_ref()?.path.as_ref()
    }

    /// Whether a parameter has the target that the client wrote, whatever it was rewritten to.
    pub fn sends_target(&self) -> bool {
        self.said()
            .and_then(|said| said.sent.as_ref())
            .is_some_and(|sent| sent.has_target)
    }

    /// Whether the registry is sent the client's Authorization, and nothing says that it is meant.
    pub fn sends_authorization(&self) -> bool {
        self.said().is_some_and(|said| {
            said.sends_headers != Some(false)
                && !said.sent.as_ref().is_some_and(|sent| sent.sets_authorization)
        })
    }

    /// What `proxy_set_header Host` says, with which the registry is asked; nothing where that is nginx's own
    /// choice, the name of the upstream. `None` of one that nginx cannot read.
    pub fn hosts(&self) -> &[Option<ComplexValue>] {
        let sent = self.said().and_then(|said| said.sent.as_ref());
        sent.map_or(&[], |sent| &sent.hosts)
    }

    /// Whether nginx keeps the registry's answers in a cache.
    pub fn has_cache(&self) -> bool {
        self.said()
            .is_some_and(|said| matches!(said.cache, Some(Some(_))))
    }

    /// What keeps the registry's answers by a key that does not tell the user.
    pub fn kept_blindly(&self) -> Option<&Seen> {
        let said = self.said()?;
        let cache = said.cache.as_ref().and_then(Option::as_ref).map(|(seen, _)| seen);
        let store = said.store.as_ref().and_then(Option::as_ref);
        let store = store.filter(|files| !files.is_safe).map(|files| &files.seen);
        cache.filter(|_| said.key() == Key::Blind).or(store)
    }

    /// What keeps the registry's answers by a key that tells the user.
    pub fn kept_by_user(&self) -> Option<Kept<'_>> {
        let said = self.said()?;
        let cache = said
            .cache
            .as_ref()
            .and_then(Option::as_ref)
            .zip(said.key.as_ref());
        let cache = cache.filter(|(_, (key, _))| *key == Key::User);
        let store = said.store.as_ref().and_then(Option::as_ref);
        let store = store
            .filter(|files| files.is_safe)
            .map(|Files { seen, path, .. }| Kept {
                seen,
                zone: b"",
                key: path,
            });
        cache
            .map(|((seen, zone), (_, key))| Kept { seen, zone, key })
            .or(store)
    }
}

impl Said {
    /// What the key of its cache tells; that of nginx itself tells nothing.
    fn key(&self) -> Key {
        self.key.as_ref().map_or(Key::Blind, |(key, _)| *key)
    }

    fn see(&mut self, what: &str, seen: Seen, conf: &mut Conf<'_>) {
        let value = conf.arg();
        match what {
            "method" => self.method = Some((value != b"$request_method").then_some(seen)),
            "set_header" => {
                let sent = self.sent.get_or_insert_default();
                sent.sets_authorization |= value.eq_ignore_ascii_case(b"authorization");
                if value.eq_ignore_ascii_case(b"host") {
                    sent.hosts.push(conf.complex_value_at(1));
                }
            }
            "param" => {
                let value = conf.texts().nth(1).unwrap_or_default();
                self.sent
                    .get_or_insert_default()
                    .parameter(conf.arg(), value, seen);
            }
            "pass_request_headers" => self.sends_headers = Some(value != b"off"),
            "cache" => self.cache = Some((value != b"off").then(|| (seen, value.into()))),
            "cache_key" => self.key = Some((Key::of(value), value.into())),
            "store" => {
                let files = Files {
                    seen,
                    is_safe: directive::tells_user(value),
                    path: value.into(),
                };
                self.store = Some((value != b"off").then_some(files));
            }
            _ => {}
        }
    }

    fn inherit(&mut self, outer: &Self) {
        // Of the cache and the files, what is said here ends the other.
        match (&self.cache, &self.store) {
            (Some(Some(_)), None) => self.store = Some(None),
            (None, Some(Some(_))) => self.cache = Some(None),
            _ => {}
        }
        if self.sent.is_none() {
            self.sent.clone_from(&outer.sent);
        }
        self.method = self.method.take().or_else(|| outer.method.clone());
        self.sends_headers = self.sends_headers.or(outer.sends_headers);
        self.cache = self.cache.take().or_else(|| outer.cache.clone());
        self.key = self.key.take().or_else(|| outer.key.clone());
        self.store = self.store.take().or_else(|| outer.store.clone());
    }
}

impl Sent {
    /// A parameter of CGI, and its value.
    fn parameter(&mut self, name: &[u8], value: &[u8], seen: Seen) {
        // What nginx itself takes for each, as its own files of parameters have it. Not the part that
        // fastcgi_split_path_info takes out of a path: in one that was decided about there may be another's.
        const PATHS: [(&str, &[&str]); 4] = [
            ("REQUEST_URI", &["request_uri"]),
            ("DOCUMENT_URI", &["document_uri", "uri"]),
            ("PATH_INFO", &["document_uri", "uri"]),
            ("QUERY_STRING", &["query_string", "args"]),
        ];
        let is_one_of = |known: &[&str]| known.iter().any(|known| directive::is_variable(value, known));
        match name {
            b"HTTP_AUTHORIZATION" => self.sets_authorization = true,
            b"REQUEST_METHOD" if !is_one_of(&["request_method"]) => self.method = Some(seen),
            _ => {
                self.has_target |= directive::sends_request_uri(value);
                let path = PATHS.iter().find(|(path, _)| path.as_bytes() == name);
                if let Some((path, known)) = path
                    && !is_one_of(known)
                {
                    let value = String::from_utf8_lossy(value).into();
                    self.path = Some((Parameter { seen, value }, path));
                }
            }
        }
    }
}
