//! Readers of the files that the verbs of import take.

pub(crate) mod docker_auth;
pub(crate) mod htpasswd;

use registry_auth::UserNameBuf;

/// A user of such a file.
pub(crate) struct FileUser {
    /// In which line, where that tells anything.
    pub(crate) line: Option<usize>,
    pub(crate) user: UserNameBuf,
    pub(crate) hash: String,
}
