mod edges;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::digest::Md5Stream;
use crate::wire::{Md5Digest, Timestamp};

fn name(text: &str) -> FileName {
    FileName::parse(text.as_bytes()).unwrap()
}

/// The partial file's name as documented, built without the code under test.
fn partial_of(name: &str, content: &[u8]) -> String {
    let hex = |bytes: &[u8]| {
        use md5::Digest;
        let digest = md5::Md5::digest(bytes);
        digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    format!(".ft-{}-{}.part", &hex(name.as_bytes())[..16], hex(content))
}

fn md5(content: &[u8]) -> Md5Digest {
    Md5Stream::digest(content)
}

fn entries(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn stage_all(directory: &Arc<StagingDirectory>, to: &str, content: &[u8]) -> StagedFile {
    let mut staged = directory.stage(&name(to), md5(content)).unwrap();
    staged.restart().unwrap();
    staged.append(content).unwrap();
    staged
}

const ATTRIBUTES: Attributes = Attributes {
    mode: Some(0o640),
    mtime: None,
};

#[test]
fn places_bytes_permissions_and_time_and_leaves_nothing_else() {
    let temp = tempfile::tempdir().unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let mtime = Timestamp {
        seconds: -5,
        nanoseconds: 123_456_789,
    };
    let attributes = Attributes {
        mode: Some(0o6_751),
        mtime: Some(mtime),
    };
    let whole = directory
        .stage_whole(&name("whole"), b"small", &attributes)
        .unwrap();
    assert!(
        entries(temp.path())
            .iter()
            .all(|entry| entry.starts_with(".ft-"))
    );
    assert_eq!(whole.place(Placement::Replace).unwrap().0, name("whole"));

    let large = stage_all(&directory, "large", b"large content");
    assert_eq!(
        entries(temp.path())[0],
        partial_of("large", b"large content")
    );
    let private = fs::metadata(temp.path().join(partial_of("large", b"large content"))).unwrap();
    assert_eq!(
        private.mode() & 0o7777,
        0o600,
        "nobody else reads what is not verified"
    );
    large.set_attributes(&attributes).unwrap();
    large.sync().unwrap();
    large.place(Placement::Replace).unwrap();
    directory.sync().unwrap();

    assert_eq!(entries(temp.path()), ["large", "whole"]);
    for (file, content) in [("whole", &b"small"[..]), ("large", b"large content")] {
        assert_eq!(fs::read(temp.path().join(file)).unwrap(), content);
        let meta = fs::metadata(temp.path().join(file)).unwrap();
        assert_eq!(
            meta.mode() & 0o7777,
            0o751,
            "{file}: permissions without set-user-id"
        );
        assert_eq!(
            (meta.mtime(), meta.mtime_nsec()),
            (-5, 123_456_789),
            "{file}"
        );
    }
}

#[test]
fn a_dropped_file_stays_and_is_resumed_by_its_content() {
    let temp = tempfile::tempdir().unwrap();
    let content = b"0123456789";
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let mut staged = directory.stage(&name("f"), md5(content)).unwrap();
    staged.append(&content[..4]).unwrap();
    drop(staged);
    assert_eq!(entries(temp.path()), [partial_of("f", content)]);

    // Both in this directory and in one that another process opens later.
    for directory in [directory, StagingDirectory::open(temp.path()).unwrap()] {
        assert!(directory.resume(&name("g"), None).is_none(), "another name");
        assert!(
            directory.resume(&name("f"), Some(md5(b"x"))).is_none(),
            "another content"
        );
        let resumed = directory.resume(&name("f"), None).unwrap();
        assert_eq!(
            (resumed.bytes(), resumed.content()),
            (4, Some(md5(content)))
        );
    }
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let mut resumed = directory.resume(&name("f"), Some(md5(content))).unwrap();
    resumed.append(&content[4..]).unwrap();
    resumed.place(Placement::CreateOnly).unwrap();
    assert_eq!(entries(temp.path()), ["f"]);
    assert_eq!(fs::read(temp.path().join("f")).unwrap(), content);
}

#[test]
fn resuming_a_partial_file_repeatedly_notes_it_once() {
    let temp = tempfile::tempdir().unwrap();
    for content in ["content", "other"] {
        fs::write(temp.path().join(partial_of("f", content.as_bytes())), "c").unwrap();
    }
    let directory = StagingDirectory::open(temp.path()).unwrap();
    for _ in 0..20 {
        drop(directory.resume(&name("f"), None).unwrap());
        drop(directory.stage(&name("f"), md5(b"content")).unwrap());
    }
    let noted: usize = directory.lock_leftovers().values().map(Vec::len).sum();
    assert_eq!(noted, 2);
}

#[test]
fn what_cannot_be_resumed_is_removed() {
    let temp = tempfile::tempdir().unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    drop(directory.stage(&name("empty"), md5(b"x")).unwrap());
    drop(
        directory
            .stage_whole(&name("whole"), b"whole", &ATTRIBUTES)
            .unwrap(),
    );
    stage_all(&directory, "wrong", b"wrong bytes").discard();
    assert_eq!(entries(temp.path()), [""; 0]);
}

/// Plants an entry at the first path; it may use the second one as a file.
type Plant = fn(&Path, &Path);

#[test]
fn an_entry_planted_under_the_partial_name_is_left_alone() {
    let content = b"content";
    let plant: [(&str, Plant); 5] = [
        ("a link", |at, victim| symlink(victim, at).unwrap()),
        ("a dangling link", |at, _| {
            symlink("/nowhere/at/all", at).unwrap()
        }),
        ("a second name", |at, victim| {
            fs::hard_link(victim, at).unwrap()
        }),
        ("a directory", |at, _| fs::create_dir(at).unwrap()),
        ("a FIFO", |at, _| {
            rustix::fs::mkfifoat(rustix::fs::CWD, at, rustix::fs::Mode::RUSR).unwrap();
        }),
    ];
    for (trick, plant) in plant {
        let temp = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let victim = temp.path().join("victim");
        fs::write(&victim, "victim").unwrap();
        let planted = temp.path().join(partial_of("f", content));
        plant(&planted, &victim);
        let before = fs::symlink_metadata(&planted).unwrap();

        let directory = StagingDirectory::open(temp.path()).unwrap();
        assert!(directory.resume(&name("f"), None).is_none(), "{trick}");
        stage_all(&directory, "f", content)
            .place(Placement::Replace)
            .unwrap();

        assert_eq!(fs::read(temp.path().join("f")).unwrap(), content, "{trick}");
        assert_eq!(fs::read(&victim).unwrap(), b"victim", "{trick}");
        let after = fs::symlink_metadata(&planted).unwrap();
        assert_eq!(
            (after.ino(), after.mode()),
            (before.ino(), before.mode()),
            "{trick}"
        );
        assert_eq!(entries(elsewhere.path()), [""; 0], "{trick}");
    }
}

#[test]
fn a_partial_file_that_is_locked_is_not_used() {
    let temp = tempfile::tempdir().unwrap();
    let content = b"content";
    let theirs = StagingDirectory::open(temp.path()).unwrap();
    let mut held = theirs.stage(&name("f"), md5(content)).unwrap();
    held.append(b"con").unwrap();

    let ours = StagingDirectory::open(temp.path()).unwrap();
    assert!(ours.resume(&name("f"), None).is_none());
    stage_all(&ours, "f", content)
        .place(Placement::Replace)
        .unwrap();
    assert_eq!(
        entries(temp.path()),
        [partial_of("f", content), "f".to_owned()]
    );

    held.append(b"tent").unwrap();
    held.place(Placement::Replace).unwrap();
    assert_eq!(entries(temp.path()), ["f"]);
}

#[test]
fn placing_removes_old_partial_files_of_that_name_only() {
    let temp = tempfile::tempdir().unwrap();
    for (file, content) in [("f", "old"), ("f", "older"), ("g", "other")] {
        fs::write(temp.path().join(partial_of(file, content.as_bytes())), "ol").unwrap();
    }
    let random = format!("{}0123456789abcdef.part", &partial_of("f", b"")[..21]);
    fs::write(temp.path().join(random), "x").unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    directory
        .stage_whole(&name("f"), b"new", &ATTRIBUTES)
        .unwrap()
        .place(Placement::Replace)
        .unwrap();
    assert_eq!(
        entries(temp.path()),
        [partial_of("g", b"other"), "f".to_owned()]
    );
}

#[test]
fn a_taken_name_is_replaced_kept_or_numbered() {
    let temp = tempfile::tempdir().unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let path = temp.path().join("f");
    let stage = |content: &[u8]| {
        directory
            .stage_whole(&name("f"), content, &ATTRIBUTES)
            .unwrap()
    };
    fs::write(&path, "first").unwrap();
    assert!(matches!(
        stage(b"2").place(Placement::CreateOnly),
        Err(StageError::Exists)
    ));
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(
        stage(b"3").place(Placement::Numbered).unwrap().0,
        name("f.1")
    );
    assert_eq!(
        stage(b"4").place(Placement::Numbered).unwrap().0,
        name("f.2")
    );
    stage(b"5").place(Placement::Replace).unwrap();
    assert_eq!(entries(temp.path()), ["f", "f.1", "f.2"]);
    assert_eq!(fs::read(&path).unwrap(), b"5");
}

#[test]
fn a_link_under_the_final_name_is_replaced_and_not_followed() {
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("target");
    fs::write(&target, "target").unwrap();
    symlink(&target, temp.path().join("f")).unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    assert!(matches!(
        directory.entry_kind(&name("f")).unwrap(),
        EntryKind::Link
    ));
    assert!(directory.open_existing(&name("f")).is_err());
    let staged = directory
        .stage_whole(&name("f"), b"new", &ATTRIBUTES)
        .unwrap();
    staged.place(Placement::Replace).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"target");
    assert!(
        fs::symlink_metadata(temp.path().join("f"))
            .unwrap()
            .is_file()
    );
}

#[test]
fn a_directory_under_the_final_name_is_an_error_and_nothing_is_left() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("f")).unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    assert!(matches!(
        directory.entry_kind(&name("f")).unwrap(),
        EntryKind::Directory
    ));
    let staged = directory
        .stage_whole(&name("f"), b"new", &ATTRIBUTES)
        .unwrap();
    assert!(matches!(
        staged.place(Placement::Replace),
        Err(StageError::NotReplaceable(_))
    ));
    assert_eq!(entries(temp.path()), ["f"]);
}

#[test]
fn everything_stays_in_the_directory_that_was_opened() {
    let temp = tempfile::tempdir().unwrap();
    let (here, moved) = (temp.path().join("here"), temp.path().join("moved"));
    fs::create_dir(&here).unwrap();
    let directory = StagingDirectory::open(&here).unwrap();
    let staged = stage_all(&directory, "f", b"content");
    fs::rename(&here, &moved).unwrap();
    fs::create_dir(&here).unwrap();
    staged.place(Placement::Replace).unwrap();
    assert_eq!((entries(&here).len(), entries(&moved).len()), (0, 1));
}

#[test]
fn a_partial_file_that_was_removed_has_vanished() {
    let temp = tempfile::tempdir().unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    for placement in [
        Placement::Replace,
        Placement::CreateOnly,
        Placement::Numbered,
    ] {
        let staged = stage_all(&directory, "f", b"content");
        fs::remove_file(temp.path().join(partial_of("f", b"content"))).unwrap();
        assert!(
            matches!(staged.place(placement), Err(StageError::Vanished)),
            "{placement:?}"
        );
    }
    assert_eq!(entries(temp.path()), [""; 0]);
}

#[test]
fn a_lack_of_space_is_reported_before_the_first_byte() {
    let temp = tempfile::tempdir().unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    for size in [1 << 60, i64::MAX as u64] {
        let staged = directory.stage(&name("f"), md5(b"x")).unwrap();
        assert!(
            matches!(staged.reserve(size), Err(StageError::NoSpace { .. })),
            "{size}"
        );
    }
    let staged = directory.stage(&name("f"), md5(b"x")).unwrap();
    staged.reserve(1 << 20).unwrap();
    assert_eq!(
        staged.file().metadata().unwrap().len(),
        0,
        "reserved, and still empty"
    );
    drop(staged);
    assert_eq!(entries(temp.path()), [""; 0]);
}

#[test]
fn space_is_reserved_where_the_file_system_can() {
    use std::os::unix::fs::MetadataExt;
    // Needs a disk: nothing is reserved in memory.
    let temp = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let probe = std::fs::File::create(temp.path().join("probe")).unwrap();
    let can = rustix::fs::fallocate(&probe, rustix::fs::FallocateFlags::KEEP_SIZE, 0, 4096);
    if can.is_err() || probe.metadata().unwrap().blocks() == 0 {
        return;
    }
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let staged = directory.stage(&name("f"), md5(b"x")).unwrap();
    staged.reserve(1 << 20).unwrap();
    let blocks = staged.file().metadata().unwrap().blocks();
    assert!(blocks * 512 >= 1 << 20, "{blocks} blocks");
}

#[test]
fn a_restarted_file_has_only_its_new_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let mut staged = directory.stage(&name("f"), md5(b"new")).unwrap();
    staged.append(b"longer and wrong").unwrap();
    staged.restart().unwrap();
    assert_eq!(staged.bytes(), 0);
    staged.append(b"new").unwrap();
    staged.place(Placement::Replace).unwrap();
    assert_eq!(std::fs::read(temp.path().join("f")).unwrap(), b"new");
}

#[test]
fn directories_are_made_with_their_parents_or_it_fails() {
    let temp = tempfile::tempdir().unwrap();
    let deep = temp.path().join("a/b/c");
    assert!(matches!(
        StagingDirectory::open(&deep),
        Err(StageError::Directory { .. })
    ));
    for _already_there in [false, true] {
        StagingDirectory::make(&deep).unwrap();
        StagingDirectory::open(&deep).unwrap();
    }
    fs::write(temp.path().join("file"), "").unwrap();
    assert!(StagingDirectory::make(&temp.path().join("file/below")).is_err());
    assert!(StagingDirectory::open(&temp.path().join("file")).is_err());
}

#[test]
fn concurrent_stagers_of_one_content_place_it_whole() {
    let temp = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let path = temp.path().join("f");
    fs::write(&path, &content).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let directory = StagingDirectory::open(temp.path()).unwrap();
                    match stage_all(&directory, "f", &content).place(Placement::Replace) {
                        // Another thread cleaned up in between.
                        Ok(_) | Err(StageError::Vanished) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                    assert!(
                        fs::read(&path).unwrap() == content,
                        "a part of it was visible"
                    );
                }
            });
        }
    });
    let directory = StagingDirectory::open(temp.path()).unwrap();
    directory.remove_leftovers(&name("f"));
    assert_eq!(entries(temp.path()), ["f"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
}

#[test]
fn leftovers_are_reported_and_not_touched() {
    let temp = tempfile::tempdir().unwrap();
    let (half, less) = (partial_of("f", b"content"), partial_of("f", b"other"));
    fs::write(temp.path().join(&half), "con").unwrap();
    fs::write(temp.path().join(&less), "ot").unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let held = directory.resume(&name("f"), None).unwrap();
    let before = fs::metadata(temp.path().join(&half)).unwrap();
    assert_eq!(held.bytes(), 3);
    for directory in [&directory, &StagingDirectory::open(temp.path()).unwrap()] {
        assert_eq!(
            directory.leftover(&name("f"), None),
            Some((md5(b"content"), 3))
        );
        assert_eq!(directory.leftover(&name("g"), None), None);
    }
    let after = fs::metadata(temp.path().join(&half)).unwrap();
    assert_eq!(
        (after.ctime(), after.ctime_nsec(), after.len()),
        (before.ctime(), before.ctime_nsec(), 3)
    );
    fs::remove_file(temp.path().join(&half)).unwrap();
    symlink("victim", temp.path().join(&half)).unwrap();
    assert_eq!(
        directory.leftover(&name("f"), None),
        Some((md5(b"other"), 2))
    );
    for (content, found) in [
        (md5(b"other"), Some((md5(b"other"), 2))),
        (md5(b"third"), None),
    ] {
        assert_eq!(directory.leftover(&name("f"), Some(content)), found);
    }
}

#[test]
fn copies_an_open_file_at_its_present_size() {
    let temp = tempfile::tempdir().unwrap();
    // In memory and in the temporary directory: the kernel copies within one of them only.
    for elsewhere in [temp.path(), Path::new("/dev/shm")] {
        let elsewhere = tempfile::tempdir_in(elsewhere).unwrap();
        let directory = StagingDirectory::open(temp.path()).unwrap();
        for size in [0, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 3_000_000] {
            let content: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
            let original = elsewhere.path().join("original");
            fs::write(&original, &content).unwrap();
            let copy = directory
                .stage_copy_of(&name("copy"), &fs::File::open(&original).unwrap(), || true)
                .unwrap();
            assert_eq!(copy.bytes(), u64::from(size));
            copy.set_attributes(&ATTRIBUTES).unwrap();
            copy.place(Placement::Replace).unwrap();
            assert!(fs::read(temp.path().join("copy")).unwrap() == content);
            fs::write(&original, "changed").unwrap();
            assert!(fs::read(temp.path().join("copy")).unwrap() == content);
        }
    }
}

#[test]
fn only_a_lack_of_descriptors_is_recognized_as_one() {
    use rustix::io::Errno;
    for (errno, expected) in [
        (Errno::MFILE, true),
        (Errno::NFILE, true),
        (Errno::ACCESS, false),
    ] {
        for error in [
            StageError::sort("open", errno),
            StageError::of_directory("open", Path::new("/f"), errno),
        ] {
            assert_eq!(error.lacks_descriptors(), expected, "{error}");
        }
    }
    assert!(!StageError::Exists.lacks_descriptors());
}

#[test]
fn orphaned_partial_files_are_removed() {
    let temp = tempfile::tempdir().unwrap();
    assert!(
        StagingDirectory::open(temp.path())
            .unwrap()
            .orphans()
            .is_empty()
    );
    let [kept, gone, held] = ["kept", "gone", "held"].map(|of| partial_of(of, b"content"));
    for partial in [&kept, &gone, &held] {
        fs::write(temp.path().join(partial), "con").unwrap();
    }
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let holder = StagingDirectory::open(temp.path()).unwrap();
    let _held = holder.resume(&name("held"), None).unwrap();
    let mut orphans = directory.orphans();
    assert!(!orphans.is_empty());
    orphans.exclude(b"kept");
    orphans.exclude(b"another");
    assert_eq!(directory.names_of(&orphans), [&*gone]);
    assert!(!directory.remove_partial(&held) && !directory.remove_partial("of another kind"));
    assert!(directory.remove_partial(&gone) && !directory.remove_partial(&gone));
    let mut expected = [kept, held];
    expected.sort();
    assert_eq!(entries(temp.path()), expected);
}

#[test]
fn ignores_empty_partial_files_and_those_of_other_users() {
    let temp = tempfile::tempdir().unwrap();
    let content = b"content";
    let partial = temp.path().join(partial_of("f", content));
    let found = || {
        let directory = StagingDirectory::open(temp.path()).unwrap();
        let left = directory.leftover(&name("f"), Some(md5(content)));
        let resumed = directory.resume(&name("f"), Some(md5(content)));
        let resumed = resumed.map(|staged| (md5(content), staged.bytes()));
        assert_eq!(left, resumed);
        resumed.map(|(_, bytes)| bytes)
    };
    fs::write(&partial, "").unwrap();
    assert_eq!(found(), None);
    fs::write(&partial, "c").unwrap();
    assert_eq!(found(), Some(1));
    // Only root can change an owner.
    if std::os::unix::fs::chown(&partial, Some(12_345), None).is_ok() {
        assert_eq!(found(), None);
        let directory = StagingDirectory::open(temp.path()).unwrap();
        directory.remove_leftovers(&name("f"));
        assert!(partial.exists());
    }
}

#[test]
fn a_link_is_removed_only_under_the_name_of_a_partial_link() {
    let temp = tempfile::tempdir().unwrap();
    let of_content = partial_of("f", b"content");
    let on_its_way = of_content[..20].to_owned() + "-0123456789abcdef.part";
    for link in [&of_content, &on_its_way] {
        symlink("nowhere", temp.path().join(link)).unwrap();
    }
    let held = of_content[..20].to_owned() + "-00000000abcdef00.part";
    let holder = fs::File::create(temp.path().join(&held)).unwrap();
    holder.lock().unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    directory.remove_leftovers(&name("f"));
    let mut expected = [of_content, held];
    expected.sort();
    assert_eq!(entries(temp.path()), expected);
}

#[test]
fn a_taken_link_name_is_replaced_kept_or_numbered() {
    let temp = tempfile::tempdir().unwrap();
    let at = |entry: &str| temp.path().join(entry);
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("file"), "").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let place = |entry: &str, placement| {
        let placed = directory.place_link(&name(entry), (b"target", 0), None, placement);
        match placed {
            Ok(PlacedLink::Placed(name)) => String::from_utf8(name.as_bytes().to_vec()).unwrap(),
            Ok(PlacedLink::Identical) => "identical".into(),
            Ok(other) => format!("{other:?}"),
            Err(StageError::Exists) => "exists".into(),
            Err(StageError::NotReplaceable(why)) => why.into(),
            Err(error) => panic!("{entry}: {error}"),
        }
    };
    for (entry, placement, expected) in [
        ("folder", Placement::Replace, OCCUPIED_BY_DIRECTORY),
        ("folder", Placement::CreateOnly, "exists"),
        ("folder", Placement::Numbered, "folder.1"),
        ("fifo", Placement::Replace, NOT_REGULAR),
        ("fifo", Placement::CreateOnly, "exists"),
        ("fifo", Placement::Numbered, "fifo.1"),
        ("file", Placement::CreateOnly, "exists"),
        ("file", Placement::Replace, "file"),
        ("file", Placement::CreateOnly, "identical"),
        ("file", Placement::Numbered, "identical"),
    ] {
        assert_eq!(place(entry, placement), expected, "{entry} {placement:?}");
    }
}

#[test]
fn an_existing_link_gets_its_time_only_if_replaceable() {
    let temp = tempfile::tempdir().unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let link = temp.path().join("link");
    let time_of = |link: &Path| fs::symlink_metadata(link).unwrap().mtime();
    let place = |seconds, placement| {
        let mtime = Some(Timestamp {
            seconds,
            nanoseconds: 0,
        });
        directory.place_link(&name("link"), (b"target", 0), mtime, placement)
    };
    let placed = place(1_000_000_000, Placement::Replace).unwrap();
    assert_eq!(placed, PlacedLink::Placed(name("link")));
    assert_eq!(time_of(&link), 1_000_000_000);
    for (seconds, placement, expected) in [
        (1_100_000_000, Placement::CreateOnly, 1_000_000_000),
        (1_200_000_000, Placement::Numbered, 1_000_000_000),
        (1_300_000_000, Placement::Replace, 1_300_000_000),
    ] {
        assert_eq!(place(seconds, placement).unwrap(), PlacedLink::Identical);
        assert_eq!(time_of(&link), expected, "{placement:?}");
    }
    // A file with another name does not belong to the server alone.
    fs::hard_link(&link, temp.path().join("other")).unwrap();
    assert_eq!(place(7, Placement::Replace).unwrap(), PlacedLink::Identical);
    assert_eq!(time_of(&link), 1_300_000_000);
    assert!(directory.capabilities().unkept().is_empty());
}
