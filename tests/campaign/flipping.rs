//! Things planted in the destination of a running `ftget -r`, with and without `--delete`: folders
//! and files change places with links that lead outside and with FIFOs, are renamed away and come
//! back, and the names of partial files are taken. Nothing outside ever changes, and a rerun in
//! peace completes.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::Options;
use crate::guests::{GUESTS, leave_strays, make_fifo};
use crate::harness::{Random, Scratch, md5_hex};
use crate::outside::Outside;
use crate::stage::{CLIENT_DEADLINE, assert_calm};
use crate::tree_stage::{FILES, TreeStage};

/// Runs it; see the module.
pub(crate) fn run(options: &Options) -> String {
    let outside = Outside::new();
    let mut campaign = TreeStage::new(options.seed);
    for (_, mut random) in options.rounds() {
        campaign.is_mirror = random.percent(60);
        campaign.stir(&mut random);
        campaign.guests.stir(&mut random);
        let destination = Scratch::in_memory();
        if random.percent(70) {
            campaign.complete(destination.path());
            campaign.stir(&mut random);
            if campaign.is_mirror {
                campaign.guests.stir(&mut random);
                campaign.turncoats.stir(&mut random);
                leave_strays(destination.path(), &outside, &mut random);
            }
        }
        campaign.flip_under(&destination, &outside, &mut random);
        campaign.complete(destination.path());
        outside.assert_untouched();
    }
    campaign.stage.report(options.rounds_done())
}

impl TreeStage {
    fn flip_under(&mut self, destination: &Scratch, outside: &Outside, random: &mut Random) {
        let runs = random.within(1..=4);
        let mut flipper = Flipper::new(destination.path(), outside);
        flipper.plant_partials(&self.contents(), random);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let flips = scope.spawn(|| {
                let pause = random.pick(&PAUSES_MAX);
                // Else there is soon so much planted that few runs get far.
                let is_fleeting = random.percent(70);
                while !is_over.load(Ordering::Relaxed) {
                    let moved = flipper.flip(random);
                    thread::sleep(random.wait(pause));
                    if let (true, Some(moved)) = (is_fleeting, moved) {
                        flipper.undo(moved);
                        thread::sleep(random.wait(pause));
                    }
                }
            });
            // Whatever becomes of the client, the other thread is to end.
            let outputs: Vec<_> = (0..runs)
                .map_while(|_| {
                    let client = self
                        .ftget(self.stage.server.addr(), destination.path())
                        .args(["--retry", "1", "--retry-delay", "5ms"])
                        .start();
                    let ended = client.ends_within(CLIENT_DEADLINE);
                    ended.then(|| client.wait())
                })
                .collect();
            is_over.store(true, Ordering::Relaxed);
            flips.join().expect("the flipper");
            assert_eq!(outputs.len(), runs, "a client hangs");
            let lasting = self.all_there();
            for output in outputs {
                assert_calm(output.stderr.clone());
                assert!(
                    FLIPPED.contains(&output.code),
                    "exit code {}: {}",
                    output.code,
                    output.stderr
                );
                self.assert_only_strays_deleted(&output, &lasting);
                self.stage.count(format!("runs ended with {}", output.code));
            }
        });
        outside.assert_untouched();
        self.stage.count_all(flipper.flips, "flips");
        flipper.take_away_planted(destination.path());
    }

    /// Paths, and the digests of what is published there.
    fn contents(&self) -> Vec<(&'static str, String)> {
        let files = self.stage.published.files().iter();
        files
            .map(|file| (file.path, md5_hex(file.content())))
            .collect()
    }
}

/// Exchanges what is in the destination with things that lie beside it.
struct Flipper<'o> {
    destination: PathBuf,
    outside: &'o Outside,
    /// Where what was taken out of the destination is meanwhile.
    aside: Scratch,
    /// The folders and files that it moves.
    places: Vec<&'static str>,
    /// Names of partial files that it took.
    planted: Vec<PathBuf>,
    flips: u64,
}

/// The number is that of the place.
enum Move {
    Exchange(usize),
    Away(usize),
}

impl<'o> Flipper<'o> {
    fn new(destination: &Path, outside: &'o Outside) -> Flipper<'o> {
        let files = FILES.iter().map(|(path, _)| *path);
        let guests = GUESTS.iter().map(|(path, _)| *path);
        let flipper = Flipper {
            destination: destination.to_owned(),
            outside,
            aside: Scratch::in_memory(),
            places: FOLDERS.into_iter().chain(files).chain(guests).collect(),
            planted: Vec::new(),
            flips: 0,
        };
        for number in 0..flipper.places.len() {
            let beside = flipper.aside(number, "beside");
            // Links are what could do harm.
            if number % 4 == 3 {
                make_fifo(&beside).expect("a FIFO beside");
            } else {
                symlink(outside.path().join(flipper.places[number]), beside)
                    .expect("a link beside");
            }
        }
        flipper
    }

    fn aside(&self, number: usize, what: &str) -> PathBuf {
        self.aside.join(format!("{number}-{what}"))
    }

    /// Takes the names that partial files will get, with links and with further names of a file.
    fn plant_partials(&mut self, contents: &[(&'static str, String)], random: &mut Random) {
        for (path, md5) in contents {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let folder = self.destination.join(folder);
            let partial = folder.join(format!(".ft-{}-{md5}.part", &md5_hex(name)[..16]));
            let victim = self.outside.victim();
            // Where there is no such folder yet, there is nothing to plant.
            let _ = match random.within(0..=3) {
                0 => symlink(&victim, &partial),
                1 => fs::hard_link(&victim, &partial),
                2 => make_fifo(&partial),
                _ => Ok(()),
            };
            self.planted.push(partial);
        }
    }

    /// One move, if there is something to move by now.
    fn flip(&mut self, random: &mut Random) -> Option<Move> {
        // Folders more often: in them everything is.
        let last = if random.percent(70) {
            FOLDERS.len() - 1
        } else {
            self.places.len() - 1
        };
        let number = random.within(0..=last);
        let (moved, has_moved) = if !self.is_inside(number) {
            (Move::Exchange(number), false)
        } else if random.percent(70) {
            (Move::Exchange(number), self.exchange(number))
        } else {
            let has_moved = self.move_away(number) || self.move_back(number);
            (Move::Away(number), has_moved)
        };
        self.flips += u64::from(has_moved);
        has_moved.then_some(moved)
    }

    fn undo(&self, moved: Move) {
        // Unless the client has undone it, or has put something there.
        let _ = match moved {
            Move::Exchange(number) => self.is_inside(number) && self.exchange(number),
            Move::Away(number) => self.is_inside(number) && self.move_back(number),
        };
    }

    /// Whether no folder around it is a link: what lies behind one is not ours to move.
    fn is_inside(&self, number: usize) -> bool {
        let above = Path::new(self.places[number]).ancestors().skip(1);
        above
            .map(|above| self.destination.join(above))
            .all(|above| !above.is_symlink())
    }

    fn exchange(&self, number: usize) -> bool {
        let inside = self.destination.join(self.places[number]);
        let beside = self.aside(number, "beside");
        renameat_with(CWD, inside, CWD, beside, RenameFlags::EXCHANGE).is_ok()
    }

    fn move_away(&self, number: usize) -> bool {
        let inside = self.destination.join(self.places[number]);
        let away = self.aside(number, "away");
        renameat_with(CWD, inside, CWD, away, RenameFlags::NOREPLACE).is_ok()
    }

    fn move_back(&self, number: usize) -> bool {
        let inside = self.destination.join(self.places[number]);
        let away = self.aside(number, "away");
        let is_back = renameat_with(CWD, &away, CWD, inside, RenameFlags::NOREPLACE).is_ok();
        if !is_back {
            // Its place is taken; it is a folder or something else, or not there at all. The
            // client may still be writing into it.
            let _ = fs::remove_dir_all(&away).or_else(|_| fs::remove_file(&away));
        }
        is_back
    }

    /// Takes everything away that was planted, wherever it is by now.
    fn take_away_planted(&self, folder: &Path) {
        for planted in &self.planted {
            // It may never have been there.
            let _ = fs::remove_file(planted);
        }
        for entry in fs::read_dir(folder).expect("the destination").flatten() {
            let (path, kind) = (entry.path(), entry.file_type().expect("a kind"));
            let leads_outside =
                || fs::read_link(&path).is_ok_and(|target| target.starts_with(self.outside.path()));
            if kind.is_dir() {
                self.take_away_planted(&path);
            } else if kind.is_fifo() || leads_outside() {
                fs::remove_file(path).expect("something planted");
            }
        }
    }
}

/// Folders of the tree, guests' too.
const FOLDERS: [&str; 10] = [
    "a",
    "a/b",
    "a/b/c",
    "many",
    "private",
    "z",
    "hollow",
    "inn",
    "inn/deep",
    "many/wing",
];
/// Between two moves.
const PAUSES_MAX: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(3),
    Duration::from_millis(300),
];
/// How a run among planted things may end: well, or with what cannot be used here.
const FLIPPED: [i32; 5] = [0, 2, 3, 12, 23];
