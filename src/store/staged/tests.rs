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

/// The partial file's name as the documentation spells it, made without the code under test.
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

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn stage_all(folder: &Arc<StagingFolder>, to: &str, content: &[u8]) -> StagedFile {
    let mut staged = folder.stage(&name(to), md5(content)).unwrap();
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
    let folder = StagingFolder::open(temp.path()).unwrap();
    let mtime = Timestamp {
        seconds: -5,
        nanoseconds: 123_456_789,
    };
    let attributes = Attributes {
        mode: Some(0o6_751),
        mtime: Some(mtime),
    };
    let whole = folder
        .stage_whole(&name("whole"), b"small", &attributes)
        .unwrap();
    assert!(
        entries(temp.path())
            .iter()
            .all(|entry| entry.starts_with(".ft-"))
    );
    assert_eq!(whole.place(Placement::Replace).unwrap().0, name("whole"));

    let large = stage_all(&folder, "large", b"large content");
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
    large.dress(&attributes).unwrap();
    large.sync().unwrap();
    large.place(Placement::Replace).unwrap();
    folder.sync().unwrap();

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
fn a_dropped_file_stays_for_a_resume_and_is_taken_up_by_its_content() {
    let temp = tempfile::tempdir().unwrap();
    let content = b"0123456789";
    let folder = StagingFolder::open(temp.path()).unwrap();
    let mut staged = folder.stage(&name("f"), md5(content)).unwrap();
    staged.append(&content[..4]).unwrap();
    drop(staged);
    assert_eq!(entries(temp.path()), [partial_of("f", content)]);

    // In this folder, and in one opened later by another process.
    for folder in [folder, StagingFolder::open(temp.path()).unwrap()] {
        assert!(folder.resume(&name("g"), None).is_none(), "another name");
        assert!(
            folder.resume(&name("f"), Some(md5(b"x"))).is_none(),
            "another content"
        );
        let resumed = folder.resume(&name("f"), None).unwrap();
        assert_eq!(
            (resumed.bytes(), resumed.content()),
            (4, Some(md5(content)))
        );
    }
    let folder = StagingFolder::open(temp.path()).unwrap();
    let mut resumed = folder.resume(&name("f"), Some(md5(content))).unwrap();
    resumed.append(&content[4..]).unwrap();
    resumed.place(Placement::CreateOnly).unwrap();
    assert_eq!(entries(temp.path()), ["f"]);
    assert_eq!(fs::read(temp.path().join("f")).unwrap(), content);
}

#[test]
fn taking_a_partial_file_up_again_and_again_notes_it_once() {
    let temp = tempfile::tempdir().unwrap();
    for content in ["content", "other"] {
        fs::write(temp.path().join(partial_of("f", content.as_bytes())), "c").unwrap();
    }
    let folder = StagingFolder::open(temp.path()).unwrap();
    for _ in 0..20 {
        drop(folder.resume(&name("f"), None).unwrap());
        drop(folder.stage(&name("f"), md5(b"content")).unwrap());
    }
    let noted: usize = folder.lock_leftovers().values().map(Vec::len).sum();
    assert_eq!(noted, 2);
}

#[test]
fn what_cannot_be_resumed_is_removed() {
    let temp = tempfile::tempdir().unwrap();
    let folder = StagingFolder::open(temp.path()).unwrap();
    drop(folder.stage(&name("empty"), md5(b"x")).unwrap());
    drop(
        folder
            .stage_whole(&name("whole"), b"whole", &ATTRIBUTES)
            .unwrap(),
    );
    stage_all(&folder, "wrong", b"wrong bytes").discard();
    assert_eq!(entries(temp.path()), [""; 0]);
}

/// Plants something at the first path; the second is a file it may use.
type Plant = fn(&Path, &Path);

#[test]
fn tricks_with_the_partial_files_name_change_nothing_but_the_name() {
    let content = b"content";
    let plant: [(&str, Plant); 5] = [
        ("a link", |at, victim| symlink(victim, at).unwrap()),
        ("a dangling link", |at, _| {
            symlink("/nowhere/at/all", at).unwrap()
        }),
        ("a second name", |at, victim| {
            fs::hard_link(victim, at).unwrap()
        }),
        ("a folder", |at, _| fs::create_dir(at).unwrap()),
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

        let folder = StagingFolder::open(temp.path()).unwrap();
        assert!(folder.resume(&name("f"), None).is_none(), "{trick}");
        stage_all(&folder, "f", content)
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
fn a_partial_file_that_somebody_holds_is_left_to_them() {
    let temp = tempfile::tempdir().unwrap();
    let content = b"content";
    let theirs = StagingFolder::open(temp.path()).unwrap();
    let mut held = theirs.stage(&name("f"), md5(content)).unwrap();
    held.append(b"con").unwrap();

    let ours = StagingFolder::open(temp.path()).unwrap();
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
fn placing_removes_what_earlier_runs_left_for_that_name_only() {
    let temp = tempfile::tempdir().unwrap();
    for (file, content) in [("f", "old"), ("f", "older"), ("g", "other")] {
        fs::write(temp.path().join(partial_of(file, content.as_bytes())), "ol").unwrap();
    }
    let random = format!("{}0123456789abcdef.part", &partial_of("f", b"")[..21]);
    fs::write(temp.path().join(random), "x").unwrap();
    let folder = StagingFolder::open(temp.path()).unwrap();
    folder
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
fn a_taken_name_is_replaced_kept_or_numbered_as_told() {
    let temp = tempfile::tempdir().unwrap();
    let folder = StagingFolder::open(temp.path()).unwrap();
    let path = temp.path().join("f");
    let stage = |content: &[u8]| {
        folder
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
    let folder = StagingFolder::open(temp.path()).unwrap();
    assert!(matches!(
        folder.occupant(&name("f")).unwrap(),
        Occupant::Link
    ));
    assert!(folder.open_existing(&name("f")).is_err());
    let staged = folder.stage_whole(&name("f"), b"new", &ATTRIBUTES).unwrap();
    staged.place(Placement::Replace).unwrap();
    assert_eq!(fs::read(&target).unwrap(), b"target");
    assert!(
        fs::symlink_metadata(temp.path().join("f"))
            .unwrap()
            .is_file()
    );
}

#[test]
fn a_folder_under_the_final_name_is_an_error_and_nothing_is_left() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("f")).unwrap();
    let folder = StagingFolder::open(temp.path()).unwrap();
    assert!(matches!(
        folder.occupant(&name("f")).unwrap(),
        Occupant::Directory
    ));
    let staged = folder.stage_whole(&name("f"), b"new", &ATTRIBUTES).unwrap();
    assert!(matches!(
        staged.place(Placement::Replace),
        Err(StageError::NotReplaceable(_))
    ));
    assert_eq!(entries(temp.path()), ["f"]);
}

#[test]
fn everything_stays_in_the_folder_that_was_opened() {
    let temp = tempfile::tempdir().unwrap();
    let (here, moved) = (temp.path().join("here"), temp.path().join("moved"));
    fs::create_dir(&here).unwrap();
    let folder = StagingFolder::open(&here).unwrap();
    let staged = stage_all(&folder, "f", b"content");
    fs::rename(&here, &moved).unwrap();
    fs::create_dir(&here).unwrap();
    staged.place(Placement::Replace).unwrap();
    assert_eq!((entries(&here).len(), entries(&moved).len()), (0, 1));
}

#[test]
fn a_partial_file_that_was_taken_away_is_said_to_have_vanished() {
    let temp = tempfile::tempdir().unwrap();
    let folder = StagingFolder::open(temp.path()).unwrap();
    for placement in [
        Placement::Replace,
        Placement::CreateOnly,
        Placement::Numbered,
    ] {
        let staged = stage_all(&folder, "f", b"content");
        fs::remove_file(temp.path().join(partial_of("f", b"content"))).unwrap();
        assert!(
            matches!(staged.place(placement), Err(StageError::Vanished)),
            "{placement:?}"
        );
    }
    assert_eq!(entries(temp.path()), [""; 0]);
}

#[test]
fn no_space_is_said_before_the_first_byte() {
    let temp = tempfile::tempdir().unwrap();
    let folder = StagingFolder::open(temp.path()).unwrap();
    for size in [1 << 60, i64::MAX as u64] {
        let staged = folder.stage(&name("f"), md5(b"x")).unwrap();
        assert!(
            matches!(staged.reserve(size), Err(StageError::NoSpace { .. })),
            "{size}"
        );
    }
    let staged = folder.stage(&name("f"), md5(b"x")).unwrap();
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
    // A disk: in memory nothing is reserved.
    let temp = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let probe = std::fs::File::create(temp.path().join("probe")).unwrap();
    let can = rustix::fs::fallocate(&probe, rustix::fs::FallocateFlags::KEEP_SIZE, 0, 4096);
    if can.is_err() || probe.metadata().unwrap().blocks() == 0 {
        return;
    }
    let folder = StagingFolder::open(temp.path()).unwrap();
    let staged = folder.stage(&name("f"), md5(b"x")).unwrap();
    staged.reserve(1 << 20).unwrap();
    let blocks = staged.file().metadata().unwrap().blocks();
    assert!(blocks * 512 >= 1 << 20, "{blocks} blocks");
}

#[test]
fn a_file_that_begins_anew_has_only_its_new_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let folder = StagingFolder::open(temp.path()).unwrap();
    let mut staged = folder.stage(&name("f"), md5(b"new")).unwrap();
    staged.append(b"longer and wrong").unwrap();
    staged.restart().unwrap();
    assert_eq!(staged.bytes(), 0);
    staged.append(b"new").unwrap();
    staged.place(Placement::Replace).unwrap();
    assert_eq!(std::fs::read(temp.path().join("f")).unwrap(), b"new");
}

#[test]
fn folders_are_made_with_those_above_or_the_reason_is_said() {
    let temp = tempfile::tempdir().unwrap();
    let deep = temp.path().join("a/b/c");
    assert!(matches!(
        StagingFolder::open(&deep),
        Err(StageError::Folder { .. })
    ));
    for _already_there in [false, true] {
        StagingFolder::make(&deep).unwrap();
        StagingFolder::open(&deep).unwrap();
    }
    fs::write(temp.path().join("file"), "").unwrap();
    assert!(StagingFolder::make(&temp.path().join("file/below")).is_err());
    assert!(StagingFolder::open(&temp.path().join("file")).is_err());
}

#[test]
fn many_who_stage_the_same_content_show_it_whole_or_not_at_all() {
    let temp = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    let path = temp.path().join("f");
    fs::write(&path, &content).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let folder = StagingFolder::open(temp.path()).unwrap();
                    match stage_all(&folder, "f", &content).place(Placement::Replace) {
                        // Another one cleaned up in between.
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
    let folder = StagingFolder::open(temp.path()).unwrap();
    folder.remove_leftovers(&name("f"));
    assert_eq!(entries(temp.path()), ["f"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
}

#[test]
fn what_is_left_over_is_told_without_touching_it() {
    let temp = tempfile::tempdir().unwrap();
    let (half, less) = (partial_of("f", b"content"), partial_of("f", b"other"));
    fs::write(temp.path().join(&half), "con").unwrap();
    fs::write(temp.path().join(&less), "ot").unwrap();
    let folder = StagingFolder::open(temp.path()).unwrap();
    let held = folder.resume(&name("f"), None).unwrap();
    let before = fs::metadata(temp.path().join(&half)).unwrap();
    assert_eq!(held.bytes(), 3);
    for folder in [&folder, &StagingFolder::open(temp.path()).unwrap()] {
        assert_eq!(
            folder.leftover(&name("f"), None),
            Some((md5(b"content"), 3))
        );
        assert_eq!(folder.leftover(&name("g"), None), None);
    }
    let after = fs::metadata(temp.path().join(&half)).unwrap();
    assert_eq!(
        (after.ctime(), after.ctime_nsec(), after.len()),
        (before.ctime(), before.ctime_nsec(), 3)
    );
    fs::remove_file(temp.path().join(&half)).unwrap();
    symlink("victim", temp.path().join(&half)).unwrap();
    assert_eq!(folder.leftover(&name("f"), None), Some((md5(b"other"), 2)));
    for (content, found) in [
        (md5(b"other"), Some((md5(b"other"), 2))),
        (md5(b"third"), None),
    ] {
        assert_eq!(folder.leftover(&name("f"), Some(content)), found);
    }
}

#[test]
fn copies_an_open_file_of_any_size_as_it_is_now() {
    let temp = tempfile::tempdir().unwrap();
    // In memory, and wherever temporary files are: the kernel copies within one of them only.
    for elsewhere in [temp.path(), Path::new("/dev/shm")] {
        let elsewhere = tempfile::tempdir_in(elsewhere).unwrap();
        let folder = StagingFolder::open(temp.path()).unwrap();
        for size in [0, 1, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1, 3_000_000] {
            let content: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
            let original = elsewhere.path().join("original");
            fs::write(&original, &content).unwrap();
            let copy = folder
                .stage_copy_of(&name("copy"), &fs::File::open(&original).unwrap(), || true)
                .unwrap();
            assert_eq!(copy.bytes(), u64::from(size));
            copy.dress(&ATTRIBUTES).unwrap();
            copy.place(Placement::Replace).unwrap();
            assert!(fs::read(temp.path().join("copy")).unwrap() == content);
            fs::write(&original, "changed").unwrap();
            assert!(fs::read(temp.path().join("copy")).unwrap() == content);
        }
    }
}

#[test]
fn only_a_lack_of_descriptors_is_a_want_of_them() {
    use rustix::io::Errno;
    for (errno, expected) in [
        (Errno::MFILE, true),
        (Errno::NFILE, true),
        (Errno::ACCESS, false),
    ] {
        for error in [
            StageError::sort("open", errno),
            StageError::of_folder("open", Path::new("/f"), errno),
        ] {
            assert_eq!(error.is_want_of_descriptors(), expected, "{error}");
        }
    }
    assert!(!StageError::Exists.is_want_of_descriptors());
}

#[test]
fn partial_files_of_names_that_are_of_no_use_any_more_are_removed() {
    let temp = tempfile::tempdir().unwrap();
    assert!(
        StagingFolder::open(temp.path())
            .unwrap()
            .orphans()
            .is_empty()
    );
    let [kept, gone, held] = ["kept", "gone", "held"].map(|of| partial_of(of, b"content"));
    for partial in [&kept, &gone, &held] {
        fs::write(temp.path().join(partial), "con").unwrap();
    }
    let folder = StagingFolder::open(temp.path()).unwrap();
    let holder = StagingFolder::open(temp.path()).unwrap();
    let _held = holder.resume(&name("held"), None).unwrap();
    let mut orphans = folder.orphans();
    assert!(!orphans.is_empty());
    orphans.spare(b"kept");
    orphans.spare(b"another");
    assert_eq!(folder.names_of(&orphans), [&*gone]);
    assert!(!folder.remove_partial(&held) && !folder.remove_partial("of another kind"));
    assert!(folder.remove_partial(&gone) && !folder.remove_partial(&gone));
    let mut expected = [kept, held];
    expected.sort();
    assert_eq!(entries(temp.path()), expected);
}

#[test]
fn an_empty_partial_file_and_one_of_another_user_are_none() {
    let temp = tempfile::tempdir().unwrap();
    let content = b"content";
    let partial = temp.path().join(partial_of("f", content));
    let found = || {
        let folder = StagingFolder::open(temp.path()).unwrap();
        let left = folder.leftover(&name("f"), Some(md5(content)));
        let resumed = folder.resume(&name("f"), Some(md5(content)));
        let resumed = resumed.map(|staged| (md5(content), staged.bytes()));
        assert_eq!(left, resumed);
        resumed.map(|(_, bytes)| bytes)
    };
    fs::write(&partial, "").unwrap();
    assert_eq!(found(), None);
    fs::write(&partial, "c").unwrap();
    assert_eq!(found(), Some(1));
    // Only root gives files away.
    if std::os::unix::fs::chown(&partial, Some(12_345), None).is_ok() {
        assert_eq!(found(), None);
        let folder = StagingFolder::open(temp.path()).unwrap();
        folder.remove_leftovers(&name("f"));
        assert!(partial.exists());
    }
}

#[test]
fn a_link_is_removed_only_if_its_name_is_that_of_a_link_on_its_way() {
    let temp = tempfile::tempdir().unwrap();
    let of_content = partial_of("f", b"content");
    let on_its_way = of_content[..20].to_owned() + "-0123456789abcdef.part";
    for link in [&of_content, &on_its_way] {
        symlink("nowhere", temp.path().join(link)).unwrap();
    }
    let held = of_content[..20].to_owned() + "-00000000abcdef00.part";
    let holder = fs::File::create(temp.path().join(&held)).unwrap();
    holder.lock().unwrap();
    let folder = StagingFolder::open(temp.path()).unwrap();
    folder.remove_leftovers(&name("f"));
    let mut expected = [of_content, held];
    expected.sort();
    assert_eq!(entries(temp.path()), expected);
}

#[test]
fn what_has_the_name_of_a_link_is_replaced_kept_or_numbered_as_told() {
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
    let folder = StagingFolder::open(temp.path()).unwrap();
    let place = |entry: &str, placement| {
        let placed = folder.place_link(&name(entry), (b"target", 0), None, placement);
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
        ("folder", Placement::Replace, OCCUPIED_BY_FOLDER),
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
fn a_link_that_is_there_gets_its_time_only_where_it_may_be_replaced() {
    let temp = tempfile::tempdir().unwrap();
    let folder = StagingFolder::open(temp.path()).unwrap();
    let link = temp.path().join("link");
    let time_of = |link: &Path| fs::symlink_metadata(link).unwrap().mtime();
    let place = |seconds, placement| {
        let mtime = Some(Timestamp {
            seconds,
            nanoseconds: 0,
        });
        folder.place_link(&name("link"), (b"target", 0), mtime, placement)
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
    // What has another name, too, is not of the server alone.
    fs::hard_link(&link, temp.path().join("other")).unwrap();
    assert_eq!(place(7, Placement::Replace).unwrap(), PlacedLink::Identical);
    assert_eq!(time_of(&link), 1_300_000_000);
    assert!(folder.keeping().unkept().is_empty());
}
