//! Each operation of a file system fails with each error, for whatever is done there: what a file
//! system cannot do is no failure of a file; what breaks is reported, and leaves what was there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::Options;
use crate::harness::{Output, Program, Scratch, TestServer, faulty, noise};

/// Runs it; see the module.
pub(crate) fn run(options: &Options) -> String {
    let Some(stage) = Stage::new() else {
        return "skipped".into();
    };
    let cells = cells();
    let count = match options.full {
        true => cells.len(),
        false => options.rounds as usize,
    };
    let (mut rows, mut faults) = (BTreeMap::<_, Vec<String>>::new(), 0);
    for round in (options.first as usize..).take(count) {
        // So few of them come from all parts of the table.
        let cell = cells[round * STRIDE % cells.len()];
        let outcome = stage.try_cell(cell).unwrap_or_else(|why| {
            println!("round {round}, {cell:?}: {why}");
            faults += 1;
            "FAULT".into()
        });
        let row = format!("{:<18}{:<11}", cell.operation, cell.error);
        let outcomes = rows.entry(row).or_default();
        outcomes.push(format!("{:?} {outcome}", cell.scene));
    }
    if options.full {
        for (row, outcomes) in &mut rows {
            outcomes.sort();
            println!("{row}{}", outcomes.join(" | "));
        }
    }
    assert_eq!(faults, 0, "of {count} cells");
    format!("{count} of {} cells", cells.len())
}

/// What is done on the faulty file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scene {
    /// One file replaces another.
    One,
    /// A tree goes into a directory.
    Tree,
    /// Files of a list, with directories to be made.
    List,
    /// A tree, and what is there alone is deleted.
    Mirror,
    /// It is served from there.
    Root,
}

/// One operation fails with one error.
#[derive(Clone, Copy, Debug)]
struct Cell {
    scene: Scene,
    operation: &'static str,
    error: &'static str,
}

fn cells() -> Vec<Cell> {
    let scenes = [
        Scene::One,
        Scene::Tree,
        Scene::List,
        Scene::Mirror,
        Scene::Root,
    ];
    let mut cells = Vec::new();
    for operation in OPERATIONS.into_iter().chain(LATE) {
        for error in ERRORS {
            cells.extend(scenes.map(|scene| Cell {
                scene,
                operation,
                error,
            }));
        }
    }
    cells
}

/// How a person would have it end.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// All is there.
    Whole,
    /// All is there, and it is said once that something could not be kept.
    WholeBut,
    /// The reason is said.
    Failure,
    /// It depends on what the kernel asks for, and when.
    Either,
}

impl Expected {
    fn admits(self, cell: Cell, shown: &str) -> bool {
        let is_whole = shown.starts_with('0');
        match self {
            Expected::Whole => shown == "0",
            Expected::WholeBut => shown == "0 but",
            Expected::Failure if cell.scene == Scene::Root => !is_whole,
            Expected::Failure => !is_whole && (shown == "9") == FULL.contains(&cell.error),
            Expected::Either => true,
        }
    }
}

fn expected(cell: Cell) -> Expected {
    use Expected::{Either, Failure, Whole, WholeBut};
    let Cell {
        scene,
        operation,
        error,
    } = cell;
    if LATE.contains(&operation) {
        return Either;
    }
    let cannot = ["ENOSYS", "EOPNOTSUPP", "EPERM", "EINVAL"].contains(&error);
    let may_not = error == "EACCES";
    let is_tree = matches!(scene, Scene::Tree | Scene::Mirror);
    if scene == Scene::Root {
        return match operation {
            // The kernel opens without it.
            "open" | "opendir" if error == "ENOSYS" => Whole,
            // It is no link, as far as that says.
            "readlink" if error == "EINVAL" => Whole,
            "lookup" | "getattr" | "open" | "read" | "opendir" | "readdir" | "readlink" => Failure,
            _ => Whole,
        };
    }
    match operation {
        "lookup" | "getattr" | "write" | "rename" | "rename,rename2" => Failure,
        // The kernel makes a node and opens it.
        "create" if error == "ENOSYS" => Whole,
        "create" => Failure,
        "mkdir" if scene == Scene::One => Whole,
        "mkdir" => Failure,
        "flush" if ["ENOSYS", "EOPNOTSUPP"].contains(&error) => Whole,
        "flush" => Failure,
        "chmod" | "utimens" if cannot || may_not || error == "EROFS" => WholeBut,
        "chmod" | "utimens" => Failure,
        // The kernel says that all is well.
        "fsync" | "fsyncdir" if error == "ENOSYS" => Whole,
        "fsync" | "fsyncdir" if cannot || may_not || error == "EROFS" => WholeBut,
        "fsync" | "fsyncdir" => Failure,
        "symlink" if !is_tree => Whole,
        "symlink" if cannot => WholeBut,
        "symlink" => Failure,
        "unlink" | "rmdir" if scene == Scene::Mirror => Failure,
        // Who cannot see what is there deletes nothing, and says so.
        "access" if scene == Scene::Mirror => Either,
        "opendir" if error == "ENOSYS" => Whole,
        "opendir" | "readdir" if scene == Scene::Mirror => Failure,
        "opendir" if cannot || may_not => WholeBut,
        "readdir" if cannot => Whole,
        "opendir" | "readdir" => Failure,
        // What is there already cannot be compared, and is replaced; what was written is read again.
        "read" => Either,
        _ => Whole,
    }
}

struct Stage {
    _source: Scratch,
    server: TestServer,
    /// What is fetched from there, and a list of it.
    here: Scratch,
}

impl Stage {
    fn new() -> Option<Stage> {
        let here = Scratch::in_memory();
        faulty(&here.make_dir("d"), &NO_RULES)?;
        here.write("list", "small\nlarge\nsub/inner\nnew/deep/leaf\n");
        let source = Scratch::in_memory();
        for (name, bytes) in files() {
            source.write(name, bytes);
        }
        symlink("small", source.join("link")).expect("a link");
        for (name, mode) in [("small", 0o640), ("sub", 0o750)] {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(source.join(name), mode).expect("a mode");
        }
        let server = TestServer::start(source.path(), ["--index", "memory"]);
        Some(Stage {
            _source: source,
            server,
            here,
        })
    }

    fn try_cell(&self, cell: Cell) -> Result<String, String> {
        self.set_up(cell.scene);
        if cell.scene == Scene::Root {
            return self.serve(cell);
        }
        let rules = [format!("{}={}", cell.operation, cell.error)];
        let rules = faulty(&self.here.join("d"), &rules).expect("it was tried");
        let first = self.fetch(cell.scene, &rules);
        let shown = self.judge(cell, &first)?;
        let expected = expected(cell);
        if !expected.admits(cell, &shown) {
            return Err(format!("{shown} for {expected:?}: {}", first.stderr));
        }
        if first.code == 0 && !matches!(expected, Expected::Either) {
            let again = self.fetch(cell.scene, &rules);
            self.judge(cell, &again)?;
            // A link that cannot be made, or not be read, is tried each time.
            let is_quiet = again.code == 0 && warnings(&again) == 0;
            if !is_quiet && !["symlink", "readlink"].contains(&cell.operation) {
                return Err(format!("second run {}: {}", again.code, again.stderr));
            }
            let is_cheap = summary(&again)["bytes"] == 0;
            if !is_cheap && cell.operation != "open" {
                return Err(format!("second run fetches again: {}", again.text()));
            }
        }
        let whole = self.fetch(cell.scene, &[]);
        if whole.code != 0 {
            return Err(format!("without faults {}: {}", whole.code, whole.stderr));
        }
        self.look(cell, true)?;
        Ok(shown)
    }

    fn set_up(&self, scene: Scene) {
        let directory = self.here.join("d");
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir(&directory).expect("a directory");
        if scene == Scene::Root {
            for (name, bytes) in files() {
                self.here.write(Path::new("d").join(name), bytes);
            }
            symlink("small", self.here.join("d/link")).expect("a link");
            let _ = fs::remove_dir_all(self.here.join("to"));
        }
        for (name, bytes) in OLD {
            let to = if scene == Scene::Root { "to" } else { "d" };
            self.here.write(Path::new(to).join(name), bytes);
        }
    }

    fn fetch(&self, scene: Scene, prefix: &[OsString]) -> Output {
        let program = Program::ftget().in_folder(self.here.path()).through(prefix);
        let program = program
            .args(["--index", "off", "--json", "-d", "d"])
            .deadline(LIMIT);
        let program = match scene {
            Scene::One => program.arg(self.server.source("large")),
            Scene::List => program.args(["-i", "list"]).arg(self.server.source("")),
            Scene::Tree => program.arg("-r").arg(self.server.source("")),
            Scene::Mirror => program.args(["-r", "--delete"]).arg(self.server.source("")),
            Scene::Root => unreachable!("it is served"),
        };
        program.run()
    }

    fn serve(&self, cell: Cell) -> Result<String, String> {
        let rules = [format!("{}={}", cell.operation, cell.error)];
        let prefix = faulty(&self.here.join("d"), &rules).expect("it was tried");
        let program = Program::ftserve()
            .through(prefix)
            .in_folder(self.here.path());
        let program = program.args(["--bind", "unix:socket", "--index", "memory", "d"]);
        let server = program.start();
        while !server.stderr().text().contains("try:") {
            if server.ends_within(Duration::from_millis(10)) {
                let ended = server.wait();
                return match ended.code {
                    3 | 6 => Ok(format!("ends {}", ended.code)),
                    _ => Err(format!("it ends with {}: {}", ended.code, ended.stderr)),
                };
            }
        }
        let mut shown = Vec::new();
        for mirror in [false, true] {
            let program = Program::ftget().in_folder(self.here.path()).deadline(LIMIT);
            let program = program.args(["--index", "off", "--json", "--retry", "1"]);
            let program = program.args(["--retry-delay", "0.01", "-d", "to", "-r"]);
            let program = program.args(mirror.then_some("--delete"));
            let output = program.arg("unix:socket:").run();
            shown.push(output.code.to_string());
            self.judge(cell, &output)?;
        }
        server.signal(rustix::process::Signal::TERM);
        let ended = server.wait();
        if ended.code != 143 && ended.code != 0 || ended.stderr.contains("panicked") {
            return Err(format!("server ends with {}: {}", ended.code, ended.stderr));
        }
        let _ = fs::remove_file(self.here.join("socket"));
        let expected = expected(cell);
        match shown.iter().all(|shown| expected.admits(cell, shown)) {
            true => Ok(shown.join(" ")),
            false => Err(format!("{shown:?} for {expected:?}")),
        }
    }

    /// What is so after every run.
    fn judge(&self, cell: Cell, output: &Output) -> Result<String, String> {
        let fault = |why: &str| Err(format!("{why}, code {}: {}", output.code, output.stderr));
        if output.stderr.contains("panicked") || output.stderr.contains("Traceback") {
            return fault("panic");
        }
        if let Err(why) = self.look(cell, output.code == 0) {
            return fault(&why);
        }
        if warnings(output) > 1 {
            return fault("warnings");
        }
        match output.code {
            0 if warnings(output) > 0 => Ok("0 but".into()),
            0 => Ok("0".into()),
            1..=25
                if ["cannot", "no space", "says", "does not take"]
                    .iter()
                    .any(|word| output.stderr.contains(word)) =>
            {
                Ok(output.code.to_string())
            }
            _ => fault("the code"),
        }
    }

    /// What is there is whole, old or new; if `is_complete` all is there and nothing else.
    fn look(&self, cell: Cell, is_complete: bool) -> Result<(), String> {
        let to = if cell.scene == Scene::Root { "to" } else { "d" };
        let destination = self.here.join(to);
        let expected: Vec<(String, Vec<u8>)> = match cell.scene {
            Scene::One => files()
                .into_iter()
                .filter(|(name, _)| name == "large")
                .collect(),
            Scene::List => files()
                .into_iter()
                .filter(|(name, _)| !name.starts_with("many"))
                .collect(),
            _ => files(),
        };
        for (name, new) in &expected {
            let old = OLD
                .iter()
                .find(|(old, _)| old == name)
                .map(|(_, bytes)| *bytes);
            match fs::read(destination.join(name)) {
                Ok(bytes) if bytes == *new => {}
                Ok(bytes) if Some(&bytes[..]) == old && !is_complete => {}
                Ok(bytes) => return Err(format!("{name} has {} bytes", bytes.len())),
                Err(_) if old.is_none() && !is_complete => {}
                Err(error) => return Err(format!("{name}: {error}")),
            }
        }
        for name in ["extra", "gone/x"] {
            let is_here = destination.join(name).exists();
            if cell.scene != Scene::Mirror && cell.scene != Scene::Root && !is_here {
                return Err(format!("{name} is gone"));
            }
            if cell.scene == Scene::Mirror && is_complete && is_here {
                return Err(format!("{name} is left"));
            }
        }
        let mut left = Vec::new();
        partial_files(&destination, &mut left);
        if is_complete && !left.is_empty() && !cell.operation.starts_with("unlink") {
            return Err(format!("left are {left:?}"));
        }
        if left.len() > 20 {
            return Err(format!("{} partial files", left.len()));
        }
        Ok(())
    }
}

fn partial_files(directory: &Path, left: &mut Vec<OsString>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(".ft-") {
            left.push(entry.file_name());
        }
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            partial_files(&entry.path(), left);
        }
    }
}

fn warnings(output: &Output) -> usize {
    output.stderr.matches("cannot keep").count()
}

fn summary(output: &Output) -> Value {
    let lines = output.json_lines();
    let summary = lines.into_iter().find(|line| line["event"] == "summary");
    summary.expect("a summary")
}

/// What is served.
fn files() -> Vec<(String, Vec<u8>)> {
    let many = (0..9).map(|number| (format!("many/{number}"), noise(number, 100)));
    let others = [
        ("small", b"small".to_vec()),
        ("large", noise(77, 700_000)),
        ("sub/inner", b"inner".to_vec()),
        ("new/deep/leaf", b"leaf".to_vec()),
    ];
    let others = others.map(|(name, bytes)| (name.to_owned(), bytes));
    others.into_iter().chain(many).collect()
}

const OLD: [(&str, &[u8]); 4] = [
    ("small", b"old content"),
    ("large", b"old content, too"),
    ("extra", b"here alone"),
    ("gone/x", b"here alone"),
];
const OPERATIONS: [&str; 33] = [
    "lookup",
    "getattr",
    "chmod",
    "truncate",
    "utimens",
    "create",
    "mknod",
    "open",
    "read",
    "write",
    "flush",
    "release",
    "fsync",
    "fsyncdir",
    "rename",
    "rename2",
    "rename,rename2",
    "link",
    "unlink",
    "mkdir",
    "rmdir",
    "symlink",
    "readlink",
    "opendir",
    "readdir",
    "statfs",
    "setxattr",
    "getxattr",
    "lock",
    "fallocate",
    "lseek",
    "copy_file_range",
    "access",
];
/// They fail from such a request on.
const LATE: [&str; 10] = [
    "lookup@9",
    "getattr@15",
    "create@3",
    "write@4",
    "read@3",
    "fsync@3",
    "rename@4",
    "unlink@2",
    "mkdir@2",
    "readdir@3",
];
const ERRORS: [&str; 10] = [
    "EIO",
    "ENOSYS",
    "EOPNOTSUPP",
    "EPERM",
    "EACCES",
    "EINVAL",
    "ENOSPC",
    "EROFS",
    "EDQUOT",
    "ESTALE",
];
const FULL: [&str; 2] = ["ENOSPC", "EDQUOT"];
const NO_RULES: [&str; 0] = [];
/// Prime to the number of cells.
const STRIDE: usize = 617;
const LIMIT: Duration = Duration::from_secs(60);
