//! Two rayon pools: one for jobs with a waiting client, one for jobs that can wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Sender, bounded};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// The foreground pool (`ft-hash-N`, one thread per core and one more) and the background pool
/// (`ft-background-N`, half as many). Rayon's global pool is not used.
///
/// A job that panics is counted and affects no other job. A background job waits while any
/// foreground job waits or runs: before it starts, and wherever it calls [`Pools::give_way`].
pub struct Pools {
    foreground: ThreadPool,
    background: ThreadPool,
    in_foreground: Arc<JobCount>,
    panics: Arc<AtomicU64>,
}

impl Pools {
    /// Starts the threads, or fewer if the system refuses some. `cores` is the number of cores to
    /// plan for; 0 counts as 1.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(cores: usize) -> Result<Pools, ThreadPoolBuildError> {
        let panics = Arc::new(AtomicU64::new(0));
        Ok(Pools {
            foreground: pool("ft-hash", cores.max(1) + 1, || {}, &panics)?,
            background: pool("ft-background", (cores / 2).max(1), step_back, &panics)?,
            in_foreground: Arc::new(JobCount::default()),
            panics,
        })
    }

    /// How many foreground threads jobs of one kind may occupy, at least 1. One more exists, if
    /// the system allowed it, so that hours of hashing delay no page of a listing.
    pub fn foreground_threads(&self) -> usize {
        self.foreground
            .current_num_threads()
            .saturating_sub(1)
            .max(1)
    }

    /// Number of background threads, at least 1.
    pub fn background_threads(&self) -> usize {
        self.background.current_num_threads()
    }

    /// Runs a job whose result a client waits for.
    pub fn foreground(&self, job: impl FnOnce() + Send + 'static) {
        let counted = CountedJob::begin(&self.in_foreground);
        self.foreground.spawn(move || {
            let _counted = counted;
            job();
        });
    }

    /// Applies `work` to every item, on the calling thread and on free foreground threads. The
    /// results are in the order of the items; `None` for an item that panicked. Unlike rayon's
    /// loops, the calling thread runs no other job meanwhile. So jobs never nest, and the call
    /// takes no longer than its own items.
    pub fn map<T, R>(
        &self,
        items: Vec<T>,
        work: impl Fn(T) -> R + Send + Sync + 'static,
    ) -> Vec<Option<R>>
    where
        T: Send + 'static,
        R: Send + 'static,
    {
        let count = items.len();
        let (items_in, items_out) = bounded(count);
        for item in items.into_iter().enumerate() {
            // The channel has space for every item.
            let _ = items_in.try_send(item);
        }
        let (made_in, made) = bounded(count);
        let share = Arc::new(move || {
            for (at, item) in items_out.try_iter() {
                let mut answer = Answer {
                    at,
                    made: None,
                    to: made_in.clone(),
                };
                answer.made = Some(work(item));
            }
        });
        for _ in 1..self.foreground_threads().min(count) {
            let share = Arc::clone(&share);
            self.foreground(move || share());
        }
        while catch_unwind(AssertUnwindSafe(|| share())).is_err() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
        // Every item was taken by this thread, or by one that works on it now.
        let mut results: Vec<Option<R>> = (0..count).map(|_| None).collect();
        for (at, result) in made.iter().take(count) {
            results[at] = result;
        }
        results
    }

    /// Runs a job that can wait. It starts when no foreground job waits or runs.
    pub fn background(&self, job: impl FnOnce() + Send + 'static) {
        let in_foreground = Arc::clone(&self.in_foreground);
        self.background.spawn(move || {
            in_foreground.wait_for_none();
            job();
        });
    }

    /// Pauses the calling background job until no foreground job waits or runs. The pause has no
    /// limit, since no client waits for a background job. Call it between steps of a few ms, and
    /// never from a foreground job, which would wait for itself.
    pub fn give_way(&self) {
        self.in_foreground.wait_for_none();
    }

    /// How many jobs have panicked since the start.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

fn pool(
    name: &'static str,
    threads: usize,
    on_start: fn(),
    panics: &Arc<AtomicU64>,
) -> Result<ThreadPool, ThreadPoolBuildError> {
    let counted = Arc::clone(panics);
    let built = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(move |index| format!("{name}-{index}"))
        .start_handler(move |_| on_start())
        // Without a handler rayon ends the process when a spawned job panics.
        .panic_handler(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .build();
    match built {
        Err(_) if threads > 1 => pool(name, threads / 2, on_start, panics),
        built => built,
    }
}

/// Gives the calling thread the lowest priority.
fn step_back() {
    // On Linux this affects only the calling thread, and its disk priority as well
    // (setpriority(2), ioprio_set(2)). Lowering a priority is always permitted.
    let _ = rustix::process::setpriority_process(None, NICEST);
}

/// The result for one item. It is sent on drop, even after a panic.
struct Answer<R> {
    at: usize,
    made: Option<R>,
    to: Sender<(usize, Option<R>)>,
}

impl<R> Drop for Answer<R> {
    fn drop(&mut self) {
        // The channel has space for every result.
        let _ = self.to.try_send((self.at, self.made.take()));
    }
}

/// The number of foreground jobs that wait or run.
#[derive(Default)]
struct JobCount {
    jobs: Mutex<usize>,
    none: Condvar,
}

impl JobCount {
    fn lock(&self) -> MutexGuard<'_, usize> {
        // No code panics while it holds the lock.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_none(&self) {
        let guard = self.none.wait_while(self.lock(), |jobs| *jobs > 0);
        drop(guard.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Counts one job until it is dropped, even after a panic.
struct CountedJob(Arc<JobCount>);

impl CountedJob {
    fn begin(count: &Arc<JobCount>) -> CountedJob {
        *count.lock() += 1;
        CountedJob(Arc::clone(count))
    }
}

impl Drop for CountedJob {
    fn drop(&mut self) {
        let mut jobs = self.0.lock();
        *jobs -= 1;
        if *jobs == 0 {
            self.0.none.notify_all();
        }
    }
}

const NICEST: i32 = 19;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn names_its_threads_and_never_has_none() {
        let pools = Pools::start(0).unwrap();
        assert_eq!(pools.foreground_threads(), 1);
        let (send, receive) = mpsc::channel();
        let also = send.clone();
        pools.foreground(move || {
            send.send(thread::current().name().map(str::to_owned))
                .unwrap()
        });
        let name = receive.recv().unwrap().unwrap();
        assert!(name.starts_with("ft-hash-"), "{name}");
        pools.background(move || {
            also.send(thread::current().name().map(str::to_owned))
                .unwrap()
        });
        assert_eq!(receive.recv().unwrap().unwrap(), "ft-background-0");
    }

    #[test]
    fn counts_a_panic_and_goes_on() {
        let pools = Pools::start(1).unwrap();
        let (send, receive) = mpsc::channel();
        pools.background(|| panic!("planted"));
        pools.background(move || send.send(()).unwrap());
        receive.recv().unwrap();
        // The pool has one thread, so the first job has ended when the second one runs.
        assert_eq!(pools.panics(), 1);
    }

    #[test]
    fn a_map_takes_up_no_other_job_and_needs_no_other_thread() {
        let pools = Arc::new(Pools::start(1).unwrap());
        let (send, receive) = mpsc::channel();
        let (hold, held) = mpsc::channel::<()>();
        // One of two threads is busy, so that new jobs stay queued.
        pools.foreground(move || held.recv().unwrap_or(()));
        let mapping = Arc::clone(&pools);
        pools.foreground(move || {
            let thread = || thread::current().name().map(str::to_owned);
            let own = thread();
            let others = send.clone();
            mapping.foreground(move || others.send(vec![]).unwrap());
            let threads = mapping.map((0..100).collect(), move |item| (item, thread()));
            let is_own = |(at, made): (usize, Option<(usize, Option<String>)>)| {
                made == Some((at, own.clone()))
            };
            let all: Vec<bool> = threads.into_iter().enumerate().map(is_own).collect();
            send.send(all).unwrap();
        });
        assert_eq!(receive.recv().unwrap(), vec![true; 100]);
        assert!(receive.recv().unwrap().is_empty());
        drop(hold);
    }

    #[test]
    fn a_panic_costs_a_map_one_item() {
        let pools = Pools::start(3).unwrap();
        let made = pools.map((0..50).collect(), |item: u32| {
            assert!(item % 10 != 3, "planted");
            item * 2
        });
        for (item, made) in (0..).zip(made) {
            assert_eq!(made, (item % 10 != 3).then_some(item * 2));
        }
        assert!(pools.map(Vec::<u32>::new(), |item| item).is_empty());
    }

    #[test]
    fn background_gives_way_to_foreground() {
        let pools = Arc::new(Pools::start(1).unwrap());
        let (log, order) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();

        // First a background job, then a foreground job that blocks.
        let (job_log, job_pools) = (log.clone(), Arc::clone(&pools));
        pools.background(move || {
            begin.send(()).unwrap();
            released.recv().unwrap();
            job_pools.give_way();
            job_log.send("background, second half").unwrap();
        });
        begun.recv().unwrap();
        let (hold, held) = mpsc::channel::<()>();
        let job_log = log.clone();
        pools.foreground(move || {
            held.recv().unwrap();
            job_log.send("foreground").unwrap();
        });
        pools.background(move || log.send("background, another").unwrap());
        release.send(()).unwrap();
        hold.send(()).unwrap();
        assert_eq!(order.recv().unwrap(), "foreground");
        assert_eq!(order.recv().unwrap(), "background, second half");
        assert_eq!(order.recv().unwrap(), "background, another");
    }
}
