//! Processes and their descendants, read from `/proc`.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// A process. Its id and start time together are unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    started: u64,
    /// The process has ended and is not reaped yet.
    pub(super) is_zombie: bool,
}

/// All processes; empty without `/proc`.
pub(super) fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let numbers = names.filter_map(|name| name.to_str()?.parse().ok());
    numbers.filter_map(Process::of).collect()
}

/// The processes that `is_root` selects and all their descendants, parents first.
pub(super) fn below(all: &[Process], is_root: impl Fn(&Process) -> bool) -> Vec<Process> {
    let mut found: Vec<Process> = all.iter().copied().filter(is_root).collect();
    let mut visited = 0;
    while let Some(parent) = found.get(visited).copied() {
        for process in all {
            if process.parent == parent.pid && !found.contains(process) {
                found.push(*process);
            }
        }
        visited += 1;
    }
    found
}

/// Kills the processes that `is_root` selects and all their descendants. It stops them first,
/// since a stopped process starts no other.
pub(super) fn kill(is_root: impl Fn(&Process) -> bool) {
    let mut stopped = Vec::new();
    for _ in 0..ROUNDS_MAX {
        let found = below(&all(), &is_root).into_iter();
        let new: Vec<Process> = found
            .filter(|process| !process.is_zombie && !stopped.contains(&process.pid))
            .collect();
        if new.is_empty() {
            break;
        }
        for process in new {
            process.signal(Signal::STOP);
            stopped.push(process.pid);
        }
    }
    for pid in stopped {
        signal(pid, Signal::KILL);
    }
}

impl Process {
    /// Reads the process with this id.
    pub(super) fn of(pid: i32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Process::parse(pid, &stat)
    }

    /// Parses proc_pid_stat(5). The name in parentheses may contain any character.
    fn parse(pid: i32, stat: &str) -> Option<Process> {
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        Some(Process {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
            is_zombie: matches!(*fields.first()?, "Z" | "X"),
        })
    }

    /// Whether the process still runs.
    pub(super) fn is_running(&self) -> bool {
        Process::of(self.pid).is_some_and(|now| self.is(&now) && !now.is_zombie)
    }

    /// Whether `other` is the same process, perhaps read at another time.
    pub(super) fn is(&self, other: &Process) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }

    /// Whether the process was started with this environment entry, `NAME=VALUE`.
    pub(super) fn has_variable(&self, variable: &str) -> bool {
        let environment = fs::read(format!("/proc/{}/environ", self.pid)).unwrap_or_default();
        let mut variables = environment.split(|byte| *byte == 0);
        variables.any(|found| found == variable.as_bytes())
    }

    pub(super) fn signal(&self, signal_: Signal) {
        signal(self.pid, signal_);
    }
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // The process may have ended meanwhile.
        let _ = kill_process(pid, signal);
    }
}

/// A running process may start another between two rounds; a stopped one cannot.
const ROUNDS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_move_the_fields() {
        let stat = "7 (a) Z 9 (b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1\n";
        let expected = Process {
            pid: 7,
            parent: 1,
            started: 4242,
            is_zombie: false,
        };
        assert_eq!(Process::parse(7, stat), Some(expected));
        assert_eq!(Process::parse(7, "7 (a"), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_in_any_order() {
        let process = |(pid, parent)| Process {
            pid,
            parent,
            started: 0,
            is_zombie: false,
        };
        let all = [(9, 8), (2, 1), (8, 7), (7, 1), (3, 2)].map(process);
        let found = below(&all, |process| process.pid == 7);
        let pids: Vec<i32> = found.iter().map(|process| process.pid).collect();
        assert_eq!(pids, [7, 8, 9]);
    }
}
