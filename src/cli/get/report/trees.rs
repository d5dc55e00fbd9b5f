//! Reports about trees: deletions, skipped entries, and space.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Reporter, source};
use crate::cli::get::json_event::{DeletedEvent, PassedOverEvent};
use crate::cli::get::mirror;
use crate::cli::get::room::Shortage;
use crate::cli::get::wording::{filename_b64, special};
use crate::cli::get::{room, wording};
use crate::cli::{ExitCode, visible};
use crate::client::{
    Action, Batch, ClientConfig, DeleteLimit, Event, Item, MirrorNotes, Room, Tree,
};
use crate::wire::ObjectKind;

impl Reporter<'_> {
    /// Holds back type conflicts from now on: [`Reporter::delete`] may resolve them.
    pub(in crate::cli::get) fn hold_back(&mut self, notes: MirrorNotes) {
        self.notes = Some(notes);
    }

    /// Deletes local entries that the server does not have, and reports them. Returns a batch of
    /// the downloads that were blocked before.
    pub(in crate::cli::get) fn delete(
        &mut self,
        trees: &[Tree],
        limit: DeleteLimit,
        config: &ClientConfig,
    ) -> Option<(Batch<'static>, ClientConfig)> {
        let mut notes = self.notes.take()?;
        let spent = self.started.elapsed();
        let on_event = &mut |event: Event<'_>| drop(self.take(event));
        let mirrored = mirror::delete(trees, limit, &mut notes, config, spent, on_event);
        self.summary.deleted = Some(mirrored.total.deleted);
        if mirrored.total.reached_limit {
            self.failures.add(ExitCode::DeleteLimit);
        }
        for sentence in mirrored.sentences(self.style.quiet) {
            self.note(&sentence);
        }
        let rest = notes.into_batch()?;
        Some((rest, mirror::after(self.started.elapsed(), config)))
    }

    /// Reports that `--max-delete` allows fewer deletions than there are.
    pub(in crate::cli::get) fn report_delete_limit(&mut self, deleted_max: u64) {
        let sentence = format!("there is more to delete than --max-delete {deleted_max} allows");
        self.failure(&sentence);
        self.fail(ExitCode::DeleteLimit, "max_delete", &sentence);
    }

    /// Reports directories that could not be read, and so were not checked.
    pub(in crate::cli::get) fn report_locked(&mut self, directories: &BTreeSet<PathBuf>) {
        if let Some(sentence) = wording::locked(directories).filter(|_| !self.style.quiet) {
            self.note(&sentence);
        }
    }

    /// Reports file systems that do not have enough space.
    pub(in crate::cli::get) fn report_space(&mut self, rooms: &[Room]) {
        if let Some(room) = rooms.first() {
            self.summary.needed_bytes = Some(room.needed_bytes);
            self.summary.free_bytes = room.free_bytes;
        }
        for Shortage {
            sentence,
            is_certain,
        } in rooms.iter().filter_map(room::shortage)
        {
            if is_certain {
                self.failure(&sentence);
            } else if !self.style.quiet {
                self.show(&wording::warning(&sentence, self.style.is_coloured));
            }
            if !is_certain {
                continue;
            }
            self.fail(ExitCode::NoSpace, "no_space", &sentence);
            // The user must free space first, whatever else failed.
            self.failures.lead_with(ExitCode::NoSpace);
        }
    }

    /// Sets the totals of the run.
    pub(in crate::cli::get) fn expect(&mut self, entries: u64, bytes: u64) {
        self.progress.expect(entries, bytes);
    }

    /// Whether anything failed.
    pub(in crate::cli::get) fn has_failed(&self) -> bool {
        self.summary.failed > 0
    }

    pub(super) fn report_deleted(&mut self, item: Item<'_>, kind: ObjectKind) {
        if self.style.verbose {
            let name = wording::name_here(item);
            self.line(&format!("{}: deleted", visible(&name)));
        }
        self.json(&DeletedEvent::of(item, kind));
    }

    pub(super) fn report_passed_over(&mut self, item: Item<'_>, kind: ObjectKind) {
        let what = if self.style.skips_links && kind == ObjectKind::Symlink {
            self.summary.actions.add(Action::Skipped);
            "a symbolic link"
        } else {
            self.summary.passed_over += 1;
            special(kind)
        };
        if self.style.verbose {
            let name = source(item, self.streamed.as_ref()).name();
            self.line(&format!("{name}: {what}, left out"));
        }
        self.json(&PassedOverEvent {
            v: 1,
            event: "passed_over",
            n: item.index,
            filename: String::from_utf8_lossy(item.path.as_bytes()),
            filename_b64: filename_b64(item.path.as_bytes()),
            reason: what,
        });
    }
}
