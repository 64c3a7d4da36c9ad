//! What workers have now, and since when is counted.

use super::slab::Slab;
use super::{SMALL, open};
use crate::Process;
use crate::layout::WORKERS;

fn worker(id: u32) -> Process {
    Process { id, started_at: 7 }
}

#[test]
fn what_living_workers_have_is_added_up() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let all = |_: Process| true;
    assert_eq!(cache.gauges(all), (0, [0; 4]));
    cache.set_gauges(worker(1), [1, 2, 3, 4], all);
    cache.set_gauges(worker(2), [10, 20, 30, u32::MAX], all);
    assert_eq!(cache.gauges(all), (2, [11, 22, 33, 4 + u64::from(u32::MAX)]));
    // The latest ones count, once.
    cache.set_gauges(worker(2), [0, 0, 0, 1], all);
    assert_eq!(cache.gauges(all), (2, [1, 2, 3, 5]));
    // One that was killed has nothing, nor has one whose id another process got.
    assert_eq!(cache.gauges(|process| process != worker(1)), (1, [0, 0, 0, 1]));
    cache.set_gauges(Process { id: 1, started_at: 8 }, [5, 0, 0, 0], all);
    assert_eq!(cache.gauges(|process| process != worker(1)), (2, [5, 0, 0, 1]));
    cache.remove_gauges(worker(2));
    assert_eq!(cache.gauges(all), (2, [6, 2, 3, 4]));
}

#[test]
fn the_row_of_a_dead_worker_is_used_again_and_that_of_a_living_one_is_not() {
    let mut slab = Slab::new(SMALL);
    let mut cache = open(&mut slab);
    let count = WORKERS as u32;
    for id in 1..=count {
        cache.set_gauges(worker(id), [1, 0, 0, 0], |_| true);
    }
    // No room: it is not shown, and takes nothing from others.
    cache.set_gauges(worker(count + 1), [100, 0, 0, 0], |_| true);
    assert_eq!(cache.gauges(|_| true), (count, [u64::from(count), 0, 0, 0]));
    let lives = |process: Process| process.id != 3;
    cache.set_gauges(worker(count + 1), [100, 0, 0, 0], lives);
    assert_eq!(
        cache.gauges(lives),
        (count, [u64::from(count) - 1 + 100, 0, 0, 0])
    );
}

#[test]
fn the_first_to_say_so_begins_to_count() {
    let mut slab = Slab::new(SMALL);
    assert_eq!(open(&mut slab).counting_since(1000), 1000);
    assert_eq!(open(&mut slab).counting_since(2000), 1000);
}
