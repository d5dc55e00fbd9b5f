//! A server of files with two versions each, and a watched folder that they are fetched into.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::harness::{Output, Program, Random, Scratch, TestServer};
use crate::published::Published;
use crate::watcher::Watcher;

/// What the rounds of a campaign have in common.
pub(crate) struct Stage {
    pub(crate) published: Published,
    pub(crate) server: TestServer,
    watchers: Vec<Watcher>,
    pub(crate) destination: Scratch,
    /// What happened how often, so that a report shows that the rare did happen.
    tally: BTreeMap<String, u64>,
}

impl Stage {
    /// Serves these files, each with the sizes of its two versions, and watches where they go.
    pub(crate) fn new(seed: u64, files: &[(&'static str, [usize; 2])]) -> Stage {
        let mut stage = Stage::unwatched(seed, files);
        let destination = stage.destination.path().to_owned();
        stage.watch(&destination);
        stage
    }

    /// Serves these files.
    pub(crate) fn unwatched(seed: u64, files: &[(&'static str, [usize; 2])]) -> Stage {
        let published = Published::new(seed, files);
        Stage {
            // A mirror deletes names with a dot only where the server shows its own.
            server: TestServer::builder(published.root())
                .args(["--hidden", "show"])
                .start(),
            watchers: Vec::new(),
            published,
            destination: Scratch::in_memory(),
            tally: BTreeMap::new(),
        }
    }

    /// From now on everything that appears right in this folder must be published.
    pub(crate) fn watch(&mut self, folder: &Path) {
        self.watchers
            .push(Watcher::of(folder, self.published.seen()));
    }

    /// Publishes other versions of some of the chosen files, and takes some away from where they
    /// were fetched to.
    pub(crate) fn stir(&mut self, chosen: &[usize], random: &mut Random) {
        for &index in chosen {
            if random.percent(70) {
                self.published.publish(index);
            }
            if random.percent(20) {
                self.take_away(index);
            }
        }
    }

    /// The client, told to fetch the chosen files from this address.
    pub(crate) fn ftget(&self, address: &str, chosen: &[usize]) -> Program {
        let files = self.published.files();
        let sources = chosen
            .iter()
            .map(|&index| format!("{address}/{}", files[index].path));
        let program = Program::ftget()
            .deadline(CLIENT_DEADLINE)
            .args(["--json", "-d"]);
        program.arg(self.destination.path()).args(sources)
    }

    /// The rerun: everything arrives, and nothing is left over.
    pub(crate) fn complete(&mut self, chosen: &[usize]) {
        let output = self.ftget(self.server.addr(), chosen).run().expect_code(0);
        for action in actions(&output) {
            self.count(match action.as_str() {
                "fetched" => "files fetched by reruns",
                "resumed" => "resumed",
                "identical" => "already there",
                other => panic!("action {other:?}"),
            });
        }
        self.assert_fetched(chosen);
        let names = self.destination.names();
        let known: Vec<OsString> = self.published.files().iter().map(|f| f.name()).collect();
        let left_over: Vec<_> = names.iter().filter(|name| !known.contains(name)).collect();
        assert!(left_over.is_empty(), "left over: {left_over:?}");
        self.watched();
    }

    /// Panics unless the chosen files are here as they are published now.
    pub(crate) fn assert_fetched(&self, chosen: &[usize]) {
        for &index in chosen {
            let file = &self.published.files()[index];
            let arrived = self.destination.read(file.name());
            assert!(arrived == file.content(), "{} differs", file.path);
        }
    }

    /// Starts the server again, on the same address.
    pub(crate) fn restart(&mut self) {
        let address = self.server.addr().to_owned();
        self.server = TestServer::builder(self.published.root())
            .args(["--hidden", "show"])
            .bind(address)
            .start();
    }

    /// Counts one more of what happened.
    pub(crate) fn count(&mut self, what: impl Into<String>) {
        self.count_all(1, what);
    }

    /// Counts so many more of what happened.
    pub(crate) fn count_all(&mut self, times: u64, what: impl Into<String>) {
        *self.tally.entry(what.into()).or_default() += times;
    }

    /// What happened how often; panics if something was seen that should not have been.
    pub(crate) fn report(&self, rounds: u32) -> String {
        let appearances = self.watched();
        let tally = self.tally.iter();
        let tally: Vec<String> = tally
            .map(|(what, count)| format!("{count} {what}"))
            .collect();
        let tally = tally.join(", ");
        format!("{rounds} rounds, {tally}, {appearances} appearances watched")
    }

    /// The appearances so far; panics if one of them was wrong.
    pub(crate) fn watched(&self) -> u64 {
        let settled = self.watchers.iter().map(Watcher::settle);
        settled
            .map(|appearances| appearances.unwrap_or_else(|faults| panic!("{faults}")))
            .sum()
    }

    /// Moves a file out of the destination; deleting it is what the watcher forbids.
    fn take_away(&self, index: usize) {
        let name = self.published.files()[index].name();
        let aside = Scratch::in_memory();
        // It may not be there yet.
        let _ = fs::rename(self.destination.join(&name), aside.join(&name));
    }
}

/// Panics if a program did.
pub(crate) fn assert_calm(stderr: String) {
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// What the client says it did with each file.
pub(crate) fn actions(output: &Output) -> Vec<String> {
    let events = output.json_lines().into_iter();
    let done = events.filter(|event| event["event"] == "done");
    done.map(|event| event["action"].as_str().expect("an action").to_owned())
        .collect()
}

/// How long a client may take.
pub(crate) const CLIENT_DEADLINE: Duration = Duration::from_secs(60);
