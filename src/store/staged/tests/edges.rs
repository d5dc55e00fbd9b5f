//! What only odd files, names and neighbours show.

use std::cell::Cell;
use std::fs::{File, OpenOptions};

use rustix::fs::{CWD, FileType, Mode};

use super::*;
use crate::store::staged::capabilities::Capabilities;
use crate::store::staged::name::{PartialName, cut};

#[test]
fn a_restarted_file_has_nothing_of_what_it_had() {
    let temp = tempfile::tempdir().unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let mut staged = directory.stage(&name("f"), md5(b"")).unwrap();
    staged.append(b"stale").unwrap();
    staged.restart().unwrap();
    staged.place(Placement::Replace).unwrap();
    assert_eq!(fs::read(temp.path().join("f")).unwrap(), b"");
}

#[test]
fn a_file_that_cannot_be_emptied_gives_way_to_a_new_one() {
    let temp = tempfile::tempdir().unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let partial = PartialName::of_content(name("f").tag(), md5(b"new"));
    fs::write(temp.path().join(&partial.text), "stale").unwrap();
    // Open for reading only: the kernel takes no such file for one to be cut.
    let file = File::open(temp.path().join(&partial.text)).unwrap();
    let mut staged = StagedFile::new(directory.clone(), name("f"), partial, file, 5);
    staged.restart().unwrap();
    assert_eq!((staged.bytes(), staged.content()), (0, None));
    staged.append(b"new").unwrap();
    staged.place(Placement::Replace).unwrap();
    assert_eq!(fs::read(temp.path().join("f")).unwrap(), b"new");
    assert_eq!(entries(temp.path()), ["f"]);
}

#[test]
fn a_file_that_cannot_be_read_is_not_copied_for_ever() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("original"), "content").unwrap();
    let original = OpenOptions::new()
        .write(true)
        .open(temp.path().join("original"));
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let mut staged = directory.stage(&name("copy"), md5(b"content")).unwrap();
    let asked = Cell::new(0);
    let goes_on = || {
        asked.set(asked.get() + 1);
        asked.get() < 100
    };
    assert!(staged.copy_all_of(&original.unwrap(), &goes_on).is_err());
    assert!(asked.get() < 100);
}

#[test]
fn room_is_reserved_for_the_bytes_that_come_and_no_more() {
    let temp = tempfile::tempdir().unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let staged = directory.stage(&name("f"), md5(b"content")).unwrap();
    let total_size = 1 << 20;
    staged.reserve(total_size).unwrap();
    let meta = staged.file().metadata().unwrap();
    assert_eq!(meta.len(), 0);
    // None where blocks cannot be reserved.
    assert!(meta.blocks() * 512 <= total_size, "{}", meta.blocks());
}

#[test]
fn a_link_takes_no_place_of_what_is_no_file() {
    let temp = tempfile::tempdir().unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    let fifo = temp.path().join("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    fs::create_dir(temp.path().join("directory")).unwrap();
    for taken in ["fifo", "directory"] {
        let place = |placement| directory.place_link(&name(taken), (b"target", 0), None, placement);
        let error = place(Placement::Replace).unwrap_err();
        assert!(matches!(error, StageError::NotReplaceable(_)), "{error}");
        let error = place(Placement::CreateOnly).unwrap_err();
        assert!(matches!(error, StageError::Exists), "{error}");
        let placed = place(Placement::Numbered).unwrap();
        assert_eq!(placed, PlacedLink::Placed(name(&format!("{taken}.1"))));
    }
    assert_eq!(
        entries(temp.path()),
        ["directory", "directory.1", "fifo", "fifo.1"]
    );
}

#[test]
fn a_mount_point_cannot_be_replaced() {
    let directory = StagingDirectory::open(Path::new("/")).unwrap();
    let error = directory.check_replacing(&name("proc")).unwrap_err();
    assert!(matches!(error, StageError::Io { .. }), "{error}");
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("f"), "").unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    directory.check_replacing(&name("f")).unwrap();
    directory.check_replacing(&name("missing")).unwrap();
}

#[test]
fn a_name_is_cut_between_characters_or_where_it_has_none() {
    for (bytes, bytes_max, kept) in [
        (&b"abcd"[..], 3, &b"abc"[..]),
        ("aéb".as_bytes(), 2, b"a"),
        ("aéb".as_bytes(), 3, "aé".as_bytes()),
        // A character that ends there, before a byte that is part of none.
        (b"a\xc3\xa9\x80x", 3, b"a\xc3\xa9"),
        (b"a\x80\x80\x80\x80x", 3, b"a\x80\x80"),
        ("a🦀b".as_bytes(), 4, b"a"),
        ("a🦀b".as_bytes(), 5, "a🦀".as_bytes()),
        ("é".as_bytes(), 1, b"\xc3"),
    ] {
        assert_eq!(cut(bytes, bytes_max), kept, "{}", bytes.escape_ascii());
    }
    assert_eq!(format!("{:?}", name("a\nb")), r#"FileName("a\\nb")"#);
}

#[test]
fn without_locks_nobody_shares_a_partial_file() {
    let capabilities = Capabilities::default();
    assert!(!capabilities.lacks_locks());
    capabilities.note_lack_of_locks();
    assert!(capabilities.lacks_locks());

    let temp = tempfile::tempdir().unwrap();
    let directory = StagingDirectory::open(temp.path()).unwrap();
    directory.capabilities().note_lack_of_locks();
    let mut first = directory.stage(&name("f"), md5(b"content")).unwrap();
    first.append(b"con").unwrap();
    let second = directory.stage(&name("f"), md5(b"content")).unwrap();
    assert_eq!((second.bytes(), entries(temp.path()).len()), (0, 2));
    drop(second);
    drop(first);
    let third = directory.stage(&name("f"), md5(b"content")).unwrap();
    assert_eq!((third.bytes(), entries(temp.path()).len()), (3, 1));
}
