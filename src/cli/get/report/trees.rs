//! What is told of trees besides their files.

use super::{Reporter, source};
use crate::cli::ExitCode;
use crate::cli::get::json_event::{Deleted, PassedOver};
use crate::cli::get::mirror;
use crate::cli::get::wording::filename_b64;
use crate::client::{ClientConfig, DeleteLimit, Item, Tree};
use crate::wire::ObjectKind;

impl Reporter<'_> {
    /// Makes mirrors of these trees, which were fetched, and tells of it.
    pub(in crate::cli::get) fn delete(
        &mut self,
        trees: &[Tree],
        deleted_max: u64,
        config: &ClientConfig,
    ) {
        let limit = DeleteLimit {
            deleted_max,
            dry_run: false,
        };
        let spent = self.started.elapsed();
        let deleted = mirror::delete(trees, limit, config, spent, &mut |event| {
            self.take(event);
        });
        self.summary.deleted = Some(deleted.deleted);
        if deleted.reached_limit {
            self.failures.add(ExitCode::DeleteLimit);
        }
        for sentence in mirror::sentences(&deleted) {
            if deleted.reached_limit || !self.manner.quiet {
                self.line(&sentence);
            }
        }
    }

    pub(super) fn tell_deleted(&mut self, item: Item<'_>, kind: ObjectKind) {
        if self.manner.verbose {
            let name = source(item, None).name();
            self.line(&format!("{name}: deleted"));
        }
        self.json(&Deleted::of(item.path, kind));
    }

    pub(super) fn tell_passed_over(&mut self, item: Item<'_>, kind: ObjectKind) {
        self.summary.passed_over += 1;
        let what = if kind == ObjectKind::Symlink {
            "a link that cannot be made"
        } else {
            "a special file"
        };
        if self.manner.verbose {
            let name = source(item, self.poured.as_ref()).name();
            self.line(&format!("{name}: {what}, passed over"));
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
