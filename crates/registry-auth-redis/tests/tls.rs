//! TLS to real servers: which certificates are good, and what is said of those that are not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{Certificates, Kept, Server, greet};
use registry_auth_redis::{Chain, Endpoint, Key, Setting, TlsOptions, Trusted};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use testkit::PATIENCE;

const NAMES: &str = "subjectAltName=DNS:localhost,IP:127.0.0.1";

fn tls(host: &str, server: &Server, options: TlsOptions) -> Result<(), String> {
    let endpoint = Endpoint::parse(&format!("rediss://{host}:{}", server.port)).unwrap();
    greet(&endpoint.with_tls(options).unwrap(), PATIENCE)
}

fn says(answer: Result<(), String>, words: &[&str]) {
    let said = answer.expect_err("is refused");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing: {said}");
    }
}

#[test]
fn a_server_is_trusted_by_its_ca_and_its_name() {
    let certificates = Certificates::with_ca();
    certificates.issue("server", "ca", &[NAMES]);
    certificates.ca("other");
    for protocols in ["TLSv1.2", "TLSv1.3", "TLSv1.2 TLSv1.3"] {
        let server = certificates.server(
            "server",
            &["--tls-auth-clients", "no", "--tls-protocols", protocols],
        );
        for host in ["localhost", "127.0.0.1"] {
            assert_eq!(
                tls(host, &server, common::trusting(&certificates, "ca.pem")),
                Ok(()),
                "{protocols} {host}"
            );
        }
        says(
            tls("localhost", &server, common::trusting(&certificates, "other.pem")),
            &["of a CA that is not trusted", "trusted_certificate"],
        );
        says(
            tls("localhost", &server, TlsOptions::default()),
            &["of a CA that is not trusted"],
        );
        let named = |name: &str| TlsOptions {
            name: Some(name.into()),
            ..common::trusting(&certificates, "ca.pem")
        };
        assert_eq!(tls("127.0.0.1", &server, named("localhost")), Ok(()));
        says(
            tls("localhost", &server, named("redis.example")),
            &[
                "is for",
                "localhost",
                "not for redis.example",
                "subjectAltName=DNS:redis.example",
                "ssl_name",
            ],
        );
    }
}

#[test]
fn what_is_wrong_with_a_servers_certificate_is_said_with_what_to_reissue() {
    let certificates = Certificates::with_ca();
    certificates.issue("v1", "ca", &[]);
    certificates.issue("no-name", "ca", &["basicConstraints=CA:FALSE"]);
    certificates.issue("ca-true", "ca", &["basicConstraints=CA:TRUE", NAMES]);
    certificates.issue("for-clients", "ca", &["extendedKeyUsage=clientAuth", NAMES]);
    certificates.issue_expired("expired", &[NAMES]);
    for (name, words) in [
        ("v1", &["X.509 v1", "reissue it as v3", "-extfile"][..]),
        (
            "no-name",
            &[
                "no subjectAltName",
                "reissue it with subjectAltName=DNS:localhost",
            ],
        ),
        (
            "ca-true",
            &["CA:TRUE", "reissue it with basicConstraints=CA:FALSE"],
        ),
        ("for-clients", &["not for servers", "extendedKeyUsage=serverAuth"]),
        ("expired", &["expired", "days ago", "reissue it"]),
    ] {
        let server = certificates.server(name, &["--tls-auth-clients", "no"]);
        says(
            tls("localhost", &server, common::trusting(&certificates, "ca.pem")),
            words,
        );
    }
    // One that is trusted by itself.
    let server = certificates.server("ca", &["--tls-auth-clients", "no"]);
    says(
        tls("localhost", &server, common::trusting(&certificates, "ca.pem")),
        &["CA:TRUE"],
    );
}

#[test]
fn a_server_may_want_a_clients_certificate() {
    let certificates = Certificates::with_ca();
    certificates.issue("server", "ca", &[NAMES]);
    certificates.issue("client", "ca", &["extendedKeyUsage=clientAuth"]);
    certificates.issue("for-servers", "ca", &["extendedKeyUsage=serverAuth"]);
    certificates.issue_expired("expired", &["extendedKeyUsage=clientAuth"]);
    certificates.ca("other");
    certificates.issue("foreign", "other", &["extendedKeyUsage=clientAuth"]);
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let server = certificates.server("server", &["--tls-protocols", protocol]);
        assert_eq!(
            tls("localhost", &server, common::showing(&certificates, "client")),
            Ok(()),
            "{protocol}"
        );
        says(
            tls("localhost", &server, common::trusting(&certificates, "ca.pem")),
            &["client's certificate"],
        );
        says(
            tls("localhost", &server, common::showing(&certificates, "foreign")),
            &["refuses our certificate", "know its CA"],
        );
        says(
            tls("localhost", &server, common::showing(&certificates, "expired")),
            &["refuses our certificate", "has expired"],
        );
        says(
            tls(
                "localhost",
                &server,
                common::showing(&certificates, "for-servers"),
            ),
            &["refuses our certificate", "clientAuth"],
        );
    }
}

#[test]
fn a_port_without_tls_and_a_url_without_tls_are_told() {
    let certificates = Certificates::with_ca();
    certificates.issue("server", "ca", &[NAMES]);
    let with_tls = certificates.server("server", &["--tls-auth-clients", "no"]);
    let plain = Server::start();
    let endpoint = Endpoint::parse(&format!("rediss://localhost:{}", plain.port)).unwrap();
    let endpoint = endpoint
        .with_tls(common::trusting(&certificates, "ca.pem"))
        .unwrap();
    for _ in 0..10 {
        says(greet(&endpoint, Duration::from_secs(1)), &["is this port TLS?"]);
    }
    let endpoint = Endpoint::parse(&format!("redis://localhost:{}", with_tls.port)).unwrap();
    says(greet(&endpoint, PATIENCE), &["is this port TLS (rediss://)?"]);
}

#[test]
fn what_is_wrong_with_our_own_files_is_said_before_anything_is_asked() {
    let certificates = Certificates::with_ca();
    certificates.issue("client", "ca", &["extendedKeyUsage=clientAuth"]);
    certificates.issue("v1", "ca", &[]);
    let file = |name: &str| certificates.path(name);
    let wrong = |why: Option<String>, word: &str| {
        let why = why.expect("it is refused");
        assert!(why.contains(word), "{word:?} is missing: {why}");
    };
    fs::write(file("empty"), "").unwrap();
    wrong(Trusted::in_file(&file("none")).err(), "No such file");
    wrong(Trusted::in_file(&file("empty")).err(), "no certificate");
    wrong(Trusted::in_file(&file("client.key")).err(), "no certificate");
    wrong(Chain::in_file(&file("client.key")).err(), "no certificate");
    wrong(Chain::in_file(&file("v1.pem")).err(), "X.509 v1");
    wrong(Key::in_file(&file("client.pem")).err(), "its mode is 644");
    fs::set_permissions(file("client.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    wrong(Key::in_file(&file("client.pem")).err(), "no private key");
    certificates.openssl("pkey -in client.key -aes256 -passout pass:x -out encrypted.key");
    common::private(&file("encrypted.key"));
    wrong(Key::in_file(&file("encrypted.key")).err(), "is encrypted");
    certificates.openssl("genpkey -algorithm ed448 -out odd.key");
    common::private(&file("odd.key"));

    let settings = |options: TlsOptions| {
        let endpoint = Endpoint::parse("rediss://localhost").unwrap();
        endpoint.with_tls(options).expect_err("is refused")
    };
    let with_key = |name: &str| TlsOptions {
        certificate: Some(Chain::in_file(&file("client.pem")).unwrap()),
        key: Some(Key::in_file(&file(name)).unwrap()),
        ..common::trusting(&certificates, "ca.pem")
    };
    let error = settings(with_key("ca.key"));
    assert_eq!(error.setting, Setting::Key);
    assert!(error.why.contains("not the key of the certificate"), "{error}");
    let error = settings(with_key("odd.key"));
    assert!(error.why.contains("RSA"), "{error}");
    let alone = TlsOptions {
        key: None,
        ..with_key("client.key")
    };
    assert_eq!(settings(alone).setting, Setting::Certificate);
    let alone = TlsOptions {
        certificate: None,
        ..with_key("client.key")
    };
    assert_eq!(settings(alone).setting, Setting::Key);
    let named = TlsOptions {
        name: Some("no name".into()),
        ..common::trusting(&certificates, "ca.pem")
    };
    assert_eq!(settings(named).setting, Setting::Name);
}

#[test]
fn a_name_that_no_certificate_is_for_is_told() {
    let certificates = Certificates::with_ca();
    certificates.issue("server", "ca", &[NAMES]);
    let server = certificates.server("server", &["--tls-auth-clients", "no"]);
    let named = TlsOptions {
        name: Some("127.0.0.2".into()),
        ..common::trusting(&certificates, "ca.pem")
    };
    says(
        tls("localhost", &server, named),
        &["not for 127.0.0.2", "subjectAltName=IP:127.0.0.2"],
    );
}

/// At the next connection, in the same words as at the first one; and it is found when it is good again.
#[test]
fn a_certificate_that_goes_bad_is_named_when_the_connection_is_lost() {
    let certificates = Certificates::with_ca();
    certificates.issue("good", "ca", &[NAMES]);
    certificates.issue_expired("old", &[NAMES]);
    certificates.ca("other");
    certificates.issue("foreign", "other", &[NAMES]);
    let server = certificates.server("good", &["--tls-auth-clients", "no"]);
    let shows = |name: &str| {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        let done = std::process::Command::new("redis-cli")
            .args([
                "--tls",
                "--insecure",
                "-p",
                &server.port.to_string(),
                "CONFIG",
                "SET",
            ])
            .args(["tls-cert-file", &certificates.text(&certificate)])
            .args(["tls-key-file", &certificates.text(&key)])
            .output()
            .expect("redis-cli is installed");
        assert_eq!(done.stdout, b"OK\n", "{done:?}");
    };
    let endpoint = Endpoint::parse(&format!("rediss://localhost:{}", server.port)).unwrap();
    let kept = Kept::new(
        endpoint
            .with_tls(common::trusting(&certificates, "ca.pem"))
            .unwrap(),
    );
    kept.says(&["connected to"]);
    for (bad, words) in [("old", "expired"), ("foreign", "of a CA that is not trusted")] {
        shows(bad);
        kept.ask("CLIENT KILL TYPE normal SKIPME no");
        kept.says(&["cannot connect: the server's certificate", words]);
        shows("good");
        kept.says(&["is reachable again"]);
        assert!(kept.lookup(PATIENCE).is_some());
    }
}
