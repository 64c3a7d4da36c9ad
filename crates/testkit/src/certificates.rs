//! Certificates made by openssl, and servers that show them.

use crate::RedisServer;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A folder of certificates.
pub struct Certificates {
    /// Where they are: NAME.pem, NAME.key.
    pub dir: TempDir,
}

impl Certificates {
    /// A folder with a CA named `ca`.
    pub fn with_ca() -> Self {
        let certificates = Self {
            dir: TempDir::new().unwrap(),
        };
        certificates.ca("ca");
        certificates
    }

    /// Where it has this file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same in words.
    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Runs openssl with these arguments in the folder.
    pub fn openssl(&self, arguments: &str) {
        let done = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.dir.path())
            .output()
            .expect("openssl is installed");
        assert!(
            done.status.success(),
            "{arguments}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// A key and a certificate that signs others.
    pub fn ca(&self, name: &str) {
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out \
                {name}.pem -subj /CN={name} -days 9"
        ));
    }

    fn request(&self, name: &str) {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr \
                -subj /CN=localhost"
        ));
    }

    /// A key and a certificate with these extensions; without any it is X.509 v1.
    pub fn issue(&self, name: &str, ca: &str, extensions: &[&str]) {
        self.request(name);
        let mut arguments = format!(
            "x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -CAcreateserial -days 9 -out {name}.pem"
        );
        if !extensions.is_empty() {
            fs::write(self.path("extensions"), extensions.join("\n")).unwrap();
            arguments.push_str(" -extfile extensions");
        }
        self.openssl(&arguments);
    }

    /// The same of the past.
    pub fn issue_expired(&self, name: &str, extensions: &[&str]) {
        self.request(name);
        let settings = "[ca]\ndefault_ca=d\n[d]\nnew_certs_dir=.\ndatabase=index\nserial=serial\n\
                        default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n";
        for (file, content) in [("ca.cnf", settings), ("index", ""), ("serial", "10\n")] {
            fs::write(self.path(file), content).unwrap();
        }
        fs::write(self.path("extensions"), extensions.join("\n")).unwrap();
        self.openssl(&format!(
            "ca -batch -notext -config ca.cnf -in {name}.csr -out {name}.pem -startdate 20200101000000Z \
                -enddate \
             20210101000000Z -extfile extensions -cert ca.pem -keyfile ca.key"
        ));
    }

    /// A server of TLS that shows this certificate, with these options of redis-server.
    pub fn server(&self, name: &str, options: &[&str]) -> RedisServer {
        let certificate = self.text(&format!("{name}.pem"));
        let (key, ca) = (self.text(&format!("{name}.key")), self.text("ca.pem"));
        let tls = ["--port", "0", "--tls-port", "PORT"];
        let files = ["--tls-cert-file", &certificate, "--tls-key-file", &key];
        let trusted = ["--tls-ca-cert-file", &ca];
        RedisServer::with(&[&tls, &files, &trusted[..], options].concat())
    }
}
