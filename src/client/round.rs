//! One round: a connection, and every unfinished job asked once. Questions go out in one
//! thread, answers come in in another, some threads verify, and the calling thread places
//! what is right and tells the world. Receiving never waits for sending, and nothing waits
//! for what comes before it, so that the round always ends.

use std::num::NonZero;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};

use crate::client::follow::HASH_BUFFER_BYTES;
use crate::client::job::{Job, Step};
use crate::client::receive::{Asked, Receive};
use crate::client::settle::Batch;
use crate::client::verify::{self, Verified};
use crate::client::{ClientConfig, ClientError, Downloaded, SendingHalf, Session};

/// What the threads of a round tell the calling one.
pub(super) enum Report<'a> {
    ServerHashing {
        index: usize,
        done: u64,
        total_size: u64,
    },
    Began {
        index: usize,
        total_size: u64,
        resumed_from: u64,
    },
    Received {
        index: usize,
        bytes: u64,
    },
    /// Nothing is left to do for it.
    Finished(Job<'a>, Downloaded),
    Verified(Verified<'a>),
    Failed(Job<'a>, ClientError),
    /// The session failed while the answer for this job was read.
    Lost(Job<'a>, ClientError),
    /// The session was ended from here.
    Ended,
    /// The session was over before this job's turn.
    Unanswered(Job<'a>),
}

/// A job that is to be asked, found before a connection is made for it.
pub(super) struct FirstQuestion<'a> {
    pub(super) asked: Asked<'a>,
    pub(super) rest: std::vec::IntoIter<Job<'a>>,
}

impl<'a> FirstQuestion<'a> {
    pub(super) fn into_jobs(self) -> Vec<Job<'a>> {
        std::iter::once(self.asked.job).chain(self.rest).collect()
    }
}

/// Asks everything over `session` and passes what comes of it to `listen`, with the verified
/// files placed. Returns whether the session can be used again.
pub(super) fn run<'a>(
    session: &mut Session,
    first: FirstQuestion<'a>,
    config: &ClientConfig,
    mut listen: impl FnMut(Report<'a>),
) -> bool {
    let verifiers = verifiers(first.rest.len() + 1);
    let (asked_in, asked) = crossbeam_channel::bounded(ASKED_MAX);
    let (unverified_in, unverified) = crossbeam_channel::bounded(UNVERIFIED_MAX);
    let (reports_in, reports) = crossbeam_channel::bounded(REPORTS_MAX);
    let Session { sending, receiving } = session;
    std::thread::scope(|scope| {
        let receive = Receive {
            receiving,
            asked,
            unverified: unverified_in,
            reports: reports_in.clone(),
        };
        scope.spawn(move || receive.run());
        for _ in 0..verifiers {
            let (unverified, reports) = (unverified.clone(), reports_in.clone());
            scope.spawn(move || verify::run(&unverified, &reports, config));
        }
        let send = Send {
            sending,
            asked: asked_in,
            reports: reports_in,
            config,
        };
        let sent = scope.spawn(move || send.run(first));
        let received = listen_and_place(&reports, config, &mut listen);
        sent.join().unwrap_or(false) && received
    })
}

/// The calling thread's part. Returns whether the session came to its end unharmed.
fn listen_and_place<'a>(
    reports: &Receiver<Report<'a>>,
    config: &ClientConfig,
    listen: &mut impl FnMut(Report<'a>),
) -> bool {
    let mut batch = Batch::default();
    let mut unharmed = true;
    loop {
        let report = match batch.patience(Instant::now()) {
            None => reports.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(patience) => reports.recv_timeout(patience),
        };
        let over = matches!(report, Err(RecvTimeoutError::Disconnected));
        let overdue = report.is_err();
        match report {
            Ok(Report::Verified(file)) => batch.push(file, Instant::now()),
            Ok(report) => {
                unharmed &= !matches!(report, Report::Lost(..) | Report::Ended);
                listen(report);
            }
            Err(_) => {}
        }
        if overdue || batch.is_full(config) {
            for (job, result) in batch.settle(config) {
                listen(match result {
                    Ok(downloaded) => Report::Finished(job, downloaded),
                    Err(error) => Report::Failed(job, error),
                });
            }
        }
        if over {
            return unharmed;
        }
    }
}

/// The sending thread's belongings.
struct Send<'a, 's> {
    sending: &'s mut SendingHalf,
    asked: Sender<Asked<'a>>,
    reports: Sender<Report<'a>>,
    config: &'s ClientConfig,
}

impl<'a> Send<'a, '_> {
    /// Asks one question after the other. Returns whether all could be sent.
    fn run(mut self, first: FirstQuestion<'a>) -> bool {
        let FirstQuestion { asked, mut rest } = first;
        let mut buffer = Vec::new();
        let mut sent = self.ask(asked);
        while sent.is_ok()
            && let Some(mut job) = rest.next()
        {
            if buffer.is_empty() {
                buffer.resize(HASH_BUFFER_BYTES, 0);
            }
            sent = match job.next_step(self.config, &mut buffer) {
                Ok(Step::Ask(question, partial)) => self.ask(Asked {
                    job,
                    question,
                    partial,
                }),
                Ok(Step::Finished(downloaded)) => {
                    self.report(Report::Finished(job, downloaded));
                    Ok(())
                }
                Err(error) => {
                    self.report(Report::Failed(job, error));
                    Ok(())
                }
            };
        }
        let sent = sent.and_then(|()| self.sending.flush());
        // Why it could not be sent, the receiving thread finds out and says.
        for job in rest {
            self.report(Report::Unanswered(job));
        }
        sent.is_ok()
    }

    fn ask(&mut self, asked: Asked<'a>) -> Result<(), ClientError> {
        let call = asked.question.call();
        // The receiving thread takes all, to its end and beyond.
        if let Err(TrySendError::Full(asked)) = self.asked.try_send(asked) {
            // It waits for answers to what still lies here.
            self.sending.flush()?;
            let _ = self.asked.send(asked);
        }
        self.sending.send(&call)
    }

    fn report(&self, report: Report<'a>) {
        // The thread that listens ends last.
        let _ = self.reports.send(report);
    }
}

/// Hashing scales with cores; creating files in one folder does not go beyond a few.
fn verifiers(jobs: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    cores.min(jobs).min(VERIFIERS_MAX)
}

/// Questions on their way. Each may hold a partial file open, below the 1,024 descriptors that
/// a process has by default.
const ASKED_MAX: usize = 512;
/// Files received and not yet taken up; small ones lie in memory, 16 MiB at most.
const UNVERIFIED_MAX: usize = 64;
const REPORTS_MAX: usize = 1024;
const VERIFIERS_MAX: usize = 4;
