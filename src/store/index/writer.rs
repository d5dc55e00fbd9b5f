//! The thread that writes an index and replaces a damaged file.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{io, mem};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::database::{Batch, Change, Database, Day, Key};
use super::file::{IndexState, READERS};
use super::forgotten::{Mark, RemovedRows};
use super::location::{IndexLocation, LocationLock};
use super::locks::{InUse, Inode, opening};
use super::sweep::Sweep;
use crate::store::{IndexError, IndexEvent, KnownDigest, Stamp};

/// A command for the writer.
pub(super) enum Op {
    /// Set a row, used today.
    Put(Stamp, KnownDigest),
    /// Remove the row of this inode, and then clear this mark.
    Remove(Stamp, Mark),
    /// Write everything before this now.
    Flush(Sender<()>),
    /// A reader found the file damaged.
    Damaged(IndexError),
    /// Write everything before this and close the file. The sender is dropped after that.
    End(Sender<()>),
}

/// The writer of one index.
pub(super) struct Writer<R, T> {
    location: IndexLocation,
    shared: Arc<IndexState>,
    report: R,
    today: T,
    file: Option<OpenIndex>,
    /// Damaged files that were open. While this runs, nothing else may open them.
    former: Vec<InUse>,
    batch: Batch,
    /// Rows of the batch that were found wrong; some may have a new digest there.
    removed: RemovedRows,
    /// When the batch must be written.
    due: Option<Instant>,
    sweep: Option<Sweep>,
    /// Rows that can be added before the next sweep.
    room: u64,
    is_failing: bool,
    replacements: u32,
}

/// The open file. The order of the fields closes it before its entry is removed.
struct OpenIndex {
    database: Database,
    inode: Option<Inode>,
    entered: InUse,
}

impl<R: Fn(IndexEvent), T: Fn() -> Day> Writer<R, T> {
    /// Opens the file, also for the readers.
    pub(super) fn open(
        location: IndexLocation,
        shared: Arc<IndexState>,
        report: R,
        today: T,
    ) -> Result<Writer<R, T>, IndexError> {
        let mut writer = Writer {
            location,
            shared,
            report,
            today,
            file: None,
            former: Vec::new(),
            batch: Batch::new(),
            removed: RemovedRows::new(),
            due: None,
            sweep: None,
            room: 0,
            is_failing: false,
            replacements: 0,
        };
        let locked = writer.location.lock()?;
        writer.location.begin(&locked)?;
        match writer.attach() {
            Err(reason) if reason.needs_new_file() => writer.replace_file(&locked, reason)?,
            attached => attached?,
        }
        Ok(writer)
    }

    /// Writes until the index is dropped.
    pub(super) fn run(mut self, ops: &Receiver<Op>) {
        loop {
            match ops.recv_deadline(self.next_look()) {
                Ok(Op::Put(stamp, known)) => {
                    self.add(&stamp, Change::Put(stamp, known, (self.today)()));
                }
                Ok(Op::Remove(stamp, mark)) => {
                    self.removed.insert(Key::of(&stamp), mark);
                    self.add(&stamp, Change::Remove);
                }
                Ok(Op::Flush(done)) => {
                    self.write();
                    let _ = done.send(());
                }
                Ok(Op::Damaged(reason)) => self.replace(reason),
                Err(RecvTimeoutError::Timeout) if self.due.is_some() => self.write(),
                Err(RecvTimeoutError::Timeout) => self.run_idle(),
                Ok(Op::End(_closed)) => return self.end(),
                Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
        }
    }

    fn next_look(&self) -> Instant {
        let now = Instant::now();
        match (self.due, &self.sweep) {
            (Some(due), _) => due,
            (None, Some(_)) => now,
            (None, None) => now + IDLE_INTERVAL,
        }
    }

    fn add(&mut self, stamp: &Stamp, change: Change) {
        self.due
            .get_or_insert_with(|| Instant::now() + BATCH_DELAY_MAX);
        self.batch.insert(Key::of(stamp), change);
        if self.batch.len() >= BATCH_ROWS_MAX {
            self.write();
        }
    }

    fn write(&mut self) {
        self.due = None;
        let mut batch = mem::take(&mut self.batch);
        let mut removed = mem::take(&mut self.removed);
        for (key, mark) in self.shared.forgotten.take_postponed() {
            batch.insert(key, Change::Remove);
            removed.insert(key, mark);
        }
        let written = match self.try_write(&batch) {
            Err(reason) if reason.needs_new_file() => {
                self.replace(reason);
                self.try_write(&batch)
            }
            written => written,
        };
        match written {
            Ok(()) => {
                self.shared.forgotten.done(&removed);
                self.is_failing = false;
            }
            Err(error) => {
                for (key, mark) in removed {
                    self.shared.forgotten.postpone(key, mark);
                }
                return self.fail(error);
            }
        }
        self.room = self.room.saturating_sub(batch.len() as u64);
        if self.room == 0 && self.sweep.is_none() && self.file.is_some() {
            self.sweep = Some(Sweep::new(ROWS_MAX));
        }
    }

    fn try_write(&mut self, batch: &Batch) -> Result<(), IndexError> {
        match &mut self.file {
            Some(file) if !batch.is_empty() => file.database.write(batch),
            Some(_) | None => Ok(()),
        }
    }

    /// Rows are dropped. Reports this once until writing works again.
    fn fail(&mut self, error: IndexError) {
        if !mem::replace(&mut self.is_failing, true) {
            (self.report)(IndexEvent::NotWritten(error));
        }
    }

    /// Runs while nothing is to be written.
    fn run_idle(&mut self) {
        let today = (self.today)();
        self.shared.set_today(today);
        let (Some(sweep), Some(file)) = (&mut self.sweep, &mut self.file) else {
            self.sweep = None;
            return;
        };
        match sweep.step(&mut file.database, today) {
            Ok(None) => {}
            Ok(Some(rows)) => {
                self.sweep = None;
                self.room = ROWS_MAX.saturating_sub(rows).max(BATCH_ROWS_MAX as u64);
            }
            Err(reason) if reason.needs_new_file() => self.replace(reason),
            // Another program writes, or no program can; try again later.
            Err(_) => {
                self.sweep = None;
                self.room = ROWS_MAX;
            }
        }
    }

    /// Continues with a new file.
    fn replace(&mut self, reason: IndexError) {
        let damaged = self.detach();
        if self.replacements == REPLACEMENTS_MAX {
            return (self.report)(IndexEvent::GivenUp(reason));
        }
        self.replacements += 1;
        if let Err(error) = self.try_replace(damaged, reason) {
            (self.report)(IndexEvent::GivenUp(error));
        }
    }

    fn try_replace(
        &mut self,
        damaged: Option<Inode>,
        reason: IndexError,
    ) -> Result<(), IndexError> {
        let locked = self.location.lock()?;
        if damaged.is_some() && self.location.inode() == damaged {
            return self.replace_file(&locked, reason);
        }
        // Another process has replaced it, or someone deleted it.
        self.location.begin(&locked)?;
        self.attach()
    }

    /// Sets the file aside and creates a new one.
    fn replace_file(
        &mut self,
        locked: &LocationLock,
        reason: IndexError,
    ) -> Result<(), IndexError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = since.map_or(0, |since| since.as_secs());
        let set_aside_files = self.location.set_aside(locked, seconds);
        let to = set_aside_files.map_err(|error: io::Error| IndexError::Failed(error.into()))?;
        self.location.begin(locked)?;
        self.attach()?;
        (self.report)(IndexEvent::SetAside { reason, to });
        Ok(())
    }

    /// Opens the file that exists. Call this with the lock held.
    fn attach(&mut self) -> Result<(), IndexError> {
        let path = self.location.file();
        let mut files = self.location.open_files().to_vec();
        files.extend(self.location.set_aside_files());
        let ((database, readers), entered) = opening(&files, || {
            let database = Database::open(path, OPENING_BUSY_TIMEOUT)?;
            database.set_busy_timeout(WRITING_BUSY_TIMEOUT)?;
            let readers = (0..READERS).map(|_| Database::open_reader(path));
            let readers = readers.collect::<Result<Vec<Database>, IndexError>>()?;
            Ok::<_, IndexError>((database, readers))
        })?;
        self.shared.set_readers(readers);
        self.file = Some(OpenIndex {
            database,
            inode: self.location.inode(),
            entered,
        });
        self.sweep = Some(Sweep::new(ROWS_MAX));
        Ok(())
    }

    /// Closes the file. Returns its inode.
    fn detach(&mut self) -> Option<Inode> {
        self.shared.set_readers(Vec::new());
        let file = self.file.take()?;
        self.former.push(file.entered);
        file.inode
    }

    fn end(mut self) {
        self.write();
        if let Some(file) = &self.file
            && file.database.set_busy_timeout(ENDING_BUSY_TIMEOUT).is_ok()
        {
            file.database.checkpoint();
        }
    }
}

impl<R, T> Drop for Writer<R, T> {
    fn drop(&mut self) {
        // Readers must not outlive the entry in the table of open files.
        self.shared.set_readers(Vec::new());
    }
}

/// A sorted batch of this many rows is written in some 5 ms.
const BATCH_ROWS_MAX: usize = 2_000;
/// The time span that a crash may lose.
const BATCH_DELAY_MAX: Duration = Duration::from_millis(500);
/// The most rows of an index, which take about 400 MB.
const ROWS_MAX: u64 = 4_000_000;
/// How often a process replaces the file before it treats the disk as broken.
const REPLACEMENTS_MAX: u32 = 3;
/// How often an idle writer checks the date.
const IDLE_INTERVAL: Duration = Duration::from_secs(600);
const OPENING_BUSY_TIMEOUT: Duration = Duration::from_secs(1);
const WRITING_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const ENDING_BUSY_TIMEOUT: Duration = Duration::from_millis(100);
