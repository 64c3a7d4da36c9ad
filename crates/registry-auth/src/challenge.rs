//! The `WWW-Authenticate` header of a 401.
//!
//! Called by the nginx module, whose realm may come from a variable and so from the client. Invariant: the result is
//! one header line and one challenge, whatever bytes the realm holds.

/// Appends `Basic realm="…"` (RFC 7617, section 2): quote and backslash escaped, control bytes dropped.
pub fn basic(realm: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"Basic realm=\"");
    for &byte in realm {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f | 0x7f => {}
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
