//! A server of a tree with folders, links and files of two versions each, and the folders it is
//! fetched into: one that is watched for the whole campaign, and fresh ones.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::blow::is_partial;
use crate::harness::{Program, Random, Scratch, assert_same_tree};
use crate::stage::{CLIENT_DEADLINE, Stage};

/// What the rounds of a campaign with trees have in common.
pub(crate) struct TreeStage {
    /// Its destination is the one that is watched.
    pub(crate) stage: Stage,
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
        let mut campaign = TreeStage { stage };
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
        for index in 0..FILES.len() {
            if random.percent(40) {
                self.stage.published.publish(index);
            }
        }
    }

    /// The folder of this round: the watched one, or a fresh one, which may lack everything.
    pub(crate) fn destination(&self, fresh: &Scratch, random: &mut Random) -> PathBuf {
        if random.percent(50) {
            return fresh.path().to_owned();
        }
        self.stage.destination.path().to_owned()
    }

    /// The client, told to fetch the whole tree from this address.
    pub(crate) fn ftget(&self, address: &str, destination: &Path) -> Program {
        Program::ftget()
            .deadline(CLIENT_DEADLINE)
            .args(["--json", "-r", "-d"])
            .arg(destination)
            .arg(format!("{address}/"))
    }

    /// The rerun: everything is there as it is published, and nothing is left over.
    pub(crate) fn complete(&mut self, destination: &Path) {
        self.ftget(self.stage.server.addr(), destination)
            .run()
            .expect_code(0);
        assert_same_tree(self.stage.published.root(), destination);
        let published = self.stage.published.root();
        assert_eq!(modes(published), modes(destination), "permissions");
        self.stage.watched();
    }

    /// Panics if anything visible in a destination is not what was once published.
    pub(crate) fn assert_verified(&self, folder: &Path) {
        for entry in fs::read_dir(folder).expect("the destination") {
            let entry = entry.expect("an entry");
            let (name, path) = (entry.file_name(), entry.path());
            let kind = entry.file_type().expect("a kind");
            let is_published = if kind.is_dir() {
                self.assert_verified(&path);
                true
            } else if is_partial(&entry) {
                true
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                LINKS
                    .iter()
                    .any(|(link, known)| path.ends_with(link) && target == Path::new(known))
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
pub(crate) const FILES: [(&str, [usize; 2]); 18] = [
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
];
const EMPTY_FOLDERS: [&str; 2] = ["hollow", "a/hollow/in/hollow"];
const LINKS: [(&str, &str); 3] = [
    ("link", "small"),
    ("a/up", "../large"),
    ("z/loose", "missing"),
];
const MODES: [(&str, u32); 3] = [("private", 0o711), ("hollow", 0o700), ("a/b", 0o750)];
