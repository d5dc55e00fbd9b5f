//! A listing that enters mounts which may not answer.

use std::sync::Arc;

use super::opened::OpenRoot;
use crate::store::mounts::Route;
use crate::store::walk::Walk;
use crate::store::{Listed, Listing, StoreError};
use crate::wire::ObjectKind;

/// A walk whose steps are made in another thread where they could hang. A directory that is known
/// not to answer becomes an entry with an error. Until that is known, the listing fails.
pub(super) struct MountedWalk {
    /// `None` if the walk is in a thread that hangs.
    walk: Option<Walk>,
    root: Arc<OpenRoot>,
}

impl MountedWalk {
    pub(super) fn new(walk: Walk, root: Arc<OpenRoot>) -> MountedWalk {
        MountedWalk {
            walk: Some(walk),
            root,
        }
    }
}

impl Listing for MountedWalk {
    fn next(&mut self) -> Result<Option<Listed>, StoreError> {
        while let Some(listed) = self.next_found()? {
            if listed.kind != ObjectKind::File {
                return Ok(Some(listed));
            }
            match self.root.check_not_beside_index(&listed.path) {
                Ok(()) => return Ok(Some(listed)),
                Err(StoreError::NotFound) => {}
                Err(error) => return Ok(Some(Listed::failed(listed.path, listed.kind, error))),
            }
        }
        Ok(None)
    }

    fn take_hidden(&mut self) -> u64 {
        self.walk.as_mut().map_or(0, Walk::take_hidden)
    }

    fn hides_names(&self) -> bool {
        self.walk.as_ref().is_some_and(Walk::hides_names)
    }

    fn root(&self) -> u32 {
        self.root.number()
    }

    fn held_bytes(&self) -> usize {
        self.walk.as_ref().map_or(0, Walk::held_bytes)
    }

    fn held_descriptors(&self) -> usize {
        self.walk.as_ref().map_or(0, Walk::held_descriptors)
    }
}

impl MountedWalk {
    fn next_found(&mut self) -> Result<Option<Listed>, StoreError> {
        let mounts = self.root.mounts();
        loop {
            let walk = self.walk.as_mut().ok_or(StoreError::Stalled)?;
            if !mounts.has_remote() {
                return walk.next();
            }
            if walk.is_done() {
                return Ok(None);
            }
            let listed = match mounts.route_to(&walk.next_path()) {
                Route::Direct => walk.step()?,
                Route::Through(mount) if mount.is_stalled() => {
                    let passed = walk.skip(StoreError::Stalled);
                    Some(passed.ok_or(StoreError::Stalled)?)
                }
                Route::Through(mount) => {
                    let Some(mut walk) = self.walk.take() else {
                        continue;
                    };
                    let stepped = mount.call(move || (walk.step(), walk));
                    let (listed, walk) = stepped.map_err(|_| StoreError::Stalled)?;
                    self.walk = Some(walk);
                    listed?
                }
            };
            if listed.is_some() {
                return Ok(listed);
            }
        }
    }
}
