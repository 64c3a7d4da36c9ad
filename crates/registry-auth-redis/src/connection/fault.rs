//! What is wrong with a certificate or a greeting in TLS, in words that say what to do about it.
//!
//! rustls refuses some certificates that OpenSSL takes, so that redis-cli works where we do not: those are
//! named.

use std::error::Error;
use std::io;
use std::sync::Arc;
use tokio_rustls::rustls::Error as TlsError;
use tokio_rustls::rustls::pki_types::{ServerName, UnixTime};
use tokio_rustls::rustls::{AlertDescription, CertificateError, InconsistentKeys};

/// As the redis crate keeps the errors of a socket.
type Shared = Arc<dyn Error + Send + Sync>;

/// The TLS fault behind an error, if there is one.
pub(crate) fn of<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e TlsError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(fault) = error.downcast_ref() {
            return Some(fault);
        }
        // Both have their causes where source() does not lead to.
        next = if let Some(error) = error.downcast_ref::<io::Error>() {
            error.get_ref().map(|inner| inner as &(dyn Error + 'static))
        } else if let Some(shared) = error.downcast_ref::<Shared>() {
            Some(&**shared)
        } else {
            error.source()
        };
    }
    None
}

/// Of what the server showed or said.
pub(crate) fn words(error: &TlsError) -> String {
    match error {
        TlsError::InvalidCertificate(error) => certificate(error),
        TlsError::AlertReceived(alert) => refusal(*alert),
        TlsError::InvalidMessage(_) => "the answer is not TLS: is this port TLS?".to_owned(),
        TlsError::PeerIncompatible(_) => {
            "TLS 1.2 or 1.3 with a current cipher is needed (tls-protocols, tls-ciphers)".to_owned()
        }
        TlsError::General(why) => why.clone(),
        other => other.to_string(),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "the server's certificate is of a CA that is not trusted: \
                                            trusted_certificate needs the certificate of that CA"
            .to_owned(),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the server's certificate, or that of its CA, expired {}: reissue it",
            ago(*time, *not_after)
        ),
        CertificateError::Expired => {
            "the server's certificate, or that of its CA, has expired: reissue it".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: look at the clocks of both machines".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => format!(
            "the server's certificate has no subjectAltName, and a common name does not count: reissue it \
             with subjectAltName={}",
            alternative(expected)
        ),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the server's certificate is for {}, not for {}: reissue it with subjectAltName={}, or set \
             ssl_name",
            presented.join(", "),
            expected.to_str(),
            alternative(expected)
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the server's certificate is not for servers: reissue it with extendedKeyUsage=serverAuth"
                .to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the server's certificate is signed in a way that is not taken (SHA-1?): reissue it with \
             SHA-256"
                .to_owned()
        }
        CertificateError::BadSignature => {
            "the signature of the server's certificate is wrong: another CA of the same name has signed \
             it, or its key has less than 2048 bits"
                .to_owned()
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<webpki::Error>() {
            Some(webpki::Error::CaUsedAsEndEntity) => {
                "the server's certificate is that of a CA (CA:TRUE): reissue it with \
                 basicConstraints=CA:FALSE, signed by a CA of its own"
                    .to_owned()
            }
            Some(webpki::Error::UnsupportedCertVersion) => {
                "the server's certificate is X.509 v1: reissue it as v3, with subjectAltName (openssl \
                 x509 -req makes v1 without -extfile)"
                    .to_owned()
            }
            Some(error) => format!("the server's certificate cannot be used: {error}"),
            None => format!("the server's certificate cannot be used: {other}"),
        },
        other => format!("the server's certificate cannot be used: {other}"),
    }
}

/// What the server thinks of us.
fn refusal(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::CertificateRequired => {
            return "the server wants a client's certificate: set certificate and certificate_key, or \
                    tls-auth-clients no there"
                .to_owned();
        }
        AlertDescription::UnknownCA => "it does not know its CA (tls-ca-cert-file)",
        AlertDescription::CertificateExpired => "it has expired, or its CA's has: reissue it",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown => {
            "it is not for clients (extendedKeyUsage=clientAuth), or broken"
        }
        AlertDescription::ProtocolVersion => {
            return "the server takes neither TLS 1.2 nor 1.3 (tls-protocols)".to_owned();
        }
        AlertDescription::HandshakeFailure => {
            return "the server breaks off the greeting: it wants a client's certificate (certificate, \
                    certificate_key), or has no cipher that we have"
                .to_owned();
        }
        other => return format!("the server breaks off the greeting ({other:?})"),
    };
    format!("the server refuses our certificate: {why}")
}

/// What openssl wants to read for a name.
fn alternative(name: &ServerName<'_>) -> String {
    match name {
        ServerName::IpAddress(_) => format!("IP:{}", name.to_str()),
        _ => format!("DNS:{}", name.to_str()),
    }
}

fn ago(now: UnixTime, then: UnixTime) -> String {
    match now.as_secs().saturating_sub(then.as_secs()) / 86_400 {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}

/// Of our own certificate.
pub(crate) fn own_certificate(error: &webpki::Error) -> String {
    match error {
        webpki::Error::UnsupportedCertVersion => {
            "the certificate is X.509 v1: reissue it as v3 (openssl x509 -req makes v1 without -extfile)"
                .to_owned()
        }
        error => format!("the certificate cannot be used: {error}"),
    }
}

/// Of our own key.
pub(crate) fn own_key(error: &TlsError) -> String {
    match error {
        TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "it is not the key of the certificate".to_owned()
        }
        TlsError::InvalidCertificate(error) => certificate(error),
        _ => "it is of a kind that is not taken: RSA of 2048 bits or more, ECDSA P-256 or P-384, or \
              Ed25519 is expected"
            .to_owned(),
    }
}
