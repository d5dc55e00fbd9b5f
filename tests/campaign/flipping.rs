//! Links planted in the destination of a running `ftget -r`: folders and files change places
//! with links that lead outside, and the names of partial files are taken by them. Nothing
//! outside ever changes, and a rerun in peace completes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::Options;
use crate::harness::{Random, Scratch, md5_hex, noise};
use crate::stage::assert_calm;
use crate::tree_stage::{FILES, TreeStage};

/// Runs it; see the module.
pub(crate) fn run(options: &Options) -> String {
    let mut campaign = TreeStage::new(options.seed);
    for (_, mut random) in options.rounds() {
        campaign.stir(&mut random);
        let destination = Scratch::in_memory();
        if random.percent(70) {
            campaign.complete(destination.path());
            campaign.stir(&mut random);
        }
        campaign.flip_under(&destination, &mut random);
        campaign.complete(destination.path());
    }
    campaign.stage.report(options.rounds)
}

impl TreeStage {
    fn flip_under(&mut self, destination: &Scratch, random: &mut Random) {
        let outside = Outside::new();
        let before = outside.facts();
        let mut flipper = Flipper::new(destination.path(), &outside);
        flipper.plant_partials(&self.contents(), random);
        let is_over = AtomicBool::new(false);
        let client = self
            .ftget(self.stage.server.addr(), destination.path())
            .args(["--retry", "1", "--retry-delay", "5ms"])
            .start();
        let output = thread::scope(|scope| {
            let is_over = &is_over;
            let flipper = &mut flipper;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    flipper.flip(random);
                }
            });
            let output = client.wait();
            is_over.store(true, Ordering::Relaxed);
            output
        });
        assert_calm(output.stderr.clone());
        assert!(
            FLIPPED.contains(&output.code),
            "exit code {}: {}",
            output.code,
            output.stderr
        );
        assert_eq!(before, outside.facts(), "what is outside has changed");
        self.stage.count_all(flipper.flips, "flips");
        self.stage.count(format!("runs ended with {}", output.code));
        flipper.restore();
    }

    /// Paths, and the digests of what is published there.
    fn contents(&self) -> Vec<(&'static str, String)> {
        let files = self.stage.published.files().iter();
        files
            .map(|file| (file.path, md5_hex(file.content())))
            .collect()
    }
}

/// A folder that nobody has any business in, with everything that the links lead to.
struct Outside(Scratch);

impl Outside {
    fn new() -> Outside {
        let folder = Scratch::in_memory();
        for (path, _) in FILES {
            folder.write(path, noise(7, 100));
        }
        folder.write(VICTIM, noise(8, 100));
        Outside(folder)
    }

    /// Of everything in it, what a write, a rename or a change of attributes would change.
    fn facts(&self) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.0.path().to_owned()];
        while let Some(path) = open.pop() {
            let facts = fs::symlink_metadata(&path).expect("the facts of what is outside");
            let mut bytes = Vec::new();
            if facts.is_dir() {
                let entries = fs::read_dir(&path).expect("a folder outside").flatten();
                open.extend(entries.map(|entry| entry.path()));
            } else {
                bytes = fs::read(&path).expect("a file outside");
            }
            let written = (facts.mtime(), facts.mtime_nsec());
            found.insert(path, (facts.mode(), written.0, written.1, bytes));
        }
        found
    }
}

/// Exchanges what is in the destination with links that lie beside it.
struct Flipper {
    destination: PathBuf,
    outside: PathBuf,
    /// Where what was taken out of the destination is meanwhile.
    aside: Scratch,
    /// The folders and files that it exchanges; whether each is a link now.
    places: Vec<(&'static str, bool)>,
    /// Names of partial files that it took.
    planted: Vec<PathBuf>,
    flips: u64,
}

impl Flipper {
    fn new(destination: &Path, outside: &Outside) -> Flipper {
        let aside = Scratch::in_memory();
        let files = FILES.iter().map(|(path, _)| *path);
        let folders = ["a", "a/b", "a/b/c", "many", "private", "z", "hollow"];
        let flipper = Flipper {
            destination: destination.to_owned(),
            outside: outside.0.path().to_owned(),
            aside,
            places: folders
                .into_iter()
                .chain(files)
                .map(|place| (place, false))
                .collect(),
            planted: Vec::new(),
            flips: 0,
        };
        for number in 0..flipper.places.len() {
            symlink(flipper.target(number), flipper.beside(number)).expect("a link beside");
        }
        flipper
    }

    fn target(&self, number: usize) -> PathBuf {
        self.outside.join(self.places[number].0)
    }

    fn beside(&self, number: usize) -> PathBuf {
        self.aside.join(number.to_string())
    }

    /// Takes the names that partial files will get, with links and with further names of a file.
    fn plant_partials(&mut self, contents: &[(&'static str, String)], random: &mut Random) {
        for (path, md5) in contents {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let folder = self.destination.join(folder);
            let partial = folder.join(format!(".ft-{}-{md5}.part", &md5_hex(name)[..16]));
            let victim = self.outside.join(VICTIM);
            // Where there is no such folder yet, there is nothing to plant.
            let _ = match random.within(0..=2) {
                0 => symlink(&victim, &partial),
                1 => fs::hard_link(&victim, &partial),
                _ => Ok(()),
            };
            self.planted.push(partial);
        }
    }

    /// One exchange, if the place exists by now.
    fn flip(&mut self, random: &mut Random) {
        // Folders more often: in them everything is.
        let last = if random.percent(70) {
            6
        } else {
            self.places.len() - 1
        };
        self.exchange(random.within(0..=last));
    }

    fn exchange(&mut self, number: usize) {
        let (place, is_link) = self.places[number];
        let inside = self.destination.join(place);
        // What lies behind a link of our own is not ours to move.
        let is_reached = self.places[..number]
            .iter()
            .all(|(above, is_link)| !is_link || !Path::new(place).starts_with(above));
        let exchange = RenameFlags::EXCHANGE;
        if is_reached && renameat_with(CWD, inside, CWD, self.beside(number), exchange).is_ok() {
            self.places[number].1 = !is_link;
            self.flips += 1;
        }
    }

    /// Takes everything away that was planted, the outermost first.
    fn restore(&mut self) {
        for number in 0..self.places.len() {
            if self.places[number].1 {
                self.exchange(number);
            }
        }
        for planted in &self.planted {
            // It may never have been there.
            let _ = fs::remove_file(planted);
        }
    }
}

/// A file outside that partial files' names are to lead to.
const VICTIM: &str = "victim";
/// How a run among planted links may end: well, or with what cannot be used here.
const FLIPPED: [i32; 5] = [0, 2, 3, 12, 23];
