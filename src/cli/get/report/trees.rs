//! What is told of trees besides their files.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{Reporter, source};
use crate::cli::get::json_event::{Deleted, PassedOver};
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
    /// Keeps from now on to itself what may give way when it is known that the server has
    /// something of another kind.
    pub(in crate::cli::get) fn hold_back(&mut self, notes: MirrorNotes) {
        self.notes = Some(notes);
    }

    /// Makes mirrors of these trees, which were fetched, and tells of it. Returns what could not
    /// be fetched before and can be now.
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
        for sentence in mirrored.sentences(self.manner.quiet) {
            self.note(&sentence);
        }
        let rest = notes.into_batch()?;
        Some((rest, mirror::after(self.started.elapsed(), config)))
    }

    /// Tells that more would be deleted than may be.
    pub(in crate::cli::get) fn tell_too_many_extras(&mut self, deleted_max: u64) {
        let sentence = format!("there is more to delete than --max-delete {deleted_max} allows");
        self.failure(&sentence);
        self.fail(ExitCode::DeleteLimit, "max_delete", &sentence);
    }

    /// Tells which folders nobody has looked into: what is known of the rest is known without them.
    pub(in crate::cli::get) fn tell_locked(&mut self, folders: &BTreeSet<PathBuf>) {
        if let Some(sentence) = wording::locked(folders).filter(|_| !self.manner.quiet) {
            self.note(&sentence);
        }
    }

    /// Tells what does not fit.
    pub(in crate::cli::get) fn tell_rooms(&mut self, rooms: &[Room]) {
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
            } else if !self.manner.quiet {
                self.show(&wording::warning(&sentence, self.manner.is_coloured));
            }
            if !is_certain {
                continue;
            }
            self.fail(ExitCode::NoSpace, "no_space", &sentence);
            // Whatever else there is: that is to be seen to first.
            self.failures.lead_with(ExitCode::NoSpace);
        }
    }

    /// So much is wanted, and nothing else.
    pub(in crate::cli::get) fn expect(&mut self, entries: u64, bytes: u64) {
        self.progress.expect(entries, bytes);
    }

    /// Something has failed.
    pub(in crate::cli::get) fn has_failed(&self) -> bool {
        self.summary.failed > 0
    }

    pub(super) fn tell_deleted(&mut self, item: Item<'_>, kind: ObjectKind) {
        if self.manner.verbose {
            let name = wording::name_here(item);
            self.line(&format!("{}: deleted", visible(&name)));
        }
        self.json(&Deleted::of(item, kind));
    }

    pub(super) fn tell_passed_over(&mut self, item: Item<'_>, kind: ObjectKind) {
        let what = if self.manner.skips_links && kind == ObjectKind::Symlink {
            self.summary.actions.add(Action::Skipped);
            "a symbolic link"
        } else {
            self.summary.passed_over += 1;
            special(kind)
        };
        if self.manner.verbose {
            let name = source(item, self.poured.as_ref()).name();
            self.line(&format!("{name}: {what}, left out"));
        }
        self.json(&PassedOver {
            v: 1,
            event: "passed_over",
            n: item.index,
            filename: String::from_utf8_lossy(item.path.as_bytes()),
            filename_b64: filename_b64(item.path.as_bytes()),
            reason: what,
        });
    }
}
