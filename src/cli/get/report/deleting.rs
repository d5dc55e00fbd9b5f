//! What is told of deleting what a server does not have.

use super::{Reporter, source};
use crate::cli::ExitCode;
use crate::cli::get::json_event::Deleted;
use crate::cli::get::mirror;
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
        let deleted = mirror::delete(trees, limit, config, spent, &mut |event| self.take(event));
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
}
