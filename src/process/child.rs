//! Starts, signals and reaps child processes, and orphans left to this process.

use std::io;
use std::mem;
use std::process::{self, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process,
    kill_process_group, pidfd_open, set_child_subreaper, waitid, waitpid,
};

use super::at_start::restore_in;
use super::family::{self, Process};

/// A running program. It must be waited for.
pub struct Child {
    child: process::Child,
    pid: Pid,
}

impl Child {
    /// Starts a program with this process's original limit of open files and ignored signals.
    ///
    /// # Errors
    /// The program cannot be started, or [`end_children`] was called.
    pub fn start(command: &mut Command) -> io::Result<Child> {
        restore_in(command);
        {
            let mut children = lock();
            if children.are_ending {
                return Err(io::Error::other("this program is ending"));
            }
            children.starting += 1;
        }
        // Hold no lock here: a hanging file system can delay the start.
        let spawned = command.spawn();
        let mut children = lock();
        children.starting -= 1;
        let must_reap = children.starting == 0 && mem::take(&mut children.reap_later);
        let started = spawned.map(|child| Child {
            pid: Pid::from_child(&child),
            child,
        });
        if let Ok(child) = &started {
            children.running.push(child.pid);
        }
        drop(children);
        if must_reap {
            reap_orphans();
        }
        started
    }

    /// The child's standard streams, where they are pipes.
    pub fn streams(&mut self) -> &mut process::Child {
        &mut self.child
    }

    /// The process id, for [`signal_child`].
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits until the program ends.
    ///
    /// # Errors
    /// The child was reaped elsewhere.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let end = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let mut outcome = waitid(WaitId::Pid(self.pid), end);
        while matches!(outcome, Err(Errno::INTR)) {
            outcome = waitid(WaitId::Pid(self.pid), end);
        }
        if outcome.is_err() {
            // Wait without the lock, since it may take long. The wait below then returns at once.
            let _ = self.child.wait();
        }
        // Until it is reaped, under the lock, its process id cannot be reused.
        let mut children = lock();
        let status = self.child.wait();
        children.running.retain(|pid| *pid != self.pid);
        status
    }

    /// Whether the program has ended.
    pub fn has_ended(&mut self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.pid), options) {
            Ok(ended) => ended.is_some(),
            Err(Errno::INTR) => false,
            // There is no such child, or a container forbids waitid(2). `try_wait` also reaps the
            // child.
            Err(_) => {
                let mut children = lock();
                let has_ended = !matches!(self.child.try_wait(), Ok(None));
                if has_ended {
                    children.running.retain(|pid| *pid != self.pid);
                }
                has_ended
            }
        }
    }

    /// Waits until `until` at most. Returns whether the program has ended.
    pub fn ends_by(&mut self, until: Instant) -> bool {
        // A container may forbid pidfd_open(2), or no descriptor may be free.
        self.ends_by_pidfd(until)
            .unwrap_or_else(|_| self.ends_by_polling(until))
    }

    fn ends_by_pidfd(&self, until: Instant) -> io::Result<bool> {
        let process = pidfd_open(self.pid, PidfdFlags::empty())?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn ends_by_polling(&mut self, until: Instant) -> bool {
        let mut pause = Duration::from_millis(1);
        while !self.has_ended() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::sleep(pause.min(left));
            pause = POLL_INTERVAL_MAX.min(pause * 2);
        }
        true
    }

    /// Sends a signal to the program's own process group, unless it was reaped.
    pub fn signal_group(&self, signal: Signal) {
        if lock().running.contains(&self.pid) {
            // The group may have ended meanwhile.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Kills the program's own process group and all its descendants. `mark` is an environment
    /// entry, `NAME=VALUE`, that only this program was started with. It finds processes that have
    /// left the group and were adopted by this process ([`adopt_orphans`]).
    pub fn kill(&self, mark: Option<&str>) {
        self.signal_group(Signal::KILL);
        let this = number(getpid());
        family::kill(|process| {
            process.parent == this
                && (process.pid == number(self.pid)
                    || mark.is_some_and(|mark| process.has_variable(mark)))
        });
    }
}

/// Sends a signal to a child that is not reaped yet.
pub fn signal_child(pid: Pid, signal: Signal) {
    if lock().running.contains(&pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Ends all children and their descendants: terminates them, and kills what still runs after
/// `grace`. No further child can be started.
pub fn end_children(grace: Duration) {
    let until = Instant::now() + grace;
    lock().are_ending = true;
    let mut terminated: Vec<Process> = Vec::new();
    loop {
        // A child that is just starting is terminated once its process id is known.
        let others_start = terminate_new(&mut terminated);
        if !others_start && !terminated.iter().any(Process::is_running) {
            return;
        }
        if Instant::now() >= until {
            family::kill(|process| terminated.iter().any(|terminated| terminated.is(process)));
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Terminates the children that are not in `terminated`, with their descendants. Returns whether
/// further children are starting.
fn terminate_new(terminated: &mut Vec<Process>) -> bool {
    // Under the lock no child is reaped, so no process id can be reused.
    let children = lock();
    let is_terminated = |pid: i32| terminated.iter().any(|terminated| terminated.pid == pid);
    let is_new = |pid: &Pid| !is_terminated(number(*pid));
    if children.running.iter().any(is_new) {
        let this = number(getpid());
        let pids: Vec<i32> = children.running.iter().copied().map(number).collect();
        let is_child = |process: &Process| process.parent == this && pids.contains(&process.pid);
        let mut found = family::below(&family::all(), is_child);
        found.retain(|process| !is_terminated(process.pid));
        for process in &found {
            process.signal(Signal::TERM);
        }
        // Without /proc at least the children themselves are known.
        if found.is_empty() {
            for pid in children.running.iter().filter(|pid| is_new(pid)) {
                let _ = kill_process(*pid, Signal::TERM);
            }
        }
        terminated.extend(found);
    }
    children.starting > 0
}

/// Makes this process, not process 1, adopt the orphans of its descendants.
pub fn adopt_orphans() {
    // An old kernel refuses. Then process 1 adopts them.
    let _ = set_child_subreaper(Some(getpid()));
}

/// Reaps all ended processes that this process has adopted; process 1 of a container adopts all
/// orphans. Children started here are reaped by those that wait for them.
pub fn reap_orphans() {
    let mut children = lock();
    // A child that is not registered yet looks like an orphan.
    if children.starting > 0 {
        children.reap_later = true;
        return;
    }
    let this = number(getpid());
    for process in family::all() {
        let Some(pid) = Pid::from_raw(process.pid) else {
            continue;
        };
        if process.parent == this && process.is_zombie && !children.running.contains(&pid) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// The children that are not reaped yet.
struct Children {
    running: Vec<Pid>,
    /// How many are just starting.
    starting: usize,
    /// An orphan may have ended while a child was starting.
    reap_later: bool,
    are_ending: bool,
}

fn lock() -> MutexGuard<'static, Children> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

static CHILDREN: Mutex<Children> = Mutex::new(Children {
    running: Vec::new(),
    starting: 0,
    reap_later: false,
    are_ending: false,
});
const POLL_INTERVAL_MAX: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::at_start::delay_start;
    use std::env;

    /// Runs in a process of its own, since `end_children` prevents further children.
    #[test]
    fn ends_a_child_that_is_just_starting() {
        const ALONE: &str = "FT_TEST_ALONE";
        if env::var_os(ALONE).is_none() {
            let name = "process::child::tests::ends_a_child_that_is_just_starting";
            let mut alone = Command::new(env::current_exe().expect("a path"));
            let status = alone.args(["--exact", name]).env(ALONE, "1").status();
            assert!(status.expect("a process").success());
            return;
        }
        let (held, release) = io::pipe().expect("a pipe");
        let mut command = Command::new("sleep");
        command.arg("1000");
        delay_start(&mut command, held);
        thread::scope(|scope| {
            scope.spawn(|| Child::start(&mut command));
            while lock().starting == 0 {
                thread::yield_now();
            }
            let ending = scope.spawn(|| end_children(Duration::from_secs(60)));
            while !lock().are_ending {
                thread::yield_now();
            }
            rustix::io::write(&release, b"r").expect("a reader");
            ending.join().expect("no panic");
            let this = number(getpid());
            let left = family::below(&family::all(), |process| process.parent == this);
            assert!(left.iter().all(|process| process.is_zombie), "{left:?}");
        });
    }
}
