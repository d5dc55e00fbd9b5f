//! Published commands and their runs.

mod run;
mod run_table;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::run::{CapturedOutput, POLL_INTERVAL, ReadStatus, Run};
pub use self::run_table::RunLimits;
pub(super) use self::run_table::{OutputSpace, RunSignals};
use self::run_table::{RunTable, Running, displaced, shutting_down};
use crate::wire::{ERROR_MESSAGE_BYTES_MAX, ErrorCode, Md5Digest, PATH_PART_BYTES_MAX, Refusal};

/// The commands that a server publishes. A client chooses only which one runs. A command gets its
/// configured arguments, an empty input, and this process's environment and working directory.
/// `FTSERVE_RUN_ID` is added, by which the server finds its processes.
pub struct Published {
    commands: BTreeMap<Vec<u8>, Arc<[OsString]>>,
    error_output: ErrorOutputTarget,
    run_table: Arc<RunTable>,
}

/// Where the error output of commands goes.
pub enum ErrorOutputTarget {
    /// Into the content, after the output.
    IntoContent,
    /// Line by line to this observer when the command has ended. If it failed, the answer holds
    /// the last lines. The observer runs in the answering thread and must not block.
    To(Box<ErrorLine>),
}

/// Takes the published name of a command, and a line of its error output.
type ErrorLine = dyn Fn(&[u8], &[u8]) + Send + Sync;

/// Why a command cannot be published.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// A name that a line of text cannot spell.
    #[error("a name consists of letters, digits, dots, dashes and underscores, at most 255")]
    Name,
    /// The name is used by another command.
    #[error("the name is published twice")]
    Twice,
    /// The command line is empty.
    #[error("there is no program")]
    NoProgram,
}

/// The result of a run.
pub(super) struct CommandOutput {
    /// The content, in a file without a name.
    pub(super) file: File,
    pub(super) bytes: u64,
    pub(super) md5: Md5Digest,
    /// 0 to 255; 128 + n for a signal.
    pub(super) exit_status: u8,
    /// The last lines of the error output, if it is not part of the content.
    pub(super) last_errors: String,
    /// The space of the file, released with it.
    pub(super) space: OutputSpace,
}

impl Published {
    /// Publishes these commands: names, each with a program and its arguments.
    ///
    /// # Errors
    /// [`PublishError`], with the name concerned.
    pub fn new(
        commands: impl IntoIterator<Item = (Vec<u8>, Vec<OsString>)>,
        limits: RunLimits,
        error_output: ErrorOutputTarget,
    ) -> Result<Published, (Vec<u8>, PublishError)> {
        let mut named = BTreeMap::new();
        for (name, words) in commands {
            let is_good = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
            if name.is_empty() || name.len() > PATH_PART_BYTES_MAX || !name.iter().all(is_good) {
                return Err((name, PublishError::Name));
            }
            if words.first().is_none_or(|program| program.is_empty()) {
                return Err((name, PublishError::NoProgram));
            }
            if named.contains_key(&name) {
                return Err((name, PublishError::Twice));
            }
            named.insert(name, words.into());
        }
        Ok(Published {
            commands: named,
            error_output,
            run_table: RunTable::new(limits),
        })
    }

    /// Publishes no command.
    pub fn nothing() -> Published {
        Published {
            commands: BTreeMap::new(),
            error_output: ErrorOutputTarget::IntoContent,
            run_table: RunTable::new(RunLimits::default()),
        }
    }

    /// Whether no command is published.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Whether this names a command, or is empty, which requests the list of names.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.commands.contains_key(name) || name.is_empty() && !self.is_empty()
    }

    /// The names, one per line.
    pub(super) fn names(&self) -> Vec<u8> {
        let lines = self.commands.keys();
        lines.flat_map(|name| [name, &b"\n"[..]].concat()).collect()
    }

    /// Ends all runs and refuses further ones. Waits until none is left, for at most `within`.
    pub fn end(&self, within: Duration) {
        self.run_table.end(within);
    }

    /// Reserves a run for this address, before a thread starts.
    ///
    /// # Errors
    /// `not_found`, `busy`, `shutting_down`.
    pub(super) fn reserve(
        self: &Arc<Self>,
        name: &[u8],
        address: u128,
    ) -> Result<RunPermit, Refusal> {
        let Some((name, words)) = self.commands.get_key_value(name) else {
            let message = "nothing is published under this name";
            return Err(Refusal::new(ErrorCode::NotFound, message));
        };
        let (running, space) = self.run_table.take(address)?;
        Ok(RunPermit {
            published: Arc::clone(self),
            running,
            space,
            name: name.clone(),
            words: Arc::clone(words),
        })
    }
}

/// The right to run a command. Dropping it releases the place.
pub(super) struct RunPermit {
    published: Arc<Published>,
    running: Running,
    space: OutputSpace,
    name: Vec<u8>,
    words: Arc<[OsString]>,
}

impl RunPermit {
    /// Signals to the run from other threads.
    pub(super) fn signals(&self) -> Arc<RunSignals> {
        Arc::clone(&self.running.signals)
    }

    /// Runs the command to its end, in the calling thread, and polls `is_cancelled`. However a
    /// run ends, all processes of its group are killed.
    ///
    /// # Errors
    /// `too_large`; or `internal`: the command cannot be started, took too long, or was
    /// cancelled.
    /// `shutting_down`: [`Published::end`] ended it.
    pub(super) fn run(self, is_cancelled: impl Fn() -> bool) -> Result<CommandOutput, Refusal> {
        let RunPermit {
            published,
            running: Running { signals, .. },
            name,
            words,
            ..
        } = &self;
        let serves_errors = matches!(published.error_output, ErrorOutputTarget::IntoContent);
        let mut run =
            Run::start(words).map_err(|error| failed("command cannot be started", &error))?;
        let mut output =
            CapturedOutput::new(published.run_table.limits.output_bytes_max, serves_errors)
                .map_err(|error| failed("output cannot be stored", &error))?;
        let ended = published.follow(&mut run, &mut output, signals, is_cancelled);
        // Ends the run first: processes that still write must not delay the log.
        drop(run);
        let errors = output.take_errors();
        if let ErrorOutputTarget::To(observer) = &published.error_output {
            errors.lines().for_each(|line| observer(name, line));
        }
        let last_errors = errors.last_lines(ERROR_MESSAGE_BYTES_MAX / 2);
        let exit_status = ended.map_err(|refusal| Refusal {
            message: with_errors(&refusal.message, &last_errors),
            ..refusal
        })?;
        let (file, bytes, md5) = output
            .finish()
            .map_err(|error| failed("output cannot be stored", &error))?;
        let mut space = self.space;
        space.shrink_to(bytes);
        Ok(CommandOutput {
            file,
            bytes,
            md5,
            exit_status,
            last_errors,
            space,
        })
    }
}

impl Published {
    /// Reads the outputs until the command ends. Returns its exit status.
    fn follow(
        &self,
        run: &mut Run,
        output: &mut CapturedOutput,
        signals: &RunSignals,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<u8, Refusal> {
        let limits = self.run_table.limits;
        let until = Instant::now().checked_add(limits.time_max);
        let must_end = || {
            if until.is_some_and(|until| Instant::now() >= until) {
                let message = format!("command took longer than {:?}", limits.time_max);
                return Err(internal(message));
            }
            if self.run_table.has_ended() {
                return Err(shutting_down());
            }
            if is_cancelled() {
                return Err(internal("client no longer waits"));
            }
            if signals.must_yield() {
                return Err(displaced());
            }
            Ok(())
        };
        loop {
            let is_over = run.has_ended();
            match run.read(output) {
                Ok(ReadStatus::Ended) => break,
                // Do not wait for children that still hold the pipes open.
                Ok(ReadStatus::Empty) if is_over => break,
                Ok(ReadStatus::Some | ReadStatus::Empty) => {}
                Ok(ReadStatus::OverLimit) => {
                    let message = format!("output is more than {} bytes", limits.output_bytes_max);
                    return Err(Refusal::new(ErrorCode::TooLarge, message));
                }
                Err(error) => return Err(failed("output cannot be read", &error)),
            }
            must_end()?;
        }
        // A command may close its outputs before it ends.
        while !run.has_ended() {
            must_end()?;
            std::thread::park_timeout(POLL_INTERVAL);
        }
        let status = run
            .end()
            .map_err(|error| failed("exit status cannot be read", &error))?;
        let code = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ok(u8::try_from(code).unwrap_or(u8::MAX))
    }
}

/// Appends the last lines of a command's error output to a sentence about it.
pub(super) fn with_errors(sentence: &str, last_errors: &str) -> String {
    if last_errors.is_empty() {
        return sentence.to_owned();
    }
    format!("{sentence}: {last_errors}")
}

/// Adds the system's reason, which the operator sees nowhere else. It names no path.
fn failed(what: &str, error: &io::Error) -> Refusal {
    internal(format!("{what}: {error}"))
}

fn internal(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::Internal, message)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::digest::Md5Stream;

    fn published(words: &[&str], limits: RunLimits) -> Arc<Published> {
        publishing(words, limits, ErrorOutputTarget::IntoContent)
    }

    fn publishing(words: &[&str], limits: RunLimits, errors: ErrorOutputTarget) -> Arc<Published> {
        let words = words.iter().map(OsString::from).collect();
        Arc::new(Published::new([(b"it".to_vec(), words)], limits, errors).unwrap())
    }

    fn run(script: &str, limits: RunLimits) -> Result<(Vec<u8>, u8), ErrorCode> {
        let published = published(&["sh", "-c", script], limits);
        let output = published.reserve(b"it", 0).unwrap().run(|| false);
        assert!(!published.run_table.has_runs());
        let output = output.map_err(|refusal| {
            assert_eq!(published.run_table.space(), 0);
            refusal.code
        })?;
        assert_eq!(published.run_table.space(), output.bytes);
        let mut bytes = vec![0; output.bytes as usize];
        output.file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(Md5Stream::digest(&bytes), output.md5);
        Ok((bytes, output.exit_status))
    }

    #[test]
    fn error_output_goes_to_the_observer_and_into_the_answer() {
        let (sender, lines) = std::sync::mpsc::channel();
        let run_with_errors = |script: &str, limits: RunLimits| {
            let sender = sender.clone();
            let to = ErrorOutputTarget::To(Box::new(move |name, line| {
                assert_eq!(name, b"it");
                let _ = sender.send(String::from_utf8(line.to_vec()).unwrap());
            }));
            let published = publishing(&["sh", "-c", script], limits, to);
            let ended = published.reserve(b"it", 0).unwrap().run(|| false);
            let ended = ended
                .map(|output| (output.bytes, output.exit_status, output.last_errors))
                .map_err(|refusal| refusal.message);
            (ended, lines.try_iter().collect::<Vec<String>>())
        };
        let usual = RunLimits::default();
        assert_eq!(
            run_with_errors("printf 'a\r\n\nb' >&2; echo out; exit 3", usual),
            (Ok((4, 3, "a; b".into())), vec!["a".into(), "b".into()])
        );
        let (ended, lines) =
            run_with_errors("yes 12345678 | head -c 9000000 >&2; echo end >&2", usual);
        let fits = ["12345678"; 9].join("; ") + "; end";
        assert_eq!(ended, Ok((0, 0, fits)));
        // The first line may be the end of a longer one.
        assert!(
            lines[1..lines.len() - 1]
                .iter()
                .all(|line| line == "12345678")
        );
        assert_eq!(lines.len(), (16 << 10) / 9 + 1);
        let short = RunLimits {
            time_max: Duration::from_millis(300),
            ..usual
        };
        let endless = "echo stuck >&2; exec sleep 1000";
        let message = "command took longer than 300ms: stuck".to_owned();
        assert_eq!(
            run_with_errors(endless, short),
            (Err(message), vec!["stuck".into()])
        );
        let wide = format!("printf '{}' >&2", "ä".repeat(60));
        assert_eq!(run_with_errors(&wide, usual).0, Ok((0, 0, "ä".repeat(50))));
    }

    #[test]
    fn output_comes_before_error_output_and_the_status_last() {
        let usual = RunLimits::default();
        let both = "echo error >&2; echo out; cat; exit 3";
        assert_eq!(run(both, usual), Ok((b"out\nerror\n".to_vec(), 3)));
        assert_eq!(run("true", usual), Ok((vec![], 0)));
        assert_eq!(run("kill -9 $$", usual), Ok((vec![], 137)));
        let closed = "exec >&- 2>&-; exit 7";
        assert_eq!(run(closed, usual), Ok((vec![], 7)));
    }

    #[test]
    fn ends_children_that_hold_the_output_open() {
        let usual = RunLimits::default();
        let begun = Instant::now();
        let (out, status) = run("sleep 1000 & echo $!", usual).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30));
        assert_eq!(status, 0);
        let pid: i32 = String::from_utf8(out).unwrap().trim().parse().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        // init, or the reaper that adopted it, collects its exit status.
        let is_there = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z"))
        };
        while is_there() {
            assert!(Instant::now() < deadline, "{pid} is still there");
            std::thread::yield_now();
        }
    }

    #[test]
    fn time_and_output_are_bounded() {
        let short = RunLimits {
            time_max: Duration::from_millis(100),
            ..RunLimits::default()
        };
        assert_eq!(run("sleep 1000", short), Err(ErrorCode::Internal));
        assert_eq!(
            run("exec >&- 2>&-; sleep 1000", short),
            Err(ErrorCode::Internal)
        );
        for (bytes_max, expected) in [
            (9, Err(ErrorCode::TooLarge)),
            (10, Ok((b"12345\n789\n".to_vec(), 0))),
            (11, Ok((b"12345\n789\n".to_vec(), 0))),
        ] {
            let limits = RunLimits {
                output_bytes_max: bytes_max,
                ..RunLimits::default()
            };
            assert_eq!(
                run("echo 12345; echo 789 >&2", limits),
                expected,
                "{bytes_max}"
            );
        }
        let endless = RunLimits {
            output_bytes_max: 1 << 20,
            ..RunLimits::default()
        };
        assert_eq!(run("yes", endless), Err(ErrorCode::TooLarge));
    }

    #[test]
    fn a_command_without_outputs_ends_with_the_server() {
        let directory = tempfile::tempdir().unwrap();
        let closed = directory.path().join("closed");
        let script = "exec >&- 2>&-; : > \"$0\"; exec sleep 1000";
        let words = ["sh", "-c", script, closed.to_str().unwrap()];
        let published = published(&words, RunLimits::default());
        let permit = published.reserve(b"it", 0).unwrap();
        let looks = std::cell::Cell::new(0);
        let ended = permit.run(|| {
            // By the third check both pipes have ended.
            looks.set(looks.get() + i32::from(closed.exists()));
            if looks.get() == 3 {
                published.end(Duration::ZERO);
            }
            false
        });
        let code = ended.err().map(|refusal| refusal.code);
        assert_eq!(code, Some(ErrorCode::ShuttingDown));
    }

    #[test]
    fn reports_why_a_command_cannot_be_started() {
        let published = published(&["/no/such/program"], RunLimits::default());
        let permit = published.reserve(b"it", 0).unwrap();
        let message = permit.run(|| false).err().map(|refusal| refusal.message);
        let reason = "command cannot be started: No such file or directory (os error 2)";
        assert_eq!(message.as_deref(), Some(reason));
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let published = published(&["true"], RunLimits::default());
        let code_for = |name: &[u8], address| {
            let refused = published.reserve(name, address).err();
            refused.map(|refusal| refusal.code)
        };
        let code = |name: &[u8]| code_for(name, 0);
        let mut runs: Vec<_> = (0..2)
            .map(|_| published.reserve(b"it", 0).unwrap())
            .collect();
        assert_eq!(
            code(b"it"),
            Some(ErrorCode::Busy),
            "half are of this address"
        );
        runs.extend((0..2).map(|_| published.reserve(b"it", 1).unwrap()));
        assert_eq!(code_for(b"it", 2), Some(ErrorCode::Busy), "all are taken");
        assert_eq!(code(b"other"), Some(ErrorCode::NotFound));
        drop(runs);
        assert_eq!(code(b"it"), None);
        published.end(Duration::ZERO);
        assert_eq!(code(b"it"), Some(ErrorCode::ShuttingDown));
    }

    #[test]
    fn a_run_whose_peer_left_first_yields_to_a_new_request() {
        let published = published(&["sleep", "1000"], RunLimits::default());
        let runs = [0, 0, 1, 1].map(|address| published.reserve(b"it", address).unwrap());
        let code = || published.reserve(b"it", 2).err().unwrap().code;
        let now = Instant::now();
        let long_ago = now.checked_sub(run_table::YIELD_AFTER * 2).unwrap();
        runs[0]
            .signals()
            .note_peer_ended(now + run_table::YIELD_AFTER);
        assert_eq!(code(), ErrorCode::Busy);
        assert!(runs.iter().all(|permit| !permit.signals().must_yield()));
        runs[3].signals().note_peer_ended(long_ago);
        runs[2]
            .signals()
            .note_peer_ended(long_ago + run_table::YIELD_AFTER / 2);
        assert_eq!(code(), ErrorCode::Busy);
        let [first, second, third, fourth] = runs;
        assert!(fourth.signals().must_yield() && !third.signals().must_yield());
        let ended = fourth.run(|| false).err().unwrap();
        assert_eq!(ended.code, ErrorCode::Busy);
        assert!(published.reserve(b"it", 2).is_ok());
        drop((first, second, third));
    }

    #[test]
    fn outputs_are_bounded_until_they_are_dropped_and_by_address() {
        let limits = RunLimits {
            runs_max: 2,
            output_bytes_max: 10,
            ..RunLimits::default()
        };
        let published = published(&["echo", "12345678"], limits);
        let run = |address| {
            let permit = published.reserve(b"it", address);
            permit
                .and_then(|permit| permit.run(|| false))
                .map_err(|refusal| refusal.code)
        };
        // Each takes 9 bytes and needs 10 to start, of 20 for an address and 40 for all.
        let mut kept: Vec<_> = [0, 0, 1, 1].map(|address| run(address).unwrap()).into();
        assert_eq!(run(0).err(), Some(ErrorCode::Busy));
        assert_eq!(run(2).err(), Some(ErrorCode::Busy));
        kept.pop();
        kept.push(run(2).unwrap());
        drop(kept);
        assert_eq!(published.run_table.space(), 0);
    }

    #[test]
    fn names_are_words_and_unique() {
        let publish = |names: &[&str]| {
            let words = || vec![OsString::from("true")];
            let commands = names.iter().map(|name| (name.as_bytes().to_vec(), words()));
            Published::new(
                commands,
                RunLimits::default(),
                ErrorOutputTarget::IntoContent,
            )
            .err()
            .map(|(_, error)| error)
        };
        assert_eq!(publish(&["a", "b-1_x.Y"]), None);
        assert_eq!(publish(&["a", "a"]), Some(PublishError::Twice));
        for name in ["", "a/b", "a b", "ä", "@a", "a\n", &"x".repeat(256)] {
            assert_eq!(publish(&[name]), Some(PublishError::Name), "{name:?}");
        }
        assert_eq!(publish(&[&"x".repeat(255)]), None);
        let nothing = Published::new(
            [(b"a".to_vec(), vec![])],
            RunLimits::default(),
            ErrorOutputTarget::IntoContent,
        );
        assert!(matches!(nothing, Err((_, PublishError::NoProgram))));
    }
}
