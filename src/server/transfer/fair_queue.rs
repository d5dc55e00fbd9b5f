//! Pages in the making: a few at a time, and behind them a line in which the addresses alternate.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::digest::Pools;
use crate::server::control::lock;

/// Who makes a page now, and who stands in line for it. Half of the foreground pool's threads are
/// left to digests, and half of the places to other addresses.
pub(super) struct FairQueue {
    pools: Arc<Pools>,
    running_max: usize,
    running_per_address_max: usize,
    table: Mutex<Table>,
}

/// A place in the line; dropping it gives it up. What has begun goes on.
pub(super) struct QueueTicket {
    queue: Arc<FairQueue>,
    address: u128,
    number: u64,
}

/// Never longer than there are [`QueueTicket`]s, and those are bounded by the connections.
#[derive(Default)]
struct Table {
    /// The jobs of each address that has some, the next address first; none is empty.
    waiting: VecDeque<(u128, VecDeque<(u64, Job)>)>,
    /// Places taken, by address; no zeros.
    running: HashMap<u128, usize>,
    running_in_all: usize,
    /// Jobs that came since the start.
    numbers: u64,
}

type Job = Box<dyn FnOnce() + Send>;

impl FairQueue {
    /// A line for the foreground pool.
    pub(super) fn new(pools: &Arc<Pools>) -> Arc<FairQueue> {
        let running_max = (pools.foreground_threads() / 2).clamp(1, RUNNING_MAX);
        Arc::new(FairQueue {
            pools: Arc::clone(pools),
            running_max,
            running_per_address_max: running_max.div_ceil(2),
            table: Mutex::default(),
        })
    }

    /// Runs a job in the foreground pool when it is its turn.
    pub(super) fn push(
        self: &Arc<Self>,
        address: u128,
        job: impl FnOnce() + Send + 'static,
    ) -> QueueTicket {
        let mut table = lock(&self.table);
        table.numbers += 1;
        let number = table.numbers;
        let job: (u64, Job) = (number, Box::new(job));
        match table
            .waiting
            .iter_mut()
            .find(|(other, _)| *other == address)
        {
            Some((_, jobs)) => jobs.push_back(job),
            None => table.waiting.push_back((address, VecDeque::from([job]))),
        }
        self.start_next(table);
        QueueTicket {
            queue: Arc::clone(self),
            address,
            number,
        }
    }

    /// Gives the places that are free to the next addresses that may have one more.
    fn start_next(self: &Arc<Self>, mut table: MutexGuard<'_, Table>) {
        let mut begun = Vec::new();
        while table.running_in_all < self.running_max {
            let has_room = |(address, _): &(u128, VecDeque<(u64, Job)>)| {
                let running = table.running.get(address).copied().unwrap_or(0);
                running < self.running_per_address_max
            };
            let Some(at) = table.waiting.iter().position(has_room) else {
                break;
            };
            let Some((address, mut jobs)) = table.waiting.remove(at) else {
                break;
            };
            let next = jobs.pop_front();
            if !jobs.is_empty() {
                table.waiting.push_back((address, jobs));
            }
            if let Some((_, job)) = next {
                *table.running.entry(address).or_default() += 1;
                table.running_in_all += 1;
                let queue = Arc::clone(self);
                begun.push((RunningSlot { queue, address }, job));
            }
        }
        drop(table);
        for (slot, job) in begun {
            self.pools.foreground(move || {
                let _place = slot;
                job();
            });
        }
    }
}

impl QueueTicket {
    /// Whether it has not begun.
    pub(super) fn is_waiting(&self) -> bool {
        let table = lock(&self.queue.table);
        table.waiting.iter().any(|(address, jobs)| {
            *address == self.address && jobs.iter().any(|(number, _)| *number == self.number)
        })
    }
}

impl Drop for QueueTicket {
    fn drop(&mut self) {
        let mut table = lock(&self.queue.table);
        let of_address = |(address, _): &(u128, VecDeque<(u64, Job)>)| *address == self.address;
        let Some(at) = table.waiting.iter().position(of_address) else {
            return;
        };
        let jobs = &mut table.waiting[at].1;
        let own = jobs.iter().position(|(number, _)| *number == self.number);
        let job = own.and_then(|own| jobs.remove(own));
        if jobs.is_empty() {
            table.waiting.remove(at);
        }
        // The lock goes first: what the job holds may be large, and its end wakes somebody.
        drop(table);
        drop(job);
    }
}

/// The right to make a page; dropping it, after a panic too, lets the next one begin.
struct RunningSlot {
    queue: Arc<FairQueue>,
    address: u128,
}

impl Drop for RunningSlot {
    fn drop(&mut self) {
        let mut table = lock(&self.queue.table);
        table.running_in_all -= 1;
        if let Entry::Occupied(mut running) = table.running.entry(self.address) {
            *running.get_mut() -= 1;
            if *running.get() == 0 {
                running.remove();
            }
        }
        self.queue.start_next(table);
    }
}

/// Each page in the making may hold as many names as a listing may.
const RUNNING_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Sender, bounded, unbounded};

    use super::*;

    fn queue(threads: usize) -> Arc<FairQueue> {
        FairQueue::new(&Arc::new(Pools::start(threads).unwrap()))
    }

    /// A job that says its name and ends when it is told to.
    fn held(
        name: &'static str,
        says: &Sender<&'static str>,
    ) -> (impl FnOnce() + use<>, Sender<()>) {
        let (release, released) = bounded::<()>(1);
        let says = says.clone();
        let job = move || {
            says.send(name).unwrap();
            let _ = released.recv();
        };
        (job, release)
    }

    #[test]
    fn addresses_alternate_and_none_takes_all_places() {
        let queue = queue(4);
        let (says, said) = unbounded();
        let mut places = Vec::new();
        let mut push = |name, address| {
            let (job, release) = held(name, &says);
            places.push(queue.push(address, job));
            release
        };
        let first = push("a1", 1);
        let _second = push("a2", 1);
        let _third = push("a3", 1);
        let other = push("b1", 2);
        let _last = push("b2", 2);
        let mut both = [said.recv().unwrap(), said.recv().unwrap()];
        both.sort_unstable();
        assert_eq!(both, ["a1", "b1"]);
        let waiting: Vec<bool> = places.iter().map(QueueTicket::is_waiting).collect();
        assert_eq!(waiting, [false, true, true, false, true]);
        drop(other);
        assert_eq!(said.recv().unwrap(), "b2");
        drop(first);
        assert_eq!(said.recv().unwrap(), "a2");
    }

    #[test]
    fn who_gives_up_leaves_the_line_and_a_panic_gives_its_place_back() {
        let queue = queue(1);
        let (says, said) = unbounded();
        let (job, release) = held("first", &says);
        let _first = queue.push(1, job);
        let gone = queue.push(1, || panic!("nobody waits for it"));
        let panics = queue.push(1, || panic!("planted"));
        let (job, _end) = held("last", &says);
        let last = queue.push(2, job);
        drop(gone);
        assert_eq!(said.recv().unwrap(), "first");
        assert!(panics.is_waiting() && last.is_waiting());
        drop(release);
        assert_eq!(said.recv().unwrap(), "last");
        assert_eq!(queue.pools.panics(), 1);
        assert!(!panics.is_waiting());
    }
}
