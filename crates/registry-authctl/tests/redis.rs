//! How Redis is reached: TLS, other users, password files, by options and by the environment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Ran, run_in};
use std::fs;
use tempfile::TempDir;
use testkit::{Certificates, RedisServer};

/// A server of TLS, and its certificates.
struct Redis {
    server: RedisServer,
    certificates: Certificates,
}

impl Redis {
    fn start(options: &[&str]) -> Self {
        let certificates = Certificates::with_ca();
        certificates.issue("server", "ca", &["subjectAltName=DNS:localhost"]);
        certificates.issue("client", "ca", &["extendedKeyUsage=clientAuth"]);
        Self {
            server: certificates.server("server", options),
            certificates,
        }
    }

    /// The tool, with these variables of the environment `REGISTRY_AUTH_REDIS...`.
    fn tool(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let url = format!("rediss://localhost:{}", self.server.port);
        let variables: Vec<(String, String)> = [("", url.as_str())]
            .iter()
            .chain(variables)
            .map(|(name, value)| (format!("REGISTRY_AUTH_REDIS{name}"), (*value).to_owned()))
            .collect();
        run_in(self.certificates.dir.path(), &variables, arguments)
    }
}

#[test]
fn check_over_tls_by_options_and_by_the_environment() {
    let redis = Redis::start(&["--tls-auth-clients", "no"]);
    let add = ["group", "add", "team"];
    redis.tool(&[("_TRUSTED_CERTIFICATE", "ca.pem")], &add).ok();
    for ran in [
        redis.tool(&[("_TRUSTED_CERTIFICATE", "ca.pem")], &["check"]),
        redis.tool(&[], &["check", "--redis-trusted-certificate", "ca.pem"]),
    ] {
        let out = ran.ok();
        assert!(
            out.contains("rediss://localhost:") && out.contains("groups: 1"),
            "{out}"
        );
    }
    let ran = redis.tool(&[], &["check"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("of a CA that is not trusted"), "{}", ran.err);
    assert!(!ran.err.contains("is it running"), "it is: {}", ran.err);
}

#[test]
fn a_clients_certificate_is_shown() {
    let redis = Redis::start(&[]);
    let trusted = ("_TRUSTED_CERTIFICATE", "ca.pem");
    let ran = redis.tool(&[trusted], &["user", "list"]);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("client's certificate"), "{}", ran.err);
    redis
        .tool(
            &[
                trusted,
                ("_CERTIFICATE", "client.pem"),
                ("_CERTIFICATE_KEY", "client.key"),
            ],
            &["user", "list"],
        )
        .ok();
    let arguments = [
        "--redis-certificate",
        "client.pem",
        "--redis-certificate-key",
        "client.key",
        "user",
        "list",
    ];
    redis.tool(&[trusted], &arguments).ok();
}

#[test]
fn a_user_and_a_password_of_a_file() {
    let redis = Redis::start(&[
        "--tls-auth-clients",
        "no",
        "--user",
        "ctl",
        "on",
        ">new",
        "~*",
        "+@all",
    ]);
    let trusted = ("_TRUSTED_CERTIFICATE", "ca.pem");
    fs::write(redis.certificates.path("password"), "old\nnew\n").unwrap();
    let more = [
        "--redis-user",
        "ctl",
        "--redis-password-file",
        "password",
        "group",
        "list",
    ];
    redis.tool(&[trusted], &more).ok();
    redis
        .tool(
            &[trusted, ("_USER", "ctl"), ("_PASSWORD_FILE", "password")],
            &["group", "list"],
        )
        .ok();
    fs::write(redis.certificates.path("password"), "old\n").unwrap();
    let ran = redis.tool(&[trusted], &more);
    assert_eq!(ran.status, 1);
    assert!(ran.err.contains("the log-in was refused"), "{}", ran.err);
}

#[test]
fn what_is_wrong_with_an_option_is_usage() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    for (arguments, words) in [
        (
            &["--redis-trusted-certificate", "none"][..],
            &["--redis-trusted-certificate", "none: No such file"][..],
        ),
        (
            &["--redis-trusted-certificate", "empty"],
            &["REGISTRY_AUTH_REDIS_TRUSTED_CERTIFICATE", "no certificate"],
        ),
        (
            &["--redis-certificate", "empty"],
            &["--redis-certificate (", "no certificate"],
        ),
        (
            &["--redis-certificate-key", "none"],
            &["--redis-certificate-key", "No such file"],
        ),
        (&["--redis-ssl-name", ""], &["--redis-ssl-name", "name of a host"]),
        (
            &["--redis-password-file", "empty"],
            &["--redis-password-file", "first line is empty"],
        ),
        (
            &["--redis", "redis://localhost", "--redis-ssl-name", "a"],
            &["--redis-ssl-name", "not one of TLS"],
        ),
        (
            &["--redis", "redis+cluster://a,b"],
            &["--prefix docker-registry", "\"{docker-registry}\""],
        ),
        (&["--redis-user", "gate"], &["needs a password"]),
    ] {
        let mut all = vec!["user", "list", "--redis", "rediss://localhost"];
        if arguments.contains(&"--redis") {
            all.truncate(2);
        }
        all.extend(arguments);
        let ran = run_in(folder.path(), &[], &all);
        assert_eq!(ran.status, 2, "{arguments:?}: {}", ran.err);
        for word in words {
            assert!(ran.err.contains(word), "{word:?} is missing: {}", ran.err);
        }
    }
}
