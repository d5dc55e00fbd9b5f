//! Real programs as child processes: a clean environment, captured output, and a deadline.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use ftserve::process::was_ignored;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag::register;

use super::DEADLINE;

/// Runs the real client with these arguments and waits for its end.
pub fn ftget<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    Program::ftget().args(args).run()
}

/// Programs start with no signal ignored, also where `nohup` runs the tests: a signal that is
/// caught here has its default in a new program.
fn catch_ignored() {
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        if was_ignored(signal) {
            register(signal, Arc::default()).expect("a signal that can be caught");
        }
    }
}

static CATCH_IGNORED: Once = Once::new();

/// A program about to be run, with no environment but `PATH` and no standard input.
pub struct Program {
    argv: Vec<OsString>,
    hint: String,
    folder: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    input: Option<Vec<u8>>,
    deadline: Duration,
}

impl Program {
    /// The client of this crate.
    pub fn ftget() -> Program {
        Program::of(
            env!("CARGO_BIN_EXE_ftget"),
            "cargo builds it for the tests".to_owned(),
        )
    }

    /// The server of this crate.
    pub fn ftserve() -> Program {
        Program::of(
            env!("CARGO_BIN_EXE_ftserve"),
            "cargo builds it for the tests".to_owned(),
        )
    }

    /// A program of the system; a test that cannot find it fails and names the Debian package.
    pub fn system(name: &str, package: &str) -> Program {
        Program::of(name, format!("install the Debian package {package}"))
    }

    fn of(program: impl Into<OsString>, hint: String) -> Program {
        Program {
            argv: vec![program.into()],
            hint,
            folder: None,
            environment: Vec::new(),
            input: None,
            deadline: DEADLINE,
        }
    }

    /// Runs it by way of another program, such as `setpriv` with its arguments.
    pub fn through<A: AsRef<OsStr>>(mut self, prefix: impl IntoIterator<Item = A>) -> Program {
        let own = std::mem::take(&mut self.argv);
        self.argv = prefix
            .into_iter()
            .map(|part| part.as_ref().to_owned())
            .chain(own)
            .collect();
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Program {
        self.argv.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Program {
        self.argv
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Program {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The folder it runs in.
    pub fn in_folder(mut self, folder: impl AsRef<Path>) -> Program {
        self.folder = Some(folder.as_ref().to_owned());
        self
    }

    /// What it reads from standard input, which then ends.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Program {
        self.input = Some(bytes.into());
        self
    }

    /// How long [`Program::run`] and [`Running::wait`] allow it.
    pub fn deadline(mut self, deadline: Duration) -> Program {
        self.deadline = deadline;
        self
    }

    /// Runs it to its end.
    pub fn run(self) -> Output {
        self.start().wait()
    }

    /// Starts it.
    pub fn start(self) -> Running {
        CATCH_IGNORED.call_once(catch_ignored);
        let mut command = Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.environment)
            .stdin(if self.input.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that its children end with it.
            .process_group(0);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                panic!(
                    "this test needs the program {:?}: {}",
                    self.argv[0], self.hint
                )
            }
            spawned => {
                spawned.unwrap_or_else(|error| panic!("cannot run {:?}: {error}", self.argv))
            }
        };
        if let (Some(bytes), Some(mut pipe)) = (self.input, child.stdin.take()) {
            // A program that ends without reading it all is judged by its exit code.
            thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let pid = Pid::from_child(&child);
        Running {
            pidfd: pidfd_open(pid, PidfdFlags::empty()).expect("pidfd_open"),
            stdout: Captured::of(child.stdout.take().expect("a pipe")),
            stderr: Captured::of(child.stderr.take().expect("a pipe")),
            child,
            pid,
            argv: self.argv,
            deadline: self.deadline,
            started: Instant::now(),
        }
    }
}

/// A program that was started. Its process group is killed on drop.
pub struct Running {
    child: Child,
    pid: Pid,
    pidfd: OwnedFd,
    stdout: Captured,
    stderr: Captured,
    argv: Vec<OsString>,
    deadline: Duration,
    started: Instant,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output.
    pub fn stdout(&self) -> &Captured {
        &self.stdout
    }

    /// What it has written to standard error.
    pub fn stderr(&self) -> &Captured {
        &self.stderr
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        pidfd_send_signal(self.pidfd.as_fd(), signal).expect("a signal to a child");
    }

    /// Whether it ends within `limit`.
    pub fn ends_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).expect("a timeout of seconds");
            match poll(
                &mut [PollFd::new(&self.pidfd, PollFlags::IN)],
                Some(&timeout),
            ) {
                Err(rustix::io::Errno::INTR) => {}
                ready => return ready.expect("poll on a pidfd") > 0,
            }
        }
    }

    /// Waits for its end; kills it and panics if it outlives its deadline.
    pub fn wait(self) -> Output {
        let code = self.wait_code();
        Output {
            code,
            stdout: self.stdout.whole(),
            stderr: String::from_utf8_lossy(&self.stderr.whole()).into_owned(),
            elapsed: self.started.elapsed(),
        }
    }

    /// Waits for its end and gives its exit code, 128 + n for a signal.
    pub fn wait_code(&self) -> i32 {
        let status = self.wait_status();
        let signal = || 128 + status.terminating_signal().expect("a code or a signal");
        status.exit_status().unwrap_or_else(signal)
    }

    /// Waits for its end and gives the signal that it died of, if it did.
    pub fn terminating_signal(&self) -> Option<Signal> {
        let signal = self.wait_status().terminating_signal()?;
        Some(Signal::from_named_raw(signal).expect("a signal with a name"))
    }

    fn wait_status(&self) -> WaitIdStatus {
        if !self.ends_within(self.deadline) {
            let _ = kill_process_group(self.pid, Signal::KILL);
            panic!(
                "{:?} did not end within {:?}\nstdout: {}\nstderr: {}",
                self.argv,
                self.deadline,
                self.stdout.text(),
                self.stderr.text()
            );
        }
        // What it said before its end has been read when this returns.
        self.stderr.wait_for_end();
        // It is reaped when this is dropped: until then its id is nobody else's, and a signal to
        // its group reaches no stranger.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(self.pid), options).expect("a child to wait for");
        status.expect("a child that has ended")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The group may be gone; a child is reaped either way.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// How a program ended and what it wrote.
#[derive(Debug)]
pub struct Output {
    /// Exit code, 128 + n for a signal.
    pub code: i32,
    /// Standard output, whole.
    pub stdout: Vec<u8>,
    /// Standard error, as text.
    pub stderr: String,
    /// From its start to its end.
    pub elapsed: Duration,
}

impl Output {
    /// Panics with everything it wrote unless it ended with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Output {
        assert_eq!(
            self.code,
            code,
            "wrong exit code\nstdout: {}\nstderr: {}",
            self.text(),
            self.stderr
        );
        self
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as JSON Lines.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let text = self.text();
        let read = |line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON: {line:?}: {error}"))
        };
        text.lines().map(read).collect()
    }
}

/// Bytes that a thread reads from a pipe while the test goes on.
#[derive(Clone)]
pub struct Captured(Arc<(Mutex<Capture>, Condvar)>);

#[derive(Default)]
struct Capture {
    bytes: Vec<u8>,
    ended: bool,
}

impl Captured {
    fn of(mut pipe: impl Read + Send + 'static) -> Captured {
        let shared: Arc<(Mutex<Capture>, Condvar)> = Arc::default();
        let filled = Arc::clone(&shared);
        thread::spawn(move || {
            let mut buffer = [0; 65_536];
            loop {
                let count = pipe.read(&mut buffer).unwrap_or(0);
                let mut capture = filled.0.lock().expect("the capture");
                capture.bytes.extend_from_slice(&buffer[..count]);
                capture.ended = count == 0;
                filled.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        Captured(shared)
    }

    /// What was written so far, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// What was written so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.0.lock().expect("the capture").bytes.clone()
    }

    /// Waits until what was written satisfies `enough` and returns it; panics at the
    /// deadline, or at the end of the output, saying what was waited for.
    #[track_caller]
    pub fn wait_until(&self, what: &str, enough: impl Fn(&str) -> bool) -> String {
        let (capture, changed) = &*self.0;
        let deadline = Instant::now() + DEADLINE;
        let mut guard = capture.lock().expect("the capture");
        loop {
            let text = String::from_utf8_lossy(&guard.bytes).into_owned();
            if enough(&text) {
                return text;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !guard.ended && !left.is_zero(),
                "waited in vain for {what}; output so far:\n{text}"
            );
            guard = changed.wait_timeout(guard, left).expect("the capture").0;
        }
    }

    /// Everything up to the end of the output, which the process may share with others.
    fn whole(&self) -> Vec<u8> {
        self.wait_for_end();
        self.bytes()
    }

    fn wait_for_end(&self) {
        let (capture, changed) = &*self.0;
        let guard = capture.lock().expect("the capture");
        let ended = changed.wait_timeout_while(guard, DEADLINE, |capture| !capture.ended);
        drop(ended.expect("the capture"));
    }
}
