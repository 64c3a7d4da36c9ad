//! Workers that hear of changes, fall silent without knowing it, come back, are killed and are replaced, in
//! any order: no record is found that some worker must know to be old.
//!
//! The real cache beside a model of Redis and of the workers' connections. What Redis tells a worker waits in
//! the worker's queue, in order, until it is heeded. A silent connection loses all, and is noticed later or
//! never.

use std::collections::{HashSet, VecDeque};

use proptest::prelude::*;

use super::slab::Slab;
use super::{SMALL, check, fact, keys, open, user_key};
use crate::layout::root;
use crate::{EntryKey, Found, Freshness, Hears, Mark, NewRecord, Process};

const KEYS: usize = 3;
const WORKERS: usize = 3;
/// Far more than a run takes: what is refused here is refused for another reason than its age.
const TTL: u64 = 1 << 40;

#[derive(Clone, Debug)]
enum Op {
    /// Redis: a key changes; the server dies; it is there again.
    Change(usize),
    Die,
    Return,
    /// The network: a connection loses all from here on; that is noticed; a connection is closed; another one
    /// is opened.
    Silence(usize),
    Notice(usize),
    Cut(usize),
    Connect(usize),
    /// A worker: heeds the next event; asks Redis for a key; looks whether there is a doubt; waits.
    Heed(usize),
    HeedAll(usize),
    Ask(usize, usize),
    Look(usize),
    Kill(usize),
    Start(usize),
    Stop(usize),
    Wait(u16),
}

fn op() -> impl Strategy<Value = Op> {
    let (key, worker) = (0..KEYS, 0..WORKERS);
    prop_oneof![
        8 => key.clone().prop_map(Op::Change),
        1 => Just(Op::Die),
        3 => Just(Op::Return),
        4 => worker.clone().prop_map(Op::Silence),
        3 => worker.clone().prop_map(Op::Notice),
        1 => worker.clone().prop_map(Op::Cut),
        8 => worker.clone().prop_map(Op::Connect),
        8 => worker.clone().prop_map(Op::Heed),
        8 => worker.clone().prop_map(Op::HeedAll),
        10 => (worker.clone(), key).prop_map(|(worker, key)| Op::Ask(worker, key)),
        6 => worker.clone().prop_map(Op::Look),
        1 => worker.clone().prop_map(Op::Kill),
        3 => worker.clone().prop_map(Op::Start),
        1 => worker.prop_map(Op::Stop),
        1 => (0..5000u16).prop_map(Op::Wait),
    ]
}

enum Event {
    Connected { armed: usize },
    Lost,
    Changed { key: usize, version: u32 },
    Answer { key: usize, version: u32, mark: Mark },
    Proved(u64),
}

struct Link {
    is_silent: bool,
    /// What was asked for on it, where Redis tells of nothing else.
    read: HashSet<usize>,
}

struct Worker {
    me: Process,
    link: Option<Link>,
    queue: VecDeque<Event>,
    is_trusted: bool,
}

struct World {
    slab: Slab,
    hears: Hears,
    now: u64,
    /// Counts the steps.
    step: usize,
    is_up: bool,
    versions: [u32; KEYS],
    /// When each version of a key was replaced by the next.
    replaced: [Vec<usize>; KEYS],
    /// The version of each key that some worker knows to be there, at least.
    known: [u32; KEYS],
    /// When the latest connection was opened that a worker knows of.
    armed: usize,
    workers: [Option<Worker>; WORKERS],
    started: u64,
}

fn key(number: usize) -> Vec<u8> {
    user_key(number)
}

impl World {
    fn new(hears: Hears) -> Self {
        let mut world = Self {
            slab: Slab::new(SMALL),
            hears,
            now: 1,
            step: 0,
            is_up: true,
            versions: [0; KEYS],
            replaced: Default::default(),
            known: [0; KEYS],
            armed: 0,
            workers: [const { None }; WORKERS],
            started: 0,
        };
        for worker in 0..WORKERS {
            world.step(&Op::Start(worker));
        }
        world
    }

    fn alive(&self) -> HashSet<u64> {
        self.workers
            .iter()
            .flatten()
            .map(|worker| worker.me.started_at)
            .collect()
    }

    fn step(&mut self, op: &Op) {
        self.step += 1;
        let alive = self.alive();
        let is_alive = |process: Process| alive.contains(&process.started_at);
        match *op {
            Op::Change(key) => {
                if !self.is_up {
                    return;
                }
                self.versions[key] += 1;
                self.replaced[key].push(self.step);
                for worker in self.workers.iter_mut().flatten() {
                    let Some(link) = worker.link.as_mut().filter(|link| !link.is_silent) else {
                        continue;
                    };
                    if self.hears != Hears::OwnReads || link.read.remove(&key) {
                        let version = self.versions[key];
                        worker.queue.push_back(Event::Changed { key, version });
                    }
                }
            }
            Op::Die => {
                self.is_up = false;
                for worker in self.workers.iter_mut().flatten() {
                    if worker.link.take_if(|link| !link.is_silent).is_some() {
                        worker.queue.push_back(Event::Lost);
                    }
                }
            }
            Op::Return => self.is_up = true,
            Op::Silence(worker) => {
                if let Some(link) = self.link(worker) {
                    link.is_silent = true;
                }
            }
            Op::Notice(worker) => self.lose(worker, true),
            Op::Cut(worker) => self.lose(worker, false),
            Op::Connect(worker) => {
                let armed = self.step;
                if let Some(worker) = &mut self.workers[worker]
                    && self.is_up
                    && worker.link.is_none()
                {
                    worker.link = Some(Link {
                        is_silent: false,
                        read: HashSet::new(),
                    });
                    worker.queue.push_back(Event::Connected { armed });
                }
            }
            Op::Heed(worker) => self.heed(worker),
            Op::HeedAll(worker) => self.heed_all(worker),
            Op::Ask(worker, key) => {
                let (mark, version) = (open(&mut self.slab).mark(), self.versions[key]);
                let Some(worker) = self.workers[worker].as_mut().filter(|worker| worker.is_trusted) else {
                    return;
                };
                if let Some(link) = worker.link.as_mut().filter(|link| !link.is_silent) {
                    link.read.insert(key);
                    worker.queue.push_back(Event::Answer { key, version, mark });
                }
            }
            Op::Look(worker) => self.look(worker),
            Op::Kill(worker) => self.workers[worker] = None,
            Op::Start(worker) => {
                self.started += 1;
                self.workers[worker].get_or_insert(Worker {
                    me: Process {
                        id: 1 + worker as u32,
                        started_at: self.started,
                    },
                    link: None,
                    queue: VecDeque::new(),
                    is_trusted: false,
                });
            }
            Op::Stop(index) => {
                self.look(index);
                self.heed_all(index);
                if let Some(worker) = self.workers[index].take() {
                    let now = self.now;
                    let mut cache = open(&mut self.slab);
                    cache.remove_watcher(worker.me, now, is_alive);
                    if worker.is_trusted && self.hears == Hears::OwnReads {
                        cache.invalidate_all();
                    }
                }
            }
            Op::Wait(milliseconds) => self.now += u64::from(milliseconds),
        }
    }

    fn link(&mut self, worker: usize) -> Option<&mut Link> {
        self.workers[worker].as_mut()?.link.as_mut()
    }

    fn lose(&mut self, worker: usize, is_silent: bool) {
        if let Some(worker) = &mut self.workers[worker]
            && worker.link.take_if(|link| link.is_silent == is_silent).is_some()
        {
            worker.queue.push_back(Event::Lost);
        }
    }

    /// What a worker does once in a while.
    fn look(&mut self, index: usize) {
        let alive = self.alive();
        let is_alive = |process: Process| alive.contains(&process.started_at);
        let Some(worker) = &mut self.workers[index] else {
            return;
        };
        let mut cache = open(&mut self.slab);
        cache.settle(self.now, is_alive);
        for reader in cache.own_readers() {
            if !is_alive(reader) {
                cache.bury(reader);
            }
        }
        if let Some(number) = cache.question(worker.me)
            && worker.link.as_ref().is_some_and(|link| !link.is_silent)
        {
            worker.queue.push_back(Event::Proved(number));
        }
    }

    fn heed_all(&mut self, index: usize) {
        while self.workers[index]
            .as_ref()
            .is_some_and(|worker| !worker.queue.is_empty())
        {
            self.heed(index);
        }
    }

    fn heed(&mut self, index: usize) {
        let alive = self.alive();
        let is_alive = |process: Process| alive.contains(&process.started_at);
        let Some(worker) = &mut self.workers[index] else {
            return;
        };
        let Some(event) = worker.queue.pop_front() else {
            return;
        };
        let mut cache = open(&mut self.slab);
        match event {
            Event::Connected { armed } => {
                cache.add_watcher(worker.me, self.hears, self.now, is_alive);
                worker.is_trusted = true;
                self.armed = self.armed.max(armed);
            }
            Event::Lost => {
                worker.is_trusted = false;
                cache.lose_watcher(worker.me, self.hears, self.now, is_alive);
            }
            Event::Changed { key: number, version } => {
                cache.invalidate_user(fact(&key(number)));
                self.known[number] = self.known[number].max(version);
            }
            Event::Answer {
                key: number,
                version,
                mark,
            } => {
                let name = key(number);
                let name = fact(&name);
                if worker.is_trusted && cache.is_current(&mark) && cache.is_unchanged(name, &mark) {
                    put(&mut cache, name, version, self.now);
                }
            }
            Event::Proved(number) => cache.vouch(worker.me, number),
        }
    }

    /// What a worker finds of each key may be old only where nobody can know.
    fn verify(&mut self) {
        let is_in_doubt = {
            let cache = open(&mut self.slab);
            cache.number(root::DOUBT) != 0
        };
        let alive = self.alive();
        let is_buried = open(&mut self.slab)
            .own_readers()
            .iter()
            .all(|reader| alive.contains(&reader.started_at));
        let is_calm = |worker: &Worker| {
            let hears = worker.link.as_ref().is_some_and(|link| !link.is_silent);
            worker.queue.is_empty() && worker.is_trusted == hears
        };
        let all_calm = is_buried && self.workers.iter().flatten().all(is_calm);
        for number in 0..KEYS {
            for index in 0..WORKERS {
                let Some(worker) = &self.workers[index] else {
                    continue;
                };
                let freshness = match worker.is_trusted {
                    true => Freshness::Fresh(self.now),
                    false => Freshness::Stale {
                        now: self.now,
                        max_stale: TTL,
                    },
                };
                let Some(version) = found(&mut self.slab, number, freshness) else {
                    continue;
                };
                assert!(
                    version >= self.known[number],
                    "a worker knew that {number} had changed"
                );
                let is_old = version < self.versions[number];
                if worker.is_trusted {
                    let must_know = match self.hears {
                        Hears::OwnReads => all_calm,
                        _ => is_calm(worker) && !is_in_doubt,
                    };
                    assert!(!(is_old && must_know), "{number} has changed, and is fresh");
                } else if is_old {
                    let replaced = self.replaced[number][version as usize];
                    assert!(
                        replaced > self.armed,
                        "{number} had changed before a connection was opened, and is stale"
                    );
                }
            }
        }
    }
}

fn put(cache: &mut crate::Cache<'_, Slab>, name: EntryKey<'_>, version: u32, now: u64) {
    let keys = keys().unwrap();
    let new = NewRecord {
        record: &version.to_ne_bytes(),
        binding: keys.tag(b"stored"),
        from_passwords: false,
        tag: keys.tag(b"password"),
        verified: Some(true),
        expires: TTL,
    };
    cache.put_user(name, &new, now);
}

fn found(slab: &mut Slab, number: usize, freshness: Freshness) -> Option<u32> {
    let mut cache = open(slab);
    let name = key(number);
    match cache.find_user(fact(&name), keys().unwrap().tag(b"password"), freshness) {
        Found::Verified(record) => cache.record_bytes(record).try_into().ok().map(u32::from_ne_bytes),
        _ => None,
    }
}

fn run(hears: Hears, ops: &[Op]) {
    let mut world = World::new(hears);
    for op in ops {
        world.step(op);
        world.verify();
    }
    check(&mut world.slab);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn who_hears_of_all_changes(ops in prop::collection::vec(op(), 1..200)) {
        run(Hears::All, &ops);
    }

    #[test]
    fn who_hears_of_what_it_has_read(ops in prop::collection::vec(op(), 1..200)) {
        run(Hears::OwnReads, &ops);
    }
}

/// A world after these steps, in each of which nothing was wrong.
fn after(hears: Hears, steps: &[Op]) -> World {
    let mut world = World::new(hears);
    for worker in 0..2 {
        world.step(&Op::Connect(worker));
        world.step(&Op::HeedAll(worker));
    }
    for step in steps {
        world.step(step);
        world.verify();
    }
    world
}

fn stale(world: &mut World, key: usize) -> Option<u32> {
    let freshness = Freshness::Stale {
        now: world.now,
        max_stale: TTL,
    };
    found(&mut world.slab, key, freshness)
}

/// Two workers whose connections fall silent at the same time, a user who is locked meanwhile, and a Redis
/// that dies when both are back.
#[test]
fn two_that_were_deaf_do_not_vouch_for_each_other() {
    for order in [[0, 1], [1, 0]] {
        let mut steps = vec![Op::Ask(0, 0), Op::HeedAll(0)];
        steps.extend([Op::Silence(0), Op::Silence(1), Op::Change(0)]);
        for worker in order {
            steps.extend([Op::Notice(worker), Op::Connect(worker), Op::HeedAll(worker)]);
        }
        steps.extend([Op::Die, Op::HeedAll(0), Op::HeedAll(1)]);
        assert_eq!(stale(&mut after(Hears::All, &steps), 0), None);
    }
}

/// The same, where the second one never notices, or is stopped: the doubt has an end.
#[test]
fn a_doubt_ends() {
    let mut steps = vec![Op::Ask(0, 0), Op::HeedAll(0)];
    steps.extend([Op::Silence(0), Op::Silence(1), Op::Change(0)]);
    steps.extend([Op::Notice(0), Op::Connect(0), Op::HeedAll(0)]);
    let mut world = after(Hears::All, &steps);
    assert_eq!(stale(&mut world, 0), None, "nothing stale is found meanwhile");
    assert_ne!(open(&mut world.slab).number(root::DOUBT), 0);
    for step in [Op::Wait(4000), Op::Look(0)] {
        world.step(&step);
    }
    assert_eq!(open(&mut world.slab).number(root::DOUBT), 0);
    assert_eq!(stale(&mut world, 0), None);
}

/// An answer that is under way when a second worker comes to an empty zone is older than the second worker.
#[test]
fn an_answer_from_before_a_worker_came_is_not_put_after_it() {
    let mut world = World::new(Hears::All);
    for step in [
        Op::Connect(0),
        Op::HeedAll(0),
        Op::Ask(0, 0),
        Op::Silence(0),
        Op::Change(0),
        Op::Connect(1),
        Op::HeedAll(1),
        Op::HeedAll(0),
    ] {
        world.step(&step);
        world.verify();
    }
    assert_eq!(found(&mut world.slab, 0, Freshness::Fresh(1)), None);
}

/// One connection is lost while another worker hears of every change: nothing has to be asked for again when
/// Redis dies after that.
#[test]
fn who_was_not_deaf_vouches_for_others() {
    let mut steps = vec![Op::Ask(0, 0), Op::Ask(0, 1), Op::HeedAll(0)];
    steps.extend([Op::Silence(0), Op::Change(0), Op::HeedAll(1)]);
    steps.extend([Op::Notice(0), Op::Connect(0), Op::HeedAll(0)]);
    steps.extend([
        Op::Look(1),
        Op::HeedAll(1),
        Op::Die,
        Op::HeedAll(1),
        Op::HeedAll(0),
    ]);
    let mut world = after(Hears::All, &steps);
    assert_eq!(stale(&mut world, 0), None);
    assert_eq!(stale(&mut world, 1), Some(0));
}

/// Nobody else hears of what a worker alone has read. In an outage, that is used; if another worker reaches
/// Redis, it is none.
#[test]
fn what_a_lost_worker_alone_had_read_is_used_in_an_outage_only() {
    let read = [Op::Ask(0, 0), Op::HeedAll(0)];
    let lost = [Op::Silence(0), Op::Notice(0), Op::HeedAll(0)];
    let outage = [Op::Die, Op::HeedAll(1), Op::Look(1), Op::Look(0)];
    let mut world = after(Hears::OwnReads, &[&read[..], &lost, &outage].concat());
    assert_eq!(stale(&mut world, 0), Some(0));
    let reached = [Op::Change(0), Op::Look(1), Op::HeedAll(1)];
    let mut world = after(Hears::OwnReads, &[&read[..], &lost, &reached, &outage].concat());
    assert_eq!(stale(&mut world, 0), None);
}

#[test]
fn what_a_killed_worker_alone_had_read_goes_when_another_looks() {
    let steps = [
        Op::Ask(0, 0),
        Op::HeedAll(0),
        Op::Kill(0),
        Op::Change(0),
        Op::Look(1),
    ];
    let mut world = after(Hears::OwnReads, &steps);
    assert_eq!(found(&mut world.slab, 0, Freshness::Fresh(1)), None);
    assert_eq!(stale(&mut world, 0), None);
}

/// Where nobody tells of all changes, what had expired before an outage is not used in it.
#[test]
fn what_expired_before_an_outage_may_have_changed_before_it() {
    for hears in [Hears::Published, Hears::Nothing] {
        let mut world = after(hears, &[Op::Ask(0, 0), Op::HeedAll(0)]);
        world.now = TTL - 1;
        for step in [Op::Die, Op::HeedAll(0), Op::HeedAll(1)] {
            world.step(&step);
        }
        assert_eq!(stale(&mut world, 0), Some(0), "{hears:?}");
        let mut world = after(hears, &[Op::Ask(0, 0), Op::HeedAll(0)]);
        world.now = TTL;
        for step in [Op::Die, Op::HeedAll(0), Op::HeedAll(1)] {
            world.step(&step);
        }
        assert_eq!(stale(&mut world, 0), None, "{hears:?}");
    }
}
