//! Downloads, one or many: grouped by server, asked in rounds until each has an end.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::config::RETRY_PROGRESS_BYTES_MIN;
use crate::client::follow::HASH_BUFFER_BYTES;
use crate::client::job::{Job, Step};
use crate::client::receive::Asked;
use crate::client::retry::{Verdict, judge, pause};
use crate::client::round::{self, FirstQuestion, Report};
use crate::client::{ClientConfig, ClientError, Download, Downloaded, Event, Session};
use crate::net::{Address, Deadline, Wait};
use crate::store::{StageError, StagingFolder};

/// How one download ended.
pub type DownloadResult = Result<Downloaded, ClientError>;

/// Downloads files: one connection per server, one server after the other. Returns one result
/// for each, in the order of `downloads`, after all have an end; `on_event` hears of them
/// as they come, in this thread.
///
/// Of two downloads with the same folder and name the later one fails.
pub fn download(
    downloads: &[Download],
    config: &ClientConfig,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Vec<DownloadResult> {
    let now = Instant::now();
    let mut desk = Desk {
        config,
        on_event,
        results: downloads.iter().map(|_| None).collect(),
        started: now,
        whole: config
            .whole_timeout
            .map(|limit| Deadline::after(now, Wait::Whole, limit)),
    };
    for (address, jobs) in desk.take_orders(downloads) {
        desk.serve(address, jobs);
    }
    // Every job ends in `Desk::end`; one that did not would be our mistake, not a success.
    desk.results
        .into_iter()
        .map(|result| result.unwrap_or(Err(ClientError::OutOfTime)))
        .collect()
}

/// Where the ends of all jobs come together.
struct Desk<'a, 'e> {
    config: &'a ClientConfig,
    on_event: &'e mut dyn FnMut(Event<'_>),
    results: Vec<Option<DownloadResult>>,
    started: Instant,
    whole: Option<Deadline>,
}

/// What a round leaves to be done.
#[derive(Default)]
struct Remainder<'a> {
    /// To be asked again, with or without a pause.
    again: Vec<Job<'a>>,
    /// Not answered, since the session failed.
    unanswered: Vec<Job<'a>>,
    /// The last failure that may pass: there is a pause.
    failure: Option<ClientError>,
    /// When the server would be asked again.
    retry_after: Option<Duration>,
    /// Something was finished, or a good part of it received.
    progress: bool,
}

impl<'a> Desk<'a, '_> {
    /// Opens the folders, and sorts what can be asked by server.
    fn take_orders(&mut self, downloads: &'a [Download]) -> Vec<(&'a Address, Vec<Job<'a>>)> {
        let mut folders: HashMap<&Path, Result<Arc<StagingFolder>, ClientError>> = HashMap::new();
        let mut names = HashSet::new();
        let mut servers: Vec<(&Address, Vec<Job<'_>>)> = Vec::new();
        for (index, download) in downloads.iter().enumerate() {
            let folder = folders
                .entry(&download.folder)
                .or_insert_with(|| Ok(self.open_folder(&download.folder)?));
            let folder = match folder {
                Ok(folder) => folder.clone(),
                Err(error) => {
                    let error = error.clone();
                    self.end(index, Err(error));
                    continue;
                }
            };
            if !names.insert((&*download.folder, &download.name)) {
                self.end(index, Err(ClientError::SameName(download.name.clone())));
                continue;
            }
            let job = Job::new(index, download, folder);
            match servers
                .iter_mut()
                .find(|(address, _)| *address == &download.address)
            {
                Some((_, jobs)) => jobs.push(job),
                None => servers.push((&download.address, vec![job])),
            }
        }
        servers
    }

    fn open_folder(&self, path: &Path) -> Result<Arc<StagingFolder>, StageError> {
        if self.config.make_folders {
            StagingFolder::make(path)?;
        }
        StagingFolder::open(path)
    }

    /// Everything for one server: rounds, and pauses in between.
    fn serve(&mut self, address: &Address, mut jobs: Vec<Job<'a>>) {
        let mut session = None;
        let mut reached = self.config.retry.before_contact;
        while let Some(first) = self.first_question(jobs) {
            if self
                .whole
                .is_some_and(|whole| whole.is_over(Instant::now()))
            {
                return self.end_all(first.into_jobs(), &ClientError::OutOfTime);
            }
            let connected = session
                .take()
                .map_or_else(|| Session::connect(address, self.config, self.whole), Ok);
            let mut remainder = Remainder::default();
            match connected {
                Ok(mut connected) => {
                    reached = true;
                    let reusable = round::run(&mut connected, first, self.config, |report| {
                        self.take_report(report, &mut remainder);
                    });
                    session = reusable.then_some(connected);
                }
                Err(error) if reached => {
                    remainder.unanswered = first.into_jobs();
                    remainder.failure = Some(error);
                }
                Err(error) => return self.end_all(first.into_jobs(), &error),
            }
            jobs = self.pause(remainder);
        }
    }

    /// Ends what needs no question, so that no connection is made for it.
    fn first_question(&mut self, jobs: Vec<Job<'a>>) -> Option<FirstQuestion<'a>> {
        let mut buffer = vec![0; HASH_BUFFER_BYTES];
        let mut rest = jobs.into_iter();
        while let Some(mut job) = rest.next() {
            match job.next_step(self.config, &mut buffer) {
                Ok(Step::Ask(question, partial)) => {
                    return Some(FirstQuestion {
                        asked: Asked {
                            job,
                            question,
                            partial,
                        },
                        rest,
                    });
                }
                Ok(Step::Finished(downloaded)) => self.end(job.index, Ok(downloaded)),
                Err(error) => self.end(job.index, Err(error)),
            }
        }
        None
    }

    fn take_report(&mut self, report: Report<'a>, remainder: &mut Remainder<'a>) {
        match report {
            Report::ServerHashing {
                index,
                done,
                total_size,
            } => {
                (self.on_event)(Event::ServerHashing {
                    index,
                    done,
                    total_size,
                });
            }
            Report::Began {
                index,
                total_size,
                resumed_from,
            } => {
                (self.on_event)(Event::Began {
                    index,
                    total_size,
                    resumed_from,
                });
            }
            Report::Received { index, bytes } => (self.on_event)(Event::Received { index, bytes }),
            Report::Finished(job, downloaded) => {
                remainder.progress = true;
                job.folder.remove_leftovers(&job.download.name);
                self.end(job.index, Ok(downloaded));
            }
            Report::Failed(job, error) => self.take_failure(job, error, remainder),
            Report::Lost(job, error) => {
                remainder.progress |= job.gained >= RETRY_PROGRESS_BYTES_MIN;
                if judge(&error, job.continued, job.fresh) == Verdict::Final {
                    remainder.progress = true;
                    return self.end(job.index, Err(error));
                }
                remainder.unanswered.push(job);
                remainder.failure = Some(error);
            }
            Report::Unanswered(job) => remainder.unanswered.push(job),
            Report::Verified(_) | Report::Ended => {}
        }
    }

    /// A failure of one job alone; the session goes on.
    fn take_failure(
        &mut self,
        mut job: Job<'a>,
        error: ClientError,
        remainder: &mut Remainder<'a>,
    ) {
        match judge(&error, job.continued, job.fresh) {
            Verdict::AskFresh => job.fresh = true,
            Verdict::AskWhole => job.whole = true,
            Verdict::MayPass(retry_after) if job.failures < self.config.retry.retries_max => {
                job.failures += 1;
                remainder.retry_after = remainder.retry_after.max(retry_after);
                remainder.failure = Some(error);
            }
            Verdict::MayPass(_) | Verdict::Final => {
                remainder.progress = true;
                return self.end(job.index, Err(error));
            }
        }
        remainder.again.push(job);
    }

    /// Decides who is asked again, and waits until then.
    fn pause(&mut self, remainder: Remainder<'a>) -> Vec<Job<'a>> {
        let Remainder {
            again: mut jobs,
            mut unanswered,
            failure,
            retry_after,
            progress,
        } = remainder;
        let Some(error) = failure else {
            jobs.append(&mut unanswered);
            return jobs;
        };
        for job in &mut unanswered {
            // After progress this failure is the first again, and not none at all: whoever
            // wants no retries gets none.
            job.failures = if progress { 1 } else { job.failures + 1 };
        }
        let policy = &self.config.retry;
        let (mut hopeful, given_up): (Vec<_>, Vec<_>) = unanswered
            .into_iter()
            .partition(|job| job.failures <= policy.retries_max);
        jobs.append(&mut hopeful);
        self.end_all(given_up, &error);
        let failures = jobs.iter().map(|job| job.failures).max().unwrap_or(0);
        let pause = pause(policy, failures, retry_after);
        if policy
            .time_max
            .is_some_and(|time_max| self.started.elapsed() + pause > time_max)
        {
            self.end_all(std::mem::take(&mut jobs), &error);
        }
        if !jobs.is_empty() {
            (self.on_event)(Event::Retrying {
                unfinished: jobs.len(),
                error: &error,
                pause,
            });
            let left = self
                .whole
                .map_or(pause, |whole| whole.remaining(Instant::now()));
            std::thread::sleep(pause.min(left));
        }
        jobs
    }

    fn end_all(&mut self, jobs: Vec<Job<'a>>, error: &ClientError) {
        for job in jobs {
            self.end(job.index, Err(error.clone()));
        }
    }

    fn end(&mut self, index: usize, result: DownloadResult) {
        (self.on_event)(match &result {
            Ok(downloaded) => Event::Done { index, downloaded },
            Err(error) => Event::Failed { index, error },
        });
        self.results[index] = Some(result);
    }
}
