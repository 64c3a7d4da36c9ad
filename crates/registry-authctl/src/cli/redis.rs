//! Where Redis is, and how it is to be reached: options of every verb, each with an environment variable of
//! its own.

use super::values::REDIS;
use crate::error::Error;
use clap::{Args, ValueHint};
use registry_auth_redis::{Chain, Endpoint, Key, Passwords, Setting, TlsOptions, Trusted};
use std::path::{Path, PathBuf};

#[derive(Args, Default)]
pub(crate) struct RedisArgs {
    // Not a doc comment: rustdoc would take the brackets for links.
    #[arg(
        id = "redis",
        long = "redis",
        global = true,
        value_name = "URL",
        env = "REGISTRY_AUTH_REDIS",
        hide_env_values = true,
        default_value = REDIS,
        help = "Redis: redis://[user:password@]host[:port][,host[:port]...][/db], rediss:// for TLS, \
                redis+sentinel://host[:port][,...]/master[/db], redis+cluster://host[:port][,...], or \
                redis+unix:///path?db=n. A URL with a password belongs into the environment, where other \
                users of this machine do not see it"
    )]
    pub(crate) url: String,

    /// The user of Redis, in place of the URL's.
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "NAME",
        env = "REGISTRY_AUTH_REDIS_USER"
    )]
    redis_user: Option<String>,

    /// A file with the password for Redis, in place of the URL's; a second line is tried after the first.
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(env = "REGISTRY_AUTH_REDIS_PASSWORD_FILE")]
    redis_password_file: Option<PathBuf>,

    /// The user of Redis Sentinel.
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    #[arg(env = "REGISTRY_AUTH_REDIS_SENTINEL_USER")]
    redis_sentinel_user: Option<String>,

    /// A file with the password for Redis Sentinel.
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(env = "REGISTRY_AUTH_REDIS_SENTINEL_PASSWORD_FILE")]
    redis_sentinel_password_file: Option<PathBuf>,

    /// For TLS: a file with the certificates of the CAs that are trusted, or `system`, the default.
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE|system")]
    #[arg(value_hint = ValueHint::FilePath, env = "REGISTRY_AUTH_REDIS_TRUSTED_CERTIFICATE")]
    redis_trusted_certificate: Option<PathBuf>,

    /// For TLS: a file with the certificate that Redis is shown if it wants one.
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(env = "REGISTRY_AUTH_REDIS_CERTIFICATE")]
    redis_certificate: Option<PathBuf>,

    /// For TLS: a file with the private key of that certificate.
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(env = "REGISTRY_AUTH_REDIS_CERTIFICATE_KEY")]
    redis_certificate_key: Option<PathBuf>,

    /// For TLS: the name that Redis's certificate has to be for, in place of the URL's host.
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    #[arg(env = "REGISTRY_AUTH_REDIS_SSL_NAME")]
    redis_ssl_name: Option<Box<str>>,
}

impl RedisArgs {
    /// With this URL, and nothing else.
    pub(crate) fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..Self::default()
        }
    }

    /// What all of it comes to.
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Error> {
        let mut endpoint = Endpoint::parse(&self.url).map_err(Error::Endpoint)?;
        if let Some(user) = &self.redis_user {
            endpoint = endpoint.with_user(user);
        }
        if let Some(passwords) = of_file("password-file", &self.redis_password_file, Passwords::in_file)? {
            endpoint = endpoint.with_passwords(passwords);
        }
        let file = &self.redis_sentinel_password_file;
        let sentinel_passwords = of_file("sentinel-password-file", file, Passwords::in_file)?;
        endpoint = endpoint.with_sentinel_login(self.redis_sentinel_user.as_deref(), sentinel_passwords);
        let tls = TlsOptions {
            trusted: of_file(
                option(Setting::Trusted),
                &self.redis_trusted_certificate,
                Trusted::named,
            )?,
            certificate: of_file(
                option(Setting::Certificate),
                &self.redis_certificate,
                Chain::in_file,
            )?,
            key: of_file(option(Setting::Key), &self.redis_certificate_key, Key::in_file)?,
            name: self.redis_ssl_name.clone(),
        };
        endpoint = endpoint.with_tls(tls).map_err(|error| Error::Setting {
            option: option(error.setting),
            why: error.why,
        })?;
        endpoint.check().map_err(Error::Endpoint)?;
        Ok(endpoint)
    }
}

/// The option of a setting, without what all of them begin with.
fn option(setting: Setting) -> &'static str {
    match setting {
        Setting::Trusted => "trusted-certificate",
        Setting::Certificate => "certificate",
        Setting::Key => "certificate-key",
        Setting::Name => "ssl-name",
    }
}

fn of_file<T>(
    option: &'static str,
    path: &Option<PathBuf>,
    read: impl FnOnce(&Path) -> Result<T, String>,
) -> Result<Option<T>, Error> {
    let Some(path) = path else { return Ok(None) };
    let content = read(path).map_err(|why| Error::Setting {
        option,
        why: format!("{}: {why}", path.display()),
    })?;
    Ok(Some(content))
}
