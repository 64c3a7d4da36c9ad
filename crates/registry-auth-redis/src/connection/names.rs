//! Host names of Redis and its sentinels to addresses.
//!
//! Used by `open`. The system's resolver blocks, for long where it gets no answer. Invariants: it is asked on
//! threads of this file, so that nobody else's names are in the way of Redis's; one thread asks for a name at
//! a time, so that a resolver that hangs costs one thread for each name, and [`AT_A_TIME`] of them, however
//! many names a server gives; and what a name meant the last time serves where it cannot be found out now.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time;

/// How long the resolver is waited for where the last answer serves as well.
const PATIENCE: Duration = Duration::from_millis(200);

/// Names that are asked for at a time: each takes a thread.
const AT_A_TIME: usize = 32;
/// Characters of a name: DNS has none that is longer.
const LONGEST: usize = 253;
/// Names that are known. A URL has a few; sentinels and nodes of a Cluster may give any.
const NAMES: usize = 256;

/// Addresses whose ports are of no account.
type Found = Arc<[SocketAddr]>;
/// What the resolver says of a name.
type Answer = Result<Found, Arc<io::Error>>;
/// An answer that may not have come yet.
type Awaited = watch::Receiver<Option<Answer>>;

/// The system's resolver, or what a test has in its place.
type Resolve = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// The names of one endpoint. Clones share what is known.
#[derive(Clone)]
pub(crate) struct Names {
    names: Arc<Mutex<HashMap<Box<str>, Name>>>,
    resolve: Resolve,
}

/// One name: of the URL, or of a server that sentinels or nodes name.
#[derive(Default)]
struct Name {
    /// The last good answer.
    last: Option<Found>,
    /// Where it is being asked.
    asked: Option<Awaited>,
}

impl Name {
    /// Where it is being asked.
    fn under_way(&self) -> Option<&Awaited> {
        self.asked.as_ref().filter(|asked| asked.has_changed().is_ok())
    }
}

impl Default for Names {
    fn default() -> Self {
        Self {
            names: Arc::default(),
            resolve: by_system,
        }
    }
}

impl Names {
    /// The addresses of a host, in the order in which they are to be tried.
    ///
    /// # Errors
    /// What the resolver says of a name that has never been known. The caller sets the limit.
    pub(crate) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        if host.len() > LONGEST {
            return Err(io::Error::other("no host has so long a name"));
        }
        let (asked, last) = self.ask(host)?;
        let found = match last {
            None => answer(asked).await,
            Some(last) => match time::timeout(PATIENCE, answer(asked)).await {
                Ok(Ok(found)) => Ok(found),
                Ok(Err(_)) | Err(_) => Ok(last),
            },
        };
        match found {
            Ok(found) => Ok(found.iter().map(|address| at(*address, port)).collect()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }

    /// Has the resolver asked for a name, unless it is being asked; with the last good answer.
    fn ask(&self, host: &str) -> io::Result<(Awaited, Option<Found>)> {
        let mut names = self.lock();
        if let Some(name) = names.get(host)
            && let Some(asked) = name.under_way()
        {
            return Ok((asked.clone(), name.last.clone()));
        }
        let is_under_way = |name: &Name| name.under_way().is_some();
        if names.values().filter(|name| is_under_way(name)).count() >= AT_A_TIME {
            let last = names.get(host).and_then(|name| name.last.clone());
            let known = last.clone().ok_or_else(|| {
                Arc::new(io::Error::other(
                    "the resolver does not answer for many other names",
                ))
            });
            return Ok((watch::channel(Some(known)).1, last));
        }
        if names.len() >= NAMES && !names.contains_key(host) {
            // Those that are of use have been found before.
            names.retain(|_, name| name.last.is_some() || is_under_way(name));
            if names.len() >= NAMES {
                names.retain(|_, name| is_under_way(name));
            }
        }
        let name = names.entry(host.into()).or_default();
        let (said, asked) = watch::channel(None);
        name.asked = Some(asked.clone());
        let last = name.last.clone();
        drop(names);
        let (names, host) = (self.clone(), Box::<str>::from(host));
        let work = move || names.resolve(&host, &said);
        thread::Builder::new()
            .name("auth-redis-name".to_owned())
            .spawn(work)?;
        Ok((asked, last))
    }

    /// On a thread of its own.
    fn resolve(&self, host: &str, said: &watch::Sender<Option<Answer>>) {
        let found = (self.resolve)(host);
        let mut names = self.lock();
        let name = names.entry(host.into()).or_default();
        name.asked = None;
        let answer = match found {
            Ok(found) if found.is_empty() => Err(Arc::new(io::Error::other("the name has no address"))),
            Ok(found) => {
                let found = Found::from(found);
                name.last = Some(Found::clone(&found));
                Ok(found)
            }
            Err(error) => Err(Arc::new(error)),
        };
        drop(names);
        said.send_replace(Some(answer));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for an answer.
async fn answer(mut asked: Awaited) -> Answer {
    match asked.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(answer)) => answer.clone(),
        Ok(None) | Err(_) => Err(Arc::new(io::Error::other("its name could not be asked for"))),
    }
}

fn at(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

fn by_system(host: &str) -> io::Result<Vec<SocketAddr>> {
    Ok((host, 0).to_socket_addrs()?.collect())
}

#[cfg(test)]
mod tests {
    use super::{AT_A_TIME, LONGEST, NAMES, Names, PATIENCE, Resolve};
    use std::io;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    fn names(resolve: Resolve) -> Names {
        Names {
            resolve,
            ..Names::default()
        }
    }

    fn run<T>(future: impl std::future::Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.unwrap().block_on(future)
    }

    const GOOD: ([u8; 4], u16) = ([192, 0, 2, 1], 0);

    #[test]
    fn however_many_names_there_are_few_threads_ask() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let names = names(|host| match host {
            "good" => Ok(vec![GOOD.into()]),
            _ => {
                ASKED.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_secs(600));
                Err(io::Error::other("SERVFAIL"))
            }
        });
        run(async {
            assert!(names.addresses("good", 1).await.is_ok());
            let begun = Instant::now();
            let others: Vec<String> = (0..10 * AT_A_TIME).map(|n| format!("other{n}")).collect();
            let asked = others.iter().map(|name| names.addresses(name, 1));
            let asked = futures_util::future::join_all(asked);
            assert!(tokio::time::timeout(PATIENCE, asked).await.is_err());
            assert_eq!(names.addresses("good", 1).await.unwrap(), [(GOOD.0, 1).into()]);
            let failed = names.addresses(&"x".repeat(LONGEST + 1), 1).await.unwrap_err();
            assert!(failed.to_string().contains("so long"), "{failed}");
            let failed = names.addresses("last", 1).await.unwrap_err();
            assert!(failed.to_string().contains("many other names"), "{failed}");
            assert!(begun.elapsed() < Duration::from_secs(60));
        });
        assert_eq!(ASKED.load(Ordering::SeqCst), AT_A_TIME);
    }

    #[test]
    fn names_that_are_of_no_use_are_forgotten() {
        let names = names(|host| match host {
            "good" => Ok(vec![GOOD.into()]),
            _ => Err(io::Error::other("NXDOMAIN")),
        });
        run(names.addresses("good", 1)).unwrap();
        for n in 0..2 * NAMES {
            assert!(run(names.addresses(&format!("bad{n}"), 1)).is_err());
            assert!(names.lock().len() <= NAMES);
        }
        assert!(names.lock().contains_key("good"));
    }

    #[test]
    fn an_address_needs_no_resolver() {
        let names = names(|_| panic!("it is not asked"));
        let found = run(names.addresses("192.0.2.1", 6379)).unwrap();
        assert_eq!(found, [(GOOD.0, 6379).into()]);
        let found = run(names.addresses("::1", 6379)).unwrap();
        assert_eq!(found, ["[::1]:6379".parse().unwrap()]);
    }

    #[test]
    fn the_systems_resolver_is_asked() {
        let found = run(Names::default().addresses("localhost", 6379)).unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()) && !found.is_empty());
        let failed = run(Names::default().addresses("redis.invalid", 6379)).unwrap_err();
        assert!(failed.to_string().contains("lookup"), "{failed}");
    }

    #[test]
    fn a_name_is_asked_once_at_a_time() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let names = names(|host| {
            ASKED.fetch_add(usize::from(host == "one"), Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(300));
            Ok(vec![GOOD.into()])
        });
        let begun = Instant::now();
        run(async {
            let one = || names.addresses("one", 1);
            let (a, b, c) = tokio::join!(one(), one(), names.addresses("other", 1));
            assert!(a.is_ok() && b.is_ok() && c.is_ok());
        });
        assert_eq!(ASKED.load(Ordering::SeqCst), 1);
        assert!(begun.elapsed() < Duration::from_millis(900), "side by side");
        run(names.addresses("one", 1)).unwrap();
        assert_eq!(ASKED.load(Ordering::SeqCst), 2, "anew each time");
    }

    #[test]
    fn the_last_good_answer_serves_where_there_is_no_other() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let names = names(|_| match ASKED.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(vec![GOOD.into()]),
            1 => Err(io::Error::other("SERVFAIL")),
            _ => loop {
                std::thread::sleep(Duration::from_secs(60));
            },
        });
        for _ in 0..2 {
            assert_eq!(run(names.addresses("redis", 1)).unwrap(), [(GOOD.0, 1).into()]);
        }
        // It hangs from here on: one thread does, however often the name is wanted.
        for _ in 0..3 {
            let begun = Instant::now();
            assert_eq!(run(names.addresses("redis", 1)).unwrap(), [(GOOD.0, 1).into()]);
            assert!(begun.elapsed() >= PATIENCE);
        }
        assert_eq!(ASKED.load(Ordering::SeqCst), 3);
    }
}
