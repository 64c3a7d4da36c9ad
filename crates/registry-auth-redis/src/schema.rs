//! The names of the keys in Redis (interface: "The data in Redis"). The only place that knows them.

/// Fields of `P:user:<name>` and `P:group:<name>`.
pub mod field {
    /// The password hash; `P:passwords` is asked where it is missing.
    pub const PASSWORD: &str = "password";
    /// Group names, space-separated, in order of precedence.
    pub const GROUPS: &str = "groups";
    /// `host:port`s, space-separated.
    pub const BACKENDS: &str = "backends";
    /// `grant:<pattern>` → actions.
    pub const GRANT: &str = "grant:";
}

/// Key names under one prefix `P`.
#[derive(Debug, Clone, Copy)]
pub struct Keys<'a> {
    prefix: &'a str,
}

impl<'a> Keys<'a> {
    /// Names under `prefix` (`registry_auth_prefix`).
    #[must_use]
    pub const fn new(prefix: &'a str) -> Self {
        Self { prefix }
    }

    /// `P:user:<name>`, HASH.
    #[must_use]
    pub fn user(&self, name: &str) -> String {
        join(self.prefix, ":user:", name)
    }

    /// [`Keys::user`] into a buffer, replacing what is there.
    pub(crate) fn write_user(&self, name: &str, key: &mut String) {
        key.clear();
        for part in [self.prefix, ":user:", name] {
            key.push_str(part);
        }
    }

    /// `P:group:<name>`, HASH.
    #[must_use]
    pub fn group(&self, name: &str) -> String {
        join(self.prefix, ":group:", name)
    }

    /// `P:passwords`, HASH of user → hash: the 2014 gate's.
    #[must_use]
    pub fn passwords(&self) -> String {
        join(self.prefix, ":passwords", "")
    }

    /// `P:backends`, LIST of `host:port`: everybody's defaults.
    #[must_use]
    pub fn backends(&self) -> String {
        join(self.prefix, ":backends", "")
    }

    /// A `SCAN MATCH` pattern for all of `P:user:*`; glob characters of the prefix are escaped.
    #[must_use]
    pub fn users_pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.prefix.len() + 8);
        for c in self.prefix.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push_str(":user:*");
        pattern
    }

    /// The user's name in a key that [`Keys::user`] made.
    #[must_use]
    pub fn user_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(self.prefix)?.strip_prefix(":user:")
    }
}

/// `format!` costs several times as much, and this runs for every request.
fn join(prefix: &str, infix: &str, name: &str) -> String {
    let mut key = String::with_capacity(prefix.len() + infix.len() + name.len());
    key.push_str(prefix);
    key.push_str(infix);
    key.push_str(name);
    key
}

#[cfg(test)]
mod tests {
    use super::Keys;

    #[test]
    fn names_are_those_of_the_interface() {
        let keys = Keys::new("docker-registry");
        assert_eq!(keys.user("alice"), "docker-registry:user:alice");
        assert_eq!(keys.group("team"), "docker-registry:group:team");
        assert_eq!(keys.passwords(), "docker-registry:passwords");
        assert_eq!(keys.backends(), "docker-registry:backends");
        assert_eq!(keys.user_of("docker-registry:user:a:b"), Some("a:b"));
        assert_eq!(keys.user_of("other:user:a"), None);
    }

    #[test]
    fn the_scan_pattern_takes_the_prefix_literally() {
        assert_eq!(Keys::new("a*b[c]").users_pattern(), "a\\*b\\[c\\]:user:*");
    }
}
