//! The mounts of a served directory, and which of them may not answer.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::store::calls::{CallThreads, Mount};
use crate::store::identity::mounts_changed;

/// The mounts at and below an open directory, as listed by the kernel. Listing them touches none.
/// Without /proc, every file system counts as local.
pub(super) struct Mounts {
    threads: Arc<CallThreads>,
    /// `/proc/self/mountinfo`, which the kernel marks when it changes.
    source: Option<Mutex<File>>,
    root: Option<(u64, PathBuf)>,
    table: RwLock<Arc<MountTable>>,
    /// Flags, so that the usual cases cost nothing.
    has_remote: AtomicBool,
    has_below: AtomicBool,
}

/// The mounts at one moment.
struct MountTable {
    /// The mount of the root itself.
    own: MountEntry,
    /// The mounts below with their paths from the root, longest first.
    below: Vec<(Vec<u8>, MountEntry)>,
    /// Stands for the unknown mount of a link's target.
    by_link: Arc<Mount>,
}

/// One mount.
#[derive(Clone)]
struct MountEntry {
    id: u64,
    /// `None` for a file system on a local disk or in memory, where every call returns.
    remote: Option<Arc<Mount>>,
}

/// How to access a path.
pub(super) enum Route {
    /// In the calling thread.
    Direct,
    /// In another thread, which may hang.
    Through(Arc<Mount>),
}

impl Mounts {
    /// The mounts of an open directory.
    pub(super) fn of(root: BorrowedFd<'_>, threads: &Arc<CallThreads>) -> Mounts {
        let root = id_and_path(root);
        let source = File::open("/proc/self/mountinfo").ok();
        let own = MountEntry {
            id: 0,
            remote: None,
        };
        let mounts = Mounts {
            source: source.filter(|_| root.is_some()).map(Mutex::new),
            root,
            table: RwLock::new(Arc::new(MountTable {
                own,
                below: Vec::new(),
                by_link: Mount::new(threads),
            })),
            has_remote: AtomicBool::new(false),
            has_below: AtomicBool::new(false),
            threads: Arc::clone(threads),
        };
        mounts.read_if(|_| true);
        mounts
    }

    /// Whether any mount may not answer.
    pub(super) fn has_remote(&self) -> bool {
        self.has_remote.load(Ordering::Relaxed)
    }

    /// Whether there are mounts below the root, all of which answer or fail.
    pub(super) fn are_local(&self) -> bool {
        self.has_below.load(Ordering::Relaxed) && !self.has_remote()
    }

    /// How to access a path from the root that contains no links.
    pub(super) fn route_to(&self, path: &[u8]) -> Route {
        match &self.table().at(path).remote {
            Some(mount) => Route::Through(Arc::clone(mount)),
            None => Route::Direct,
        }
    }

    /// How to access a path that leads off the root's own mount. Checks whether the mounts changed.
    pub(super) fn route_off_root(&self, path: &[u8]) -> Route {
        self.refresh();
        if !self.has_remote() {
            return Route::Direct;
        }
        let table = self.table();
        let mount = table.at(path).remote.as_ref().unwrap_or(&table.by_link);
        Route::Through(Arc::clone(mount))
    }

    /// Reads the mounts again if they changed.
    pub(super) fn refresh(&self) {
        self.read_if(|source| {
            let mut polled = [PollFd::new(source, PollFlags::PRI)];
            // proc_pid_mountinfo(5): this is set once after each change.
            poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
        });
    }

    /// The lock covers the check and the reading, so a thread that finds no change comes after the
    /// thread that read the last one.
    fn read_if(&self, has_changed: impl FnOnce(&File) -> bool) {
        let (Some(source), Some((id, path))) = (&self.source, &self.root) else {
            return;
        };
        let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = Vec::new();
        if !has_changed(&source)
            // This reads kernel memory. It fails only for lack of memory, and then nothing changes.
            || source.rewind().is_err()
            || source.read_to_end(&mut text).is_err()
        {
            return;
        }
        mounts_changed();
        let table = self.parse(&text, *id, path, &self.table());
        let has_remote = table.own.remote.is_some()
            || table.below.iter().any(|(_, entry)| entry.remote.is_some());
        let has_below = !table.below.is_empty();
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        self.has_below.store(has_below, Ordering::Relaxed);
        self.has_remote.store(has_remote, Ordering::Relaxed);
    }

    fn parse(&self, text: &[u8], own: u64, root: &Path, before: &MountTable) -> MountTable {
        let entry = |line: &MountLine<'_>| {
            let known = before.below.iter().map(|(_, entry)| entry);
            let known = known.chain([&before.own]).find(|known| known.id == line.id);
            let is_remote = !LOCAL_TYPES.contains(&line.kind);
            MountEntry {
                id: line.id,
                // Keep the state of its calls.
                remote: is_remote.then(|| {
                    let mount = known.and_then(|known| known.remote.clone());
                    mount.unwrap_or_else(|| Mount::new(&self.threads))
                }),
            }
        };
        let mut table = MountTable {
            own: before.own.clone(),
            below: Vec::new(),
            by_link: Arc::clone(&before.by_link),
        };
        for line in text
            .split(|byte| *byte == b'\n')
            .filter_map(MountLine::parse)
        {
            if line.id == own {
                table.own = entry(&line);
                continue;
            }
            let at = PathBuf::from(OsStr::from_bytes(&line.at));
            let Ok(below) = at.strip_prefix(root) else {
                continue;
            };
            let below = below.as_os_str().as_bytes().to_vec();
            if !below.is_empty() {
                // The last of several mounts in one place is on top.
                table.below.retain(|(other, _)| *other != below);
                table.below.push((below, entry(&line)));
            }
        }
        table
            .below
            .sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
        table
    }

    fn table(&self) -> Arc<MountTable> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl MountTable {
    fn at(&self, path: &[u8]) -> &MountEntry {
        let is_at = |mount: &[u8]| {
            path.strip_prefix(mount)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        let below = self.below.iter().find(|(mount, _)| is_at(mount));
        below.map_or(&self.own, |(_, entry)| entry)
    }
}

/// A line of mountinfo.
struct MountLine<'t> {
    id: u64,
    at: Vec<u8>,
    kind: &'t [u8],
}

impl MountLine<'_> {
    fn parse(line: &[u8]) -> Option<MountLine<'_>> {
        let mut fields = line.split(|byte| *byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let at = unescaped(fields.nth(3)?);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
        Some(MountLine { id, at, kind })
    }
}

/// Spaces, tabs, newlines and backslashes are escaped as three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..3).filter(|_| *first == b'\\');
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &behind[3..] } else { behind };
    }
    bytes
}

fn id_and_path(root: BorrowedFd<'_>) -> Option<(u64, PathBuf)> {
    let number = root.as_fd().as_raw_fd();
    let facts = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
    let id = facts
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))?;
    let path = fs::read_link(format!("/proc/self/fd/{number}")).ok()?;
    Some((id.trim().parse().ok()?, path))
}

/// File systems on disks and in memory. A failing disk returns an error eventually; all other file
/// systems may wait forever.
const LOCAL_TYPES: &[&[u8]] = &[
    b"bcachefs",
    b"btrfs",
    b"cramfs",
    b"devtmpfs",
    b"erofs",
    b"exfat",
    b"ext2",
    b"ext3",
    b"ext4",
    b"f2fs",
    b"hfs",
    b"hfsplus",
    b"hugetlbfs",
    b"iso9660",
    b"jffs2",
    b"jfs",
    b"minix",
    b"msdos",
    b"nilfs2",
    b"ntfs3",
    b"overlay",
    b"proc",
    b"ramfs",
    b"reiserfs",
    b"romfs",
    b"rootfs",
    b"squashfs",
    b"sysfs",
    b"tmpfs",
    b"ubifs",
    b"udf",
    b"vfat",
    b"xfs",
    b"zfs",
];

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        30 21 8:2 / /srv rw,noatime shared:1 - xfs /dev/sdb1 rw\n\
        31 30 0:40 / /srv/far rw - nfs4 host:/x rw\n\
        32 31 0:41 / /srv/far/near rw - tmpfs none rw\n\
        33 30 0:42 / /srv/with\\040space rw master:7 propagate_from:1 - fuse.bindfs b rw\n\
        34 21 0:43 / /srvfar rw - nfs host:/y rw\n\
        35 30 0:44 / /srv/under rw - cifs //host/z rw\n\
        36 35 0:45 / /srv/under rw - tmpfs none rw\n";

    fn mounts(root: &str, own: u64) -> Mounts {
        let threads = CallThreads::new();
        let here = File::open(".").unwrap();
        let mounts = Mounts::of(here.as_fd(), &threads);
        let table = mounts.parse(TEXT, own, Path::new(root), &mounts.table());
        *mounts.table.write().unwrap() = Arc::new(table);
        mounts
    }

    #[test]
    fn finds_the_mount_of_a_path_in_what_the_kernel_lists() {
        let mounts = mounts("/srv", 30);
        for (path, is_remote) in [
            ("", false),
            ("x/far", false),
            ("far", true),
            ("far/x/y", true),
            ("farther", false),
            ("far/near/x", false),
            ("far/nearer", true),
            ("with space/x", true),
            ("with", false),
            ("under/x", false),
        ] {
            let route = mounts.route_to(path.as_bytes());
            assert_eq!(matches!(route, Route::Through(_)), is_remote, "{path}");
        }
        let through = |path: &[u8]| match mounts.route_to(path) {
            Route::Through(mount) => mount,
            Route::Direct => panic!("{path:?} is near"),
        };
        let (first, other) = (through(b"far/x"), through(b"with space"));
        assert!(Arc::ptr_eq(&first, &through(b"far")) && !Arc::ptr_eq(&first, &other));
        // The mount is the same after another read.
        let again = mounts.parse(TEXT, 30, Path::new("/srv"), &mounts.table());
        assert!(Arc::ptr_eq(
            &first,
            again.at(b"far").remote.as_ref().unwrap()
        ));
    }

    #[test]
    fn a_root_may_be_remote_or_the_system_root() {
        let far = mounts("/srv/far/deep", 31);
        assert!(matches!(far.route_to(b"x"), Route::Through(_)));
        let all = mounts("/", 21);
        assert!(matches!(all.route_to(b"srv/far/x"), Route::Through(_)));
        assert!(matches!(all.route_to(b"srv/x"), Route::Direct));
    }

    #[test]
    fn unescapes_octal_digits_only() {
        for (field, bytes) in [
            (&b"a\\040b\\134"[..], &b"a b\\"[..]),
            (b"\\", b"\\"),
            (b"\\09", b"\\09"),
            (b"\\999", b"\\999"),
        ] {
            assert_eq!(unescaped(field), bytes);
        }
    }
}
