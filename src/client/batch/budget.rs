//! So much of something may be in use at once: whoever wants more waits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What there is of something: bytes of memory, open files.
pub(in crate::client) struct Budget {
    most: u64,
    used: Mutex<u64>,
    less: Condvar,
}

/// A part of a budget, given back when dropped.
pub(in crate::client) struct Share {
    budget: Arc<Budget>,
    amount: u64,
}

impl Budget {
    pub(in crate::client) fn new(most: u64) -> Arc<Budget> {
        Arc::new(Budget {
            most,
            used: Mutex::new(0),
            less: Condvar::new(),
        })
    }

    /// Takes so much, and waits until it is there. What is more than the whole budget gets
    /// all of it.
    pub(in crate::client) fn take(self: &Arc<Self>, amount: u64) -> Share {
        let amount = amount.min(self.most);
        let mut used = self.lock();
        while *used + amount > self.most {
            used = self.less.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used += amount;
        Share {
            budget: Arc::clone(self),
            amount,
        }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *self.budget.lock() -= self.amount;
        self.budget.less.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_more_than_is_left_waits_until_it_is_given_back() {
        let budget = Budget::new(10);
        let first = budget.take(7);
        let small = budget.take(3);
        let (told, heard) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _share = budget.take(1_000);
                told.send(*budget.lock()).unwrap();
            });
            assert!(heard.try_recv().is_err());
            drop(first);
            drop(small);
        });
        assert_eq!(heard.recv().unwrap(), 10);
        assert_eq!(*budget.lock(), 0);
    }
}
