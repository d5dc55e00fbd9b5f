//! Programs that this process starts, and processes that are left to it.

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

/// A program that runs. It is to be waited for.
pub struct Child {
    child: process::Child,
    pid: Pid,
}

impl Child {
    /// Starts a program as this one was started: with its limit of open files, and the signals
    /// that were ignored then.
    ///
    /// # Errors
    /// It cannot be started, or all children are being ended.
    pub fn start(command: &mut Command) -> io::Result<Child> {
        restore_in(command);
        {
            let mut children = lock();
            if children.have_ended {
                return Err(io::Error::other("this program ends"));
            }
            children.starting += 1;
        }
        // No lock is held meanwhile: a file system that hangs can hold up the start.
        let spawned = command.spawn();
        let mut children = lock();
        children.starting -= 1;
        let has_missed_some = children.starting == 0 && mem::take(&mut children.were_not_reaped);
        let started = spawned.map(|child| Child {
            pid: Pid::from_child(&child),
            child,
        });
        if let Ok(child) = &started {
            children.running.push(child.pid);
        }
        drop(children);
        if has_missed_some {
            reap_orphans();
        }
        started
    }

    /// Its standard streams, if they are pipes.
    pub fn streams(&mut self) -> &mut process::Child {
        &mut self.child
    }

    /// Its number, for [`signal_child`].
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Somebody else has waited for it.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        let end = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let mut looked = waitid(WaitId::Pid(self.pid), end);
        while matches!(looked, Err(Errno::INTR)) {
            looked = waitid(WaitId::Pid(self.pid), end);
        }
        if looked.is_err() {
            // Not under the lock, since it may last; the second time it is known.
            let _ = self.child.wait();
        }
        // Until it is waited for under the lock its number is nobody else's.
        let mut children = lock();
        let status = self.child.wait();
        children.running.retain(|pid| *pid != self.pid);
        status
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.pid), look) {
            Ok(ended) => ended.is_some(),
            Err(Errno::INTR) => false,
            // No such child, or a container forbids the call: the other call takes its end with it.
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

    /// Whether it ends before this moment.
    pub fn ends_by(&mut self, until: Instant) -> bool {
        // A container may forbid pidfd_open(2), and a descriptor may be lacking.
        self.ends_by_its_descriptor(until)
            .unwrap_or_else(|_| self.ends_by_looking(until))
    }

    fn ends_by_its_descriptor(&self, until: Instant) -> io::Result<bool> {
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

    fn ends_by_looking(&mut self, until: Instant) -> bool {
        let mut pause = Duration::from_millis(1);
        while !self.has_ended() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::sleep(pause.min(left));
            pause = LOOK_INTERVAL_MAX.min(pause * 2);
        }
        true
    }

    /// Sends a signal to its process group, which is its own, unless it was waited for.
    pub fn signal_group(&self, signal: Signal) {
        if lock().running.contains(&self.pid) {
            // It may have ended by itself.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Kills its process group, which is its own, and all that it started. `mark`: a variable,
    /// `NAME=VALUE`, that only it was started with; it finds processes that have left the group
    /// and their parents, if they are left to this process ([`adopt_orphans`]).
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

/// Sends a signal to a child, if nobody has waited for it yet.
pub fn signal_child(pid: Pid, signal: Signal) {
    if lock().running.contains(&pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Ends all children with all that they started: asks them to end, and kills what still runs
/// after `grace`. None is started any more.
pub fn end_children(grace: Duration) {
    let until = Instant::now() + grace;
    lock().have_ended = true;
    let mut asked: Vec<Process> = Vec::new();
    loop {
        // One that is being started is asked as soon as its number is known.
        let is_one_starting = ask_to_end(&mut asked);
        if !is_one_starting && !asked.iter().any(Process::is_there) {
            return;
        }
        if Instant::now() >= until {
            family::kill(|process| asked.iter().any(|asked| asked.is(process)));
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asks the children that are not among `asked`, with all that they started, to end. Tells whether
/// others are being started.
fn ask_to_end(asked: &mut Vec<Process>) -> bool {
    // Under the lock nobody waits for a child, so its number is nobody else's.
    let children = lock();
    let is_asked = |pid: i32| asked.iter().any(|asked| asked.pid == pid);
    let is_new = |pid: &Pid| !is_asked(number(*pid));
    if children.running.iter().any(is_new) {
        let this = number(getpid());
        let pids: Vec<i32> = children.running.iter().copied().map(number).collect();
        let is_child = |process: &Process| process.parent == this && pids.contains(&process.pid);
        let mut found = family::below(&family::all(), is_child);
        found.retain(|process| !is_asked(process.pid));
        for process in &found {
            process.signal(Signal::TERM);
        }
        // Where there is no /proc at least the children are known.
        if found.is_empty() {
            for pid in children.running.iter().filter(|pid| is_new(pid)) {
                let _ = kill_process(*pid, Signal::TERM);
            }
        }
        asked.extend(found);
    }
    children.starting > 0
}

/// Has orphans of this process's descendants left to it, and not to process 1.
pub fn adopt_orphans() {
    // An old kernel refuses: then they are left to process 1, as ever.
    let _ = set_child_subreaper(Some(getpid()));
}

/// Waits for every process that has ended and was left to this one, as all orphans of a container
/// are left to its process 1. Children of this process are left to those that wait for them.
pub fn reap_orphans() {
    let mut children = lock();
    // A child that is not noted yet looks like an orphan.
    if children.starting > 0 {
        children.were_not_reaped = true;
        return;
    }
    let this = number(getpid());
    for process in family::all() {
        let Some(pid) = Pid::from_raw(process.pid) else {
            continue;
        };
        if process.parent == this && process.is_over && !children.running.contains(&pid) {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// The children that nobody has waited for yet.
struct Children {
    running: Vec<Pid>,
    /// Some are being started.
    starting: usize,
    /// Orphans may have ended while one was being started.
    were_not_reaped: bool,
    have_ended: bool,
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
    were_not_reaped: false,
    have_ended: false,
});
const LOOK_INTERVAL_MAX: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::at_start::hold_up;
    use std::env;

    /// In a process of its own, since no child is started in one that ends its children.
    #[test]
    fn a_child_that_is_being_started_ends_with_the_others() {
        const ALONE: &str = "FT_TEST_ALONE";
        if env::var_os(ALONE).is_none() {
            let name = "process::child::tests::a_child_that_is_being_started_ends_with_the_others";
            let mut alone = Command::new(env::current_exe().expect("a path"));
            let status = alone.args(["--exact", name]).env(ALONE, "1").status();
            assert!(status.expect("a process").success());
            return;
        }
        let (held, release) = io::pipe().expect("a pipe");
        let mut command = Command::new("sleep");
        command.arg("1000");
        hold_up(&mut command, held);
        thread::scope(|scope| {
            scope.spawn(|| Child::start(&mut command));
            while lock().starting == 0 {
                thread::yield_now();
            }
            let ending = scope.spawn(|| end_children(Duration::from_secs(60)));
            while !lock().have_ended {
                thread::yield_now();
            }
            rustix::io::write(&release, b"r").expect("a reader");
            ending.join().expect("no panic");
            let this = number(getpid());
            let left = family::below(&family::all(), |process| process.parent == this);
            assert!(left.iter().all(|process| process.is_over), "{left:?}");
        });
    }
}
