//! Backends of records and the list of allowed ones (rule 14 of the security model).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use registry_auth::backend::{AllowList, Backend, Host, InvalidBackend};
use std::net::SocketAddr;

#[test]
fn backends_parse() {
    let name = |name: &str, port| {
        Ok(Backend {
            host: Host::Name(name.into()),
            port,
        })
    };
    assert_eq!(
        Backend::parse("registry.example:5000"),
        name("registry.example", 5000)
    );
    assert_eq!(Backend::parse("registry_1:80"), name("registry_1", 80));
    assert_eq!(Backend::parse("a.example.:1"), name("a.example.", 1));
    for (text, address) in [
        ("127.0.0.1:65535", "127.0.0.1:65535"),
        ("[::1]:80", "[::1]:80"),
        ("[fe80::1]:5", "[fe80::1]:5"),
    ] {
        assert_eq!(
            Backend::parse(text).unwrap().address(),
            Some(address.parse().unwrap())
        );
    }
    assert_eq!(Backend::parse("registry.example:5000").unwrap().address(), None);
}

#[test]
fn a_stored_host_without_a_port_has_port_80() {
    for (stored, is) in [
        ("registry", "registry:80"),
        ("registry.example.", "registry.example.:80"),
        ("10.0.0.5", "10.0.0.5:80"),
        ("[fd00::5]", "[fd00::5]:80"),
        ("registry:5000", "registry:5000"),
        ("[fd00::5]:5000", "[fd00::5]:5000"),
    ] {
        assert_eq!(Backend::stored(stored), Backend::parse(is), "{stored}");
        assert!(Backend::stored(stored).is_ok(), "{stored}");
    }
    for bad in [
        "", ":", "a:", ":80", "a:0", "::1", "fd00::5", "[a]", "[::1", "http://a", "unix:/x", "a/b", "127.1",
        "a b",
    ] {
        assert_eq!(Backend::stored(bad), Err(InvalidBackend), "{bad}");
    }
}

#[test]
fn whatever_else_does_not() {
    let long = format!("{}:80", "a.".repeat(127));
    for bad in [
        "",
        ":",
        "a",
        "a:",
        ":80",
        "a:0",
        "a:65536",
        "a:-1",
        "a:+80",
        "a: 80",
        "a:80 ",
        " a:80",
        "a:8x",
        "::1:80",
        "[::1]",
        "[::1:80",
        "[1.2.3.4]:80",
        "[a]:80",
        "unix:/run/x.sock",
        "unix:/run/x:80",
        "/run/x.sock:80",
        "http://a:80",
        "a/b:80",
        "a@b:80",
        "a..b:80",
        ".a:80",
        "-a:80",
        "a-:80",
        "é:80",
        "127.1:80",
        "2130706433:80",
        "0x7f.1:80",
        "0x7f000001:80",
        "1.2.3.4.5:80",
        "256.1.1.1:80",
        "010.0.0.1:80",
        "a\0:80",
        "a\n:80",
        "*:80",
        "a:80:80",
        "[fe80::1%eth0]:80",
        &long,
    ] {
        assert!(Backend::parse(bad).is_err(), "{bad:?}");
    }
}

fn list(entries: &[&str]) -> AllowList {
    let mut list = AllowList::default();
    entries.iter().for_each(|entry| list.add(entry).expect(entry));
    list
}

fn permits(entries: &[&str], address: &str) -> bool {
    list(entries).permits(address.parse::<SocketAddr>().expect(address))
}

#[test]
fn without_a_list_every_address_is_allowed() {
    assert!(permits(&[], "127.0.0.1:1") && permits(&[], "[::1]:65535") && list(&[]).is_empty());
}

#[test]
fn a_list_allows_what_it_names() {
    let entries = [
        "10.0.0.0/8",
        "192.0.2.7:5000",
        "fd00::/8",
        "[2001:db8::/32]:443",
        "[2001:db9::1]:80",
        "::ffff:198.51.100.0/120",
    ];
    for (address, allowed) in [
        ("10.1.2.3:1", true),
        ("[::ffff:10.1.2.3]:1", true),
        ("11.0.0.1:1", false),
        ("127.0.0.1:5000", false),
        ("169.254.169.254:80", false),
        ("[::ffff:127.0.0.1]:5000", false),
        ("192.0.2.7:5000", true),
        ("192.0.2.7:5001", false),
        ("192.0.2.8:5000", false),
        ("[fd12::1]:9", true),
        ("[fe80::1]:9", false),
        ("[::1]:9", false),
        ("[2001:db8::5]:443", true),
        ("[2001:db8::5]:444", false),
        ("[2001:db9::1]:80", true),
        ("[2001:db9::2]:80", false),
        ("198.51.100.9:1", true),
        ("198.51.101.9:1", false),
    ] {
        assert_eq!(permits(&entries, address), allowed, "{address}");
    }
}

#[test]
fn entries_that_do_not_parse() {
    for bad in [
        "",
        "10.0.0.0/33",
        "10.0.0/8",
        "a.example",
        "10.0.0.0/8:0",
        "10.0.0.0/8:x",
        "10.0.0.0/8:",
        "[fd00::/8",
        "[fd00::/8]80",
        "[fd00::/8]:",
        "fd00::/129",
        "unix:/x",
    ] {
        assert!(AllowList::default().add(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_network_with_bits_behind_its_prefix_is_told() {
    for (entry, network) in [
        ("10.0.0.0/8", None),
        ("10.1.2.3", None),
        ("10.1.2.3:5000", None),
        ("fd00::/8", None),
        ("10.1.2.3/8", Some("10.0.0.0/8")),
        ("10.1.2.3/8:5000", Some("10.0.0.0/8")),
        ("[fd00::1/8]:5000", Some("fd00::/8")),
    ] {
        let mut list = AllowList::default();
        list.add(entry).unwrap();
        assert_eq!(
            list.rounded().map(|net| net.to_string()).as_deref(),
            network,
            "{entry}"
        );
    }
}
