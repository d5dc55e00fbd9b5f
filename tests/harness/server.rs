//! The real server as a process.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use super::{Captured, Program, RawPeer, Running};

/// `ftserve` on a free port of 127.0.0.1, killed and reaped on drop.
pub struct TestServer {
    running: Running,
    addresses: Vec<String>,
}

/// How a [`TestServer`] is started.
pub struct TestServerBuilder {
    root: PathBuf,
    binds: Vec<String>,
    args: Vec<OsString>,
    prefix: Vec<OsString>,
}

impl TestServer {
    /// Serves `root` with these arguments besides `--bind 127.0.0.1:0`, and returns when it
    /// listens.
    #[track_caller]
    pub fn start<A: AsRef<OsStr>>(
        root: impl AsRef<Path>,
        args: impl IntoIterator<Item = A>,
    ) -> TestServer {
        TestServer::builder(root).args(args).start()
    }

    /// Serves `root` with no further arguments.
    #[track_caller]
    pub fn plain(root: impl AsRef<Path>) -> TestServer {
        TestServer::builder(root).start()
    }

    /// Another address, several, or another way to start it.
    pub fn builder(root: impl AsRef<Path>) -> TestServerBuilder {
        TestServerBuilder {
            root: root.as_ref().to_owned(),
            binds: Vec::new(),
            args: Vec::new(),
            prefix: Vec::new(),
        }
    }

    /// The first address it listens on, as `ftget` takes it: `127.0.0.1:40321`.
    pub fn addr(&self) -> &str {
        &self.addresses[0]
    }

    /// Every address it listens on, in the order of its lines.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The port of the first address.
    pub fn port(&self) -> u16 {
        let (_, port) = self
            .addr()
            .rsplit_once(':')
            .expect("an address with a port");
        port.parse().expect("a port")
    }

    /// A new connection to the first address.
    #[track_caller]
    pub fn connect(&self) -> RawPeer {
        RawPeer::connect(self.addr())
    }

    /// A source for `ftget`: `127.0.0.1:40321/NAME`.
    pub fn source(&self, name: impl AsRef<OsStr>) -> OsString {
        let mut source = OsString::from(self.addr());
        source.push(if self.addr().starts_with("unix:") {
            ":"
        } else {
            "/"
        });
        source.push(name);
        source
    }

    /// What it has written to standard error.
    pub fn stderr(&self) -> &Captured {
        self.running.stderr()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Sends SIGTERM, waits for its end and returns its exit code, 128 + n for a signal.
    #[track_caller]
    pub fn terminate(&mut self) -> i32 {
        self.signal(Signal::TERM);
        self.running.wait_code()
    }

    /// Waits for its end and returns its exit code, 128 + n for a signal.
    #[track_caller]
    pub fn wait_code(&mut self) -> i32 {
        self.running.wait_code()
    }

    /// Waits for its end and gives the signal that it died of, if it did.
    #[track_caller]
    pub fn terminating_signal(&mut self) -> Option<Signal> {
        self.running.terminating_signal()
    }

    /// Whether it ends within `limit`.
    pub fn ends_within(&self, limit: Duration) -> bool {
        self.running.ends_within(limit)
    }

    /// Kills it without warning and waits for its end.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.running.wait_code();
    }

    /// What the kernel says about its process.
    pub fn facts(&self) -> ProcessFacts {
        ProcessFacts {
            pid: self.running.pid(),
        }
    }

    /// Asks it for `hello` on a new connection; panics if it does not answer.
    #[track_caller]
    pub fn assert_alive(&self) {
        let mut peer = self.connect();
        peer.send_frame(r#"{"op":"hello"}"#);
        let answer = peer.read_answer();
        assert_eq!(answer.code(), None, "hello refused: {}", answer.text);
    }
}

impl TestServerBuilder {
    /// Adds an address to listen on; without any it is 127.0.0.1 and a free port.
    pub fn bind(mut self, address: impl Into<String>) -> TestServerBuilder {
        self.binds.push(address.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> TestServerBuilder {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Runs it by way of another program, such as `setpriv` with its arguments.
    pub fn through<A: AsRef<OsStr>>(
        mut self,
        prefix: impl IntoIterator<Item = A>,
    ) -> TestServerBuilder {
        self.prefix
            .extend(prefix.into_iter().map(|part| part.as_ref().to_owned()));
        self
    }

    /// Starts it and returns when it listens on every address.
    #[track_caller]
    pub fn start(mut self) -> TestServer {
        if self.binds.is_empty() {
            self.binds.push("127.0.0.1:0".to_owned());
        }
        let mut program = Program::ftserve();
        for address in &self.binds {
            program = program.args(["--bind", address]);
        }
        program = program.args(&self.args).arg(&self.root);
        let running = program.through(&self.prefix).start();
        let expected = self.binds.len();
        let text = running
            .stderr()
            .wait_until("the addresses it listens on", |text| {
                addresses(text).len() >= expected
            });
        TestServer {
            addresses: addresses(&text),
            running,
        }
    }
}

/// The addresses of the complete lines `listening on ADDR`.
fn addresses(text: &str) -> Vec<String> {
    let lines = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    let found = lines.filter_map(|line| line.split_once("listening on "));
    found
        .filter_map(|(_, rest)| rest.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// What `/proc` says about a process.
pub struct ProcessFacts {
    pid: u32,
}

impl ProcessFacts {
    /// Of the process with this id.
    pub fn of(pid: u32) -> ProcessFacts {
        ProcessFacts { pid }
    }

    /// Its id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Resident memory, in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most resident memory it ever had, in KiB.
    pub fn peak_rss_kib(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Threads.
    pub fn threads(&self) -> u64 {
        self.status("Threads:")
    }

    /// Open descriptors.
    pub fn open_fds(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid))
            .expect("the descriptors of a child")
            .count()
    }

    /// Its children.
    pub fn children(&self) -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).expect("threads");
        let lists = tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        lists
            .flat_map(|list| {
                let pids = list
                    .split_whitespace()
                    .map(|pid| pid.parse().expect("a pid"));
                pids.collect::<Vec<u32>>()
            })
            .collect()
    }

    /// Processor time used so far, user and system.
    pub fn cpu_time(&self) -> Duration {
        let text =
            fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("the times of a child");
        let (_, fields) = text.rsplit_once(") ").expect("a command in brackets");
        let ticks: u64 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().expect("ticks"))
            .sum();
        // USER_HZ is 100 on every Linux of today (proc_pid_stat(5)).
        Duration::from_millis(ticks * 10)
    }

    fn status(&self, key: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid))
            .expect("the status of a child");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .expect("a line of the status");
        line.split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .expect("a number")
    }
}
