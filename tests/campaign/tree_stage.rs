//! A server of a tree with folders, links and files of two versions each, and the folders it is
//! fetched into: one that is watched for the whole campaign, and fresh ones.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::blow::is_partial;
use crate::guests::{Guests, is_stray};
use crate::harness::{Output, Program, Random, Scratch, assert_same_tree};
use crate::stage::{CLIENT_DEADLINE, Stage, actions};
use crate::turncoats::Turncoats;

/// What the rounds of a campaign with trees have in common.
pub(crate) struct TreeStage {
    /// Its destination is the one that is watched.
    pub(crate) stage: Stage,
    /// What comes and goes in the served tree.
    pub(crate) guests: Guests,
    /// What is of one kind now and of another one then; in what is no mirror they would clash.
    pub(crate) turncoats: Turncoats,
    /// Whether what is here alone is deleted.
    pub(crate) is_mirror: bool,
    /// Whether the client keeps digests of what is here.
    pub(crate) keeps_digests: bool,
    /// A destination that nobody watches, but that is there for the whole campaign.
    kept: Scratch,
    /// Where the client's index is.
    own: Scratch,
}

impl TreeStage {
    /// Serves the tree, and fetches it once into the watched folder.
    pub(crate) fn new(seed: u64) -> TreeStage {
        let stage = Stage::unwatched(seed, &FILES);
        let root = stage.published.root().clone();
        for folder in EMPTY_FOLDERS {
            fs::create_dir_all(root.join(folder)).expect("an empty folder");
        }
        for (link, target) in LINKS {
            symlink(target, root.join(link)).expect("a link");
        }
        for (folder, mode) in MODES {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(root.join(folder), mode).expect("the mode of a folder");
        }
        let mut campaign = TreeStage {
            guests: Guests::new(&root, &stage.published.seen()),
            turncoats: Turncoats::new(&root, &stage.published.seen()),
            stage,
            is_mirror: false,
            keeps_digests: false,
            kept: Scratch::in_memory(),
            own: Scratch::in_memory(),
        };
        let destination = campaign.stage.destination.path().to_owned();
        campaign
            .ftget(campaign.stage.server.addr(), &destination)
            .run()
            .expect_code(0);
        for folder in folders(&destination) {
            campaign.stage.watch(&folder);
        }
        campaign
    }

    /// Publishes other versions of some files.
    pub(crate) fn stir(&mut self, random: &mut Random) {
        for (index, (_, sizes)) in FILES.iter().enumerate() {
            // Those that are left alone for a while have digests that are told beforehand.
            let chance = if *sizes == TWIN { 8 } else { 40 };
            if random.percent(chance) {
                self.stage.published.publish(index);
            }
        }
    }

    /// The folder of this round: the watched one, one that is kept, or a fresh one, which may lack
    /// everything.
    pub(crate) fn destination(&self, fresh: &Scratch, random: &mut Random) -> PathBuf {
        let chosen = random.pick(&[&self.stage.destination, &self.kept, fresh]);
        chosen.path().to_owned()
    }

    /// Writes other versions over some of the files of a destination that nobody watches, of the
    /// same size and with their time put back, as if nothing had happened to them.
    pub(crate) fn tamper(&mut self, destination: &Path, random: &mut Random) {
        if destination == self.stage.destination.path() {
            return;
        }
        for (index, (path, _)) in FILES.iter().enumerate() {
            let path = destination.join(path);
            let in_place = random.percent(50);
            if let (true, Some(twins)) = (random.percent(25), self.stage.published.twins(index))
                // It may not be there yet.
                && let Ok(found) = fs::read(&path)
            {
                let other = &twins[usize::from(found == **twins[0])];
                write_unseen(&path, other, (!in_place).then(|| self.own.join("other")));
                self.stage.count("files changed behind their times");
            }
        }
    }

    /// Panics unless digests of what is in the destination that is kept are in the index.
    pub(crate) fn assert_digests_kept(&mut self) {
        self.keeps_digests = true;
        let kept = self.kept.path().to_owned();
        self.complete(&kept);
        // By now no write to what that has placed can go unseen.
        std::thread::sleep(STAMPS_SETTLE);
        self.complete(&kept);
        let index = Program::ftserve().arg("index").arg(&kept);
        let told = index.arg("--index").arg(self.index()).run();
        let told = told.expect_code(0).stderr;
        assert!(told.contains(" 0 hashed"), "{told}");
    }

    fn index(&self) -> PathBuf {
        self.own.join("index")
    }

    /// The client, told to fetch the whole tree from this address.
    pub(crate) fn ftget(&self, address: &str, destination: &Path) -> Program {
        let mut program = Program::ftget()
            .deadline(CLIENT_DEADLINE)
            .args(["--json", "-r", "-d"])
            .arg(destination)
            .arg(format!("{address}/"));
        if self.is_mirror {
            program = program.arg("--delete");
        }
        if self.keeps_digests {
            program = program.arg("--index").arg(self.index());
        }
        program
    }

    /// The rerun: everything is there as it is published, and nothing is left over.
    pub(crate) fn complete(&mut self, destination: &Path) {
        let output = self.ftget(self.stage.server.addr(), destination).run();
        let actions = actions(&output.expect_code(0));
        let linked = actions.iter().filter(|action| *action == "linked");
        self.stage
            .count_all(linked.count() as u64, "files linked by reruns");
        assert_same_tree(self.stage.published.root(), destination);
        let published = self.stage.published.root();
        assert_eq!(modes(published), modes(destination), "permissions");
        self.stage.watched();
    }

    /// What the server has, as paths and types of events: files, links, and folders that are
    /// empty.
    pub(crate) fn all_there(&self) -> Vec<(String, &'static str)> {
        let files = FILES.iter().map(|(path, _)| *path);
        let files = files
            .chain(self.guests.present())
            .map(|path| (path, "file"));
        let folders = EMPTY_FOLDERS.iter().map(|path| (*path, "dir"));
        let links = LINKS.iter().map(|(link, _)| (*link, "symlink"));
        let lasting = files.chain(folders).chain(links);
        let lasting = lasting.map(|(path, kind)| (path.to_owned(), kind));
        lasting.chain(self.turncoats.present()).collect()
    }

    /// Panics if a run has deleted any of this, or a folder that it is in. What has the name of
    /// something of another kind may go.
    pub(crate) fn assert_only_strays_deleted(
        &mut self,
        output: &Output,
        lasting: &[(String, &str)],
    ) {
        let told = output.text();
        // The last line of who was killed may be a part of one.
        let events = told.lines().filter_map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            (event["event"] == "deleted").then_some(event)
        });
        for event in events {
            let gone = event["filename"].as_str().expect("a name");
            let gone_kind = event["type"].as_str().expect("a type");
            let is_there = lasting.iter().find(|(path, kind)| {
                let is_itself = path == gone && *kind == gone_kind;
                is_itself || gone_kind == "dir" && Path::new(path).starts_with(gone) && path != gone
            });
            assert_eq!(is_there, None, "{gone}, a {gone_kind}, was deleted");
            self.stage.count("deleted");
            if gone.contains("turncoat") {
                self.stage.count("turncoats, or what was in them, deleted");
            }
        }
    }

    /// Panics if anything visible in a destination is not what was once published.
    pub(crate) fn assert_verified(&self, folder: &Path) {
        for entry in fs::read_dir(folder).expect("the destination") {
            let entry = entry.expect("an entry");
            let (name, path) = (entry.file_name(), entry.path());
            let kind = entry.file_type().expect("a kind");
            let is_published = if is_stray(&name) {
                true
            } else if kind.is_dir() {
                self.assert_verified(&path);
                true
            } else if is_partial(&entry) {
                true
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                let is_known = |(link, known): &(&str, &str)| {
                    path.ends_with(link) && target == Path::new(known)
                };
                LINKS.iter().any(is_known) || Turncoats::knows_link(&path, &target)
            } else {
                let bytes = fs::read(&path).expect("a file");
                self.stage.published.seen().knows(&name, &bytes)
            };
            assert!(
                is_published,
                "{} shows what nobody published",
                path.display()
            );
        }
    }
}

/// Replaces the content of a file and puts its time back: in place, or by another file that is
/// made elsewhere.
fn write_unseen(path: &Path, content: &[u8], elsewhere: Option<PathBuf>) {
    let before = fs::metadata(path).and_then(|facts| facts.modified());
    let target = elsewhere.as_deref().unwrap_or(path);
    // The client may replace it meanwhile: it is the file that was opened that is written.
    let file = File::options()
        .write(true)
        .create(elsewhere.is_some())
        .truncate(elsewhere.is_some())
        .open(target)
        .expect("a file to change");
    file.write_all_at(content, 0).expect("other content");
    file.set_modified(before.expect("a time"))
        .expect("the old time");
    if elsewhere.is_some() {
        fs::rename(target, path).expect("a file in the place of another");
    }
}

/// This folder and all below it.
fn folders(of: &Path) -> Vec<PathBuf> {
    let mut found = vec![of.to_owned()];
    for entry in fs::read_dir(of).expect("a folder").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(folders(&entry.path()));
        }
    }
    found
}

/// Permissions of everything but links.
fn modes(of: &Path) -> BTreeMap<PathBuf, u32> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(of).expect("a folder").flatten() {
        let name = PathBuf::from(entry.file_name());
        let facts = entry.metadata().expect("the facts of an entry");
        if facts.is_dir() {
            let below = modes(&entry.path()).into_iter();
            found.extend(below.map(|(path, mode)| (name.join(path), mode)));
        }
        if !facts.is_symlink() {
            found.insert(name, facts.mode() & 0o777);
        }
    }
    found
}

/// Two versions each. No last part of a path comes twice: by it the watchers know what may appear.
pub(crate) const FILES: [(&str, [usize; 2]); 21] = [
    ("none-or-one", [0, 1]),
    ("small", [1024, 1024]),
    ("large", [3 << 20, (3 << 20) - 70_000]),
    ("a/empty", [0, 0]),
    ("a/one", [1, 1]),
    ("a/b/two", [700, 900]),
    ("a/b/c/deep", [1024, 1500]),
    ("a/b/c/deep-large", [2 << 20, 2 << 20]),
    ("a.b/between", [5_000, 5_000]),
    ("many/1", [1_100, 1_200]),
    ("many/2", [4_096, 4_097]),
    ("many/3", [16_384, 16_384]),
    ("many/4", [70_000, 70_000]),
    ("many/größe", [300 << 10, 300 << 10]),
    ("many/middle", [(256 << 10) - 1, (256 << 10) + 1]),
    ("private/kept", [2_000, 2_000]),
    ("private/huge", [20 << 20, 20 << 20]),
    ("z/huge-too", [20 << 20, 19 << 20]),
    ("twin", TWIN),
    ("a/b/twin-two", TWIN),
    ("z/twin-three", TWIN),
];
const TWIN: [usize; 2] = [400 << 10, 3 << 20];
const EMPTY_FOLDERS: [&str; 2] = ["hollow", "a/hollow/in/hollow"];
const LINKS: [(&str, &str); 3] = [
    ("link", "small"),
    ("a/up", "../large"),
    ("z/loose", "missing"),
];
/// As long as the client waits before it keeps a digest, and a little more.
const STAMPS_SETTLE: Duration = Duration::from_millis(300);
const MODES: [(&str, u32); 3] = [("private", 0o711), ("hollow", 0o700), ("a/b", 0o750)];
