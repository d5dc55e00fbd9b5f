use std::cell::Cell;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::open_folders::OPEN_FOLDERS_MAX;
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

fn place(folder: &Arc<StagingFolder>, file: &str, content: &[u8]) -> Result<(), StageError> {
    let staged = folder.stage_whole(&name(file), content, &ATTRIBUTES)?;
    staged.place(Placement::Replace).map(|_| ())
}

/// By the kernel, and as where it cannot.
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
fn missing_folders_are_made_for_this_user_alone_and_found_again() {
    let place_ = tempfile::tempdir().unwrap();
    for (tree, top) in both_ways(place_.path()).iter().zip(["a", "b"]) {
        let deep = path(&format!("{top}/b\n/\u{202e}"));
        assert!(tree.existing_folder(&deep).unwrap().is_none());
        assert!(!place_.path().join(top).exists(), "looking makes nothing");
        let folder = tree.folder(&deep).unwrap();
        place(&folder, "f", b"content").unwrap();
        assert_eq!(mode_of(&place_.path().join(top)), 0o700);
        let file = place_.path().join(top).join("b\n/\u{202e}/f");
        assert_eq!(fs::read(file).unwrap(), b"content");
        assert!(Arc::ptr_eq(&folder, &tree.folder(&deep).unwrap()));
        let found = tree.existing_folder(&deep).unwrap().unwrap();
        assert!(Arc::ptr_eq(&folder, &found));
        let root = tree.folder(&ResourcePath::root()).unwrap();
        assert_eq!(root.path(), place_.path());
        assert_eq!(root.device(), fs::metadata(place_.path()).unwrap().dev());
        tree.sync(false).unwrap();
        assert!(tree.lock_unsynced().is_empty());
    }
}

#[test]
fn a_root_is_made_only_if_told() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("a/b");
    assert!(matches!(
        DestinationTree::open(&root, false),
        Err(StageError::Folder { .. })
    ));
    let tree = DestinationTree::open(&root, true).unwrap();
    tree.folder(&path("c")).unwrap();
    assert!(root.join("c").is_dir());
    fs::write(temp.path().join("file"), "").unwrap();
    assert!(DestinationTree::open(&temp.path().join("file"), true).is_err());
}

#[test]
fn what_is_no_folder_is_named_and_not_followed() {
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
                "{} is {what}, not a folder",
                temp.path().join("d").join(planted).display()
            );
            for below in ["", "/x", "/new", "/new/deeper"] {
                let path = path(&format!("d/{planted}{below}"));
                for result in [
                    tree.folder(&path).map(Some),
                    tree.existing_folder(&path),
                    tree.finish_folder(&path, &ATTRIBUTES).map(|()| None),
                    tree.names(&path, |_, _| {}).map(|()| None),
                ] {
                    let error = result.err().expect(planted);
                    assert_eq!(error.to_string(), expected, "{path:?}");
                }
            }
        }
        for reserved in [".ft-x", "d/.ft-x", ".ft-x/d"] {
            let error = tree.folder(&path(reserved)).err().unwrap();
            assert!(matches!(error, StageError::Name(_)), "{error:?}");
        }
    }
    assert_eq!(fs::read_dir(outside.path().join("x")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn finishing_sets_mode_and_time_and_working_again_unlocks() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    let folder = temp.path().join("a/b");
    let finished = Attributes {
        mode: Some(0o6_555),
        mtime: Some(Timestamp {
            seconds: 1_000_000_000,
            nanoseconds: 123_456_789,
        }),
    };
    for round in 0..3_u8 {
        place(&tree.folder(&path("a/b")).unwrap(), "f", &[round]).unwrap();
        assert_eq!(mode_of(&folder) & 0o700, 0o700, "round {round}");
        tree.finish_folder(&path("a/b"), &finished).unwrap();
        let meta = fs::metadata(&folder).unwrap();
        assert_eq!(mode_of(&folder), 0o555, "exactly, and never set-group-id");
        assert_eq!(
            (meta.mtime(), meta.mtime_nsec()),
            (1_000_000_000, 123_456_789)
        );
        // Looking leaves it as it is, and finishing again does not even touch it.
        let looked_at = tree.existing_folder(&path("a/b")).unwrap().unwrap();
        assert!(looked_at.open_existing(&name("f")).is_ok());
        tree.finish_folder(&path("a/b"), &finished).unwrap();
        let again = fs::metadata(&folder).unwrap();
        assert_eq!(
            (again.ctime(), again.ctime_nsec(), again.mode()),
            (meta.ctime(), meta.ctime_nsec(), meta.mode())
        );
    }
    tree.finish_folder(&path("empty/folder"), &finished)
        .unwrap();
    assert_eq!(mode_of(&temp.path().join("empty/folder")), 0o555);
}

#[test]
fn a_folder_that_its_owner_may_not_even_open_is_worked_on_again() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    tree.folder(&path("a/b")).unwrap();
    for locked in ["a/b", "a"] {
        let none = Attributes {
            mode: Some(0),
            mtime: None,
        };
        tree.finish_folder(&path(locked), &none).unwrap();
        assert_eq!(mode_of(&temp.path().join(locked)), 0);
    }
    let folder = tree.folder(&path("a/b")).unwrap();
    place(&folder, "f", b"content").unwrap();
    // Root may do everything, and unlocks what it opens all the same.
    assert_eq!(mode_of(&temp.path().join("a/b")), 0o700);
    crate::store::beneath::unlock_folder_in(
        tree.folder(&ResourcePath::root()).unwrap().as_fd(),
        b"a",
    )
    .unwrap();
    assert_eq!(mode_of(&temp.path().join("a")), 0o700);
    assert_eq!(fs::read(temp.path().join("a/b/f")).unwrap(), b"content");
}

#[test]
fn the_root_and_what_is_asked_to_be_looked_at_keep_their_permissions() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("a")).unwrap();
    for locked in [temp.path().join("a"), temp.path().to_owned()] {
        fs::set_permissions(locked, fs::Permissions::from_mode(0o2_555)).unwrap();
    }
    let tree = DestinationTree::open(temp.path(), true).unwrap();
    tree.folder(&ResourcePath::root()).unwrap();
    tree.existing_folder(&path("a")).unwrap().unwrap();
    assert_eq!(mode_of(temp.path()), 0o2_555);
    assert_eq!(mode_of(&temp.path().join("a")), 0o2_555);
    tree.folder(&path("a")).unwrap();
    assert_eq!(mode_of(&temp.path().join("a")), 0o2_755);
    tree.finish_folder(&path("a"), &ATTRIBUTES).unwrap();
    assert_eq!(
        mode_of(&temp.path().join("a")),
        0o2_644,
        "whose group new files get is the owner's word"
    );
}

#[test]
fn only_so_many_folders_stay_open_and_those_in_use_do() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    let first = tree.folder(&path("0")).unwrap();
    // The root is one of them.
    for number in 1..OPEN_FOLDERS_MAX - 1 {
        tree.folder(&path(&number.to_string())).unwrap();
    }
    assert!(Arc::ptr_eq(&first, &tree.folder(&path("0")).unwrap()));
    let second = Arc::downgrade(&tree.folder(&path("1")).unwrap());
    tree.folder(&path("one more")).unwrap();
    assert!(second.upgrade().is_some(), "2 was used longest ago");
    for number in 0..OPEN_FOLDERS_MAX {
        tree.folder(&path(&format!("more {number}"))).unwrap();
    }
    assert!(second.upgrade().is_none());
    assert_eq!(Arc::strong_count(&first), 1, "only we have it still");
    place(&first, "f", b"content").unwrap();
    assert!(temp.path().join("0/f").exists());
}

#[test]
fn a_folder_that_was_removed_meanwhile_is_made_again() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    tree.folder(&path("a/b")).unwrap();
    fs::remove_dir_all(temp.path().join("a")).unwrap();
    assert!(tree.existing_folder(&path("a/b")).unwrap().is_none());
    place(&tree.folder(&path("a/b")).unwrap(), "f", b"content").unwrap();
    assert!(temp.path().join("a/b/f").exists());
}

#[test]
fn paths_may_be_as_deep_as_paths_are() {
    let temp = tempfile::tempdir().unwrap();
    for tree in both_ways(temp.path()) {
        let deep = path(&vec!["d"; PATH_PARTS_MAX].join("/"));
        place(&tree.folder(&deep).unwrap(), "f", b"").unwrap();
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
fn removes_what_is_deeper_than_any_path_with_one_folder_open_at_a_time() {
    let temp = tempfile::tempdir().unwrap();
    let depth = 3_000;
    let mut folder = std::os::fd::OwnedFd::from(fs::File::open(temp.path()).unwrap());
    for _ in 0..depth {
        rustix::fs::mkdirat(&folder, "d", rustix::fs::Mode::RWXU).unwrap();
        rustix::fs::symlinkat("..", &folder, "up").unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        folder = rustix::fs::openat(&folder, "d", flags, rustix::fs::Mode::empty()).unwrap();
    }
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    let mut gone = Vec::new();
    let flow = tree.remove(&path("d"), &mut |path, _| {
        gone.push(path.len());
        ControlFlow::Continue(())
    });
    assert!(matches!(flow, Ok(ControlFlow::Continue(()))), "{flow:?}");
    // Each folder, and a link in all but the last.
    assert_eq!(gone.len(), 2 * depth - 1);
    assert_eq!(gone.iter().max(), Some(&(2 * depth)));
    assert_eq!(gone.last(), Some(&1));
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn shows_what_is_in_a_folder_but_partial_files() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    let folder = tree.folder(&path("a")).unwrap();
    tree.folder(&path("a/folder")).unwrap();
    place(&folder, ".file", b"").unwrap();
    folder
        .place_link(&name("link"), (b"nowhere", 0), None, Placement::CreateOnly)
        .unwrap();
    fs::write(temp.path().join("a/.ft-partial"), "").unwrap();
    let mut shown = Vec::new();
    tree.names(&path("a"), |name, occupant| shown.push((name, occupant)))
        .unwrap();
    shown.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(
        shown,
        [
            (name(".file"), Occupant::File),
            (name("folder"), Occupant::Directory),
            (name("link"), Occupant::Link)
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
fn removes_files_links_and_folders_and_tells_each() {
    let temp = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "").unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    place(&tree.folder(&path("a/b")).unwrap(), "f", b"").unwrap();
    symlink(outside.path(), temp.path().join("a/b/out")).unwrap();
    symlink(outside.path(), temp.path().join("link")).unwrap();
    fs::write(temp.path().join("a/b/.ft-partial"), "").unwrap();
    fs::set_permissions(temp.path().join("a/b"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::write(temp.path().join("kept"), "").unwrap();
    tree.sync(false).unwrap();

    let mut gone = Vec::new();
    let mut note = |path: &[u8], occupant: Occupant| {
        gone.push((String::from_utf8(path.to_vec()).unwrap(), occupant));
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
            ("a/b/f".to_owned(), Occupant::File),
            ("a/b/out".to_owned(), Occupant::Link),
            ("a/b".to_owned(), Occupant::Directory),
            ("a".to_owned(), Occupant::Directory),
            ("link".to_owned(), Occupant::Link),
        ]
    );
    assert!(outside.path().join("precious").exists());
    let mut never = |_: &[u8], _: Occupant| panic!("nothing is removed");
    assert!(tree.remove(&ResourcePath::root(), &mut never).is_err());
    assert!(temp.path().join("kept").exists());
}

#[test]
fn what_is_to_be_no_folder_is_removed_only_if_it_is_none() {
    let temp = tempfile::tempdir().unwrap();
    for tree in both_ways(temp.path()) {
        fs::create_dir_all(temp.path().join("in/folder")).unwrap();
        fs::write(temp.path().join("in/file"), "x").unwrap();
        symlink("folder", temp.path().join("in/link")).unwrap();
        symlink("in", temp.path().join("through")).unwrap();
        let remove = |text| tree.remove_unless_folder(&path(text));
        for folder in ["in/folder", "in", ""] {
            let kept = remove(folder);
            assert!(
                matches!(kept, Err(StageError::NotReplaceable(_))),
                "{folder}"
            );
        }
        assert!(remove("through/file").is_err());
        assert!(tree.lock_unsynced().is_empty());
        assert_eq!(remove("in/file").unwrap(), Occupant::File);
        assert!(!tree.lock_unsynced().is_empty());
        assert_eq!(remove("in/link").unwrap(), Occupant::Link);
        assert_eq!(remove("in/file").unwrap(), Occupant::Nothing);
        assert_eq!(remove("none/file").unwrap(), Occupant::Nothing);
        assert!(temp.path().join("in/folder").is_dir());
        assert_eq!(remove("through").unwrap(), Occupant::Link);
    }
}

#[test]
fn removing_stops_where_it_is_told_and_does_not_go_through_links() {
    let temp = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "").unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    let folder = tree.folder(&path("a")).unwrap();
    for number in 0..20 {
        place(&folder, &number.to_string(), b"").unwrap();
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
    let mut never = |_: &[u8], _: Occupant| panic!("nothing is removed");
    let error = tree.remove(&path("out/precious"), &mut never).unwrap_err();
    assert!(matches!(error, StageError::NotAFolder { .. }), "{error:?}");
    assert!(outside.path().join("precious").exists());
}

#[test]
fn links_are_placed_as_files_are() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    let folder = tree.folder(&ResourcePath::root()).unwrap();
    let target = |file: &str| fs::read_link(temp.path().join(file)).unwrap();
    let link = |to: &[u8], placement| folder.place_link(&name("l"), (to, 9), None, placement);
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
    folder
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
        let refused = folder.place_link(&name(taken), (b"3", 0), None, Placement::Replace);
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
fn a_link_that_a_killed_process_left_is_cleaned_up_with_its_name() {
    let temp = tempfile::tempdir().unwrap();
    let ours = format!(
        ".ft-{}-0123456789abcdef.part",
        &crate::digest::Md5Stream::digest(b"l").to_hex()[..16].escape_ascii()
    );
    symlink("nowhere", temp.path().join(&ours)).unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    let folder = tree.folder(&ResourcePath::root()).unwrap();
    place(&folder, "other", b"").unwrap();
    assert!(temp.path().join(&ours).is_symlink());
    folder
        .place_link(&name("l"), (b"x", 0), None, Placement::CreateOnly)
        .unwrap();
    assert!(!temp.path().join(&ours).is_symlink());
}

/// Folders of the tree are swapped for links to outside, back and forth, while files and links
/// are placed, folders made, finished and removed.
#[test]
fn nothing_outside_ever_changes_whatever_is_swapped() {
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
                    // One of them is a link to outside, the other a folder, as far as what is
                    // tested leaves them.
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
                    // Found anew, not the one that is open.
                    drop(tree.lock_open().remove_tree(&path("a")));
                }
                match tree.folder(&deep) {
                    Ok(folder) => {
                        note(place(&folder, "f", b"ours"));
                        let link =
                            folder.place_link(&name("l"), (b"x", 0), None, Placement::Replace);
                        note(link.map(|_| ()));
                    }
                    Err(error) => note(Err(error)),
                }
                note(tree.finish_folder(&deep, &ATTRIBUTES));
                if round % 5 == 0 {
                    let removed = path(if round % 2 == 0 { "a/b" } else { "a" });
                    let mut gone = |_: &[u8], _: Occupant| ControlFlow::Continue(());
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
fn beside_others_each_folder_is_synced_by_itself() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    tree.folder(&path("a/b")).unwrap();
    tree.finish_folder(&path("a/b"), &ATTRIBUTES).unwrap();
    tree.sync_beside(true).unwrap();
    // The root, in which it was made, and both.
    assert_eq!(synced_below(temp.path()), [Synced::Folder; 3]);
    tree.sync_beside(true).unwrap();
    assert_eq!(
        synced_below(temp.path()).len(),
        3,
        "nothing has changed since"
    );
    tree.folder(&path("c")).unwrap();
    fs::remove_dir(temp.path().join("c")).unwrap();
    tree.sync_beside(true).unwrap();
    assert_eq!(synced_below(temp.path()), [Synced::Folder; 4], "it is gone");
    tree.folder(&path("d")).unwrap();
    tree.sync_beside(false).unwrap();
    assert_eq!(synced_below(temp.path())[4..], [Synced::FileSystem]);
}

#[test]
fn new_files_and_folders_have_the_modes_that_were_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(temp.path(), false).unwrap();
    tree.make_with(NewModes {
        files: 0o640,
        folders: 0o750,
    });
    let folder = tree.folder(&path("a")).unwrap();
    let as_made = Attributes {
        mode: None,
        mtime: None,
    };
    let staged = folder.stage_whole(&name("small"), b"1", &as_made).unwrap();
    staged.place(Placement::Replace).unwrap();
    let content = crate::digest::Md5Stream::digest(b"12");
    let private = StagingFolder::open(&temp.path().join("a")).unwrap();
    // Begun by a run that was to give it other permissions.
    private
        .stage(&name("resumed"), content)
        .unwrap()
        .append(b"1")
        .unwrap();
    let mut staged = folder.stage(&name("resumed"), content).unwrap();
    staged.append(b"2").unwrap();
    staged.dress(&as_made).unwrap();
    staged.place(Placement::Replace).unwrap();
    tree.finish_folder(&path("a"), &as_made).unwrap();
    for (name, mode) in [("a", 0o750), ("a/small", 0o640), ("a/resumed", 0o640)] {
        assert_eq!(mode_of(&temp.path().join(name)), mode, "{name}");
    }
    assert_eq!(fs::read_dir(temp.path().join("a")).unwrap().count(), 2);
}

#[test]
fn removes_more_names_than_are_read_at_once_and_tells_each() {
    let place_ = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(place_.path(), false).unwrap();
    fs::create_dir_all(place_.path().join("d/in")).unwrap();
    // More than are read in all attempts together, should they read only once each.
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
fn what_could_not_be_kept_of_a_tree_is_that_of_all_its_folders() {
    let place_ = tempfile::tempdir().unwrap();
    let tree = DestinationTree::open(place_.path(), false).unwrap();
    let folder = tree.folder(&path("a/b")).unwrap();
    assert!(tree.unkept().is_empty());
    folder.keeping().count(Loss::Link);
    assert_eq!(tree.unkept().links, 1);
    tree.keep_folders(3);
    assert_eq!(tree.lock_open().folders_max, 3);
}
