//! Encoding a record.
//!
//! Called by the store once a lookup, so it may allocate. Guarantee: a record that does not fit the layout is
//! an error, and leaves the buffer as it was.

use super::record::{HAS_PASSWORD, HEADER, InvalidRecord, Peer, Record, VERSION};
use crate::grant::Grant;
use crate::token::access_token::StoredToken;
use std::net::{IpAddr, SocketAddr};

/// Appends the encoded record.
///
/// # Errors
/// [`InvalidRecord`] if a name has over 255 bytes, a password over 65,535, or a peer over 255 addresses.
pub fn encode(record: &Record, out: &mut Vec<u8>) -> Result<(), InvalidRecord> {
    let start = out.len();
    let written = write(record, out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn write(record: &Record, out: &mut Vec<u8>) -> Result<(), InvalidRecord> {
    let start = out.len();
    out.resize(start + HEADER, 0);
    let password = record.password.as_deref().unwrap_or_default();
    out.extend_from_slice(password.as_bytes());
    let groups = section(out, &record.groups, |group, out| text(group, out))?;
    let peers = section(out, &record.backends, peer)?;
    let denials = grants(out, record.grants.iter().filter(|grant| grant.deny))?;
    let rights = grants(out, record.grants.iter().filter(|grant| !grant.deny))?;
    let tokens = section(out, &record.tokens, token)?;

    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(&[
        VERSION,
        if record.password.is_some() {
            HAS_PASSWORD
        } else {
            0
        },
    ]);
    header.extend_from_slice(
        &u16::try_from(password.len())
            .map_err(|_| InvalidRecord)?
            .to_le_bytes(),
    );
    for length in [groups, peers, denials, rights, tokens] {
        header.extend_from_slice(&length.to_le_bytes());
    }
    out.get_mut(start..start + HEADER)
        .ok_or(InvalidRecord)?
        .copy_from_slice(&header);
    Ok(())
}

/// Appends each item; returns the number of bytes.
fn section<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(T, &mut Vec<u8>) -> Result<(), InvalidRecord>,
) -> Result<u32, InvalidRecord> {
    let start = out.len();
    for item in items {
        write(item, out)?;
    }
    u32::try_from(out.len() - start).map_err(|_| InvalidRecord)
}

fn text(text: &str, out: &mut Vec<u8>) -> Result<(), InvalidRecord> {
    out.push(u8::try_from(text.len()).map_err(|_| InvalidRecord)?);
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn peer(peer: &Peer, out: &mut Vec<u8>) -> Result<(), InvalidRecord> {
    text(&peer.name, out)?;
    out.push(u8::try_from(peer.addresses.len()).map_err(|_| InvalidRecord)?);
    peer.addresses
        .iter()
        .for_each(|address| socket_address(*address, out));
    Ok(())
}

fn socket_address(address: SocketAddr, out: &mut Vec<u8>) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.push(4);
            out.extend_from_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.push(6);
            out.extend_from_slice(&ip.octets());
        }
    }
    out.extend_from_slice(&address.port().to_le_bytes());
}

fn token(token: &StoredToken, out: &mut Vec<u8>) -> Result<(), InvalidRecord> {
    text(&token.id, out)?;
    out.extend_from_slice(&token.digest.0);
    out.extend_from_slice(&token.expires.to_le_bytes());
    let mut scopes = Vec::new();
    let length = grants(&mut scopes, token.scopes.iter())?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&scopes);
    Ok(())
}

/// Appends the grants, family by family; returns the number of bytes.
fn grants<'g>(out: &mut Vec<u8>, grants: impl Iterator<Item = &'g Grant>) -> Result<u32, InvalidRecord> {
    let mut parts: Vec<_> = grants
        .map(|grant| {
            let (head, tail) = grant.pattern.parts();
            (grant.actions.bits(), tail, head.len(), head)
        })
        .collect();
    // Heads of one length are in the order in which the reader searches them.
    parts.sort_unstable();
    parts.dedup();
    section(
        out,
        parts.chunk_by(|a, b| (a.0, a.1, a.2) == (b.0, b.1, b.2)),
        |family, out| {
            let Some((actions, tail, head, _)) = family.first() else {
                return Ok(());
            };
            out.push(*actions);
            out.push(u8::try_from(*head).map_err(|_| InvalidRecord)?);
            out.push(u8::try_from(tail.len()).map_err(|_| InvalidRecord)?);
            out.extend_from_slice(
                &u32::try_from(family.len())
                    .map_err(|_| InvalidRecord)?
                    .to_le_bytes(),
            );
            out.extend_from_slice(tail);
            family.iter().for_each(|(.., head)| out.extend_from_slice(head));
            Ok(())
        },
    )
}
