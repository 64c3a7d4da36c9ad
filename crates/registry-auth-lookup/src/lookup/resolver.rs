//! Names of backends to addresses, on the helper so that nginx's thread never waits for DNS.
//!
//! Used by `lookup`. Invariants: a name that cannot be resolved is a peer without addresses, never a failed
//! lookup of the user; a name that was known a moment ago never makes a request wait, as its old addresses
//! serve while it is asked anew; a name is asked once at a time, to the end, since nothing interrupts the
//! system's resolver, and nobody waits for one that has let somebody wait in vain already; names that failed
//! the last time have a few threads of their own, so that they never hold those of good names.

use crate::bounded::allocated;
use registry_auth::backend::{Backend, Host};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::{self, Instant};

/// `getaddrinfo` tells no TTL; this is nginx's way of thinking about names in a configuration, only shorter.
const FRESH: Duration = Duration::from_secs(30);
/// How much longer old addresses serve while the name is asked anew or cannot be resolved.
const STALE: Duration = Duration::from_secs(300);
/// A failure is asked again after this.
const FAILED: Duration = Duration::from_secs(2);
/// Bytes of names and addresses remembered. They come from administrators, so this is only a limit on
/// accidents.
const MOST: usize = 1 << 20;
/// Addresses of a name: more than a record holds.
const ADDRESSES: usize = u8::MAX as usize;
/// Names asked at a time, each on a thread: those that failed the last time, and the others.
const FAILING_AT_A_TIME: usize = 8;
const OTHERS_AT_A_TIME: usize = 24;
/// Threads for name resolution (`getaddrinfo` blocks, for seconds when the resolver is down).
pub(crate) const THREADS: usize = FAILING_AT_A_TIME + OTHERS_AT_A_TIME;

/// Entries by `host:port` as stored.
type Names = HashMap<Box<str>, ResolvedName>;

pub(crate) struct Resolver {
    names: Mutex<Names>,
    failing: Semaphore,
    others: Semaphore,
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            names: Mutex::default(),
            failing: Semaphore::new(FAILING_AT_A_TIME),
            others: Semaphore::new(OTHERS_AT_A_TIME),
        }
    }
}

struct ResolvedName {
    addresses: Vec<SocketAddr>,
    /// When to ask anew.
    until: Instant,
    /// When `addresses` are too old to be used meanwhile.
    usable: Instant,
    has_failed: bool,
    /// While it is being asked: closed at the end.
    asked: Option<watch::Receiver<()>>,
    /// Whether somebody has waited for that in vain.
    is_slow: bool,
}

impl ResolvedName {
    fn new(now: Instant) -> Self {
        Self {
            addresses: Vec::new(),
            until: now,
            usable: now,
            has_failed: false,
            asked: None,
            is_slow: false,
        }
    }

    /// The addresses, where nobody has to wait for better ones.
    fn known(&self, now: Instant) -> Option<&[SocketAddr]> {
        let has_usable = self.usable > now && !self.addresses.is_empty();
        if has_usable || self.until > now {
            return Some(&self.addresses);
        }
        self.is_slow.then_some(&[])
    }
}

/// What a name takes, with its place in a table that is half full.
fn bytes(name: &str, addresses: &[SocketAddr]) -> usize {
    let place = 2 * (size_of::<(Box<str>, ResolvedName)>() + 1);
    place + allocated(name.len()) + allocated(size_of_val(addresses))
}

impl Resolver {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses of `host:port`, where the host is a name, without waiting. `None`: ask
    /// [`Resolver::resolve`]. Must be called within the runtime (it may start a refresh).
    pub(crate) fn known(self: &Arc<Self>, peer: &str) -> Option<Vec<SocketAddr>> {
        let mut names = self.names();
        let entry = names.get_mut(peer)?;
        let now = Instant::now();
        let known = entry.known(now)?.to_vec();
        if entry.until <= now {
            self.ask(peer, entry);
        }
        Some(known)
    }

    /// Makes `host:port` known, waiting for the system's resolver until `deadline`.
    pub(crate) async fn resolve(self: &Arc<Self>, peer: &str, deadline: Instant) {
        if self.known(peer).is_some() {
            return;
        }
        let asked = {
            let mut names = self.names();
            let entry = names
                .entry(peer.into())
                .or_insert_with(|| ResolvedName::new(Instant::now()));
            self.ask(peer, entry)
        };
        let Some(mut asked) = asked else { return };
        if time::timeout_at(deadline, asked.changed()).await.is_err()
            && let Some(entry) = self.names().get_mut(peer)
        {
            entry.is_slow = entry.asked.is_some();
        }
    }

    /// Has a task ask for it, unless one does; what is closed when it knows.
    fn ask(self: &Arc<Self>, peer: &str, entry: &mut ResolvedName) -> Option<watch::Receiver<()>> {
        if let Some(asked) = &entry.asked {
            return Some(asked.clone());
        }
        let Ok(Backend {
            host: Host::Name(host),
            port,
        }) = Backend::stored(peer)
        else {
            return None;
        };
        let (done, asked) = watch::channel(());
        entry.asked = Some(asked.clone());
        let (resolver, peer, host) = (Arc::clone(self), peer.to_owned(), host.to_owned());
        let has_failed = entry.has_failed;
        tokio::spawn(async move {
            let threads = if has_failed {
                &resolver.failing
            } else {
                &resolver.others
            };
            let thread = threads.acquire().await;
            let found = match thread {
                Ok(_) => tokio::net::lookup_host((host, port)).await,
                Err(_) => return,
            };
            resolver.remember(&peer, found.map(Iterator::collect).unwrap_or_default());
            drop(done);
        });
        Some(asked)
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
            names.retain(|_, entry| entry.usable > now || entry.asked.is_some());
        }
        if !has_room(&names) {
            names.retain(|_, entry| entry.asked.is_some());
        }
        let entry = names.entry(peer.into()).or_insert_with(|| ResolvedName::new(now));
        (entry.asked, entry.is_slow, entry.has_failed) = (None, false, found.is_empty());
        if !found.is_empty() {
            entry.addresses = found;
            entry.until = now + FRESH;
            entry.usable = now + FRESH + STALE;
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
    use super::{
        ADDRESSES, FAILED, FAILING_AT_A_TIME, FRESH, MOST, OTHERS_AT_A_TIME, ResolvedName, Resolver, STALE,
        bytes,
    };
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::time::{self, Instant};

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

    #[tokio::test]
    async fn nobody_waits_for_what_let_somebody_wait_in_vain() {
        let resolver = Arc::new(Resolver::default());
        // All threads are taken: nothing is found out for now.
        let threads = resolver
            .others
            .acquire_many(OTHERS_AT_A_TIME as u32)
            .await
            .unwrap();
        let soon = || Instant::now() + Duration::from_millis(50);
        let (a, b) = (
            resolver.resolve("localhost:80", soon()),
            resolver.resolve("localhost:80", soon()),
        );
        tokio::join!(a, b);
        assert_eq!(resolver.known("localhost:80"), Some(Vec::new()));
        drop(threads);
        let found = || resolver.known("localhost:80").filter(|found| !found.is_empty());
        while found().is_none() {
            time::sleep(Duration::from_millis(5)).await;
        }
        assert!(resolver.names()["localhost:80"].asked.is_none());
    }

    #[tokio::test]
    async fn names_that_failed_do_not_hold_the_threads_of_others() {
        let resolver = Arc::new(Resolver::default());
        let now = Instant::now();
        for n in 0..100 {
            let (name, entry) = (
                format!("registry{n}.invalid:80"),
                ResolvedName {
                    has_failed: true,
                    ..ResolvedName::new(now)
                },
            );
            resolver.names().insert(name.clone().into(), entry);
        }
        let failing = resolver
            .failing
            .acquire_many(FAILING_AT_A_TIME as u32)
            .await
            .unwrap();
        let soon = now + Duration::from_millis(100);
        let names: Vec<String> = (0..100).map(|n| format!("registry{n}.invalid:80")).collect();
        futures_util::future::join_all(names.iter().map(|name| resolver.resolve(name, soon))).await;
        resolver
            .resolve("localhost:80", Instant::now() + Duration::from_secs(10))
            .await;
        assert!(!resolver.known("localhost:80").unwrap().is_empty());
        drop(failing);
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
