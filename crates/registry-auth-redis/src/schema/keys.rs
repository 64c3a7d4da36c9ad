//! The names of the keys in Redis (docs/reference/data-model.md). The only place that knows them.

use crc::{CRC_16_XMODEM, Crc};

/// Fields of `P:user:<name>` and `P:group:<name>`.
pub mod field {
    /// The password hash; `P:passwords` is asked where it is missing.
    pub const PASSWORD: &str = "password";
    /// Group names, space-separated, in order of precedence.
    pub const GROUPS: &str = "groups";
    /// `host:port`s, space-separated.
    pub const BACKENDS: &str = "backends";
    /// `grant:<pattern>` → actions.
    pub const GRANT: &str = registry_auth::grant::FIELD_PREFIX;
    /// An access token, `token:<id>`.
    pub const TOKEN: &str = registry_auth::token::access_token::FIELD_PREFIX;
    /// What an access token is for, `note:<id>`, in the words of who created it. Read by the tool only.
    pub const NOTE: &str = "note:";
    /// The name of a group, or of a user without a password: keeps one that has nothing else. No login reads
    /// it.
    pub const NAME: &str = "name";
}

/// The field of `P:token-use` for a user's access token. No user name has a colon.
#[must_use]
pub fn use_field(user: &str, id: &str) -> String {
    join(user, ":", id)
}

/// The group that everyone belongs to, the anonymous included.
pub const PUBLIC: &str = "public";

/// The number of slots that a Redis Cluster has.
const SLOTS: u16 = 16_384;
const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The slot in a Redis Cluster of all keys that begin with `prefix`; `None` where it has no hash tag, so that
/// they lie in many.
#[must_use]
pub fn slot(prefix: &str) -> Option<u16> {
    let (_, rest) = prefix.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then(|| CRC.checksum(tag.as_bytes()) % SLOTS)
}

/// Key names under one prefix `P`.
#[derive(Debug, Clone, Copy)]
pub struct KeyNames<'a> {
    prefix: &'a str,
}

impl<'a> KeyNames<'a> {
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

    /// [`KeyNames::user`] into a buffer, replacing what is there.
    pub fn write_user(&self, name: &str, key: &mut String) {
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

    /// [`KeyNames::group`] into a buffer, replacing what is there.
    pub fn write_group(&self, name: &str, key: &mut String) {
        key.clear();
        for part in [self.prefix, ":group:", name] {
            key.push_str(part);
        }
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

    /// `P:token-use`, HASH of `<user>:<id>` → when that access token was last used: the day's first second
    /// since 1970. The module writes it where the configuration says so, as it does password hashes, and no
    /// other key.
    #[must_use]
    pub fn token_use(&self) -> String {
        join(self.prefix, ":token-use", "")
    }

    /// `P:token-owners`, HASH of the hexadecimal SHA-256 of an access token → the user in whose record the
    /// token is, for clients that send a token without its user's name. It is a hint: only the record
    /// decides.
    #[must_use]
    pub fn token_owners(&self) -> String {
        join(self.prefix, ":token-owners", "")
    }

    /// `P:nothing`, a key that nobody writes: what a node of a Cluster answers about it says whether it has
    /// the slot.
    #[must_use]
    pub fn nothing(&self) -> String {
        join(self.prefix, ":nothing", "")
    }

    /// `P:changes`, no key but a channel: the tool publishes there which keys it changes.
    #[must_use]
    pub fn changes(&self) -> String {
        join(self.prefix, ":changes", "")
    }

    /// A `SCAN MATCH` pattern for all of `P:user:*`; glob characters of the prefix are escaped.
    #[must_use]
    pub fn users_pattern(&self) -> String {
        self.pattern(":user:*")
    }

    /// A `SCAN MATCH` pattern for all of `P:group:*`.
    #[must_use]
    pub fn groups_pattern(&self) -> String {
        self.pattern(":group:*")
    }

    fn pattern(&self, rest: &str) -> String {
        let mut pattern = literally(self.prefix);
        pattern.push_str(rest);
        pattern
    }

    /// A `SCAN MATCH` pattern for the users whose names begin so.
    pub fn users_beginning(&self, beginning: &str) -> String {
        self.pattern(&join(":user:", &literally(beginning), "*"))
    }

    /// A `SCAN MATCH` pattern for the groups whose names begin so.
    pub fn groups_beginning(&self, beginning: &str) -> String {
        self.pattern(&join(":group:", &literally(beginning), "*"))
    }

    /// `P:`, what the names of all keys begin with.
    #[must_use]
    pub fn common(&self) -> String {
        join(self.prefix, ":", "")
    }

    /// Which key that decides about somebody this is; `None` for any other, and for those not under this
    /// prefix.
    #[must_use]
    pub fn known<'k>(&self, key: &'k str) -> Option<Known<'k>> {
        match key.strip_prefix(self.prefix)?.strip_prefix(':')? {
            "passwords" => Some(Known::Passwords),
            "backends" => Some(Known::Backends),
            rest => match rest.split_once(':')? {
                ("user", name) => Some(Known::User(name)),
                ("group", name) => Some(Known::Group(name)),
                _ => None,
            },
        }
    }

    /// The user's name in a key that [`KeyNames::user`] made.
    #[must_use]
    pub fn user_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(self.prefix)?.strip_prefix(":user:")
    }

    /// The group's name in a key that [`KeyNames::group`] made.
    #[must_use]
    pub fn group_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(self.prefix)?.strip_prefix(":group:")
    }
}

/// The text in a pattern of Redis, in which it means itself.
pub fn literally(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// A key of the schema, read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known<'k> {
    /// `P:user:<name>`
    User(&'k str),
    /// `P:group:<name>`
    Group(&'k str),
    /// `P:passwords`
    Passwords,
    /// `P:backends`
    Backends,
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
    use super::{KeyNames, Known, use_field};

    #[test]
    fn names_are_those_of_the_interface() {
        let keys = KeyNames::new("docker-registry");
        assert_eq!(keys.user("alice"), "docker-registry:user:alice");
        assert_eq!(keys.group("team"), "docker-registry:group:team");
        assert_eq!(keys.passwords(), "docker-registry:passwords");
        assert_eq!(keys.backends(), "docker-registry:backends");
        assert_eq!(keys.token_use(), "docker-registry:token-use");
        assert_eq!(keys.token_owners(), "docker-registry:token-owners");
        assert_eq!(use_field("alice", "4f1e9a7c02"), "alice:4f1e9a7c02");
        assert_eq!(keys.user_of("docker-registry:user:a:b"), Some("a:b"));
        assert_eq!(keys.user_of("other:user:a"), None);
        assert_eq!(keys.group_of("docker-registry:group:team"), Some("team"));
        assert_eq!(keys.common(), "docker-registry:");
        assert_eq!(keys.known(&keys.nothing()), None);
    }

    #[test]
    fn names_are_read_back() {
        let keys = KeyNames::new("P");
        assert_eq!(keys.known(&keys.user("a:b")), Some(Known::User("a:b")));
        assert_eq!(keys.known(&keys.group("team")), Some(Known::Group("team")));
        assert_eq!(keys.known(&keys.passwords()), Some(Known::Passwords));
        assert_eq!(keys.known(&keys.backends()), Some(Known::Backends));
        for other in [
            "P",
            "P:",
            "P:user",
            "P:token:x",
            "P:token-use",
            // Another token's entry changes nothing that anybody was told: see `lookup/token_owners.rs`.
            "P:token-owners",
            "PP:backends",
            "Q:backends",
            "P:backends:x",
        ] {
            assert_eq!(keys.known(other), None, "{other}");
        }
    }

    #[test]
    fn the_scan_pattern_takes_the_prefix_literally() {
        assert_eq!(KeyNames::new("a*b[c]").users_pattern(), "a\\*b\\[c\\]:user:*");
        assert_eq!(KeyNames::new("P").groups_pattern(), "P:group:*");
    }
}
