//! What comes to a served tree and goes again, and what others leave in a mirror of it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::harness::{Random, Scratch, noise};
use crate::outside::Outside;
use crate::published::Seen;

/// Files that are in the served tree or not, with the folders that are there for them alone.
pub(crate) struct Guests {
    root: PathBuf,
    aside: Scratch,
    is_there: [bool; GUESTS.len()],
}

impl Guests {
    /// None is there yet. The oracle is told of them: they may appear, and they may go.
    pub(crate) fn new(root: &Path, seen: &Seen) -> Guests {
        for (number, (path, _)) in GUESTS.iter().enumerate() {
            let name = Path::new(path).file_name().expect("a name");
            seen.add_guest(name.to_owned(), content(number));
        }
        Guests {
            root: root.to_owned(),
            aside: Scratch::in_memory(),
            is_there: [false; GUESTS.len()],
        }
    }

    /// Lets some come and some go.
    pub(crate) fn stir(&mut self, random: &mut Random) {
        for number in 0..GUESTS.len() {
            if random.percent(40) {
                self.turn(number);
            }
        }
    }

    /// Lets one come or go, and says which.
    pub(crate) fn turn_any(&mut self, random: &mut Random) -> &'static str {
        let number = random.within(0..=GUESTS.len() - 1);
        self.turn(number);
        GUESTS[number].0
    }

    /// The paths of those that are there.
    pub(crate) fn present(&self) -> impl Iterator<Item = &'static str> {
        let all = GUESTS.iter().zip(self.is_there);
        all.filter_map(|((path, _), is_there)| is_there.then_some(*path))
    }

    fn turn(&mut self, number: usize) {
        let path = self.root.join(GUESTS[number].0);
        let folder = path.parent().expect("a folder");
        if self.is_there[number] {
            fs::remove_file(&path).expect("a guest that is there");
            let mut above = folder;
            // As far as nothing else is there.
            while fs::remove_dir(above).is_ok() {
                above = above.parent().expect("a folder");
            }
        } else {
            fs::create_dir_all(folder).expect("a guest's folder");
            let staged = self.aside.write("staged", content(number));
            fs::rename(staged, &path).expect("a guest comes by rename");
        }
        self.is_there[number] = !self.is_there[number];
    }
}

fn content(number: usize) -> Vec<u8> {
    noise(0x6775_6573_7400 | number as u64, GUESTS[number].1)
}

/// Leaves things of other people in a destination: files, folders, FIFOs, and links and further
/// names of what is outside.
pub(crate) fn leave_strays(destination: &Path, outside: &Outside, random: &mut Random) {
    for place in STRAYS {
        if random.percent(50) {
            let stray = destination.join(place);
            fs::create_dir_all(stray.parent().expect("a folder")).expect("a stray's folder");
            // What an earlier round left may be there.
            let _ = leave(&stray, outside, random);
        }
    }
}

fn leave(stray: &Path, outside: &Outside, random: &mut Random) -> std::io::Result<()> {
    match random.within(0..=5) {
        0 => symlink(outside.path(), stray),
        1 => symlink(outside.victim(), stray),
        2 => fs::hard_link(outside.victim(), stray),
        3 => make_fifo(stray),
        4 => {
            fs::create_dir(stray)?;
            fs::write(stray.join("file"), "of somebody")?;
            symlink(outside.path(), stray.join("out"))?;
            make_fifo(&stray.join("pipe"))
        }
        _ => fs::write(stray, "of somebody"),
    }
}

/// Whether it is what [`leave_strays`] has left, or a folder of such things.
pub(crate) fn is_stray(name: &OsStr) -> bool {
    name == "stray" || name == ".stray"
}

/// A pipe with a name, on which who opens it carelessly waits for ever.
pub(crate) fn make_fifo(path: &Path) -> std::io::Result<()> {
    let mode = Mode::RUSR | Mode::WUSR;
    Ok(mknodat(CWD, path, FileType::Fifo, mode, 0)?)
}

/// Paths and sizes. As for the files that are always there, no last part comes twice.
pub(crate) const GUESTS: [(&str, usize); 8] = [
    ("guest-1", 1_000),
    // Long enough to be left half.
    ("a/guest-2", 8 << 20),
    ("a/b/c/guest-3", 300 << 10),
    ("inn/guest-4", 0),
    ("inn/deep/guest-5", 5_000),
    ("inn/deep/er/guest-6", 6 << 20),
    ("many/wing/guest-7", 100),
    ("z/wing/guest-8", 1 << 20),
];
/// In a folder that is watched their names begin with a dot, which no watcher looks at.
const STRAYS: [&str; 8] = [
    ".stray",
    "a/.stray",
    "a/b/c/.stray",
    "hollow/.stray",
    "many/.stray",
    "stray/one",
    "stray/deep/two",
    "inn/stray",
];
