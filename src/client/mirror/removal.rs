//! Removing what goes, after a look whether it can.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::extras::{Extra, Extras};
use super::{Deletion, kind_of};
use crate::client::ClientError;
use crate::store::{DestinationTree, StagingDirectory, TargetInfo};
use crate::wire::{ObjectKind, ResourcePath};

/// A folder that things are to be removed from, if it can be looked into.
pub(super) type Checked = Result<(Option<Arc<StagingDirectory>>, TargetInfo), ClientError>;

impl Deletion<'_, '_> {
    /// Breaks if something of it stays, since the limit is reached.
    pub(super) fn remove(
        &mut self,
        top: &ResourcePath,
        top_path: &ResourcePath,
        destination: &DestinationTree,
    ) -> ControlFlow<()> {
        let mut is_gone = false;
        let removed = destination.remove(top, &mut |place, occupant| {
            is_gone = place == top.as_bytes();
            // Below a path that can be asked for there may be one that is too long for it.
            let below = place.get(top.as_bytes().len()..);
            let path = [top_path.as_bytes(), below.unwrap_or_default()].concat();
            let path = ResourcePath::parse(&path);
            self.tell(path.as_ref().unwrap_or(top_path), kind_of(occupant));
            if self.total.deleted >= self.limit.deleted_max || !self.limits.has_time() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        match removed {
            Ok(ControlFlow::Break(())) if !is_gone && !self.limits.has_time() => {
                self.fail(top_path, &ClientError::OutOfTime);
            }
            Ok(ControlFlow::Break(())) if !is_gone => return ControlFlow::Break(()),
            Ok(_) => {}
            Err(error) => self.fail(top_path, &error.into()),
        }
        ControlFlow::Continue(())
    }

    /// Removes the partial files of what the tree does not have, or tells them in a dry run, and notes
    /// the folders that they were in.
    pub(super) fn remove_orphans(
        &mut self,
        extras: &Extras,
        destination: &DestinationTree,
        touched: &mut Vec<ResourcePath>,
    ) {
        for (folder, orphans) in extras.orphans() {
            let Ok(Some(found)) = destination.existing_directory(folder) else {
                continue;
            };
            if !self.limit.dry_run {
                touched.push(folder.clone());
            }
            for name in found.names_of(orphans) {
                if self.total.deleted >= self.limit.deleted_max {
                    self.total.reached_limit = true;
                    return;
                }
                if self.limit.dry_run || found.remove_partial(&name) {
                    self.tell(&self.path_in(folder, &name), ObjectKind::File);
                }
            }
        }
    }

    /// The path that a partial file would have on the server; that of the tree if none can have it.
    fn path_in(&self, folder: &ResourcePath, name: &str) -> ResourcePath {
        let place = [folder.as_bytes(), b"/", name.as_bytes()].concat();
        let place = place.strip_prefix(b"/").unwrap_or(&place);
        let path = ResourcePath::parse(place).ok();
        let path = path.and_then(|place| self.tree.path_of(&place).1);
        path.unwrap_or_else(|| self.tree.path.clone())
    }

    /// Tells what would go.
    pub(super) fn tell_all<'x>(
        &mut self,
        extras: impl Iterator<Item = &'x Extra>,
    ) -> ControlFlow<()> {
        for extra in extras {
            if self.total.deleted >= self.limit.deleted_max {
                return ControlFlow::Break(());
            }
            self.tell(&extra.path, extra.kind);
        }
        ControlFlow::Continue(())
    }

    /// Whether this could be removed from the folder that it is in, as far as can be seen: nothing
    /// is begun that cannot be finished.
    pub(super) fn check_removing(
        &mut self,
        place: &ResourcePath,
        destination: &DestinationTree,
    ) -> Result<(), ClientError> {
        let folder = place.parent().unwrap_or_else(ResourcePath::root);
        let (_, checked) = match self.last_checked.take() {
            Some(last) if last.0 == folder => self.last_checked.insert(last),
            _ => {
                let checked = destination.target_info(&folder).map_err(ClientError::from);
                self.last_checked.insert((folder, checked))
            }
        };
        match checked {
            Err(error) => Err(error.clone()),
            Ok((Some(folder), ground)) => {
                let name = place.file_name().unwrap_or_default();
                Ok(ground.check_removing(folder, name)?)
            }
            // It is opened up for it, or is gone.
            Ok((None, _)) => Ok(()),
        }
    }
}
