//! Attributes for files that exist already.

use std::os::unix::fs::MetadataExt;

use super::file::{Attributes, set_mode, set_mtime};
use super::name::FileName;
use super::staging_directory::StagingDirectory;
use crate::store::lease::Lease;
use crate::store::{Object, ObjectMeta, Stamp};
use crate::wire::ObjectKind;

impl StagingDirectory {
    /// Sets attributes of a regular file that still has the stamp `seen`, as far as permissions
    /// allow. Follows no link. Returns its new metadata if no process could write to it since
    /// `seen`.
    ///
    /// A file with another name keeps its attributes: the server knows this name only, and does not
    /// prove that it has the content. A file with set-user-id, set-group-id or the sticky bit keeps
    /// its mode.
    ///
    /// Nothing is synced: after a power cut the file may have its old attributes, and the next run
    /// corrects them.
    pub fn set_existing_attributes(
        &self,
        name: &FileName,
        seen: &Stamp,
        attributes: &Attributes,
    ) -> Option<ObjectMeta> {
        if !self.capabilities().may_change(self.device()) {
            return None;
        }
        let file = self.open_existing(name).ok()?;
        // Setting a time would hide a write just before it, so a lease keeps writers away.
        let lease = Lease::take(&file).ok();
        let found = file.meta().ok()?;
        if found.kind != ObjectKind::File || found.stamp != *seen {
            return None;
        }
        let facts = file.metadata().ok()?;
        if facts.nlink() > 1 {
            return None;
        }
        // Mask set-user-id and its kin: a peer must neither set nor clear them.
        let mode = attributes.mode.map(|mode| mode & 0o777);
        if let Some(mode) = mode.filter(|&mode| mode != found.mode && facts.mode() & 0o7000 == 0) {
            let _ = set_mode(&file, mode);
        }
        if let Some(mtime) = attributes.mtime {
            let _ = set_mtime(&file, mtime);
        }
        let changed = file.meta().ok()?;
        // Some file systems accept a mode or a time and store another.
        let is_changed = changed.mode != found.mode || changed.stamp.mtime != found.stamp.mtime;
        self.capabilities().note_change(self.device(), is_changed);
        lease.is_some().then_some(changed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;
    use crate::wire::Timestamp;

    const ATTRIBUTES: Attributes = Attributes {
        mode: Some(0o4640),
        mtime: Some(Timestamp {
            seconds: 1_000_000_000,
            nanoseconds: 5,
        }),
    };

    #[test]
    fn sets_attributes_only_of_the_file_that_was_seen() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = StagingDirectory::open(scratch.path()).unwrap();
        let name = FileName::parse(b"f").unwrap();
        let path = scratch.path().join("f");
        let look = || directory.look(&name).unwrap().unwrap();
        fs::write(&path, "seen").unwrap();
        let before = look().stamp;
        fs::write(&path, "written").unwrap();
        let seen = look();
        assert_eq!(
            directory.set_existing_attributes(&name, &before, &ATTRIBUTES),
            None
        );
        assert_eq!(look().stamp, seen.stamp);
        let changed = directory.set_existing_attributes(&name, &seen.stamp, &ATTRIBUTES);
        assert_eq!(changed.map(|changed| changed.stamp), Some(look().stamp));
        let meta = fs::metadata(&path).unwrap();
        assert_eq!(meta.mode() & 0o7777, 0o640);
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 5));
        // A process that has it open may write at any moment, so no metadata is returned.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let writer = OpenOptions::new().write(true).open(&path).unwrap();
        let seen = look();
        assert_eq!(
            directory.set_existing_attributes(&name, &seen.stamp, &ATTRIBUTES),
            None
        );
        assert_eq!(look().mode, 0o640);
        drop(writer);
        // It has another name, which the server does not know.
        fs::hard_link(&path, scratch.path().join("other")).unwrap();
        let seen = look();
        let other = Attributes {
            mode: Some(0o600),
            mtime: Some(Timestamp {
                seconds: 7,
                nanoseconds: 7,
            }),
        };
        assert_eq!(
            directory.set_existing_attributes(&name, &seen.stamp, &other),
            None
        );
        assert_eq!(look().stamp, seen.stamp);
        fs::remove_file(scratch.path().join("other")).unwrap();
        // Links are not followed.
        let seen = look();
        fs::rename(&path, scratch.path().join("moved")).unwrap();
        symlink("moved", &path).unwrap();
        let other = Attributes {
            mode: Some(0o600),
            mtime: None,
        };
        assert_eq!(
            directory.set_existing_attributes(&name, &seen.stamp, &other),
            None
        );
        let moved = fs::metadata(scratch.path().join("moved")).unwrap();
        assert_eq!(moved.mode() & 0o777, 0o640);
        // A server cannot remove set-user-id from a program.
        fs::rename(scratch.path().join("moved"), &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        directory.set_existing_attributes(&name, &look().stamp, &ATTRIBUTES);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o4755);
    }

    #[test]
    fn a_change_of_mode_or_time_is_no_refusal() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = StagingDirectory::open(scratch.path()).unwrap();
        let name = FileName::parse(b"f").unwrap();
        let path = scratch.path().join("f");
        fs::write(&path, "").unwrap();
        let look = || directory.look(&name).unwrap().unwrap();
        // More often than the refusals after which a device is given up.
        for round in 0..20 {
            let mode = if round % 2 == 0 { 0o640 } else { 0o755 };
            let attributes = Attributes {
                mode: Some(mode),
                mtime: None,
            };
            directory.set_existing_attributes(&name, &look().stamp, &attributes);
            assert_eq!(look().mode, mode, "round {round}");
        }
        for seconds in 1..20 {
            let mtime = Timestamp {
                seconds,
                nanoseconds: 0,
            };
            let attributes = Attributes {
                mode: None,
                mtime: Some(mtime),
            };
            directory.set_existing_attributes(&name, &look().stamp, &attributes);
            assert_eq!(look().stamp.mtime, mtime);
        }
    }
}
