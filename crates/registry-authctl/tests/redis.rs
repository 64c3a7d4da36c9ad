//! How Redis is reached: TLS, other users, password files, by options and by the environment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // a panic is how a test fails

mod common;

use common::{PATIENCE, Ran, free_port, run_in};
use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server of TLS, its certificates in a folder.
struct Redis {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl Redis {
    fn start(options: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let openssl = |arguments: &str| {
            let done = Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(folder.path())
                .output();
            let done = done.expect("openssl is installed");
            assert!(
                done.status.success(),
                "{arguments}: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        };
        let new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(&format!(
            "req -x509 {new} -keyout ca.key -out ca.pem -subj /CN=ca"
        ));
        for (name, extension) in [
            ("server", "subjectAltName=DNS:localhost"),
            ("client", "extendedKeyUsage=clientAuth"),
        ] {
            fs::write(folder.path().join("extensions"), extension).unwrap();
            openssl(&format!(
                "req {new} -keyout {name}.key -out {name}.csr -subj /CN={name}"
            ));
            openssl(&format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem \
                    -extfile extensions"
            ));
        }
        for _ in 0..5 {
            let port = free_port();
            let mut child = Command::new("redis-server")
                .args([
                    "--port",
                    "0",
                    "--tls-port",
                    &port.to_string(),
                    "--bind",
                    "127.0.0.1",
                    "--save",
                    "",
                ])
                .args([
                    "--tls-cert-file",
                    "server.pem",
                    "--tls-key-file",
                    "server.key",
                    "--tls-ca-cert-file",
                    "ca.pem",
                ])
                .args(options)
                .current_dir(folder.path())
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-server is installed");
            let until = Instant::now() + PATIENCE;
            while child.try_wait().unwrap().is_none() && Instant::now() < until {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { child, folder, port };
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("redis-server does not start");
    }

    /// The tool, with these variables of the environment `REGISTRY_AUTH_REDIS...`.
    fn tool(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
        let url = format!("rediss://localhost:{}", self.port);
        let variables: Vec<(String, String)> = [("", url.as_str())]
            .iter()
            .chain(variables)
            .map(|(name, value)| (format!("REGISTRY_AUTH_REDIS{name}"), (*value).to_owned()))
            .collect();
        run_in(self.folder.path(), &variables, arguments)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
    fs::write(redis.folder.path().join("password"), "old\nnew\n").unwrap();
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
    fs::write(redis.folder.path().join("password"), "old\n").unwrap();
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
