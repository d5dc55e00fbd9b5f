//! Names in a served tree that are a file, a folder or a link by turns, or nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::harness::{Random, Scratch, noise};
use crate::published::Seen;

/// What has these names in the served tree.
pub(crate) struct Turncoats {
    root: PathBuf,
    aside: Scratch,
    guises: [Guise; TURNCOATS.len()],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Guise {
    Nothing,
    File,
    Folder,
    Link,
}

impl Turncoats {
    /// All are nothing yet. The oracle is told of them: they may appear, and they may go.
    pub(crate) fn new(root: &Path, seen: &Seen) -> Turncoats {
        for (number, (path, _)) in TURNCOATS.iter().enumerate() {
            let name = Path::new(path).file_name().expect("a name");
            seen.add_guest(name.to_owned(), content(number));
            seen.add_guest(INSIDE[number].into(), content(number));
        }
        Turncoats {
            root: root.to_owned(),
            aside: Scratch::in_memory(),
            guises: [Guise::Nothing; TURNCOATS.len()],
        }
    }

    /// Lets some become something else.
    pub(crate) fn stir(&mut self, random: &mut Random) {
        for number in 0..TURNCOATS.len() {
            if random.percent(60) {
                self.turn(number, random);
            }
        }
    }

    /// Lets one become something else, and says which.
    pub(crate) fn turn_any(&mut self, random: &mut Random) -> &'static str {
        let number = random.within(0..=TURNCOATS.len() - 1);
        self.turn(number, random);
        TURNCOATS[number].0
    }

    /// What may not be deleted, as paths and types of events: what is there in its guise.
    pub(crate) fn present(&self) -> Vec<(String, &'static str)> {
        let mut present = Vec::new();
        for (number, guise) in self.guises.iter().enumerate() {
            let path = TURNCOATS[number].0.to_owned();
            match guise {
                Guise::Nothing => {}
                Guise::File => present.push((path, "file")),
                Guise::Link => present.push((path, "symlink")),
                Guise::Folder => {
                    present.push((format!("{path}/deep/{}", INSIDE[number]), "file"));
                    present.push((format!("{path}/deep"), "dir"));
                    present.push((path, "dir"));
                }
            }
        }
        present
    }

    /// Whether a link of this path and target was once there.
    pub(crate) fn knows_link(path: &Path, target: &Path) -> bool {
        let is_known = TURNCOATS.iter().any(|(known, _)| path.ends_with(known));
        is_known && target == Path::new(TARGET)
    }

    fn turn(&mut self, number: usize, random: &mut Random) {
        let all = [Guise::Nothing, Guise::File, Guise::Folder, Guise::Link];
        let others: Vec<_> = all
            .into_iter()
            .filter(|guise| *guise != self.guises[number])
            .collect();
        let next = random.pick(&others);
        let path = self.root.join(TURNCOATS[number].0);
        match self.guises[number] {
            Guise::Nothing => {}
            Guise::File | Guise::Link => fs::remove_file(&path).expect("what was there"),
            Guise::Folder => {
                let gone = self.aside.join("gone");
                fs::rename(&path, &gone).expect("a folder that is there");
                fs::remove_dir_all(gone).expect("a folder that was there");
            }
        }
        match next {
            Guise::Nothing => {}
            Guise::File => {
                let staged = self.aside.write("staged", content(number));
                fs::rename(staged, &path).expect("a file comes by rename");
            }
            Guise::Folder => {
                let inside = format!("folder/deep/{}", INSIDE[number]);
                self.aside.write(inside, content(number));
                fs::rename(self.aside.join("folder"), &path).expect("a folder comes by rename");
            }
            Guise::Link => symlink(TARGET, &path).expect("a link"),
        }
        self.guises[number] = next;
    }
}

fn content(number: usize) -> Vec<u8> {
    noise(0x7475_726e_0000 | number as u64, TURNCOATS[number].1)
}

/// Paths and sizes. As for all files, no last part comes twice.
const TURNCOATS: [(&str, usize); 4] = [
    ("turncoat-1", 2_000),
    ("a/b/turncoat-2", 4 << 20),
    ("many/turncoat-3", 300 << 10),
    ("z/turncoat-4", 10),
];
const INSIDE: [&str; TURNCOATS.len()] = ["lining-1", "lining-2", "lining-3", "lining-4"];
/// Of those that are links: nothing is there, so that nobody sees a file through them.
const TARGET: &str = "nowhere";
