//! Calls to network and FUSE file systems, which may never return.
//!
//! A thread of its own makes such a call, and the caller waits for a limited time. Once calls to a
//! mount do not return, further ones fail at once. So any number of requests for a dead mount hold
//! few threads, for a short time.

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

/// The threads that make such calls: one for each call in progress, kept for a while afterwards. No
/// call waits behind another one.
pub(super) struct CallThreads {
    /// Has no capacity: only an idle thread takes a call from it.
    idle: Sender<Call>,
    calls: Receiver<Call>,
    threads: AtomicUsize,
}

type Call = Box<dyn FnOnce() + Send>;

/// A mounted file system, and the calls to it that have not returned.
pub(super) struct Mount {
    threads: Arc<CallThreads>,
    state: Mutex<PendingCalls>,
}

struct PendingCalls {
    calls: usize,
    /// When the last call returned, or the first of these calls began.
    since: Instant,
    /// Files that the next call closes when it returns, because closing may hang, too.
    to_close: Vec<Arc<File>>,
}

/// Calls to the file system do not return.
#[derive(Debug)]
pub(super) struct Stalled;

impl CallThreads {
    pub(super) fn new() -> Arc<CallThreads> {
        let (idle, calls) = bounded(0);
        Arc::new(CallThreads {
            idle,
            calls,
            threads: AtomicUsize::new(0),
        })
    }

    /// Makes a call in another thread; `false` if no thread is available.
    fn make(self: &Arc<Self>, call: Call) -> bool {
        let Err(refused) = self.idle.try_send(call) else {
            return true;
        };
        let call = refused.into_inner();
        let counted = CountedThread(Arc::clone(self));
        if self.threads.fetch_add(1, Ordering::SeqCst) >= THREADS_MAX {
            return false;
        }
        let run = move || {
            let mut next = Some(call);
            while let Some(call) = next {
                call();
                next = counted.0.calls.recv_timeout(IDLE_MAX).ok();
            }
        };
        let named = thread::Builder::new().name("ft-call".to_owned());
        named.spawn(run).is_ok()
    }
}

/// Counts a thread down when it ends or could not be started.
struct CountedThread(Arc<CallThreads>);

impl Drop for CountedThread {
    fn drop(&mut self) {
        self.0.threads.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Mount {
    pub(super) fn new(threads: &Arc<CallThreads>) -> Arc<Mount> {
        Arc::new(Mount {
            threads: Arc::clone(threads),
            state: Mutex::new(PendingCalls {
                calls: 0,
                since: Instant::now(),
                to_close: Vec::new(),
            }),
        })
    }

    /// Makes a call and waits for it: 5 s, or 250 ms while two callers wait already. A result that
    /// comes too late is dropped in the thread that made the call.
    ///
    /// # Errors
    /// The call did not return in time, or other calls do not return.
    pub(super) fn call<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stalled> {
        let begun = self.begin().ok_or(Stalled)?;
        let wait = match begun.number > WAITING_LONG_MAX {
            true => SHORT_WAIT,
            false => LONG_WAIT,
        };
        let (done, result) = bounded(1);
        let call = move || {
            // If the caller has given up, the result is dropped here.
            let _ = done.try_send(work());
            begun.close_files();
        };
        if !self.threads.make(Box::new(call)) {
            return Err(Stalled);
        }
        result.recv_timeout(wait).map_err(|_| Stalled)
    }

    /// Closes a file without waiting, never in this thread. If no call can be made, the next call
    /// closes it.
    pub(super) fn close(self: &Arc<Self>, file: Arc<File>) {
        self.lock().to_close.push(file);
        if let Some(begun) = self.begin() {
            self.threads.make(Box::new(move || begun.close_files()));
        }
    }

    /// Whether calls do not return.
    pub(super) fn is_stalled(&self) -> bool {
        self.lock().are_stalled()
    }

    fn begin(self: &Arc<Self>) -> Option<CallInProgress> {
        let mut state = self.lock();
        if state.are_stalled() {
            return None;
        }
        if state.calls == 0 {
            state.since = Instant::now();
        }
        state.calls += 1;
        Some(CallInProgress {
            mount: Arc::clone(self),
            number: state.calls,
        })
    }

    fn lock(&self) -> MutexGuard<'_, PendingCalls> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingCalls {
    fn are_stalled(&self) -> bool {
        let age = match self.calls {
            0 => return false,
            1..WAITING_LONG_MAX => LONG_WAIT,
            _ => STALLED_AFTER,
        };
        self.since.elapsed() >= age
    }
}

/// A call in progress; dropped when the call has returned or panicked.
struct CallInProgress {
    mount: Arc<Mount>,
    /// The number of calls in progress, with this one.
    number: usize,
}

impl CallInProgress {
    /// Closes the files that wait for it. The call stays in progress meanwhile.
    fn close_files(self) {
        let files = std::mem::take(&mut self.mount.lock().to_close);
        drop(files);
    }
}

impl Drop for CallInProgress {
    fn drop(&mut self) {
        let mut state = self.mount.lock();
        state.calls -= 1;
        state.since = Instant::now();
    }
}

/// So many callers may wait long for one mount. The server has at least eight workers.
const WAITING_LONG_MAX: usize = 2;
/// Longer than a disk takes to spin up.
const LONG_WAIT: Duration = Duration::from_secs(5);
const SHORT_WAIT: Duration = Duration::from_millis(250);
/// With several calls in progress and no return for this long, new calls fail.
const STALLED_AFTER: Duration = Duration::from_secs(1);
/// All threads together; a thread that does not return is lost to other mounts.
const THREADS_MAX: usize = 128;
const IDLE_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn hanging_calls_block_few_callers_and_then_none() {
        let threads = CallThreads::new();
        let hung = Mount::new(&threads);
        let (release, released) = bounded::<()>(0);
        let (given_up, results) = mpsc::channel();
        for _ in 0..8 {
            let (hung, released, given_up) =
                (Arc::clone(&hung), released.clone(), given_up.clone());
            thread::spawn(move || {
                let result = hung.call(move || released.recv().is_err());
                given_up.send(result.is_err()).unwrap();
            });
        }
        // All give up, because no call ever returns.
        for _ in 0..8 {
            assert!(results.recv_timeout(Duration::from_secs(60)).unwrap());
        }
        assert!(hung.is_stalled());
        assert!(hung.call(|| panic!("nothing more is asked")).is_err());
        assert_eq!(
            Mount::new(&threads).call(|| 7).ok(),
            Some(7),
            "another mount"
        );

        drop(release);
        let until = Instant::now() + Duration::from_secs(60);
        while hung.is_stalled() {
            assert!(Instant::now() < until, "it answers again");
            thread::yield_now();
        }
        assert_eq!(hung.call(|| 8).ok(), Some(8));
    }

    #[test]
    fn a_call_that_panics_has_returned() {
        let mount = Mount::new(&CallThreads::new());
        for _ in 0..4 {
            assert!(mount.call(|| panic!("planted")).is_err());
        }
        let until = Instant::now() + Duration::from_secs(60);
        while mount.lock().calls > 0 {
            assert!(Instant::now() < until, "all have returned");
            thread::yield_now();
        }
        assert_eq!(mount.call(|| 9).ok(), Some(9));
    }

    #[test]
    fn a_file_is_not_closed_by_its_owner_without_a_thread() {
        let threads = CallThreads::new();
        let mount = Mount::new(&threads);
        threads.threads.store(THREADS_MAX, Ordering::SeqCst);
        let file = Arc::new(tempfile::tempfile().unwrap());
        let open = Arc::downgrade(&file);
        mount.close(file);
        assert!(open.upgrade().is_some() && mount.call(|| ()).is_err());
        assert!(
            open.upgrade().is_some(),
            "nor by the caller of another call"
        );
        threads.threads.store(0, Ordering::SeqCst);
        assert!(mount.call(|| ()).is_ok());
        let until = Instant::now() + Duration::from_secs(60);
        while open.upgrade().is_some() {
            assert!(Instant::now() < until, "it is closed");
            thread::yield_now();
        }
    }

    #[test]
    fn files_of_a_hanging_mount_are_closed_when_it_answers() {
        let mount = Mount::new(&CallThreads::new());
        let (release, released) = bounded::<()>(0);
        let (first, second) = (released.clone(), released);
        assert!(mount.call(move || first.recv().is_err()).is_err());
        assert!(mount.call(move || second.recv().is_err()).is_err());
        let file = Arc::new(tempfile::tempfile().unwrap());
        let open = Arc::downgrade(&file);
        mount.close(file);
        assert!(open.upgrade().is_some());
        drop(release);
        let until = Instant::now() + Duration::from_secs(60);
        while open.upgrade().is_some() {
            assert!(Instant::now() < until, "it is closed");
            thread::yield_now();
        }
    }
}
