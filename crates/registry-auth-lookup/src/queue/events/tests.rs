//! What the queue promises, without a Redis.

use super::{CHANGES, EventQueue};
use crate::messages::{Event, Job, Keyspace, Outcome, Proof};
use crate::queue::basis::{Basis, ReadMark};
use crate::queue::pending::{Arrivals, JobAnswer, Outbox, PendingJob};
use registry_auth::{Network, UserName};
use registry_auth_redis::connection::tracking::{Changed, Watcher};
use registry_auth_redis::wake::Wake;
use registry_auth_redis::{Rung, Secret};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// A queue, the outbox in front of it, and the helper's end of what is asked again.
struct Setting {
    events: Arc<EventQueue>,
    outbox: Outbox,
    helper: UnboundedReceiver<Vec<PendingJob>>,
    wakes: Arc<AtomicUsize>,
}

impl Setting {
    fn new(tracking: bool) -> Self {
        let wakes = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&wakes);
        let wake = Wake::new(Box::new(move || {
            seen.fetch_add(1, Ordering::SeqCst);
        }));
        let events = Arc::new(EventQueue::new(Arc::new(wake), tracking));
        let (again, helper) = unbounded_channel();
        let outbox = Outbox::new(Arc::clone(&events), again);
        Self {
            events,
            outbox,
            helper,
            wakes,
        }
    }

    fn wakes(&self) -> usize {
        self.wakes.load(Ordering::SeqCst)
    }

    /// The jobs that are to be asked again.
    fn again(&mut self) -> Vec<PendingJob> {
        let mut all = Vec::new();
        while let Ok(jobs) = self.helper.try_recv() {
            all.extend(jobs);
        }
        all
    }
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
        proof: Proof::Password,
        verified: None,
        from: Network::Local,
    }
}

fn answer(events: &Arc<EventQueue>, ticket: u64, basis: Option<Basis>) -> JobAnswer {
    JobAnswer {
        job: PendingJob::new(job(ticket, Some("alice")), events),
        outcome: Outcome::Busy,
        basis,
    }
}

fn basis(mark: ReadMark) -> Option<Basis> {
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
fn drained(events: &EventQueue) -> String {
    let mut out = Vec::new();
    events.drain(&mut out);
    let words = out.iter().map(|event| match event {
        Event::Completion(done) if done.cacheable => done.ticket.to_string(),
        Event::Completion(done) => format!("{}!", done.ticket),
        Event::Changed(keys) => format!("changed{}", keys.len()),
        Event::AllChanged => "all".to_owned(),
        Event::ConnectionLost => "lost".to_owned(),
        Event::Connected { rung, .. } => format!("connected-{rung}"),
        Event::FailedOver => "failed-over".to_owned(),
        Event::Proved(number) => format!("proved-{number}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn wakes_only_from_empty() {
    let setting = Setting::new(true);
    let events = &setting.events;
    events.post_unavailable(1);
    setting
        .outbox
        .post(vec![answer(events, 2, None), answer(events, 3, None)]);
    assert_eq!(setting.wakes(), 1);
    assert_eq!(drained(events), "1! 2! 3!");
    events.connected(1, Rung::Broadcast, "");
    assert_eq!(setting.wakes(), 2);
    events.changed(1, Vec::new());
    events.close();
    drained(events);
    events.post_unavailable(4);
    assert_eq!(setting.wakes(), 2, "no wake after close");
}

#[test]
fn whoever_is_dropped_is_answered() {
    let setting = Setting::new(true);
    let events = &setting.events;
    let mut jobs = Arrivals::new((1..=4).map(|n| job(n, None)).collect(), events);
    let first = jobs.next().unwrap();
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _jobs = jobs;
        panic!("on purpose");
    }));
    assert!(result.is_err());
    assert_eq!(drained(events), "2! 3! 4!");
    drop(vec![answer(events, 5, None)]);
    drop(first);
    assert_eq!(drained(events), "5! 1!");
}

#[test]
fn an_answer_overtaken_by_a_change_is_asked_again() {
    let mut setting = Setting::new(true);
    let events = &Arc::clone(&setting.events);
    events.connected(1, Rung::Broadcast, "");
    let before = events.mark(1);
    events.changed(1, alice());
    let after = events.mark(1);
    setting.outbox.post(vec![
        answer(events, 1, basis(before)),
        answer(events, 2, basis(after)),
    ]);
    assert_eq!(drained(events), "connected-tracking changed1 2");
    assert_eq!(setting.again().len(), 1);
    // The dropped job of ticket 1 was answered by its guard.
    assert_eq!(drained(events), "1!");
}

#[test]
fn only_the_keys_it_was_made_of_overtake_it() {
    let mut setting = Setting::new(true);
    let events = &Arc::clone(&setting.events);
    events.connected(1, Rung::Broadcast, "");
    let prefix: Arc<str> = "P".into();
    let (backends, passwords) = (
        Changed::Backends {
            prefix: Arc::clone(&prefix),
        },
        Changed::Passwords { prefix },
    );
    let mark = events.mark(1);
    events.changed(1, vec![passwords]);
    let from_passwords = Some(Basis {
        mark,
        passwords: true,
        groups: Arc::default(),
    });
    setting.outbox.post(vec![
        answer(events, 1, basis(mark)),
        answer(events, 2, from_passwords),
    ]);
    assert_eq!(setting.again().len(), 1);
    events.changed(1, vec![backends]);
    setting.outbox.post(vec![answer(events, 3, basis(mark))]);
    assert_eq!(setting.again().len(), 1);
    events.all_changed(1);
    let mark = events.mark(1);
    setting.outbox.post(vec![answer(events, 4, basis(mark))]);
    assert!(setting.again().is_empty());
}

#[test]
fn a_loss_makes_uncacheable_and_a_new_connection_asks_again() {
    let mut setting = Setting::new(true);
    let events = &Arc::clone(&setting.events);
    events.connected(1, Rung::Broadcast, "");
    let mark = events.mark(1);
    events.connection_lost(1);
    events.connection_lost(1);
    events.changed(1, alice());
    events.all_changed(1);
    setting.outbox.post(vec![answer(events, 1, basis(mark))]);
    assert_eq!(drained(events), "connected-tracking lost 1!");
    events.connected(2, Rung::Ttl, "");
    events.connection_lost(1);
    setting.outbox.post(vec![answer(events, 2, basis(mark))]);
    assert_eq!(setting.again().len(), 1);
    let mark = events.mark(2);
    setting.outbox.post(vec![answer(events, 3, basis(mark))]);
    assert_eq!(drained(events), "connected-expiry 2! 3");
}

#[test]
fn without_tracking_there_are_only_completions() {
    let setting = Setting::new(false);
    let events = &setting.events;
    let mark = events.mark(1);
    setting.outbox.post(vec![answer(events, 1, basis(mark))]);
    assert_eq!(drained(events), "1");
}

#[test]
fn a_job_gets_what_was_read_after_it_came_where_changes_never_end() {
    let mut setting = Setting::new(true);
    let events = &Arc::clone(&setting.events);
    events.connected(1, Rung::Broadcast, "");
    let mut jobs = vec![PendingJob::new(job(1, Some("alice")), events)];
    let mut asked = 0;
    while let Some(mut job) = jobs.pop() {
        asked += 1;
        job.came = events.next_mark();
        let mark = events.mark(1);
        events.changed(1, alice());
        let (outcome, basis) = (Outcome::Busy, basis(mark));
        setting.outbox.post(vec![JobAnswer { job, outcome, basis }]);
        jobs = setting.again();
    }
    assert_eq!(asked, 4);
    assert_eq!(
        drained(events),
        "connected-tracking changed4 1!",
        "it is not kept"
    );
}

#[test]
fn a_job_gets_nothing_that_a_change_overtook_and_that_was_read_before_it_came() {
    let mut setting = Setting::new(true);
    let events = &Arc::clone(&setting.events);
    events.connected(1, Rung::Broadcast, "");
    let mut jobs = vec![PendingJob::new(job(1, Some("alice")), events)];
    for _ in 0..20 {
        let mut job = jobs.pop().unwrap();
        let mark = events.mark(1);
        job.came = events.next_mark();
        events.changed(1, alice());
        let (outcome, basis) = (Outcome::Busy, basis(mark));
        setting.outbox.post(vec![JobAnswer { job, outcome, basis }]);
        jobs = setting.again();
    }
    assert!(jobs.pop().unwrap().is_tired());
}

#[test]
fn who_shared_a_question_that_ran_out_of_time_is_asked_for_while_there_is_some() {
    let mut setting = Setting::new(true);
    let events = &Arc::clone(&setting.events);
    let now = tokio::time::Instant::now();
    let with = |ticket, deadline| {
        let mut pending = PendingJob::new(job(ticket, Some("alice")), events);
        pending.deadline = deadline;
        pending
    };
    let later = now + std::time::Duration::from_secs(60);
    let jobs = [with(1, Some(now)), with(2, Some(later)), with(3, None)];
    setting.outbox.retry_in_time(jobs.into_iter());
    assert_eq!(drained(events), "1! 3!");
    let again = setting.again();
    assert_eq!(
        again.first().unwrap().deadline,
        Some(later),
        "no more than it had"
    );
}

#[test]
fn a_worker_that_does_not_drain_costs_no_memory() {
    let setting = Setting::new(true);
    let events = &setting.events;
    events.connected(1, Rung::Broadcast, "");
    let one = 2 * size_of::<Changed>() + 16;
    let most = CHANGES / one;
    for _ in 0..most {
        events.changed(1, alice());
    }
    events.changed(1, alice());
    events.changed(1, alice());
    events.post_unavailable(1);
    events.changed(1, alice());
    assert_eq!(
        drained(events),
        format!("connected-tracking changed{most} all 1! all")
    );
    events.changed(1, alice());
    assert_eq!(drained(events), "changed1");
    // Names count by their length.
    let long = |n: usize| Changed::User {
        prefix: "P".into(),
        name: format!("{n:0255}").into(),
    };
    events.changed(1, (0..CHANGES / 255).map(long).collect());
    assert_eq!(drained(events), "all");
}

#[test]
fn who_waits_is_woken_by_the_first_event() {
    let events = Setting::new(false).events;
    for ticket in 1..=3 {
        let waiting = Arc::clone(&events);
        let began = Instant::now();
        let waiter = thread::spawn(move || waiting.wait(began + Duration::from_secs(60)));
        thread::sleep(Duration::from_millis(20));
        events.post_unavailable(ticket);
        waiter.join().unwrap();
        assert!(began.elapsed() < Duration::from_secs(50), "{ticket}");
        assert_eq!(drained(&events), format!("{ticket}!"));
    }
    // And nobody is without one.
    events.wait(Instant::now());
    assert_eq!(drained(&events), "");
}
