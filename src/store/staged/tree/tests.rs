use std::cell::Cell;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::open_directories::OPEN_DIRECTORIES_MAX;
use super::*;
use crate::store::beneath::Resolver;
use crate::store::staged::{PlacedLink, Placement, Synced, synced_below};
use crate::wire::{PATH_PARTS_MAX, Timestamp};

fn path(text: &str) -> ResourcePath {
    ResourcePath::parse(text.as_bytes()).unwrap()
}

fn name(text: &str) -> FileName {
    FileName::parse(text.as_bytes()).unwrap()
}

fn mode_of(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn place(directory: &Arc<StagingDirectory>, file: &str, content: &[u8]) -> Result<(), StageError> {
    let staged = directory.stage_whole(&name(file), content, &ATTRIBUTES)?;
    staged.place(Placement::Replace).map(|_| ())
}

/// With the kernel's resolver, and as on kernels without one.
fn both_ways(place: &Path) -> [DestinationTree; 2] {
    let kernel = Resolver::Kernel {
        follow_links: false,
    };
    [kernel, Resolver::Walk].map(|resolver| {
        DestinationTree::below(Root::with_resolver(place, resolver).unwrap(), place)
    })
}

const ATTRIBUTES: Attributes = Attributes {
    mode: Some(0o644),
    mtime: None,
};

#[test]
fn missing_directories_are_made_private_and_found_again() {
    let place_ = tempfile::tempdir().unwrap();
    for (tree, top) in both_ways(place_.path()).iter().zip(["a", "b"]) {
        let deep = path(&format!("{top}/b\n/\u{202e}"));
        assert!(tree.existing_directory(&deep).unwrap().is_none());
        assert!(!place_.path().join(top).exists(), "looking makes nothing");
        let directory = tree.directory(&deep).unwrap();
        place(&directory, "f", b"content").unwrap();
        assert_eq!(mode_of(&place_.path().join(top)), 0o700);
        let file = place_.path().join(top).join("b\n/\u{202e}/f");
        assert_eq!(fs::read(file).unwrap(), b"content");
        assert!(Arc::ptr_eq(&directory, &tree.directory(&deep).unwrap()));
        let found = tree.existing_directory(&deep).unwrap().unwrap();
        assert!(Arc::ptr_eq(&directory, &found));
        let root = tree.directory(&ResourcePath::root()).unwrap();
        assert_eq!(root.path(), place_.path());
        assert_eq!(root.device(), fs::metadata(place_.path()).unwrap().dev());
        tree.sync(false).unwrap();
        assert!(tree.lock_unsynced().is_empty());
    }
}

#[test]
fn a_root_is_made_only_on_request() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("a/b");
    assert!(matches!(
        DestinationTree::open(&root, false),
        Err(StageError::Directory { .. })
    ));
    let tree = DestinationTree::open(&root, true).unwrap();
    tree.directory(&path("c")).unwrap();
    assert!(root.join("c").is_dir());
    fs::write(temp.path().join("file"), "").unwrap();
    assert!(DestinationTree::open(&temp.path().join("file"), true).is_err());
}

#[test]
fn a_part_that_is_no_directory_is_named_and_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("d")).unwrap();
    fs::create_dir(outside.path().join("x")).unwrap();
    symlink(outside.path(), temp.path().join("d/out")).unwrap();
    symlink("nowhere", temp.path().join("d/dangling")).unwrap();
    symlink(".", temp.path().join("d/self")).unwrap();
    fs::write(temp.path().join("d/file"), "").unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        temp.path().join("d/fifo"),
        rustix::fs::Mode::RUSR,
    )
    .unwrap();
    for tree in both_ways(temp.path()) {
        for (planted, what) in [
            ("out", "a symbolic link"),
            ("dangling", "a symbolic link"),
            ("self", "a symbolic link"),
            ("file", "a file"),
            ("fifo", "a FIFO, a socket or a device"),
        ] {
            let expected = format!(
                "{} is {what}, not a directory",
                temp.path().join("d").join(planted).display()
            );
            for below in ["", "/x", "/new", "/new/deeper"] {
                let path = path(&format!("d/{planted}{below}"));
                for result in [
                    tree.directory(&path).map(Some),
                    tree.existing_directory(&path),
                    tree.finish_directory(&path, &ATTRIBUTES).map(|()| None),
                    tree.names(&path, |_, _| {}).map(|()| None),
                ] {
                    let error = result.err().expect(planted);
                    assert_eq!(error.to_string(), expected, "{path:?}");
                }
            }
        }
        for reserved in [".ft-x", "d/.ft-x", ".ft-x/d"] {
            let error = tree.directory(&path(reserved)).err().unwrap();
            assert!(matches!(error, StageError::Name(_)), "{error:?}");
        }
    }
    assert_eq!(fs::read_dir(outside.path().join("x")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn finishing_sets_mode_and_time_and_a_new_use_unlocks() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    let directory = temp.path().join("a/b");
    let finished = Attributes {
        mode: Some(0o6_555),
        mtime: Some(Timestamp {
            seconds: 1_000_000_000,
            nanoseconds: 123_456_789,
        }),
    };
    for round in 0..3_u8 {
        place(&tree.directory(&path("a/b")).unwrap(), "f", &[round]).unwrap();
        assert_eq!(mode_of(&directory) & 0o700, 0o700, "round {round}");
        tree.finish_directory(&path("a/b"), &finished).unwrap();
        let meta = fs::metadata(&directory).unwrap();
        assert_eq!(
            mode_of(&directory),
            0o555,
            "exactly, and never set-group-id"
        );
        assert_eq!(
            (meta.mtime(), meta.mtime_nsec()),
            (1_000_000_000, 123_456_789)
        );
        // A look changes nothing, and a second finish does not touch the directory.
        let looked_at = tree.existing_directory(&path("a/b")).unwrap().unwrap();
        assert!(looked_at.open_existing(&name("f")).is_ok());
        tree.finish_directory(&path("a/b"), &finished).unwrap();
        let again = fs::metadata(&directory).unwrap();
        assert_eq!(
            (again.ctime(), again.ctime_nsec(), again.mode()),
            (meta.ctime(), meta.ctime_nsec(), meta.mode())
        );
    }
    tree.finish_directory(&path("empty/folder"), &finished)
        .unwrap();
    assert_eq!(mode_of(&temp.path().join("empty/folder")), 0o555);
}

#[test]
fn a_directory_closed_to_its_owner_can_be_used_again() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    tree.directory(&path("a/b")).unwrap();
    for locked in ["a/b", "a"] {
        let none = Attributes {
            mode: Some(0),
            mtime: None,
        };
        tree.finish_directory(&path(locked), &none).unwrap();
        assert_eq!(mode_of(&temp.path().join(locked)), 0);
    }
    let directory = tree.directory(&path("a/b")).unwrap();
    place(&directory, "f", b"content").unwrap();
    // Root may do everything, and also unlocks what it opens.
    assert_eq!(mode_of(&temp.path().join("a/b")), 0o700);
    crate::store::beneath::unlock_directory_in(
        tree.directory(&ResourcePath::root()).unwrap().as_fd(),
        b"a",
    )
    .unwrap();
    assert_eq!(mode_of(&temp.path().join("a")), 0o700);
    assert_eq!(fs::read(temp.path().join("a/b/f")).unwrap(), b"content");
}

#[test]
fn the_root_and_directories_looked_at_keep_their_modes() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("a")).unwrap();
    for locked in [temp.path().join("a"), temp.path().to_owned()] {
        fs::set_permissions(locked, fs::Permissions::from_mode(0o2_555)).unwrap();
    }
    let tree = DestinationTree::open(temp.path(), true).unwrap();
    tree.directory(&ResourcePath::root()).unwrap();
    tree.existing_directory(&path("a")).unwrap().unwrap();
    assert_eq!(mode_of(temp.path()), 0o2_555);
    assert_eq!(mode_of(&temp.path().join("a")), 0o2_555);
    tree.directory(&path("a")).unwrap();
    assert_eq!(mode_of(&temp.path().join("a")), 0o2_755);
    tree.finish_directory(&path("a"), &ATTRIBUTES).unwrap();
    assert_eq!(
        mode_of(&temp.path().join("a")),
        0o2_644,
        "whose group new files get is the owner's word"
    );
}

#[test]
fn a_limited_number_of_idle_directories_stays_open() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    let first = tree.directory(&path("0")).unwrap();
    // One of them is the root.
    for number in 1..OPEN_DIRECTORIES_MAX - 1 {
        tree.directory(&path(&number.to_string())).unwrap();
    }
    assert!(Arc::ptr_eq(&first, &tree.directory(&path("0")).unwrap()));
    let second = Arc::downgrade(&tree.directory(&path("1")).unwrap());
    tree.directory(&path("one more")).unwrap();
    assert!(second.upgrade().is_some(), "2 was used longest ago");
    for number in 0..OPEN_DIRECTORIES_MAX {
        tree.directory(&path(&format!("more {number}"))).unwrap();
    }
    assert!(second.upgrade().is_none());
    assert_eq!(Arc::strong_count(&first), 1, "only we have it still");
    place(&first, "f", b"content").unwrap();
    assert!(temp.path().join("0/f").exists());
}

#[test]
fn a_directory_that_was_removed_is_made_again() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    tree.directory(&path("a/b")).unwrap();
    fs::remove_dir_all(temp.path().join("a")).unwrap();
    assert!(tree.existing_directory(&path("a/b")).unwrap().is_none());
    place(&tree.directory(&path("a/b")).unwrap(), "f", b"content").unwrap();
    assert!(temp.path().join("a/b/f").exists());
}

#[test]
fn works_at_the_deepest_path() {
    let temp = tempfile::tempdir().unwrap();
    for tree in both_ways(temp.path()) {
        let deep = path(&vec!["d"; PATH_PARTS_MAX].join("/"));
        place(&tree.directory(&deep).unwrap(), "f", b"").unwrap();
        let mut gone = 0;
        let flow = tree.remove(&path("d"), &mut |_, _| {
            gone += 1;
            ControlFlow::Continue(())
        });
        assert!(matches!(flow, Ok(ControlFlow::Continue(()))), "{flow:?}");
        assert_eq!(gone, PATH_PARTS_MAX + 1);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}

#[test]
fn removes_any_depth_with_one_open_directory() {
    let temp = tempfile::tempdir().unwrap();
    let depth = 3_000;
    let mut directory = std::os::fd::OwnedFd::from(fs::File::open(temp.path()).unwrap());
    for _ in 0..depth {
        rustix::fs::mkdirat(&directory, "d", rustix::fs::Mode::RWXU).unwrap();
        rustix::fs::symlinkat("..", &directory, "up").unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        directory = rustix::fs::openat(&directory, "d", flags, rustix::fs::Mode::empty()).unwrap();
    }
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    let mut gone = Vec::new();
    let flow = tree.remove(&path("d"), &mut |path, _| {
        gone.push(path.len());
        ControlFlow::Continue(())
    });
    assert!(matches!(flow, Ok(ControlFlow::Continue(()))), "{flow:?}");
    // One for each directory, and a link in all but the last.
    assert_eq!(gone.len(), 2 * depth - 1);
    assert_eq!(gone.iter().max(), Some(&(2 * depth)));
    assert_eq!(gone.last(), Some(&1));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn lists_entries_but_no_partial_files() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    let directory = tree.directory(&path("a")).unwrap();
    tree.directory(&path("a/folder")).unwrap();
    place(&directory, ".file", b"").unwrap();
    directory
        .place_link(&name("link"), (b"nowhere", 0), None, Placement::CreateOnly)
        .unwrap();
    fs::write(temp.path().join("a/.ft-partial"), "").unwrap();
    let mut shown = Vec::new();
    tree.names(&path("a"), |name, entry_kind| {
        shown.push((name, entry_kind))
    })
    .unwrap();
    shown.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(
        shown,
        [
            (name(".file"), EntryKind::File),
            (name("folder"), EntryKind::Directory),
            (name("link"), EntryKind::Link)
        ]
    );
    tree.names(&path("missing"), |_, _| panic!("there is nothing"))
        .unwrap();

    let mut listing = tree.list(&ResourcePath::root(), true).unwrap();
    let mut listed = Vec::new();
    while let Some(entry) = listing.next().unwrap() {
        listed.push(entry.path);
    }
    assert_eq!(listed, ["a", "a/.file", "a/folder", "a/link"].map(path));
    assert!(tree.list(&path("missing"), true).is_err());
}

#[test]
fn removes_and_reports_files_links_and_directories() {
    let temp = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "").unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    place(&tree.directory(&path("a/b")).unwrap(), "f", b"").unwrap();
    symlink(outside.path(), temp.path().join("a/b/out")).unwrap();
    symlink(outside.path(), temp.path().join("link")).unwrap();
    fs::write(temp.path().join("a/b/.ft-partial"), "").unwrap();
    fs::set_permissions(temp.path().join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::write(temp.path().join("kept"), "").unwrap();
    tree.sync(false).unwrap();

    let mut gone = Vec::new();
    let mut note = |path: &[u8], entry_kind: EntryKind| {
        gone.push((String::from_utf8(path.to_vec()).unwrap(), entry_kind));
        ControlFlow::Continue(())
    };
    for removed in ["a", "link", "missing", "missing/too"] {
        assert!(
            tree.remove(&path(removed), &mut note)
                .unwrap()
                .is_continue()
        );
    }
    assert!(!tree.lock_unsynced().is_empty());
    gone[..2].sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(
        gone,
        [
            ("a/b/f".to_owned(), EntryKind::File),
            ("a/b/out".to_owned(), EntryKind::Link),
            ("a/b".to_owned(), EntryKind::Directory),
            ("a".to_owned(), EntryKind::Directory),
            ("link".to_owned(), EntryKind::Link),
        ]
    );
    assert!(outside.path().join("precious").exists());
    let mut never = |_: &[u8], _: EntryKind| panic!("nothing is removed");
    assert!(tree.remove(&ResourcePath::root(), &mut never).is_err());
    assert!(temp.path().join("kept").exists());
}

#[test]
fn remove_unless_directory_keeps_directories() {
    let temp = tempfile::tempdir().unwrap();
    for tree in both_ways(temp.path()) {
        fs::create_dir_all(temp.path().join("in/folder")).unwrap();
        fs::write(temp.path().join("in/file"), "x").unwrap();
        symlink("folder", temp.path().join("in/link")).unwrap();
        symlink("in", temp.path().join("through")).unwrap();
        let remove = |text| tree.remove_unless_directory(&path(text));
        for directory in ["in/folder", "in", ""] {
            let kept = remove(directory);
            assert!(
                matches!(kept, Err(StageError::NotReplaceable(_))),
                "{directory}"
            );
        }
        assert!(remove("through/file").is_err());
        assert!(tree.lock_unsynced().is_empty());
        assert_eq!(remove("in/file").unwrap(), EntryKind::File);
        assert!(!tree.lock_unsynced().is_empty());
        assert_eq!(remove("in/link").unwrap(), EntryKind::Link);
        assert_eq!(remove("in/file").unwrap(), EntryKind::Nothing);
        assert_eq!(remove("none/file").unwrap(), EntryKind::Nothing);
        assert!(temp.path().join("in/folder").is_dir());
        assert_eq!(remove("through").unwrap(), EntryKind::Link);
    }
}

#[test]
fn removing_stops_at_a_break_and_follows_no_link() {
    let temp = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "").unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    let directory = tree.directory(&path("a")).unwrap();
    for number in 0..20 {
        place(&directory, &number.to_string(), b"").unwrap();
    }
    let mut left = 5;
    let flow = tree.remove(&path("a"), &mut |_, _| {
        left -= 1;
        if left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert!(flow.unwrap().is_break());
    assert_eq!(fs::read_dir(temp.path().join("a")).unwrap().count(), 15);

    symlink(outside.path(), temp.path().join("out")).unwrap();
    let mut never = |_: &[u8], _: EntryKind| panic!("nothing is removed");
    let error = tree.remove(&path("out/precious"), &mut never).unwrap_err();
    assert!(
        matches!(error, StageError::NotADirectory { .. }),
        "{error:?}"
    );
    assert!(outside.path().join("precious").exists());
}

#[test]
fn links_are_placed_as_files_are() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    let directory = tree.directory(&ResourcePath::root()).unwrap();
    let target = |file: &str| fs::read_link(temp.path().join(file)).unwrap();
    let link = |to: &[u8], placement| directory.place_link(&name("l"), (to, 9), None, placement);
    let placed = |file| PlacedLink::Placed(name(file));
    assert_eq!(link(b"one", Placement::CreateOnly).unwrap(), placed("l"));
    for placement in [Placement::CreateOnly, Placement::Replace] {
        assert_eq!(link(b"one", placement).unwrap(), PlacedLink::Identical);
    }
    assert!(matches!(
        link(b"two", Placement::CreateOnly),
        Err(StageError::Exists)
    ));
    assert_eq!(target("l"), Path::new("one"));
    assert_eq!(link(b"two\xff", Placement::Replace).unwrap(), placed("l"));
    assert_eq!(target("l"), Path::new(OsStr::from_bytes(b"two\xff")));
    assert_eq!(link(b"3", Placement::Numbered).unwrap(), placed("l.1"));

    fs::write(temp.path().join("file"), "").unwrap();
    directory
        .place_link(&name("file"), (b"3", 0), None, Placement::Replace)
        .unwrap();
    assert_eq!(target("file"), Path::new("3"));
    fs::create_dir(temp.path().join("folder")).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        temp.path().join("fifo"),
        rustix::fs::Mode::RUSR,
    )
    .unwrap();
    for taken in ["folder", "fifo"] {
        let refused = directory.place_link(&name(taken), (b"3", 0), None, Placement::Replace);
        assert!(
            matches!(refused, Err(StageError::NotReplaceable(_))),
            "{taken}"
        );
    }
    for bad in [&b"a\0b"[..], &[b'a'; 5000]] {
        assert!(link(bad, Placement::Replace).is_err());
    }
    let outside = link(b"", Placement::Replace).unwrap();
    assert_eq!(outside, PlacedLink::LeadsOutside);
    let names = fs::read_dir(temp.path()).unwrap();
    let left = names.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.as_bytes().starts_with(b".ft-")
    });
    assert_eq!(left.count(), 0, "nothing is left over");
}

#[test]
fn a_partial_link_of_a_killed_process_is_removed() {
    let temp = tempfile::tempdir().unwrap();
    let ours = format!(
        ".ft-{}-0123456789abcdef.part",
        &crate::digest::Md5Stream::digest(b"l").to_hex()[..16].escape_ascii()
    );
    symlink("nowhere", temp.path().join(&ours)).unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    let directory = tree.directory(&ResourcePath::root()).unwrap();
    place(&directory, "other", b"").unwrap();
    assert!(temp.path().join(&ours).is_symlink());
    directory
        .place_link(&name("l"), (b"x", 0), None, Placement::CreateOnly)
        .unwrap();
    assert!(!temp.path().join(&ours).is_symlink());
}

/// Swaps directories of the tree for links to outside, back and forth, while files and links are
/// placed, and directories are made, finished and removed.
#[test]
fn nothing_outside_changes_while_directories_are_swapped() {
    let temp = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("b")).unwrap();
    for precious in ["f", "b/f", "b/precious"] {
        fs::write(outside.path().join(precious), "precious").unwrap();
    }
    let state = || {
        let mut state = Vec::new();
        for name in ["", "f", "b", "b/f", "b/precious"] {
            let path = outside.path().join(name);
            let meta = fs::metadata(&path).unwrap();
            let entries = fs::read_dir(&path).map_or(0, Iterator::count);
            let facts = (meta.mode(), meta.mtime(), meta.mtime_nsec(), meta.ino());
            state.push((facts, meta.ctime(), meta.ctime_nsec(), entries));
        }
        state
    };
    let before = state();
    fs::create_dir(temp.path().join("a")).unwrap();
    symlink(outside.path(), temp.path().join("aside")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    for tree in both_ways(temp.path()) {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let flipper = scope.spawn(|| {
                let (here, aside) = (temp.path().join("a"), temp.path().join("aside"));
                let mut flips = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    // One of them is a link to outside, the other a directory, unless the code
                    // under test changed them.
                    if !here.is_symlink() && !aside.is_symlink() {
                        let _ = fs::remove_dir_all(&aside);
                        let _ = symlink(outside.path(), &aside);
                    }
                    let cwd = rustix::fs::CWD;
                    let exchange = rustix::fs::RenameFlags::EXCHANGE;
                    match rustix::fs::renameat_with(cwd, &here, cwd, &aside, exchange) {
                        Ok(()) => flips += 1,
                        Err(_) if aside.is_symlink() => drop(fs::create_dir(&here)),
                        Err(_) => drop(symlink(outside.path(), &here)),
                    }
                }
                flips
            });
            let (placed, refused) = (Cell::new(0_u32), Cell::new(0_u32));
            let note = |result: Result<(), StageError>| {
                let count = if result.is_ok() { &placed } else { &refused };
                count.set(count.get() + 1);
            };
            for round in 0.. {
                let both_were_met = placed.get() > 0 && refused.get() > 0;
                if (round >= 1_000 && both_were_met) || Instant::now() > deadline {
                    break;
                }
                let deep = path(if round % 2 == 0 { "a/b" } else { "a" });
                if round % 3 == 0 {
                    // Find the directory again, instead of using the open one.
                    drop(tree.lock_open().remove_tree(&path("a")));
                }
                match tree.directory(&deep) {
                    Ok(directory) => {
                        note(place(&directory, "f", b"ours"));
                        let link =
                            directory.place_link(&name("l"), (b"x", 0), None, Placement::Replace);
                        note(link.map(|_| ()));
                    }
                    Err(error) => note(Err(error)),
                }
                note(tree.finish_directory(&deep, &ATTRIBUTES));
                if round % 5 == 0 {
                    let removed = path(if round % 2 == 0 { "a/b" } else { "a" });
                    let mut gone = |_: &[u8], _: EntryKind| ControlFlow::Continue(());
                    note(tree.remove(&removed, &mut gone).map(|_| ()));
                }
            }
            done.store(true, Ordering::Relaxed);
            let flips = flipper.join().unwrap();
            let (placed, refused) = (placed.get(), refused.get());
            assert!(
                placed > 0 && refused > 0,
                "{placed} placed, {refused} refused, {flips} flips"
            );
        });
    }
    assert_eq!(state(), before);
    for precious in ["f", "b/f", "b/precious"] {
        assert_eq!(
            fs::read(outside.path().join(precious)).unwrap(),
            b"precious"
        );
    }
}

#[test]
fn directories_sync_one_by_one_while_others_write() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    tree.directory(&path("a/b")).unwrap();
    tree.finish_directory(&path("a/b"), &ATTRIBUTES).unwrap();
    tree.sync_beside(true).unwrap();
    // The root, in which it was made, and both directories.
    assert_eq!(synced_below(temp.path()), [Synced::Directory; 3]);
    tree.sync_beside(true).unwrap();
    assert_eq!(
        synced_below(temp.path()).len(),
        3,
        "nothing has changed since"
    );
    tree.directory(&path("c")).unwrap();
    fs::remove_dir(temp.path().join("c")).unwrap();
    tree.sync_beside(true).unwrap();
    assert_eq!(
        synced_below(temp.path()),
        [Synced::Directory; 4],
        "it is gone"
    );
    tree.directory(&path("d")).unwrap();
    tree.sync_beside(false).unwrap();
    assert_eq!(synced_below(temp.path())[4..], [Synced::FileSystem]);
}

#[test]
fn new_files_and_directories_have_the_requested_modes() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    tree.make_with(NewModes {
        files: 0o640,
        directories: 0o750,
    });
    let directory = tree.directory(&path("a")).unwrap();
    let as_made = Attributes {
        mode: None,
        mtime: None,
    };
    let staged = directory
        .stage_whole(&name("small"), b"1", &as_made)
        .unwrap();
    staged.place(Placement::Replace).unwrap();
    let content = crate::digest::Md5Stream::digest(b"12");
    let private = StagingDirectory::open(&temp.path().join("a")).unwrap();
    // An earlier run created it with other permissions.
    private
        .stage(&name("resumed"), content)
        .unwrap()
        .append(b"1")
        .unwrap();
    let mut staged = directory.stage(&name("resumed"), content).unwrap();
    staged.append(b"2").unwrap();
    staged.set_attributes(&as_made).unwrap();
    staged.place(Placement::Replace).unwrap();
    tree.finish_directory(&path("a"), &as_made).unwrap();
    for (name, mode) in [("a", 0o750), ("a/small", 0o640), ("a/resumed", 0o640)] {
        assert_eq!(mode_of(&temp.path().join(name)), mode, "{name}");
    }
    assert_eq!(fs::read_dir(temp.path().join("a")).unwrap().count(), 2);
}

#[test]
fn removes_and_reports_more_names_than_one_read_returns() {
    let place_ = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(place_.path(), false).unwrap();
    fs::create_dir_all(place_.path().join("d/in")).unwrap();
    // More than all attempts together read, if each read only once.
    for number in 0..17_000 {
        fs::write(place_.path().join(format!("d/in/{number}")), "").unwrap();
    }
    let gone = Cell::new(0);
    let flow = tree.remove(&path("d"), &mut |_, _| {
        gone.set(gone.get() + 1);
        ControlFlow::Continue(())
    });
    assert!(flow.unwrap().is_continue());
    assert_eq!(gone.get(), 17_002);
    assert!(!place_.path().join("d").exists());
}

#[test]
fn losses_of_all_directories_of_a_tree_are_added() {
    let place_ = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(place_.path(), false).unwrap();
    let directory = tree.directory(&path("a/b")).unwrap();
    assert!(tree.unkept().is_empty());
    directory.capabilities().count(Loss::Link);
    assert_eq!(tree.unkept().links, 1);
    tree.keep_directories(3);
    assert_eq!(tree.lock_open().directories_max, 3);
}
