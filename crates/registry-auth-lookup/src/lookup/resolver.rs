//! Names of backends to addresses, on the helper so that nginx's thread never waits for DNS.
//!
//! Used by `lookup`. Invariant: a name that cannot be resolved is a peer without addresses, never a failed
//! lookup of the user. A name that was known a moment ago never makes a request wait: its old addresses serve
//! while it is asked anew.

use crate::bounded::allocated;
use registry_auth::backend::{Backend, Host};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{self, Instant};

/// `getaddrinfo` tells no TTL; this is nginx's way of thinking about names in a configuration, only shorter.
const FRESH: Duration = Duration::from_secs(30);
/// How much longer old addresses serve while the name is asked anew or cannot be resolved.
const STALE: Duration = Duration::from_secs(300);
/// A failure is asked again after this.
const FAILED: Duration = Duration::from_secs(2);
/// Limit of a refresh that no request waits for.
const REFRESH: Duration = Duration::from_secs(10);
/// Bytes of names and addresses remembered. They come from administrators, so this is only a limit on
/// accidents.
const MOST: usize = 1 << 20;
/// Addresses of a name: more than a record holds.
const ADDRESSES: usize = u8::MAX as usize;

/// Entries by `host:port` as stored.
type Names = HashMap<Box<str>, Entry>;

#[derive(Default)]
pub(crate) struct Resolver {
    names: Mutex<Names>,
}

struct Entry {
    addresses: Vec<SocketAddr>,
    /// When to ask anew.
    until: Instant,
    /// When `addresses` are too old to be used meanwhile.
    usable: Instant,
}

/// What a name takes, with its place in a table that is half full.
fn bytes(name: &str, addresses: &[SocketAddr]) -> usize {
    let place = 2 * (size_of::<(Box<str>, Entry)>() + 1);
    place + allocated(name.len()) + allocated(size_of_val(addresses))
}

impl Resolver {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of `host:port` without waiting: an address, or a name known. `None`: ask
    /// [`Resolver::resolve`]. Must be called within the runtime (it may start a refresh).
    pub(crate) fn known(self: &Arc<Self>, peer: &str) -> Option<Vec<SocketAddr>> {
        // A record with something else is refused before it gets here.
        let Ok(backend) = Backend::stored(peer) else {
            return Some(Vec::new());
        };
        if let Some(address) = backend.address() {
            return Some(vec![address]);
        }
        let mut names = self.names();
        let entry = names.get_mut(peer)?;
        let now = Instant::now();
        if entry.until <= now {
            if entry.usable <= now || entry.addresses.is_empty() {
                return None;
            }
            // Only the first to see it asks.
            entry.until = now + REFRESH;
            let (resolver, peer) = (Arc::clone(self), peer.to_owned());
            tokio::spawn(async move { resolver.ask(&peer, Instant::now() + REFRESH).await });
        }
        Some(entry.addresses.clone())
    }

    /// Makes `host:port` known, asking the system's resolver until `deadline`.
    pub(crate) async fn resolve(self: &Arc<Self>, peer: &str, deadline: Instant) {
        if self.known(peer).is_none() {
            self.ask(peer, deadline).await;
        }
    }

    async fn ask(&self, peer: &str, deadline: Instant) {
        let Ok(Backend {
            host: Host::Name(host),
            port,
        }) = Backend::stored(peer)
        else {
            return;
        };
        let found = match time::timeout_at(deadline, tokio::net::lookup_host((host, port))).await {
            Ok(Ok(addresses)) => addresses.collect(),
            _ => Vec::new(),
        };
        self.remember(peer, found);
    }

    fn remember(&self, peer: &str, mut found: Vec<SocketAddr>) {
        // The order is the system's preference and is kept.
        let mut seen = std::collections::HashSet::new();
        found.retain(|address| seen.insert(*address));
        found.truncate(ADDRESSES);
        found.shrink_to_fit();
        let now = Instant::now();
        let mut names = self.names();
        let more = bytes(peer, &found);
        // Names are asked for seldom: nothing keeps the sum.
        let has_room = |names: &Names| {
            names
                .iter()
                .map(|(name, entry)| bytes(name, &entry.addresses))
                .sum::<usize>()
                + more
                <= MOST
        };
        if !has_room(&names) {
            names.retain(|_, entry| entry.usable > now);
        }
        if !has_room(&names) {
            names.clear();
        }
        let entry = names.entry(peer.into()).or_insert_with(|| Entry {
            addresses: Vec::new(),
            until: now,
            usable: now,
        });
        if !found.is_empty() {
            *entry = Entry {
                addresses: found,
                until: now + FRESH,
                usable: now + FRESH + STALE,
            };
            return;
        }
        if entry.usable <= now {
            entry.addresses.clear();
        }
        entry.until = now + FAILED;
    }
}

#[cfg(test)]
mod tests {
    use super::{ADDRESSES, FAILED, FRESH, MOST, Resolver, STALE, bytes};
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::time::{self, Instant};

    #[tokio::test]
    async fn addresses_need_no_resolver() {
        let resolver = Arc::new(Resolver::default());
        assert_eq!(
            resolver.known("127.0.0.1:80").unwrap(),
            ["127.0.0.1:80".parse().unwrap()]
        );
        assert_eq!(resolver.known("[::1]:80").unwrap(), ["[::1]:80".parse().unwrap()]);
        assert_eq!(resolver.known("localhost:80"), None);
    }

    #[tokio::test]
    async fn names_are_asked_and_kept() {
        let resolver = Arc::new(Resolver::default());
        resolver
            .resolve("localhost:80", Instant::now() + Duration::from_secs(10))
            .await;
        let found = resolver.known("localhost:80").unwrap();
        assert!(
            found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty(),
            "{found:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_resolver_keeps_the_last_answer_for_a_while() {
        let resolver = Arc::new(Resolver::default());
        let good = vec!["192.0.2.1:80".parse().unwrap()];
        resolver.remember("registry:80", good.clone());
        time::advance(FRESH + FAILED).await;
        resolver.remember("registry:80", Vec::new());
        assert_eq!(resolver.known("registry:80"), Some(good));
        time::advance(STALE).await;
        resolver.remember("registry:80", Vec::new());
        assert_eq!(resolver.known("registry:80"), Some(Vec::new()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_asked_again_soon() {
        let resolver = Arc::new(Resolver::default());
        resolver.remember("nowhere.invalid:80", Vec::new());
        assert_eq!(resolver.known("nowhere.invalid:80"), Some(Vec::new()));
        time::advance(FAILED).await;
        assert_eq!(resolver.known("nowhere.invalid:80"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn names_are_bounded_in_bytes() {
        let resolver = Arc::new(Resolver::default());
        let many = |n: u16| {
            (0..n)
                .map(|port| ([192, 0, 2, 1], port).into())
                .collect::<Vec<_>>()
        };
        for (count, addresses) in [(6_000, 1), (300, 1_000)] {
            let mut most = 0;
            for number in 0..count {
                let name = format!("registry{number}.example:80");
                resolver.remember(&name, many(addresses));
                assert!(resolver.known(&name).unwrap().len() <= ADDRESSES);
                if number % 20 == 0 {
                    let names = resolver.names();
                    let all = names.iter().map(|(name, entry)| bytes(name, &entry.addresses));
                    most = most.max(all.sum::<usize>());
                }
            }
            assert!((MOST / 2..=MOST).contains(&most), "{addresses}: {most}");
        }
    }
}
