//! Files that change while they are served. No client ever accepts a wrong one; what changes
//! no byte of the open file, and what only appends to it, is nobody's trouble.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Options;
use crate::harness::{
    Output, Program, Random, RawPeer, Running, Scratch, TestServer, md5_hex, noise,
};
use crate::mapping::Mapping;

/// Runs it; see the module.
pub(crate) fn run(options: &Options) -> String {
    let root = Scratch::in_memory();
    let server = TestServer::plain(root.path());
    let mapping = Mapping::prepare(&root, &server, options.seed);
    let mut tally = Tally::new();
    for (round, mut random) in options.rounds() {
        // Few names, so that what is known of earlier files of the name is put to the test.
        let name = format!("file-{}", round % 5);
        Round::new(&root, &server, name, &mut random, &mut tally).play();
        let log = server.stderr().text();
        assert!(!log.contains("panicked"), "{log}");
    }
    let refused = mapping.rewrite_and_fetch(&server);
    let tally: Vec<String> = tally
        .iter()
        .map(|(what, n)| format!("{n} {what}"))
        .collect();
    format!(
        "{} rounds, {}, {refused} rewrites through mappings refused and then right",
        options.rounds_done(),
        tally.join(", ")
    )
}

type Tally = BTreeMap<&'static str, u32>;

/// What happens to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Truncate,
    Append,
    /// In place, same size, in one write.
    Rewrite,
    /// In place, same size, in writes of 64 KiB from the end to the beginning.
    RewriteBackwards,
    /// Emptied and written anew with another size, as `cp` does.
    Copy,
    /// By a rename over it.
    Replace,
    /// To another name.
    Rename,
    Link,
    Mode,
}

/// When it happens.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after the request was made: before, during or after the hashing.
    After(Duration),
    /// When the first bytes of the body have come, the client being held until it is done.
    Held,
}

struct Round<'a> {
    root: &'a Scratch,
    server: &'a TestServer,
    name: String,
    old: Vec<u8>,
    new: Vec<u8>,
    change: Change,
    moment: Moment,
    raw: bool,
    tally: &'a mut Tally,
}

impl<'a> Round<'a> {
    fn new(
        root: &'a Scratch,
        server: &'a TestServer,
        name: String,
        random: &mut Random,
        tally: &'a mut Tally,
    ) -> Round<'a> {
        let change = random.pick(&CHANGES);
        let old_size = match random.within(0..=9) {
            0 => random.within(1..=5000),
            // Around the size up to which a file is read whole.
            1..=4 => random.within((256 << 10) - 2..=(256 << 10) + 2),
            _ => random.within(3 << 20..=20 << 20),
        };
        let old = noise(random.next(), old_size);
        let new = match change {
            Change::Truncate => old[..random.within(0..=old_size - 1)].to_vec(),
            Change::Append => {
                let more = random.within(1..=1 << 20);
                [old.clone(), noise(random.next(), more)].concat()
            }
            Change::Rewrite | Change::RewriteBackwards => noise(random.next(), old_size),
            Change::Copy | Change::Replace => {
                let size = random.within(1..=old_size * 2);
                noise(random.next(), size)
            }
            Change::Rename | Change::Link | Change::Mode => old.clone(),
        };
        let moment = if random.percent(50) {
            Moment::Held
        } else {
            Moment::After(random.wait(Duration::from_millis(100)))
        };
        Round {
            root,
            server,
            name,
            old,
            new,
            change,
            moment,
            raw: random.percent(30),
            tally,
        }
    }

    fn play(mut self) {
        self.put_in_place();
        if self.raw {
            self.play_raw();
        } else {
            self.play_ftget();
        }
    }

    /// The real client: whatever it puts in place is what was published.
    fn play_ftget(&mut self) {
        let destination = Scratch::in_memory();
        let client = self.ftget(&destination).start();
        let caught = self.hold(&client, &destination);
        self.change();
        client.signal(Signal::CONT);
        let output = client.wait();
        self.judge_ftget(&output, &destination, caught);
        if self.change == Change::Rename {
            return;
        }
        // Nothing changes any more: the next download is the file as it is now.
        self.ftget(&destination).run().expect_code(0);
        let arrived = destination.read(&self.name);
        assert!(
            arrived == self.new,
            "{}: not the file as it is now",
            self.case()
        );
        assert_eq!(destination.names(), [self.name.as_str()], "left over");
    }

    /// Waits for the moment; true if the client is held in the middle of a body.
    fn hold(&self, client: &Running, destination: &Scratch) -> bool {
        match self.moment {
            Moment::After(delay) => {
                client.ends_within(delay);
                false
            }
            Moment::Held => {
                let limit = Instant::now() + CLIENT_DEADLINE;
                while Instant::now() < limit {
                    if partial_has_bytes(destination) {
                        client.signal(Signal::STOP);
                        // It may have been done before it stopped.
                        return partial_has_bytes(destination);
                    }
                    if client.ends_within(LOOK_AGAIN) {
                        break;
                    }
                }
                false
            }
        }
    }

    fn judge_ftget(&mut self, output: &Output, destination: &Scratch, caught: bool) {
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
        if output.code == 11 && self.change == Change::Rename && !caught {
            self.count("gone before it was opened");
            return;
        }
        assert_eq!(output.code, 0, "{}: {}", self.case(), output.stderr);
        let arrived = destination.read(&self.name);
        assert!(
            self.is_legitimate(&arrived),
            "{}: {} wrong bytes accepted",
            self.case(),
            arrived.len()
        );
        let done = &output.json_lines()[0];
        assert_eq!(done["md5"], md5_hex(&arrived), "{}: {done}", self.case());
        if caught {
            self.count("changed in the middle of a body");
        }
        if done["attempts"].as_u64() > Some(1) {
            self.count("asked for again");
        }
    }

    /// A peer that reads a little, waits for the change, and reads the rest.
    fn play_raw(&mut self) {
        let mut peer = self.server.connect();
        peer.shrink_receive_buffer(65_536);
        peer.send_frame(format!(r#"{{"filename":"{}"}}"#, self.name));
        let mut header = None;
        match self.moment {
            // The moment is random; there is nothing to wait for but the time.
            Moment::After(delay) => thread::sleep(delay),
            Moment::Held => header = Some(peer.read_header()),
        }
        self.change();
        let header = header.unwrap_or_else(|| peer.read_header());
        if header.code() == Some("not_found") && self.change == Change::Rename {
            self.count("gone before it was opened");
            return;
        }
        assert_eq!(header.code(), None, "{}: {}", self.case(), header.text);
        let size = header.size("total_size");
        let body = read_up_to(&mut peer, size);
        let complete = body.len() as u64 == size;
        if complete && md5_hex(&body) == header.str("md5") {
            assert!(
                self.is_legitimate(&body),
                "{}: wrong bytes verify",
                self.case()
            );
            return;
        }
        assert!(
            matches!(
                self.change,
                Change::Truncate | Change::Rewrite | Change::RewriteBackwards | Change::Copy
            ),
            "{}: {} of {size} bytes of a file that was not harmed",
            self.case(),
            body.len()
        );
        self.count(if complete {
            "left to the client's check"
        } else {
            "abandoned by the server"
        });
    }

    /// Whether a client may take these bytes for the file.
    fn is_legitimate(&self, bytes: &[u8]) -> bool {
        match self.change {
            Change::Rename | Change::Link | Change::Mode => bytes == self.old,
            Change::Truncate | Change::Replace => bytes == self.old || bytes == self.new,
            // The size when it was opened, be that before, after or amid the append.
            Change::Append => bytes.len() >= self.old.len() && self.new.starts_with(bytes),
            // Writes in place have no moment at which they happen as one.
            Change::Rewrite | Change::RewriteBackwards => {
                let pairs = self.old.iter().zip(&self.new).zip(bytes);
                bytes.len() == self.old.len()
                    && pairs
                        .into_iter()
                        .all(|((old, new), byte)| byte == old || byte == new)
            }
            Change::Copy => bytes == self.old || self.new.starts_with(bytes),
        }
    }

    fn put_in_place(&self) {
        // The mode is part of what is put in place.
        let staged = self.root.write(".staged", &self.old);
        fs::rename(staged, self.path()).expect("a new file by rename");
        for other in [self.root.join("elsewhere"), self.root.join("linked")] {
            match fs::remove_file(other) {
                Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
                _ => {}
            }
        }
    }

    fn change(&self) {
        let path = self.path();
        let path = path.as_path();
        match self.change {
            Change::Truncate => writer(path)
                .set_len(self.new.len() as u64)
                .expect("truncated"),
            Change::Append => write_at(path, &self.new[self.old.len()..], self.old.len()),
            Change::Rewrite => write_at(path, &self.new, 0),
            Change::RewriteBackwards => {
                for (index, piece) in self.new.chunks(65_536).enumerate().rev() {
                    write_at(path, piece, index * 65_536);
                }
            }
            Change::Copy => fs::write(path, &self.new).expect("copied over"),
            Change::Replace => {
                let staged = self.root.write(".staged", &self.new);
                fs::rename(staged, path).expect("replaced");
            }
            Change::Rename => fs::rename(path, self.root.join("elsewhere")).expect("renamed"),
            Change::Link => fs::hard_link(path, self.root.join("linked")).expect("linked"),
            Change::Mode => {
                fs::set_permissions(path, Permissions::from_mode(0o640)).expect("chmod");
            }
        }
    }

    fn ftget(&self, destination: &Scratch) -> Program {
        Program::ftget()
            .deadline(CLIENT_DEADLINE)
            .args(["--json", "--retry-delay", "0.05", "-d"])
            .arg(destination.path())
            .arg(self.server.source(&self.name))
    }

    fn path(&self) -> std::path::PathBuf {
        self.root.join(&self.name)
    }

    fn case(&self) -> String {
        format!(
            "{:?} of {} bytes {:?} (now {} bytes)",
            self.change,
            self.old.len(),
            self.moment,
            self.new.len()
        )
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }
}

fn partial_has_bytes(destination: &Scratch) -> bool {
    let hidden = |name: &std::ffi::OsString| name.to_string_lossy().starts_with(".ft-");
    let mut names = destination.names().into_iter().filter(hidden);
    names.any(|name| fs::metadata(destination.join(name)).is_ok_and(|facts| facts.len() > 0))
}

/// Reads so many bytes, fewer if the connection ends or is reset before.
fn read_up_to(peer: &mut RawPeer, size: u64) -> Vec<u8> {
    let size = usize::try_from(size).expect("a size");
    let mut body = Vec::new();
    while body.len() < size {
        match peer.try_read((size - body.len()).min(1 << 20)) {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => body.extend(bytes),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("after {} of {size} bytes: {error}", body.len()),
        }
    }
    body
}

fn writer(path: &Path) -> File {
    OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap_or_else(|error| panic!("cannot write to {path:?}: {error}"))
}

fn write_at(path: &Path, bytes: &[u8], offset: usize) {
    writer(path)
        .write_all_at(bytes, offset as u64)
        .expect("written in place");
}

const CHANGES: [Change; 9] = [
    Change::Truncate,
    Change::Append,
    Change::Rewrite,
    Change::RewriteBackwards,
    Change::Copy,
    Change::Replace,
    Change::Rename,
    Change::Link,
    Change::Mode,
];
const CLIENT_DEADLINE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_micros(100);
