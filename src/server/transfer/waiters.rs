//! Bounds how many connections wait for a digest, a page or a command.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex};

use crate::server::control::lock;

/// The number of waiting connections, in total and per address. A waiting connection holds its
/// slot and its input as long as the work takes, so too many would keep out all others.
#[derive(Default)]
pub(super) struct Waiters(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    in_all: usize,
    /// Holds no zeros.
    by_address: HashMap<u128, usize>,
}

/// Counts one connection as waiting until it is dropped.
pub(super) struct WaiterPermit {
    waiters: Arc<Waiters>,
    address: u128,
}

impl Waiters {
    /// Counts one more connection of this address. `None` if half of all connections wait
    /// already, or a quarter for this address alone.
    pub(super) fn join(
        self: &Arc<Self>,
        address: u128,
        connections_max: usize,
    ) -> Option<WaiterPermit> {
        let mut counts = lock(&self.0);
        let of_address = counts.by_address.get(&address).copied().unwrap_or(0);
        if counts.in_all >= connections_max.div_ceil(2) || of_address >= connections_max.div_ceil(4)
        {
            return None;
        }
        counts.in_all += 1;
        counts.by_address.insert(address, of_address + 1);
        Some(WaiterPermit {
            waiters: Arc::clone(self),
            address,
        })
    }
}

impl Drop for WaiterPermit {
    fn drop(&mut self) {
        let mut counts = lock(&self.waiters.0);
        counts.in_all -= 1;
        if let Entry::Occupied(mut of_address) = counts.by_address.entry(self.address) {
            *of_address.get_mut() -= 1;
            if *of_address.get() == 0 {
                of_address.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_all_may_wait_and_a_quarter_of_one_address() {
        let waiters = Arc::new(Waiters::default());
        let join = |address| waiters.join(address, 8);
        let first = [join(1), join(1)];
        assert!(first.iter().all(Option::is_some));
        assert!(join(1).is_none(), "a quarter of 8 is 2");
        let second = [join(2), join(3)];
        assert!(second.iter().all(Option::is_some));
        assert!(join(4).is_none(), "half of 8 is 4");
        drop(first);
        assert!(join(4).is_some() && join(1).is_some());
        drop(second);
        assert!(lock(&waiters.0).by_address.is_empty());
    }

    #[test]
    fn a_quarter_is_rounded_up() {
        for (connections_max, quarter) in [(20, 5), (21, 6), (24, 6), (25, 7)] {
            let waiters = Arc::new(Waiters::default());
            let wait = || waiters.join(1, connections_max);
            let places: Vec<_> = std::iter::from_fn(wait).collect();
            assert_eq!(places.len(), quarter, "{connections_max}");
        }
    }

    #[test]
    fn one_connection_may_always_wait() {
        let waiters = Arc::new(Waiters::default());
        let permit = waiters.join(1, 1);
        assert!(permit.is_some() && waiters.join(2, 1).is_none());
    }
}
