//! Content that a digest names: where a registry's disk has it, who may be sent it from there, and which
//! requests for it nginx answers as the registry would.
//!
//! Called by the nginx module once a request was granted. Guarantee: a path that is made here lies below the
//! registry's folder and is that of one repository and one digest; what cannot be understood is left to the
//! registry.

use std::fmt;

use crate::backend::Backend;
use crate::route::is_digest;

/// What a path of the API names by a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content<'a> {
    /// Whether it is a manifest or a blob.
    pub kind: ContentKind,
    /// The digest.
    pub digest: &'a [u8],
}

/// The two kinds of content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentKind {
    /// A layer or a configuration.
    Blob,
    /// A manifest or an index.
    Manifest,
}

/// What a path names by a digest in this repository; `None` where it names anything else, as a tag. The path
/// is the one that was decided about, as nginx has it decoded.
///
/// ```
/// use registry_auth::blob::{ContentKind, content};
///
/// let named = content(b"/v2/team/app/blobs/sha256:0123456789abcdef", b"team/app");
/// assert_eq!(named.map(|named| named.kind), Some(ContentKind::Blob));
/// assert_eq!(content(b"/v2/team/app/manifests/latest", b"team/app"), None);
/// ```
pub fn content<'a>(path: &'a [u8], repository: &[u8]) -> Option<Content<'a>> {
    if repository.is_empty() {
        return None;
    }
    let rest = path.strip_prefix(b"/v2/")?.strip_prefix(repository)?;
    let (kind, digest) = match rest.strip_prefix(b"/blobs/") {
        Some(digest) => (ContentKind::Blob, digest),
        None => (ContentKind::Manifest, rest.strip_prefix(b"/manifests/")?),
    };
    is_digest(digest).then_some(Content { kind, digest })
}

/// How a registry lays its storage out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// That of distribution's filesystem driver: content once for all repositories, and a link in each that
    /// has it.
    Distribution,
    /// An OCI image layout for each repository.
    Oci,
}

impl Layout {
    /// Parses the value of `layout=`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"distribution" => Some(Self::Distribution),
            b"oci" => Some(Self::Oci),
            _ => None,
        }
    }

    /// The folder below which all paths of this layout lie.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Distribution => "docker/registry/v2",
            Self::Oci => "",
        }
    }

    /// Where a repository's blob lies, if it has one; `None` for a digest of which this layout knows no path.
    pub fn places(self, repository: &[u8], digest: &[u8]) -> Option<Places> {
        let digits = sha256_digits(digest)?;
        let repository = std::str::from_utf8(repository).ok()?;
        Some(match self {
            Self::Distribution => {
                let first_two = digits.get(..2)?;
                Places {
                    link: Some(format!(
                        "docker/registry/v2/repositories/{repository}/_layers/sha256/{digits}/link"
                    )),
                    data: format!("docker/registry/v2/blobs/sha256/{first_two}/{digits}/data"),
                }
            }
            Self::Oci => Places {
                link: None,
                data: format!("{repository}/blobs/sha256/{digits}"),
            },
        })
    }
}

/// Where a blob lies, below the registry's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The file that says that the repository has it; `None` where the place of the content says so.
    pub link: Option<String>,
    /// Its content.
    pub data: String,
}

/// Bytes of a link: a digest, and nothing else.
pub const LINK: usize = SHA256.len() + DIGITS;
const SHA256: &[u8] = b"sha256:";
const DIGITS: usize = 64;

/// Whether a link's content names this digest, in the one way in which a registry writes it.
pub fn names(link: &[u8], digest: &[u8]) -> bool {
    sha256_digits(digest).is_some() && link == digest
}

/// The digits of a digest, where it is SHA-256 and as registries write it: they make folders of it.
fn sha256_digits(digest: &[u8]) -> Option<&str> {
    let digits = digest.strip_prefix(SHA256)?;
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_written_so = digits.len() == DIGITS && digits.iter().all(is_digit);
    is_written_so.then(|| std::str::from_utf8(digits).ok()).flatten()
}

/// Whose content a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// That of requests without backends of their own, which go to the registry that nginx.conf names.
    #[default]
    Default,
    /// That of these backends, which share it.
    Backends(Vec<BackendName>),
}

impl Owner {
    /// Whether all of a request's backends have this folder: any of them may be asked.
    pub fn has<'a>(&self, backends: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut backends = backends.into_iter().peekable();
        match self {
            Self::Default => backends.next().is_none(),
            Self::Backends(named) => {
                backends.peek().is_some()
                    && backends.all(|backend| named.iter().any(|named| named.is(backend)))
            }
        }
    }
}

impl Owner {
    /// Which requests this folder and another one would both be for, if any, as an error calls them.
    pub fn shared_with(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (Self::Default, Self::Default) => Some("without backends of their own".to_owned()),
            (Self::Backends(ours), Self::Backends(theirs)) => {
                let shared = ours.iter().find(|name| theirs.contains(name))?;
                Some(format!("to \"{shared}\""))
            }
            _ => None,
        }
    }
}

/// The name of a backend, as it is compared to those of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendName {
    /// In lower case, with its port.
    text: String,
}

/// The port of a backend that names none.
const DEFAULT_PORT: &str = ":80";

impl BackendName {
    /// Parses the value of `backend=`.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        Backend::parse(text).ok()?;
        Some(Self {
            text: text.to_ascii_lowercase(),
        })
    }

    /// Whether it is that of a record, in which a port of 80 may be left out.
    fn is(&self, stored: &[u8]) -> bool {
        let text = self.text.as_bytes();
        stored.eq_ignore_ascii_case(text)
            || text
                .strip_suffix(DEFAULT_PORT.as_bytes())
                .is_some_and(|host| stored.eq_ignore_ascii_case(host))
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a request asks about the bytes that it wants, where nginx and a registry answer the same: one range,
/// and validators that are written as they should be. What is written otherwise each server reads in its own
/// way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    range: Option<Range>,
}

/// One range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    /// From the first to the last, which is included; to the end where there is none.
    From(u64, Option<u64>),
    /// The last ones.
    Last(u64),
}

impl Conditions {
    /// Reads them out of a request, whose headers `values` gives by their names in lower case. `None` where
    /// the registry is to answer.
    pub fn parse<'a, I: Iterator<Item = &'a [u8]>>(values: impl Fn(&'static [u8]) -> I) -> Option<Self> {
        // Of the time when it was changed a registry says nothing, and so does not compare it.
        const OTHERS: [&[u8]; 3] = [b"if-match", b"if-modified-since", b"if-unmodified-since"];
        if OTHERS.into_iter().any(|name| values(name).next().is_some()) {
            return None;
        }
        let single = |name| {
            let mut values = values(name);
            match (values.next(), values.next()) {
                (first, None) => Some(first),
                _ => None,
            }
        };
        if single(b"if-none-match")?.is_some_and(|tags| !are_tags(tags)) {
            return None;
        }
        if single(b"if-range")?.is_some_and(|tag| after_tag(tag).is_none_or(|rest| !rest.is_empty())) {
            return None;
        }
        let range = match single(b"range")? {
            Some(range) => Some(Range::parse(range)?),
            None => None,
        };
        Some(Self { range })
    }

    /// Whether a file of so many bytes has what is asked for. What it does not have, and one that is empty,
    /// each server answers in its own way.
    pub fn fit(&self, size: u64) -> bool {
        size > 0
            && match self.range {
                None | Some(Range::Last(_)) => true,
                Some(Range::From(first, last)) => first < size && last.is_none_or(|last| last >= first),
            }
    }
}

impl Range {
    fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text.strip_prefix(b"bytes=")?).ok()?;
        let (first, last) = text.split_once('-')?;
        Some(match (first, last) {
            ("", last) => Self::Last(number(last).filter(|last| *last > 0)?),
            (first, "") => Self::From(number(first)?, None),
            (first, last) => Self::From(number(first)?, Some(number(last)?)),
        })
    }
}

/// A number of bytes, as large as nginx and a registry both read it.
fn number(text: &str) -> Option<u64> {
    const LONGEST: usize = 18;
    let is_number = text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Whether that is a list of entity tags, or all of them.
fn are_tags(text: &[u8]) -> bool {
    if text == b"*" {
        return true;
    }
    let mut rest = text;
    loop {
        let Some(after) = after_tag(rest.strip_prefix(b"W/").unwrap_or(rest)) else {
            return false;
        };
        let Some(next) = after.trim_ascii_start().strip_prefix(b",") else {
            return after.is_empty();
        };
        rest = next.trim_ascii_start();
    }
}

/// What follows an entity tag, which is a strong one.
fn after_tag(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"\"")?;
    let end = text.iter().position(|byte| *byte == b'"')?;
    let (tag, rest) = text.split_at_checked(end)?;
    let is_plain = tag.iter().all(|byte| matches!(byte, b'!'..=b'~'));
    is_plain.then(|| rest.get(1..)).flatten()
}

/// Which registry a request goes to, as far as nginx knows what that answers by.
#[derive(Clone, Copy, Debug)]
pub struct Registry<'a> {
    /// The prefix of the accounts: what a repository is called in one says nothing of another.
    pub prefix: &'a [u8],
    /// The upstream that nginx.conf names.
    pub upstream: &'a [u8],
    /// The host by which the registry is asked.
    pub host: &'a [u8],
    /// The user's backends behind that upstream; none where it has the registry itself.
    pub backends: &'a [&'a [u8]],
}

/// The key of a cache for content that a digest names, which no other content has: it names who has it, the
/// repository and the digest. `asked` is what else the answer depends on.
pub fn cache_key(registry: Registry<'_>, repository: &[u8], content: Content<'_>, asked: u64) -> Vec<u8> {
    let mut names: Vec<Vec<u8>> = registry
        .backends
        .iter()
        .map(|name| name.to_ascii_lowercase())
        .collect();
    names.sort_unstable();
    names.dedup();
    // None of the parts contains a blank, so that it is known where each of them ends.
    let mut key = Vec::new();
    for part in [registry.prefix, registry.upstream, registry.host] {
        write_word(part, &mut key);
        key.push(b' ');
    }
    if names.is_empty() {
        key.push(b'-');
    } else {
        key.extend_from_slice(&names.join(&b','));
    }
    key.push(b' ');
    key.extend_from_slice(repository);
    key.push(b'@');
    key.extend_from_slice(content.digest);
    if content.kind == ContentKind::Manifest {
        key.extend_from_slice(format!(" manifest {asked:016x}").as_bytes());
    }
    key
}

/// Writes any bytes as one word, no other bytes as the same.
fn write_word(text: &[u8], out: &mut Vec<u8>) {
    if text.is_empty() {
        out.push(b'%');
    }
    for byte in text {
        if byte.is_ascii_graphic() && *byte != b'%' {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("%{byte:02x}").as_bytes());
        }
    }
}

/// What a registry says of an answer, in front of its body.
#[derive(Clone, Copy, Debug)]
pub struct AnswerHead<'a> {
    /// Its status.
    pub status: u32,
    /// How many bytes are to come, where that is said.
    pub length: Option<u64>,
    /// Whether these are the content in another form (`Content-Encoding`), which not all clients take.
    pub is_encoded: bool,
    /// Whether they are a part of the content (`Content-Range`), whatever the status says.
    pub is_part: bool,
    /// Which content it is, where that is said, once (`Docker-Content-Digest`).
    pub digest: Option<&'a [u8]>,
}

/// The digests of no bytes at all.
const OF_NOTHING: [&[u8]; 3] = [
    b"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    b"sha384:38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b9\
      5b",
    b"sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f\
      63b931bd47417a81a538327af927da3e",
];

/// Whether an answer to a request for the content of this digest may be kept for others. Not where its end
/// cannot be told from a connection that was cut, nor where it is seen before the body that it is something
/// else. What does not say which content it is may be anything that some server in between has to say, as
/// that the registry is being maintained.
pub fn may_be_kept(answer: AnswerHead<'_>, digest: &[u8]) -> bool {
    let is_whole = match answer.length {
        None => false,
        Some(0) => OF_NOTHING.contains(&digest),
        Some(_) => !OF_NOTHING.contains(&digest),
    };
    // A registry may know the same content by a digest of another algorithm.
    let algorithm = |digest: &[u8]| digest.split(|byte| *byte == b':').next().map(<[u8]>::to_vec);
    let is_named = answer
        .digest
        .is_some_and(|said| said == digest || is_digest(said) && algorithm(said) != algorithm(digest));
    answer.status == 200 && is_whole && !answer.is_encoded && !answer.is_part && is_named
}
