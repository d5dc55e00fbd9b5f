//! The same content under several names: what is asked, copied and fetched.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::Value;

use super::scripted::{
    Play, ScriptedServer, at_some_pace, config, file, frame, md5_hex, md5_of, noise, refusal,
};
use crate::client::{
    Action, Batch, ClientConfig, ClientError, Download, Event, IfExists, ListedFile, SyncPolicy,
};
use crate::wire::ResourcePath;

/// Asked over one connection, so that the order of the script is that of the names.
fn one_by_one() -> ClientConfig {
    ClientConfig {
        connections_max: Some(1),
        ..config()
    }
}

/// Into a folder of its own, with what a listing tells of it.
fn listed(server: &ScriptedServer, folder: &Path, name: &str, content: &[u8]) -> Download {
    Download {
        below: ResourcePath::parse(format!("in-{name}").as_bytes()).unwrap(),
        listed: Some(ListedFile {
            total_size: content.len() as u64,
            md5: Some(md5_of(content)),
            ..ListedFile::default()
        }),
        ..server.download(folder, name)
    }
}

fn matched(content: &[u8]) -> Play {
    let (size, md5) = (content.len(), md5_hex(content));
    Play::Reply(Box::new(move |name| {
        frame(&format!(
            r#"{{"filename":"{name}","total_size":{size},"md5":"{md5}","body_size":0,"mtime":"2001-09-09T01:46:40.000000007Z","mode":"0640","match":true}}"#
        ))
    }))
}

fn answer(content: &[u8]) -> Play {
    let content = content.to_vec();
    Play::Reply(Box::new(move |name| file(name, &content)))
}

fn refused(code: &'static str) -> Play {
    Play::Reply(Box::new(move |name| refusal(name, code)))
}

/// The name, what was done, if it did not fail, and the requests of each, in the order of their
/// ends, of which `at_end` is told. Which of the names is asked for first is left to chance.
fn run(
    wanted: Vec<Download>,
    config: &ClientConfig,
    mut at_end: impl FnMut(&str),
) -> Vec<(String, Option<Action>, u32)> {
    let mut ends = Vec::new();
    Batch::new()
        .files(wanted)
        .run(config, &mut |event| {
            let (item, end) = match event {
                Event::Done {
                    item, downloaded, ..
                } => (item, (Some(downloaded.action), downloaded.attempts)),
                Event::Failed { item, .. } => (item, (None, 0)),
                _ => return,
            };
            let name = String::from_utf8_lossy(item.path.as_bytes()).into_owned();
            at_end(&name);
            ends.push((name, end.0, end.1));
        })
        .unwrap();
    ends
}

fn outcomes(ends: &[(String, Option<Action>, u32)]) -> Vec<(Option<Action>, u32)> {
    let ends = ends.iter();
    ends.map(|(_, action, attempts)| (*action, *attempts))
        .collect()
}

const FETCHED: (Option<Action>, u32) = (Some(Action::Fetched), 1);
const LINKED: (Option<Action>, u32) = (Some(Action::Linked), 1);
const FAILED: (Option<Action>, u32) = (None, 0);

fn have_md5(request: &Value) -> Option<&str> {
    request.get("have_md5").and_then(Value::as_str)
}

#[test]
fn one_content_comes_once_and_every_file_is_as_its_server_says() {
    let content = noise(300_000);
    for sync in [SyncPolicy::Auto, SyncPolicy::Always, SyncPolicy::Never] {
        let temp = tempfile::tempdir().unwrap();
        let server =
            ScriptedServer::play(vec![answer(&content), matched(&content), matched(&content)]);
        let wanted = ["a", "b", "c"].map(|name| listed(&server, temp.path(), name, &content));
        let config = ClientConfig {
            sync,
            ..one_by_one()
        };
        let ends = run(wanted.into(), &config, |_| {});
        assert_eq!(outcomes(&ends), [FETCHED, LINKED, LINKED]);
        for name in ["a", "b", "c"] {
            let path = temp.path().join(format!("in-{name}/{name}"));
            assert!(fs::read(&path).unwrap() == content, "{name} differs");
            let meta = fs::metadata(&path).unwrap();
            assert_eq!(meta.nlink(), 1, "{name} is a file of its own");
            if name != ends[0].0 {
                let time = (meta.mtime(), meta.mtime_nsec());
                assert_eq!((meta.mode() & 0o777, time), (0o640, (1_000_000_000, 7)));
            }
            assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        }
        let requests = server.requests();
        let asked: Vec<_> = requests.iter().map(have_md5).collect();
        let md5 = md5_hex(&content);
        assert_eq!(asked, [None, Some(&*md5), Some(&*md5)]);
    }
}

type Spoil = fn(&Path, &Path);

#[test]
fn what_is_not_what_it_was_is_fetched() {
    let content = noise(300_000);
    // Each is done to a file, with a folder outside of everything.
    let spoilers: [(&str, Spoil); 6] = [
        ("a byte of it changed", |path, _| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(b"!", 150_000).unwrap();
        }),
        ("it is cut off", |path, _| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(299_999).unwrap();
        }),
        ("it is gone", |path, _| fs::remove_file(path).unwrap()),
        ("it is a FIFO", |path, _| {
            fs::remove_file(path).unwrap();
            mkfifoat(CWD, path, Mode::RUSR).unwrap();
        }),
        ("it is a link to the same outside", |path, outside| {
            let moved = outside.join(path.file_name().unwrap());
            fs::rename(path, &moved).unwrap();
            symlink(moved, path).unwrap();
        }),
        ("its folder is a link to outside", |path, outside| {
            let folder = path.parent().unwrap();
            fs::rename(path, outside.join(path.file_name().unwrap())).unwrap();
            fs::remove_dir(folder).unwrap();
            symlink(outside, folder).unwrap();
        }),
    ];
    for (what, spoil) in spoilers {
        let (temp, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let server =
            ScriptedServer::play(vec![answer(&content), matched(&content), answer(&content)]);
        let wanted = ["a", "b"].map(|name| listed(&server, temp.path(), name, &content));
        let mut spoil = Some(spoil);
        let ends = run(wanted.into(), &one_by_one(), |name| {
            if let Some(spoil) = spoil.take() {
                spoil(
                    &temp.path().join(format!("in-{name}/{name}")),
                    outside.path(),
                );
            }
        });
        let again = (Some(Action::Fetched), 2);
        assert_eq!(outcomes(&ends), [FETCHED, again], "{what}");
        let last = temp.path().join(format!("in-{}", ends[1].0));
        assert!(
            fs::read(last.join(&ends[1].0)).unwrap() == content,
            "{what}"
        );
        assert_eq!(fs::read_dir(last).unwrap().count(), 1, "{what}");
        let requests = server.requests();
        assert_eq!(have_md5(&requests[2]), None, "{what}");
    }
}

#[test]
fn what_another_could_not_fetch_is_fetched_by_the_next() {
    let content = noise(300_000);
    let temp = tempfile::tempdir().unwrap();
    let server = ScriptedServer::play(vec![
        refused("not_found"),
        answer(&content),
        matched(&content),
    ]);
    let wanted = ["a", "b", "c"].map(|name| listed(&server, temp.path(), name, &content));
    let ends = run(wanted.into(), &one_by_one(), |_| {});
    assert_eq!(outcomes(&ends), [FAILED, FETCHED, LINKED]);
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn nobody_waits_for_one_that_pauses() {
    at_some_pace(|factor| {
        let content = noise(300_000);
        let temp = tempfile::tempdir().unwrap();
        let server =
            ScriptedServer::play(vec![refused("busy"), answer(&content), matched(&content)]);
        let wanted = ["a", "b"].map(|name| listed(&server, temp.path(), name, &content));
        let mut config = one_by_one();
        // Long enough for the other to be wanted meanwhile.
        config.retry.delay = Duration::from_secs(1) * factor;
        let ends = run(wanted.into(), &config, |_| {});
        assert_eq!(outcomes(&ends), [FETCHED, (Some(Action::Linked), 2)]);
        assert_eq!(server.requests().len(), 3);
    });
}

#[test]
fn a_server_that_has_other_content_or_knows_no_have_md5_sends_it() {
    let (content, other) = (noise(300_000), noise(300_001));
    let temp = tempfile::tempdir().unwrap();
    let server = ScriptedServer::play(vec![answer(&content), answer(&other), answer(&content)]);
    let wanted = ["a", "b", "c"].map(|name| listed(&server, temp.path(), name, &content));
    let ends = run(wanted.into(), &one_by_one(), |_| {});
    assert_eq!(outcomes(&ends), [FETCHED; 3]);
    let requests = server.requests();
    for (request, content) in requests.iter().zip([&content, &other, &content]) {
        let name = request["filename"].as_str().unwrap();
        let path = temp.path().join(format!("in-{name}/{name}"));
        assert!(fs::read(path).unwrap() == *content, "{name} differs");
    }
}

#[test]
fn a_connection_that_ends_before_the_server_has_said_so_costs_a_question() {
    let content = noise(300_000);
    let temp = tempfile::tempdir().unwrap();
    let server = ScriptedServer::play(vec![
        answer(&content),
        Play::Close(Vec::new()),
        matched(&content),
    ]);
    let wanted = ["a", "b"].map(|name| listed(&server, temp.path(), name, &content));
    let ends = run(wanted.into(), &one_by_one(), |_| {});
    assert_eq!(outcomes(&ends), [FETCHED, (Some(Action::Linked), 2)]);
    server.requests();
}

#[test]
fn who_waits_for_a_server_that_is_given_up_fails_with_it() {
    let content = noise(300_000);
    let temp = tempfile::tempdir().unwrap();
    let server = ScriptedServer::play(vec![]);
    let wanted = ["a", "b", "c"].map(|name| listed(&server, temp.path(), name, &content));
    let mut errors = Vec::new();
    Batch::new()
        .files(wanted)
        .run(&one_by_one(), &mut |event| {
            if let Event::Failed { error, .. } = event {
                errors.push(matches!(error, ClientError::Connect(_)));
            }
        })
        .unwrap();
    assert_eq!(errors, [true; 3]);
}

#[test]
fn a_file_that_is_here_and_one_that_is_set_aside_are_copied_too() {
    let content = noise(300_000);
    for (if_exists, name) in [(IfExists::Update, "b"), (IfExists::Rename, "b.1")] {
        let temp = tempfile::tempdir().unwrap();
        for (name, content) in [("a", &*content), ("b", b"other")] {
            let folder = temp.path().join(format!("in-{name}"));
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join(name), content).unwrap();
        }
        let is_asked = if_exists == IfExists::Rename;
        let first = is_asked.then(|| answer(&content));
        let script = first.into_iter().chain([matched(&content)]);
        let server = ScriptedServer::play(script.collect());
        let wanted = ["a", "b"].map(|name| listed(&server, temp.path(), name, &content));
        let mut wanted = wanted.into_iter();
        // The second is wanted when the first is known to be here.
        let (ended, is_ended) = std::sync::mpsc::channel();
        let first = wanted.next();
        let later = wanted.inspect(move |_| is_ended.recv().unwrap());
        let config = ClientConfig {
            if_exists,
            ..one_by_one()
        };
        let mut actions = Vec::new();
        let batch = Batch::new().files(first).files(later);
        batch
            .run(&config, &mut |event| {
                if let Event::Done { downloaded, .. } = event {
                    actions.push(downloaded.action);
                    let _ = ended.send(());
                }
            })
            .unwrap();
        let first = match is_asked {
            true => Action::Fetched,
            false => Action::Identical,
        };
        assert_eq!(actions, [first, Action::Linked]);
        assert!(fs::read(temp.path().join("in-b").join(name)).unwrap() == content);
        server.requests();
    }
}
