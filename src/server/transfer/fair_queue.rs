//! A queue of pages in which the clients' addresses alternate. Few pages run at a time.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::digest::Pools;
use crate::server::control::lock;

/// The pages that run and the pages that wait. Half of the foreground threads stay free for
/// digests, and half of the running pages are reserved for other addresses.
pub(super) struct FairQueue {
    pools: Arc<Pools>,
    running_max: usize,
    running_per_address_max: usize,
    table: Mutex<Table>,
}

/// A job's position in the queue. Dropping it removes the job, unless it has begun.
pub(super) struct QueueTicket {
    queue: Arc<FairQueue>,
    address: u128,
    number: u64,
}

/// Bounded, since every waiting job has a [`QueueTicket`], and every ticket a connection.
#[derive(Default)]
struct Table {
    /// The waiting jobs of each address, the next address first. No list is empty.
    waiting: VecDeque<(u128, VecDeque<(u64, Job)>)>,
    /// Running jobs by address; no zeros.
    running: HashMap<u128, usize>,
    running_in_all: usize,
    /// Jobs pushed since the start.
    numbers: u64,
}

type Job = Box<dyn FnOnce() + Send>;

impl FairQueue {
    /// An empty queue for the foreground pool.
    pub(super) fn new(pools: &Arc<Pools>) -> Arc<FairQueue> {
        let running_max = (pools.foreground_threads() / 2).clamp(1, RUNNING_MAX);
        Arc::new(FairQueue {
            pools: Arc::clone(pools),
            running_max,
            running_per_address_max: running_max.div_ceil(2),
            table: Mutex::default(),
        })
    }

    /// Runs a job in the foreground pool once its turn comes.
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

    /// Starts the next jobs of addresses that may run one more, as far as slots are free.
    fn start_next(self: &Arc<Self>, mut table: MutexGuard<'_, Table>) {
        let mut starting = Vec::new();
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
                starting.push((RunningSlot { queue, address }, job));
            }
        }
        drop(table);
        for (slot, job) in starting {
            self.pools.foreground(move || {
                let _place = slot;
                job();
            });
        }
    }
}

impl QueueTicket {
    /// Whether the job has not begun.
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
        // Release the lock first: dropping a job may free much memory, and wakes its connection.
        drop(table);
        drop(job);
    }
}

/// The right to run a job. Dropping it, also after a panic, starts the next one.
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

/// Each running page may hold as many names as a listing may.
const RUNNING_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Sender, bounded, unbounded};

    use super::*;

    fn queue(threads: usize) -> Arc<FairQueue> {
        FairQueue::new(&Arc::new(Pools::start(threads).unwrap()))
    }

    /// A job that sends its name and ends when it is released.
    fn blocked_job(
        name: &'static str,
        sender: &Sender<&'static str>,
    ) -> (impl FnOnce() + use<>, Sender<()>) {
        let (release, released) = bounded::<()>(1);
        let sender = sender.clone();
        let job = move || {
            sender.send(name).unwrap();
            let _ = released.recv();
        };
        (job, release)
    }

    #[test]
    fn addresses_alternate_and_none_takes_all_slots() {
        let queue = queue(4);
        let (sender, receiver) = unbounded();
        let mut places = Vec::new();
        let mut push = |name, address| {
            let (job, release) = blocked_job(name, &sender);
            places.push(queue.push(address, job));
            release
        };
        let first = push("a1", 1);
        let _second = push("a2", 1);
        let _third = push("a3", 1);
        let other = push("b1", 2);
        let _last = push("b2", 2);
        let mut both = [receiver.recv().unwrap(), receiver.recv().unwrap()];
        both.sort_unstable();
        assert_eq!(both, ["a1", "b1"]);
        let waiting: Vec<bool> = places.iter().map(QueueTicket::is_waiting).collect();
        assert_eq!(waiting, [false, true, true, false, true]);
        drop(other);
        assert_eq!(receiver.recv().unwrap(), "b2");
        drop(first);
        assert_eq!(receiver.recv().unwrap(), "a2");
    }

    #[test]
    fn half_of_the_threads_build_pages_half_of_those_per_address() {
        for (threads, running, of_address) in [(1, 1, 1), (2, 1, 1), (6, 3, 2), (8, 4, 2)] {
            let queue = queue(threads);
            let found = (queue.running_max, queue.running_per_address_max);
            assert_eq!(found, (running, of_address), "{threads}");
        }
    }

    #[test]
    fn an_address_that_ends_one_of_two_starts_one() {
        let queue = queue(8);
        let (sender, receiver) = unbounded();
        let (mut tickets, mut ends) = (Vec::new(), Vec::new());
        for name in ["a1", "a2", "a3", "a4"] {
            let (job, end) = blocked_job(name, &sender);
            tickets.push(queue.push(1, job));
            ends.push(end);
        }
        let mut started = [receiver.recv().unwrap(), receiver.recv().unwrap()];
        started.sort_unstable();
        assert_eq!(started, ["a1", "a2"]);
        drop(ends.remove(0));
        assert_eq!(receiver.recv(), Ok("a3"));
        assert!(tickets[3].is_waiting(), "two of this address run");
        drop(ends);
        assert_eq!(receiver.recv(), Ok("a4"));
    }

    #[test]
    fn a_dropped_ticket_leaves_the_queue_and_a_panic_frees_its_slot() {
        let queue = queue(1);
        let (sender, receiver) = unbounded();
        let (job, release) = blocked_job("first", &sender);
        let _first = queue.push(1, job);
        let gone = queue.push(1, || panic!("its ticket was dropped"));
        let panics = queue.push(1, || panic!("planted"));
        let (job, _end) = blocked_job("last", &sender);
        let last = queue.push(2, job);
        drop(gone);
        assert_eq!(receiver.recv().unwrap(), "first");
        assert!(panics.is_waiting() && last.is_waiting());
        drop(release);
        assert_eq!(receiver.recv().unwrap(), "last");
        // A panic is counted after its slot is free, which another thread may see first.
        while queue.pools.panics() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(queue.pools.panics(), 1);
        assert!(!panics.is_waiting());
    }
}
