//! Files that were there before get attributes.

use std::os::unix::fs::MetadataExt;

use super::file::{Attributes, set_mode, set_mtime};
use super::folder::StagingFolder;
use super::name::FileName;
use crate::store::lease::Lease;
use crate::store::{Object, ObjectMeta, Stamp};
use crate::wire::ObjectKind;

impl StagingFolder {
    /// Gives a regular file these attributes, if it still has the stamp `seen`, as far as it lets
    /// us: it may be another user's, or read-only. Follows no link. Returns a look at it with
    /// them, if nobody could write to it since it had that stamp.
    ///
    /// A file with another name keeps its own: a server speaks of this name only, and does not
    /// prove that it has the content. One with set-user-id, set-group-id or the sticky bit keeps
    /// its mode, which is more than permissions.
    ///
    /// This is not synced: after a power cut it may have the old ones, and the next run sees that.
    pub fn dress_existing(
        &self,
        name: &FileName,
        seen: &Stamp,
        attributes: &Attributes,
    ) -> Option<ObjectMeta> {
        if !self.keeping().may_change(self.device()) {
            return None;
        }
        let file = self.open_existing(name).ok()?;
        // To set a time would hide that it was written just before.
        let lease = Lease::take(&file).ok();
        let found = file.meta().ok()?;
        if found.kind != ObjectKind::File || found.stamp != *seen {
            return None;
        }
        let facts = file.metadata().ok()?;
        if facts.nlink() > 1 {
            return None;
        }
        // Never set-user-id and its kin: a peer must not hand them out, nor take them.
        let mode = attributes.mode.map(|mode| mode & 0o777);
        if let Some(mode) = mode.filter(|&mode| mode != found.mode && facts.mode() & 0o7000 == 0) {
            let _ = set_mode(&file, mode);
        }
        if let Some(mtime) = attributes.mtime {
            let _ = set_mtime(&file, mtime);
        }
        let dressed = file.meta().ok()?;
        // Some file systems take a mode or a time, and keep another.
        let is_changed = dressed.mode != found.mode || dressed.stamp.mtime != found.stamp.mtime;
        self.keeping().note_change(self.device(), is_changed);
        lease.is_some().then_some(dressed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::wire::Timestamp;

    const WANTED: Attributes = Attributes {
        mode: Some(0o4640),
        mtime: Some(Timestamp {
            seconds: 1_000_000_000,
            nanoseconds: 5,
        }),
    };

    #[test]
    fn only_what_it_was_when_it_was_seen_is_dressed() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = StagingFolder::open(scratch.path()).unwrap();
        let name = FileName::parse(b"f").unwrap();
        let path = scratch.path().join("f");
        let look = || folder.look(&name).unwrap().unwrap();
        fs::write(&path, "seen").unwrap();
        let before = look().stamp;
        fs::write(&path, "written").unwrap();
        let seen = look();
        assert_eq!(folder.dress_existing(&name, &before, &WANTED), None);
        assert_eq!(look().stamp, seen.stamp);
        let dressed = folder.dress_existing(&name, &seen.stamp, &WANTED);
        assert_eq!(dressed.map(|dressed| dressed.stamp), Some(look().stamp));
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o640);
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 5));
        // Whoever has it open may write at any moment: nothing is said of it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let writer = OpenOptions::new().write(true).open(&path).unwrap();
        let seen = look();
        assert_eq!(folder.dress_existing(&name, &seen.stamp, &WANTED), None);
        assert_eq!(look().mode, 0o640);
        drop(writer);
        // It has another name, of which the server says nothing.
        fs::hard_link(&path, scratch.path().join("other")).unwrap();
        let seen = look();
        let other = Attributes {
            mode: Some(0o600),
            mtime: Some(Timestamp {
                seconds: 7,
                nanoseconds: 7,
            }),
        };
        assert_eq!(folder.dress_existing(&name, &seen.stamp, &other), None);
        assert_eq!(look().stamp, seen.stamp);
        fs::remove_file(scratch.path().join("other")).unwrap();
        // No link is followed to it.
        let seen = look();
        fs::rename(&path, scratch.path().join("moved")).unwrap();
        symlink("moved", &path).unwrap();
        let other = Attributes {
            mode: Some(0o600),
            mtime: None,
        };
        assert_eq!(folder.dress_existing(&name, &seen.stamp, &other), None);
        let moved = fs::metadata(scratch.path().join("moved")).unwrap();
        assert_eq!(moved.mode() & 0o777, 0o640);
        // Who may use a program as another user does not lose that by a server's word.
        fs::rename(scratch.path().join("moved"), &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        folder.dress_existing(&name, &look().stamp, &WANTED);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o4755);
    }

    #[test]
    fn what_is_changed_in_either_way_is_no_refusal() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = StagingFolder::open(scratch.path()).unwrap();
        let name = FileName::parse(b"f").unwrap();
        let path = scratch.path().join("f");
        fs::write(&path, "").unwrap();
        let look = || folder.look(&name).unwrap().unwrap();
        // As often as refusals would have it given up.
        for round in 0..20 {
            let mode = if round % 2 == 0 { 0o640 } else { 0o755 };
            let wanted = Attributes {
                mode: Some(mode),
                mtime: None,
            };
            folder.dress_existing(&name, &look().stamp, &wanted);
            assert_eq!(look().mode, mode, "round {round}");
        }
        for seconds in 1..20 {
            let mtime = Timestamp {
                seconds,
                nanoseconds: 0,
            };
            let wanted = Attributes {
                mode: None,
                mtime: Some(mtime),
            };
            folder.dress_existing(&name, &look().stamp, &wanted);
            assert_eq!(look().stamp.mtime, mtime);
        }
    }
}
