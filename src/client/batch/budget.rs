//! So much of something may be in use at once: whoever wants more waits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What there is of something: bytes of memory, open files.
pub(in crate::client) struct Budget {
    most: u64,
    used: Mutex<Used>,
    less: Condvar,
}

#[derive(Default)]
struct Used {
    amount: u64,
    /// Threads that wait for less. Without any, nothing is notified: that is a system call.
    waiting: u64,
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
            used: Mutex::default(),
            less: Condvar::new(),
        })
    }

    /// Takes so much, and waits until it is there. What is more than the whole budget gets
    /// all of it.
    pub(in crate::client) fn take(self: &Arc<Self>, amount: u64) -> Share {
        let amount = amount.min(self.most);
        let mut used = self.lock();
        while used.amount + amount > self.most {
            used.waiting += 1;
            used = self.less.wait(used).unwrap_or_else(PoisonError::into_inner);
            used.waiting -= 1;
        }
        self.share(used, amount)
    }

    /// Takes so much, if it is there now.
    pub(in crate::client) fn try_take(self: &Arc<Self>, amount: u64) -> Option<Share> {
        let amount = amount.min(self.most);
        let used = self.lock();
        (used.amount + amount <= self.most).then(|| self.share(used, amount))
    }

    fn share(self: &Arc<Self>, mut used: MutexGuard<'_, Used>, amount: u64) -> Share {
        used.amount += amount;
        Share {
            budget: Arc::clone(self),
            amount,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut used = self.budget.lock();
        used.amount -= self.amount;
        if used.waiting > 0 {
            self.budget.less.notify_all();
        }
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
                told.send(budget.lock().amount).unwrap();
            });
            assert!(heard.try_recv().is_err());
            assert!(budget.try_take(1).is_none());
            drop(first);
            drop(small);
        });
        assert_eq!(heard.recv().unwrap(), 10);
        assert_eq!(budget.lock().amount, 0);
        assert!(budget.try_take(10).is_some());
    }
}
