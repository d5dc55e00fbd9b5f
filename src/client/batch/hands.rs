//! The threads that look at folders and that verify small files: what waits for disks and
//! hashes, so that no connection does.

use std::cell::Cell;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, never, select_biased};

use crate::client::batch::budget::{Budget, Share};
use crate::client::batch::copying::ToCopy;
use crate::client::batch::destinations::Destinations;
use crate::client::batch::in_place::InPlace;
use crate::client::batch::jobs::{JobId, Task, Wish};
use crate::client::batch::keeper::Keeper;
use crate::client::batch::look::{Decision, Existing, LONG_LOOK_BYTES_MIN, look};
use crate::client::batch::placing::{Linked, Placed, ToPlace, Verified, place, transferred};
use crate::client::batch::report::{Report, Reports};
use crate::client::event::PROGRESS_INTERVAL;
use crate::client::in_time::last_sync;
use crate::client::question::Content;
use crate::client::{Action, ClientConfig, ClientError, Download, IfExists, SyncPolicy};
use crate::digest::hash_all;
use crate::net::Deadline;
use crate::store::{Attributes, PlacedLink, StageError, StagingDirectory};
use crate::wire::{Md5Digest, ObjectKind, Timestamp};

/// A job whose folder is to be looked at.
pub(in crate::client) struct ToLook {
    pub(in crate::client) id: JobId,
    pub(in crate::client) download: Arc<Download>,
    pub(in crate::client) task: Task,
    pub(in crate::client) wish: Wish,
    pub(in crate::client) known: Option<Existing>,
    /// Large files may be read for it.
    pub(in crate::client) is_long: bool,
}

/// A small file, all of it in memory and not verified yet.
pub(in crate::client) struct Body {
    pub(in crate::client) id: JobId,
    pub(in crate::client) download: Arc<Download>,
    /// Where it goes, as it was looked at.
    pub(in crate::client) folder: Weak<StagingDirectory>,
    pub(in crate::client) content: Content,
    pub(in crate::client) bytes: Vec<u8>,
    /// Of the memory that bodies may take.
    pub(in crate::client) share: Share,
}

/// A thread's belongings.
#[derive(Clone)]
pub(in crate::client) struct Hand<'s> {
    pub(in crate::client) looks: Receiver<Vec<ToLook>>,
    /// Those for which a large file may have to be read. Of several hands one has none of them:
    /// whatever the others read, small files go on.
    pub(in crate::client) long_looks: Receiver<Vec<ToLook>>,
    pub(in crate::client) bodies: Receiver<Vec<Body>>,
    pub(in crate::client) copies: Receiver<ToCopy>,
    pub(in crate::client) to_place: Sender<ToPlace>,
    pub(in crate::client) reports: Reports,
    pub(in crate::client) destinations: &'s Destinations,
    /// Files that may be open at once.
    pub(in crate::client) open_files: Arc<Budget>,
    /// Time is over: nothing is wanted any more.
    pub(in crate::client) is_stopped: Arc<AtomicBool>,
    pub(in crate::client) whole: Option<Deadline>,
    pub(in crate::client) in_place: &'s InPlace,
    pub(in crate::client) keeper: Keeper,
    pub(in crate::client) config: &'s ClientConfig,
}

impl Hand<'_> {
    /// Works until nothing more comes. Bodies go first: they hold memory, and connections wait
    /// for them.
    pub(in crate::client) fn run(self) {
        let (nothing, no_bodies, no_copies) = (never(), never(), never());
        let (mut bodies, mut copies) = (&self.bodies, &self.copies);
        let (mut looks, mut long_looks) = (&self.looks, &self.long_looks);
        let mut open = 4;
        while open > 0 {
            select_biased! {
                recv(bodies) -> group => match group {
                    Ok(group) => self.verify(group),
                    Err(_) => (bodies, open) = (&no_bodies, open - 1),
                },
                recv(looks) -> wanted => match wanted {
                    Ok(wanted) => self.look_at(wanted),
                    Err(_) => (looks, open) = (&nothing, open - 1),
                },
                recv(long_looks) -> wanted => match wanted {
                    Ok(wanted) => self.look_at(wanted),
                    Err(_) => (long_looks, open) = (&nothing, open - 1),
                },
                recv(copies) -> wanted => match wanted {
                    Ok(wanted) => self.copy(wanted),
                    Err(_) => (copies, open) = (&no_copies, open - 1),
                },
            }
        }
    }

    fn look_at(&self, wanted: Vec<ToLook>) {
        let mut looked = Vec::with_capacity(wanted.len());
        let mut last = None;
        for job in wanted {
            let is_over = self.is_stopped.load(Ordering::SeqCst);
            let decided = match job.task {
                // Whatever it is: it has ended already.
                Task::Fetch | Task::Link(..) | Task::MakeFolder | Task::FinishFolder(_)
                    if is_over =>
                {
                    Err(ClientError::OutOfTime)
                }
                _ => guarded(|| self.decide(&job, &mut last)),
            };
            if let Some(decision) = decided.transpose() {
                looked.push((job.id, decision));
            }
        }
        if !looked.is_empty() {
            self.reports.send(Report::Looked(looked));
        }
    }

    /// Does what can be done here. `None`: who places says how it ends. `last`: the folder that
    /// was looked at last.
    fn decide(
        &self,
        job: &ToLook,
        last: &mut Option<(Arc<Download>, Arc<StagingDirectory>)>,
    ) -> Result<Option<Decision>, ClientError> {
        let download = &job.download;
        let over = || Some(Decision::finished(download, Action::Skipped));
        if let Task::Sync = job.task {
            #[cfg(test)]
            trip(download, "trips syncing");
            self.destinations.sync(last_sync(self.whole))?;
            return Ok(over());
        }
        let tree = || self.destinations.open(&download.folder, self.config);
        match &job.task {
            Task::MakeFolder => drop(tree()?.directory(&download.place()?)?),
            Task::FinishFolder(attributes) => {
                tree()?.finish_directory(&download.place()?, attributes)?
            }
            Task::Fetch | Task::Link(..) | Task::Sync => {
                let is_same = |(before, _): &&(Arc<Download>, _)| before.goes_beside(download);
                let folder = match last.as_ref().filter(is_same) {
                    Some((_, folder)) => Arc::clone(folder),
                    // It is made for what comes: the server may have nothing that goes into it.
                    None if matches!(job.task, Task::Fetch)
                        && matches!(tree()?.existing_directory(&download.below), Ok(None)) =>
                    {
                        tree()?.check_making(&download.below)?;
                        return Ok(Some(Decision::ask_for_all(download, job.wish)));
                    }
                    None => tree()?.directory(&download.below)?,
                };
                *last = Some((Arc::clone(download), Arc::clone(&folder)));
                return match &job.task {
                    Task::Link(target, mtime) => self.place_link(job, &folder, target, *mtime),
                    _ => self.look_at_file(job, &folder).map(Some),
                };
            }
        }
        Ok(over())
    }

    fn look_at_file(
        &self,
        job: &ToLook,
        folder: &Arc<StagingDirectory>,
    ) -> Result<Decision, ClientError> {
        let download = &job.download;
        let told = Cell::new(Instant::now());
        let goes_on = |done, total_size| {
            if told.get().elapsed() >= PROGRESS_INTERVAL {
                told.set(Instant::now());
                self.reports.send(Report::Reading(job.id, done, total_size));
            }
            !self.is_stopped.load(Ordering::SeqCst)
        };
        let read_below = if job.is_long {
            u64::MAX
        } else {
            LONG_LOOK_BYTES_MIN
        };
        let (wish, known) = (job.wish, job.known);
        folder.check_name(&download.name)?;
        let decision = look(
            download,
            folder,
            wish,
            known,
            read_below,
            &goes_on,
            self.config,
        )?;
        match &decision {
            Decision::Finished(_) => {}
            Decision::Identical(existing) => self.set_attributes(existing, download, folder),
            Decision::Ask {
                existing, replaces, ..
            } => {
                // What is there may be what is wanted, and stays.
                let may_stay = existing.is_some() || *replaces && download.or_folder;
                if !may_stay {
                    folder.check_making()?;
                }
                return Ok(decision);
            }
            Decision::ReadsMuch | Decision::PassedOver(_) => return Ok(decision),
        }
        folder.remove_leftovers(&download.name);
        Ok(decision)
    }

    /// Gives a file that is here what it is lacking, as far as that may be done here: its content
    /// is what was wanted, and so this is no failure.
    fn set_attributes(
        &self,
        existing: &Existing,
        download: &Arc<Download>,
        folder: &StagingDirectory,
    ) {
        let Some(attributes) = &existing.lacking else {
            return;
        };
        let (name, stamp) = (&download.name, &existing.stamp);
        let is_known = self.config.local_digests.knows(stamp, existing.md5);
        let dressed = folder.set_existing_attributes(name, stamp, attributes);
        // A new ctime makes another stamp; to have hashed it once is to be enough.
        if is_known && let Some(dressed) = dressed {
            self.keeper.note_again(download, dressed, existing.md5);
        }
    }

    fn place_link(
        &self,
        job: &ToLook,
        folder: &Arc<StagingDirectory>,
        target: &[u8],
        mtime: Option<Timestamp>,
    ) -> Result<Option<Decision>, ClientError> {
        let download = &job.download;
        let placement = self.config.placement();
        let mtime = mtime.filter(|_| self.config.preserve_mtime);
        let share = self.open_files.take(1);
        let link = (target, download.below.parts().count());
        let placed = match folder.place_link(&download.name, link, mtime, placement) {
            Ok(PlacedLink::LeadsOutside) => {
                return Ok(Some(Decision::PassedOver(ObjectKind::Symlink)));
            }
            Ok(PlacedLink::Placed(name)) => Placed {
                name,
                total_size: 0,
                md5: None,
                action: Action::Link,
            },
            Ok(PlacedLink::Unkept) => {
                return Ok(Some(Decision::finished(download, Action::Skipped)));
            }
            Ok(PlacedLink::Identical) => {
                return Ok(Some(Decision::finished(download, Action::Identical)));
            }
            Err(StageError::Exists) if self.config.if_exists == IfExists::Skip => {
                return Ok(Some(Decision::finished(download, Action::Skipped)));
            }
            Err(error) => return Err(error.into()),
        };
        if self.config.sync == SyncPolicy::Never {
            return Ok(Some(Decision::Finished(placed)));
        }
        let (id, folder) = (job.id, Arc::clone(folder));
        self.in_place.add(id);
        // Whoever places ends last.
        let _ = self.to_place.send(ToPlace::Link(Linked {
            id,
            placed,
            folder,
            share,
        }));
        Ok(None)
    }

    /// Verifies a group of files, all at once in SIMD lanes, and writes each that is right.
    fn verify(&self, group: Vec<Body>) {
        let contents: Vec<&[u8]> = group.iter().map(|body| &body.bytes[..]).collect();
        let digests = match guarded(|| Ok(hash_all(&contents))) {
            Ok(digests) => digests,
            Err(error) => {
                let failed = group.into_iter().map(|body| (body.id, Err(error.clone())));
                return self.reports.send(Report::Finished(failed.collect()));
            }
        };
        let mut verified = Vec::with_capacity(group.len());
        for (body, md5) in group.into_iter().zip(digests) {
            let id = body.id;
            // The files of this group that are open already may be all that may be.
            let share = self.open_files.try_take(1).unwrap_or_else(|| {
                self.hand_over(mem::take(&mut verified));
                self.open_files.take(1)
            });
            match guarded(|| self.stage(body, md5, share)) {
                Ok(file) => verified.push(file),
                Err(error) => self.reports.finished(id, Err(error)),
            }
        }
        self.hand_over(verified);
    }

    /// Has files placed.
    pub(super) fn hand_over(&self, verified: Vec<Verified>) {
        if verified.is_empty() {
            return;
        }
        if self.config.sync != SyncPolicy::Never {
            // The thread that places files ends last.
            let _ = self.to_place.send(ToPlace::Files(verified));
            return;
        }
        let place = |file: Verified| {
            let id = file.id;
            (id, guarded(|| place(file, self.config, &self.keeper)))
        };
        let ended = verified.into_iter().map(place).collect();
        self.reports.send(Report::Finished(ended));
    }

    fn stage(&self, body: Body, md5: Md5Digest, share: Share) -> Result<Verified, ClientError> {
        let Body {
            id,
            download,
            folder,
            content,
            bytes,
            share: memory,
        } = body;
        content.check(md5)?;
        let attributes = attributes(&content, self.config);
        let folder = self.destinations.folder(&download, &folder, self.config)?;
        let staged = folder.stage_whole(&download.name, &bytes, &attributes)?;
        drop((bytes, memory));
        Ok(Verified {
            id,
            download,
            content,
            action: transferred(&content),
            staged,
            synced: false,
            share,
        })
    }
}

/// What a file gets that the server told of.
pub(in crate::client) fn attributes(content: &Content, config: &ClientConfig) -> Attributes {
    config.attributes(content.mode, content.mtime, 0o666)
}

/// Where a test has a thread panic: when it comes to the file of this name.
#[cfg(test)]
pub(in crate::client) fn trip(download: &Download, name: &str) {
    assert_ne!(download.path.as_bytes(), name.as_bytes());
}

/// A panic costs one file, and is told as its failure.
pub(in crate::client) fn guarded<T>(
    work: impl FnOnce() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(ClientError::panicked()))
}
