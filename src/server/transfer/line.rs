//! Pages in the making: a few at a time, and behind them a line in which the addresses alternate.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::digest::Pools;
use crate::server::control::lock;

/// Who makes a page now, and who stands in line for it. Half of the foreground pool's threads are
/// left to digests, and half of the places to other addresses.
pub(super) struct Line {
    pools: Arc<Pools>,
    places_max: usize,
    places_per_address_max: usize,
    table: Mutex<Table>,
}

/// A place in the line; dropping it gives it up. What has begun goes on.
pub(super) struct InLine {
    line: Arc<Line>,
    address: u128,
    number: u64,
}

/// Never longer than there are [`InLine`]s, and those are bounded by the connections.
#[derive(Default)]
struct Table {
    /// The jobs of each address that has some, the next address first; none is empty.
    waiting: VecDeque<(u128, VecDeque<(u64, Job)>)>,
    /// Places taken, by address; no zeros.
    taken: HashMap<u128, usize>,
    taken_in_all: usize,
    /// Jobs that came since the start.
    numbers: u64,
}

type Job = Box<dyn FnOnce() + Send>;

impl Line {
    /// A line for the foreground pool.
    pub(super) fn of(pools: &Arc<Pools>) -> Arc<Line> {
        let places_max = (pools.foreground_threads() / 2).clamp(1, PLACES_MAX);
        Arc::new(Line {
            pools: Arc::clone(pools),
            places_max,
            places_per_address_max: places_max.div_ceil(2),
            table: Mutex::default(),
        })
    }

    /// Runs a job in the foreground pool when it is its turn.
    pub(super) fn enter(
        self: &Arc<Self>,
        address: u128,
        job: impl FnOnce() + Send + 'static,
    ) -> InLine {
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
        self.move_up(table);
        InLine {
            line: Arc::clone(self),
            address,
            number,
        }
    }

    /// Gives the places that are free to the next addresses that may have one more.
    fn move_up(self: &Arc<Self>, mut table: MutexGuard<'_, Table>) {
        let mut begun = Vec::new();
        while table.taken_in_all < self.places_max {
            let has_room = |(address, _): &(u128, VecDeque<(u64, Job)>)| {
                let taken = table.taken.get(address).copied().unwrap_or(0);
                taken < self.places_per_address_max
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
                *table.taken.entry(address).or_default() += 1;
                table.taken_in_all += 1;
                let line = Arc::clone(self);
                begun.push((Place { line, address }, job));
            }
        }
        drop(table);
        for (place, job) in begun {
            self.pools.foreground(move || {
                let _place = place;
                job();
            });
        }
    }
}

impl InLine {
    /// Whether it has not begun.
    pub(super) fn is_waiting(&self) -> bool {
        let table = lock(&self.line.table);
        table.waiting.iter().any(|(address, jobs)| {
            *address == self.address && jobs.iter().any(|(number, _)| *number == self.number)
        })
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        let mut table = lock(&self.line.table);
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
struct Place {
    line: Arc<Line>,
    address: u128,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = lock(&self.line.table);
        table.taken_in_all -= 1;
        if let Entry::Occupied(mut taken) = table.taken.entry(self.address) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                taken.remove();
            }
        }
        self.line.move_up(table);
    }
}

/// Each page in the making may hold as many names as a listing may.
const PLACES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Sender, bounded, unbounded};

    use super::*;

    fn line(threads: usize) -> Arc<Line> {
        Line::of(&Arc::new(Pools::start(threads).unwrap()))
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
        let line = line(4);
        let (says, said) = unbounded();
        let mut places = Vec::new();
        let mut enter = |name, address| {
            let (job, release) = held(name, &says);
            places.push(line.enter(address, job));
            release
        };
        let first = enter("a1", 1);
        let _second = enter("a2", 1);
        let _third = enter("a3", 1);
        let other = enter("b1", 2);
        let _last = enter("b2", 2);
        let mut both = [said.recv().unwrap(), said.recv().unwrap()];
        both.sort_unstable();
        assert_eq!(both, ["a1", "b1"]);
        let waiting: Vec<bool> = places.iter().map(InLine::is_waiting).collect();
        assert_eq!(waiting, [false, true, true, false, true]);
        drop(other);
        assert_eq!(said.recv().unwrap(), "b2");
        drop(first);
        assert_eq!(said.recv().unwrap(), "a2");
    }

    #[test]
    fn who_gives_up_leaves_the_line_and_a_panic_gives_its_place_back() {
        let line = line(1);
        let (says, said) = unbounded();
        let (job, release) = held("first", &says);
        let _first = line.enter(1, job);
        let gone = line.enter(1, || panic!("nobody waits for it"));
        let panics = line.enter(1, || panic!("planted"));
        let (job, _end) = held("last", &says);
        let last = line.enter(2, job);
        drop(gone);
        assert_eq!(said.recv().unwrap(), "first");
        assert!(panics.is_waiting() && last.is_waiting());
        drop(release);
        assert_eq!(said.recv().unwrap(), "last");
        assert_eq!(line.pools.panics(), 1);
        assert!(!panics.is_waiting());
    }
}
