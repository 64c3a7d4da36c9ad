//! Where Redis is and what its keys begin with; opens the connections of the verbs.
//!
//! Made by main.rs from the options `--redis...` and `--prefix`. A verb connects once it needs Redis, and
//! again after a question to a person: Redis may close a connection that idles meanwhile.

use registry_auth_admin::{Admin, AdminError};
use registry_auth_redis::Endpoint;
use std::time::Duration;

/// Limit of the connection and of each round trip. Generous: a person waits, no request does.
const LIMIT: Duration = Duration::from_secs(10);

/// Opens connections to one Redis, for the keys of one prefix.
pub(crate) struct Connector {
    endpoint: Endpoint,
    prefix: String,
}

impl Connector {
    pub(crate) fn new(endpoint: Endpoint, prefix: String) -> Self {
        Self { endpoint, prefix }
    }

    pub(crate) async fn connect(&self) -> Result<Admin, AdminError> {
        Admin::connect(&self.endpoint, &self.prefix, LIMIT).await
    }

    /// Where Redis is, without the password.
    pub(crate) fn place(&self) -> String {
        self.endpoint.to_string()
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}
