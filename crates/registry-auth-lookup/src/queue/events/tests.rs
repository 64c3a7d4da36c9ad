//! What the queue promises, without a Redis.

use super::{Completions, Mark, CHANGES};
use crate::messages::{By, Event, Job, Keyspace, Outcome};
use crate::queue::pending::{Answer, Arrivals, Basis, Waiting};
use registry_auth::{Network, UserName};
use registry_auth_redis::connection::tracking::{Changed, Watcher};
use registry_auth_redis::wake::Wake;
use registry_auth_redis::Secret;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver};

pub(crate) struct Helper {
    pub(super) receiver: UnboundedReceiver<Vec<Waiting>>,
}

impl Helper {
    fn again(&mut self) -> Vec<Waiting> {
        let mut all = Vec::new();
        while let Ok(jobs) = self.receiver.try_recv() {
            all.extend(jobs);
        }
        all
    }
}

fn counted() -> (Arc<AtomicUsize>, Arc<Completions>) {
    let wakes = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&wakes);
    let (again, _) = unbounded_channel();
    let wake = Box::new(move || {
        seen.fetch_add(1, Ordering::SeqCst);
    });
    (
        wakes,
        Arc::new(Completions::new(Arc::new(Wake::new(wake)), true, again)),
    )
}

fn tracked() -> (Arc<Completions>, Helper) {
    let (completions, helper) = Completions::alone(true);
    (Arc::new(completions), helper)
}

fn job(ticket: u64, user: Option<&str>) -> Job {
    let space = Arc::new(Keyspace {
        prefix: "P".into(),
        salt: Box::default(),
    });
    Job {
        ticket,
        space,
        user: user.map(|user| UserName::parse(user.as_bytes()).unwrap().to_owned()),
        password: Secret::new(b""),
        by: By::Password,
        verified: None,
        from: Network::Local,
    }
}

fn answer(completions: &Arc<Completions>, ticket: u64, basis: Option<Basis>) -> Answer {
    Answer {
        waiting: Waiting::new(job(ticket, Some("alice")), completions),
        outcome: Outcome::Busy,
        basis,
    }
}

fn basis(mark: Mark) -> Option<Basis> {
    Some(Basis {
        mark,
        passwords: false,
        groups: Arc::default(),
    })
}

fn alice() -> Vec<Changed> {
    vec![Changed::User {
        prefix: "P".into(),
        name: "alice".into(),
    }]
}

/// The events, one word each; the number of a ticket with `!` when it is not cacheable.
fn drained(completions: &Completions) -> String {
    let mut out = Vec::new();
    completions.drain(&mut out);
    let words = out.iter().map(|event| match event {
        Event::Completion(done) if done.cacheable => done.ticket.to_string(),
        Event::Completion(done) => format!("{}!", done.ticket),
        Event::Changed(keys) => format!("changed{}", keys.len()),
        Event::Flushed => "flushed".to_owned(),
        Event::Lost => "lost".to_owned(),
        Event::Armed { tracking } => format!("armed-{tracking}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn wakes_only_from_empty() {
    let (wakes, completions) = counted();
    completions.post_unavailable(1, Secret::default());
    completions.post(vec![answer(&completions, 2, None), answer(&completions, 3, None)]);
    assert_eq!(wakes.load(Ordering::SeqCst), 1);
    assert_eq!(drained(&completions), "1! 2! 3!");
    completions.armed(1, true);
    assert_eq!(wakes.load(Ordering::SeqCst), 2);
    completions.changed(1, Vec::new());
    completions.close();
    drained(&completions);
    completions.post_unavailable(4, Secret::default());
    assert_eq!(wakes.load(Ordering::SeqCst), 2, "no wake after close");
}

#[test]
fn whoever_is_dropped_is_answered() {
    let (_, completions) = counted();
    let mut jobs = Arrivals::new((1..=4).map(|n| job(n, None)).collect(), &completions);
    let first = jobs.next().unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _jobs = jobs;
        panic!("on purpose");
    }));
    assert!(result.is_err());
    assert_eq!(drained(&completions), "2! 3! 4!");
    drop(vec![answer(&completions, 5, None)]);
    drop(first);
    assert_eq!(drained(&completions), "5! 1!");
}

#[test]
fn an_answer_overtaken_by_a_change_is_asked_again() {
    let (completions, mut helper) = tracked();
    completions.armed(1, true);
    let before = completions.mark(1);
    completions.changed(1, alice());
    let after = completions.mark(1);
    completions.post(vec![
        answer(&completions, 1, basis(before)),
        answer(&completions, 2, basis(after)),
    ]);
    assert_eq!(drained(&completions), "armed-true changed1 2");
    assert_eq!(helper.again().len(), 1);
    // The dropped job of ticket 1 was answered by its guard.
    assert_eq!(drained(&completions), "1!");
}

#[test]
fn only_the_keys_it_was_made_of_overtake_it() {
    let (completions, mut helper) = tracked();
    completions.armed(1, true);
    let prefix: Arc<str> = "P".into();
    let (backends, passwords) = (
        Changed::Backends {
            prefix: Arc::clone(&prefix),
        },
        Changed::Passwords { prefix },
    );
    let mark = completions.mark(1);
    completions.changed(1, vec![passwords]);
    let from_passwords = Some(Basis {
        mark,
        passwords: true,
        groups: Arc::default(),
    });
    completions.post(vec![
        answer(&completions, 1, basis(mark)),
        answer(&completions, 2, from_passwords),
    ]);
    assert_eq!(helper.again().len(), 1);
    completions.changed(1, vec![backends]);
    completions.post(vec![answer(&completions, 3, basis(mark))]);
    assert_eq!(helper.again().len(), 1);
    completions.flushed(1);
    let mark = completions.mark(1);
    completions.post(vec![answer(&completions, 4, basis(mark))]);
    assert!(helper.again().is_empty());
}

#[test]
fn a_loss_makes_uncacheable_and_a_new_connection_asks_again() {
    let (completions, mut helper) = tracked();
    completions.armed(1, true);
    let mark = completions.mark(1);
    completions.lost(1);
    completions.lost(1);
    completions.changed(1, alice());
    completions.flushed(1);
    completions.post(vec![answer(&completions, 1, basis(mark))]);
    assert_eq!(drained(&completions), "armed-true lost 1!");
    completions.armed(2, false);
    completions.lost(1);
    completions.post(vec![answer(&completions, 2, basis(mark))]);
    assert_eq!(helper.again().len(), 1);
    let mark = completions.mark(2);
    completions.post(vec![answer(&completions, 3, basis(mark))]);
    assert_eq!(drained(&completions), "armed-false 2! 3");
}

#[test]
fn without_tracking_there_are_only_completions() {
    let (completions, _helper) = Completions::alone(false);
    let completions = Arc::new(completions);
    let mark = completions.mark(1);
    completions.post(vec![answer(&completions, 1, basis(mark))]);
    assert_eq!(drained(&completions), "1");
}

#[test]
fn a_job_is_not_asked_for_ever() {
    let (completions, mut helper) = tracked();
    completions.armed(1, true);
    let mut jobs = vec![Waiting::new(job(1, Some("alice")), &completions)];
    let mut asked = 0;
    while let Some(waiting) = jobs.pop() {
        asked += 1;
        let mark = completions.mark(1);
        completions.changed(1, alice());
        let (outcome, basis) = (Outcome::Busy, basis(mark));
        completions.post(vec![Answer {
            waiting,
            outcome,
            basis,
        }]);
        jobs = helper.again();
    }
    assert_eq!(asked, 10);
    assert_eq!(drained(&completions), "armed-true changed10 1!");
}

#[test]
fn a_worker_that_does_not_drain_costs_no_memory() {
    let (completions, _helper) = tracked();
    completions.armed(1, true);
    let one = 2 * size_of::<Changed>() + 16;
    let most = CHANGES / one;
    for _ in 0..most {
        completions.changed(1, alice());
    }
    completions.changed(1, alice());
    completions.changed(1, alice());
    completions.post_unavailable(1, Secret::default());
    completions.changed(1, alice());
    assert_eq!(
        drained(&completions),
        format!("armed-true changed{most} flushed 1! flushed")
    );
    completions.changed(1, alice());
    assert_eq!(drained(&completions), "changed1");
    // Names count by their length.
    let long = |n: usize| Changed::User {
        prefix: "P".into(),
        name: format!("{n:0255}").into(),
    };
    completions.changed(1, (0..CHANGES / 255).map(long).collect());
    assert_eq!(drained(&completions), "flushed");
}

#[test]
fn a_list_of_a_burst_is_not_kept() {
    let (completions, _helper) = tracked();
    completions.give_back(Vec::with_capacity(100));
    assert!(completions.spare().capacity() >= 100);
    completions.give_back(Vec::with_capacity(100_000));
    assert_eq!(completions.spare().capacity(), 0);
}
