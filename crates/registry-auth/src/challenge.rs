//! The `WWW-Authenticate` header of a 401.
//!
//! Called by the nginx module, whose realm may come from a variable and so from the client. Guarantee: the
//! result is one header line with one challenge, whatever bytes the realm holds.

/// Appends `Basic realm="…"` (RFC 7617, section 2): quote and backslash escaped, control bytes dropped.
pub fn basic(realm: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"Basic realm=");
    quoted(realm, out);
}

/// Appends `Bearer realm="…",service="…"`, with `scope` unless it is empty, and `error` if there is one
/// (distribution `docs/spec/auth/token.md`; RFC 6750, section 3). There are no blanks after the commas,
/// because old clients cannot read them.
pub fn bearer(realm: &[u8], service: &[u8], scope: &[u8], error: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"Bearer realm=");
    quoted(realm, out);
    out.extend_from_slice(b",service=");
    quoted(service, out);
    if !scope.is_empty() {
        out.extend_from_slice(b",scope=");
        quoted(scope, out);
    }
    if let Some(error) = error {
        out.extend_from_slice(b",error=");
        quoted(error.as_bytes(), out);
    }
}

fn quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f | 0x7f => {}
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
