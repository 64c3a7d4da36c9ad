//! Readers of the files that the verbs of import take.

pub(crate) mod docker_auth;
pub(crate) mod htpasswd;
