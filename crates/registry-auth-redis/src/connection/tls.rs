//! TLS to Redis: what is trusted, what we show, and what the server is called.
//!
//! Files are read where a configuration is read, by the process that may read them; each connection of a
//! worker shares the result. rustls with ring, as nginx's own TLS library is the one OpenSSL of the process.
//! Invariant: no error shows a byte of a private key.

use super::fault;
use super::files::{read_certificates, read_private};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use zeroize::Zeroize;

/// The settings beside a URL of `rediss://`: which one is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// `registry_auth_redis_trusted_certificate`
    Trusted,
    /// `registry_auth_redis_certificate`
    Certificate,
    /// `registry_auth_redis_certificate_key`
    Key,
    /// `registry_auth_redis_ssl_name`
    Name,
}

impl Setting {
    /// Its name, as a directive has it behind `registry_auth_redis_`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted_certificate",
            Self::Certificate => "certificate",
            Self::Key => "certificate_key",
            Self::Name => "ssl_name",
        }
    }
}

/// Settings that do not go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidTls {
    /// Which one.
    pub setting: Setting,
    /// What is wrong with it.
    pub why: String,
}

impl InvalidTls {
    fn new(setting: Setting, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { setting, why }
    }
}

impl fmt::Display for InvalidTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for InvalidTls {}

/// Whose certificates are believed.
pub struct Trusted(RootCertStore);

impl Trusted {
    /// `system`, or a file.
    ///
    /// # Errors
    /// What is wrong, in words that need the value before them.
    pub fn named(value: &Path) -> Result<Self, String> {
        match value.as_os_str() == "system" {
            true => Self::system(),
            false => Self::in_file(value),
        }
    }

    /// What this machine trusts (package ca-certificates).
    ///
    /// # Errors
    /// It trusts nobody.
    pub fn system() -> Result<Self, String> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        match added {
            0 => Err(
                "this system has no trusted certificates: install ca-certificates, or name a file".to_owned(),
            ),
            _ => Ok(Self(roots)),
        }
    }

    /// The certificates of a PEM file.
    ///
    /// # Errors
    /// What is wrong with the file, in words that need its name before them.
    pub fn in_file(path: &Path) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            roots
                .add(certificate)
                .map_err(|error| format!("a certificate in it cannot be used: {}", fault::words(&error)))?;
        }
        Ok(Self(roots))
    }
}

/// What we show to a server that asks for it.
pub struct Chain(Vec<CertificateDer<'static>>);

impl Chain {
    /// A certificate of a PEM file, with those behind it.
    ///
    /// # Errors
    /// What is wrong with the file, in words that need its name before them.
    pub fn in_file(path: &Path) -> Result<Self, String> {
        let chain = certificates(path)?;
        for certificate in chain.iter().take(1) {
            webpki::EndEntityCert::try_from(certificate).map_err(|error| fault::own_certificate(&error))?;
        }
        Ok(Self(chain))
    }
}

/// The private key of a [`Chain`].
pub struct Key(PrivateKeyDer<'static>);

impl Key {
    /// The first private key of a PEM file that nobody but its owner may read.
    ///
    /// # Errors
    /// What is wrong with the file, in words that need its name before them.
    pub fn in_file(path: &Path) -> Result<Self, String> {
        let content = read_private(path)?;
        if content.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED) {
            return Err(
                "the private key in it is encrypted: write it without a passphrase (openssl pkey)".to_owned(),
            );
        }
        let key = PrivateKeyDer::from_pem_slice(&content)
            .map_err(|_| "there is no private key in PEM in it".to_owned())?;
        Ok(Self(key))
    }
}

/// What a PEM file of an encrypted key has in it.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let content = read_certificates(path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&content)
        .collect::<Result<_, _>>()
        .map_err(|_| "it is not PEM".to_owned())?;
    match found.is_empty() {
        true => Err("there is no certificate in PEM in it".to_owned()),
        false => Ok(found),
    }
}

/// What is said beside the URL; what is not said is `None`.
#[derive(Default)]
pub struct TlsOptions {
    /// Whose certificates are believed; without it, this machine's.
    pub trusted: Option<Trusted>,
    /// What we show to a server that asks for it.
    pub certificate: Option<Chain>,
    /// Its key.
    pub key: Option<Key>,
    /// What the server's certificate has to be for, in place of the URL's host.
    pub name: Option<Box<str>>,
}

impl TlsOptions {
    /// One that is said.
    pub(crate) fn said(&self) -> Option<Setting> {
        [
            (self.trusted.is_some(), Setting::Trusted),
            (self.certificate.is_some(), Setting::Certificate),
            (self.key.is_some(), Setting::Key),
            (self.name.is_some(), Setting::Name),
        ]
        .into_iter()
        .find_map(|(is_said, setting)| is_said.then_some(setting))
    }
}

/// Options that were found to go together.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: Option<ServerName<'static>>,
}

impl Tls {
    /// # Errors
    /// [`InvalidTls`].
    pub(crate) fn new(options: TlsOptions) -> Result<Self, InvalidTls> {
        let trusted = match options.trusted {
            Some(trusted) => trusted,
            None => Trusted::system().map_err(|why| InvalidTls::new(Setting::Trusted, why))?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| InvalidTls::new(Setting::Trusted, error.to_string()))?
            .with_root_certificates(trusted.0);
        let config = match (options.certificate, options.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(chain), Some(key)) => builder
                .with_client_auth_cert(chain.0, key.0.clone_key())
                .map_err(|error| InvalidTls::new(Setting::Key, fault::own_key(&error)))?,
            (Some(_), None) => {
                let why = "its private key is missing (certificate_key)";
                return Err(InvalidTls::new(Setting::Certificate, why));
            }
            (None, Some(_)) => {
                return Err(InvalidTls::new(
                    Setting::Key,
                    "its certificate is missing (certificate)",
                ));
            }
        };
        let name = options
            .name
            .map(|name| {
                ServerName::try_from(String::from(name)).map_err(|_| {
                    InvalidTls::new(
                        Setting::Name,
                        "it is neither the name of a host nor an IP address",
                    )
                })
            })
            .transpose()?;
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    /// Greets in TLS the server that the URL calls `host`.
    pub(crate) async fn greet<S>(&self, host: &str, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|_| rustls::Error::General(format!("no certificate is for a name such as {host}")))
                .map_err(std::io::Error::other)?,
        };
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(name, stream).await
    }

    /// Whether we have a certificate to show.
    pub(crate) fn has_certificate(&self) -> bool {
        self.config.client_auth_cert_resolver.has_certs()
    }
}
