//! What other modules' directives say in a location: those that answer in it, and those that change what a
//! registry is sent.
//!
//! Filled by `ffi::observe` while nginx reads them, and judged by `conf::check` once all of them were read.

use core::ffi::CStr;

use registry_auth::directive;

use crate::ffi::conf::{Conf, Place};

/// The directives that are looked at. All but the last three answer requests, or send them elsewhere.
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
    c"proxy_method",
    c"proxy_set_header",
];

/// A directive, and where it stands.
#[derive(Clone)]
pub struct Seen {
    /// Its name.
    pub name: &'static str,
    /// Where it stands.
    pub place: Place,
}

/// What stands in one location beside our directives.
#[derive(Default)]
pub struct Neighbours {
    /// The first directive that answers here in the place of others.
    pub answers: Option<Seen>,
    /// `return`, which answers before anybody is asked for a password.
    pub returns: Option<Seen>,
    /// `proxy_pass`, and whether it puts another path in the place of the client's.
    pub proxy: Option<(Seen, bool)>,
    /// Whether variables of a `proxy_pass` may do that.
    pub may_replace_path: bool,
    /// `proxy_method`, where it may be another method than the client's.
    pub method: Option<Option<Seen>>,
    /// Whether one of the `proxy_set_header` is about the header Authorization; `None` where there are none.
    pub sets_authorization: Option<bool>,
}

impl Neighbours {
    /// Notes a directive.
    pub fn see(&mut self, name: &'static str, conf: &Conf<'_>) {
        let (value, place) = (conf.arg(), conf.place());
        let seen = Seen { name, place };
        match name {
            "return" => self.returns = self.returns.take().or(Some(seen)),
            "proxy_method" => self.method = Some((value != b"$request_method").then_some(seen)),
            "proxy_set_header" => {
                let is_it = value.eq_ignore_ascii_case(b"authorization");
                self.sets_authorization = Some(self.sets_authorization.unwrap_or(false) || is_it);
            }
            "autoindex" | "random_index" | "dav_methods" if value == b"off" => {}
            _ => {
                if name == "proxy_pass" {
                    self.may_replace_path = directive::may_replace_path(value);
                    self.proxy = Some((seen.clone(), directive::replaces_path(value)));
                }
                self.answers = self.answers.take().or(Some(seen));
            }
        }
    }

    /// Takes from the level above what nginx takes from there; an `if` and a limit_except also go on with its
    /// `proxy_pass`.
    pub fn inherit(&mut self, outer: &Self, is_block: bool) {
        self.method = self.method.take().or_else(|| outer.method.clone());
        self.sets_authorization = self.sets_authorization.or(outer.sets_authorization);
        if is_block && self.proxy.is_none() {
            self.proxy.clone_from(&outer.proxy);
            self.may_replace_path = outer.may_replace_path;
        }
    }
}
