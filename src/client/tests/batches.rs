use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use super::scripted::{
    Play, ScriptedServer, at_some_pace, config, file, frame, lying_file, md5_hex, md5_of, noise,
    refusal, rest,
};
use crate::client::config::RETRY_PROGRESS_BYTES_MIN;
use crate::client::{
    Action, Batch, ClientConfig, ClientError, Download, DownloadResult, Entry, Event, IfExists,
    SessionError, SyncPolicy, download,
};
use crate::store::{FileName, StageError};
use crate::wire::{ErrorCode, ObjectKind, ResourcePath};

fn quietly(downloads: &[Download], config: &ClientConfig) -> Vec<DownloadResult> {
    download(downloads, config, &mut |_| {})
}

fn one(download: Download, config: &ClientConfig) -> DownloadResult {
    quietly(&[download], config).remove(0)
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn files_of_every_size_come_over_one_connection_in_any_mixture() {
    let sizes = [0, 1, 262_144, 262_145, 700_000, 3, 5_000_000, 0, 17];
    for sync in [SyncPolicy::Auto, SyncPolicy::Always, SyncPolicy::Never] {
        let temp = tempfile::tempdir().unwrap();
        let answers = sizes.iter().enumerate();
        let script = answers
            .map(|(n, &size)| Play::Answer(file(&format!("d/f{n}"), &noise(size))))
            .collect();
        let server = ScriptedServer::play(script);
        let downloads: Vec<_> = (0..sizes.len())
            .map(|n| server.download(temp.path(), &format!("d/f{n}")))
            .collect();
        let results = quietly(&downloads, &ClientConfig { sync, ..config() });
        for (n, (result, size)) in results.iter().zip(sizes).enumerate() {
            let done = result.as_ref().unwrap();
            assert_eq!(
                (done.total_size, done.action),
                (size as u64, Action::Fetched),
                "f{n}"
            );
            assert_eq!(done.md5, Some(md5_of(&noise(size))), "f{n}");
            assert!(
                fs::read(temp.path().join(format!("f{n}"))).unwrap() == noise(size),
                "f{n} differs"
            );
        }
        assert_eq!(entries(temp.path()).len(), sizes.len());
        assert_eq!(server.requests().len(), sizes.len());
    }
}

#[test]
fn a_list_is_taken_no_faster_than_its_entries_end() {
    let temp = tempfile::tempdir().unwrap();
    // Nobody listens there.
    let server = ScriptedServer::play(Vec::new());
    let download = server.download(temp.path(), "f");
    let (ended, most_ahead) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let entries = (0..30_000).map(|n| {
        most_ahead.fetch_max(n - ended.load(SeqCst), SeqCst);
        let (address, path) = (download.address.clone(), download.path.clone());
        let name = FileName::parse(format!("f{n}").as_bytes()).unwrap();
        match n % 3 {
            0 => Entry::PassedOver {
                address,
                path,
                kind: ObjectKind::Other,
            },
            _ => Download::new(address, path, temp.path().to_owned(), name).into(),
        }
    });
    let summary = Batch::new()
        .files(entries)
        .run(&config(), &mut |event| {
            if matches!(event, Event::Failed { .. } | Event::PassedOver { .. }) {
                ended.fetch_add(1, SeqCst);
            }
        })
        .unwrap();
    assert_eq!((summary.failed, summary.passed_over), (20_000, 10_000));
    // 4,096 jobs, and what is taken together and waits before them.
    assert!(most_ahead.into_inner() <= 5_000);
}

#[test]
fn a_wrong_digest_is_asked_for_anew_once() {
    for content in [noise(100), noise(400_000)] {
        let wrong = lying_file("f", &content, &md5_hex(b"other"));
        let temp = tempfile::tempdir().unwrap();
        let server = ScriptedServer::play(vec![
            Play::Answer(wrong.clone()),
            Play::Answer(file("f", &content)),
        ]);
        let done = one(server.download(temp.path(), "f"), &config()).unwrap();
        assert_eq!((done.attempts, done.action), (2, Action::Fetched));
        assert!(fs::read(temp.path().join("f")).unwrap() == content);
        let requests = server.requests();
        assert_eq!(
            (requests[0].get("fresh"), &requests[1]["fresh"]),
            (None, &true.into())
        );

        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("f"), "old").unwrap();
        let server = ScriptedServer::play(vec![Play::Answer(wrong.clone()), Play::Answer(wrong)]);
        let error = one(server.download(temp.path(), "f"), &config()).unwrap_err();
        assert!(
            matches!(error, ClientError::DigestMismatch { .. }),
            "{error:?}"
        );
        assert_eq!(entries(temp.path()), ["f"]);
        assert_eq!(fs::read(temp.path().join("f")).unwrap(), b"old");
    }
}

#[test]
fn a_cut_transfer_goes_on_where_it_stopped_in_the_same_content() {
    let content = noise(3_000_000);
    let whole = file("f", &content);
    let header_bytes = whole.len() - content.len();
    for cut in [300_000, 1_500_000, content.len() - 1] {
        let temp = tempfile::tempdir().unwrap();
        let server = ScriptedServer::play(vec![
            Play::Close(whole[..header_bytes + cut].to_vec()),
            Play::Answer(rest("f", &content, cut)),
        ]);
        let done = one(server.download(temp.path(), "f"), &config()).unwrap();
        assert_eq!(done.action, Action::Resumed { from: cut as u64 });
        assert!(fs::read(temp.path().join("f")).unwrap() == content);
        assert_eq!(entries(temp.path()), ["f"]);
        let requests = server.requests();
        assert_eq!(requests[1]["offset"], cut, "{requests:?}");
        assert_eq!(requests[1]["want_md5"], md5_hex(&content), "{requests:?}");
    }
}

#[test]
fn a_complete_partial_file_is_verified_and_placed_without_a_byte() {
    let content = noise(300_000);
    let temp = tempfile::tempdir().unwrap();
    let partial = format!(".ft-{}-{}.part", &md5_hex(b"f")[..16], md5_hex(&content));
    fs::write(temp.path().join(partial), &content).unwrap();
    let server = ScriptedServer::play(vec![Play::Answer(rest("f", &content, content.len()))]);
    let done = one(server.download(temp.path(), "f"), &config()).unwrap();
    assert_eq!(done.action, Action::Resumed { from: 300_000 });
    assert_eq!(entries(temp.path()), ["f"]);
}

#[test]
fn a_damaged_beginning_costs_a_second_transfer_and_no_wrong_file() {
    let content = noise(600_000);
    let temp = tempfile::tempdir().unwrap();
    let mut damaged = content[..400_000].to_vec();
    damaged[7] ^= 1;
    let partial = format!(".ft-{}-{}.part", &md5_hex(b"f")[..16], md5_hex(&content));
    fs::write(temp.path().join(partial), damaged).unwrap();
    let server = ScriptedServer::play(vec![
        Play::Answer(rest("f", &content, 400_000)),
        Play::Answer(file("f", &content)),
    ]);
    one(server.download(temp.path(), "f"), &config()).unwrap();
    assert!(fs::read(temp.path().join("f")).unwrap() == content);
    assert_eq!(entries(temp.path()), ["f"]);
}

#[test]
fn content_that_changed_is_never_joined_to_what_was_there() {
    let (old, new) = (noise(400_000), noise(500_000));
    // Told so, or sent whole by a server that knows three keys only.
    for script in [
        vec![
            Play::Answer(refusal("f", "changed")),
            Play::Answer(file("f", &new)),
        ],
        vec![Play::Answer(file("f", &new))],
    ] {
        let temp = tempfile::tempdir().unwrap();
        let partial = format!(".ft-{}-{}.part", &md5_hex(b"f")[..16], md5_hex(&old));
        fs::write(temp.path().join(partial), &old[..200_000]).unwrap();
        let server = ScriptedServer::play(script);
        let done = one(server.download(temp.path(), "f"), &config()).unwrap();
        assert_eq!(done.action, Action::Fetched);
        assert!(fs::read(temp.path().join("f")).unwrap() == new);
        assert_eq!(entries(temp.path()), ["f"]);
    }
}

#[test]
fn an_answer_that_contradicts_itself_or_the_question_is_refused() {
    let md5 = md5_hex(b"abc");
    for (what, header) in [
        ("another name", format!(r#"{{"filename":"g","total_size":3,"md5":"{md5}"}}"#)),
        ("no digest", r#"{"filename":"f","total_size":3,"md5":""}"#.to_owned()),
        ("a part", format!(r#"{{"filename":"f","total_size":3,"md5":"{md5}","body_size":2}}"#)),
        ("an offset", format!(r#"{{"filename":"f","total_size":4,"md5":"{md5}","offset":1,"body_size":3}}"#)),
        ("a match", format!(r#"{{"filename":"f","total_size":3,"md5":"{md5}","body_size":0,"match":true}}"#)),
        ("a key missing", r#"{"filename":"f","total_size":3}"#.to_owned()),
        (
            "an error with bytes",
            r#"{"filename":"f","total_size":0,"md5":"","body_size":3,"error":{"code":"busy","message":""}}"#
                .to_owned(),
        ),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let server = ScriptedServer::play(vec![Play::Answer([frame(&header), b"abc".to_vec()].concat())]);
        let error = one(server.download(temp.path(), "f"), &config()).unwrap_err();
        assert!(matches!(error, ClientError::Protocol(_)), "{what}: {error:?}");
        assert_eq!(entries(temp.path()), [""; 0], "{what}");
    }
}

#[test]
fn a_violation_costs_one_file_and_the_others_are_asked_again() {
    let temp = tempfile::tempdir().unwrap();
    let server = ScriptedServer::play(vec![
        Play::Answer(file("a", b"a")),
        Play::Close(b"\xff\xff\xff\xffnonsense".to_vec()),
        Play::Answer(file("c", b"c")),
    ]);
    let downloads = ["a", "b", "c"].map(|path| server.download(temp.path(), path));
    let results = quietly(&downloads, &config());
    assert!(
        matches!(results[1], Err(ClientError::Protocol(_))),
        "{results:?}"
    );
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    assert_eq!(entries(temp.path()), ["a", "c"]);
}

#[test]
fn a_refusal_is_final_or_passes_as_its_code_says() {
    at_some_pace(|factor| {
        for (code, attempts) in [
            ("not_found", 1),
            ("forbidden", 1),
            ("changed", 1),
            ("never_heard", 1),
            ("busy", 2),
        ] {
            let temp = tempfile::tempdir().unwrap();
            let script = (0..attempts)
                .map(|_| Play::Answer(refusal("f", code)))
                .collect();
            let server = ScriptedServer::play(script);
            let mut config = config();
            config.retry.retries_max = 1;
            // A pause that is over before anybody looks is not told.
            config.retry.delay = Duration::from_millis(200) * factor;
            let mut retries = 0;
            let results = download(
                &[server.download(temp.path(), "f")],
                &config,
                &mut |event| {
                    retries += u32::from(matches!(event, Event::Retrying { .. }));
                },
            );
            let Err(ClientError::Refused(refusal)) = &results[0] else {
                panic!("{results:?}")
            };
            assert_eq!(
                (refusal.spelling.as_str(), refusal.code),
                (code, ErrorCode::parse(code))
            );
            assert_eq!(
                (server.requests().len(), retries),
                (attempts, attempts as u32 - 1),
                "{code}"
            );
            assert_eq!(entries(temp.path()), [""; 0]);
        }
    });
}

#[test]
fn who_is_cut_off_again_and_again_gets_a_file_piece_by_piece() {
    let content = noise(400_000);
    let whole = file("f", &content);
    let header_bytes = whole.len() - content.len();
    for piece in [RETRY_PROGRESS_BYTES_MIN as usize, 50_000] {
        let temp = tempfile::tempdir().unwrap();
        let cuts = (piece..content.len()).step_by(piece);
        let mut script = vec![Play::Close(whole[..header_bytes + piece].to_vec())];
        script.extend(cuts.map(|cut| {
            let rest = rest("f", &content, cut);
            let header_bytes = rest.len() - (content.len() - cut);
            let end = (header_bytes + piece).min(rest.len());
            Play::Close(rest[..end].to_vec())
        }));
        let server = ScriptedServer::play(script);
        let mut config = config();
        config.retry.retries_max = 1;
        let done = one(server.download(temp.path(), "f"), &config).unwrap();
        assert!(fs::read(temp.path().join("f")).unwrap() == content);
        assert_eq!(done.attempts as usize, content.len().div_ceil(piece));
    }
}

#[test]
fn a_server_that_always_cuts_at_the_same_place_is_given_up() {
    let whole = file("f", &noise(2_000_000));
    let temp = tempfile::tempdir().unwrap();
    // The first attempt is progress; then the same bytes come again and again.
    let script = (0..4)
        .map(|_| Play::Close(whole[..1_500_000].to_vec()))
        .collect();
    let server = ScriptedServer::play(script);
    let error = one(server.download(temp.path(), "f"), &config()).unwrap_err();
    assert!(
        matches!(error, ClientError::Session(SessionError::CutOff(_))),
        "{error:?}"
    );
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn what_is_there_already_is_not_transferred() {
    let content = noise(1_000);
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("f"), &content).unwrap();
    let md5 = md5_hex(&content);
    let matched =
        format!(r#"{{"filename":"f","total_size":1000,"md5":"{md5}","body_size":0,"match":true}}"#);
    let server = ScriptedServer::play(vec![Play::Answer(frame(&matched))]);
    let done = one(server.download(temp.path(), "f"), &config()).unwrap();
    assert_eq!((done.action, done.total_size), (Action::Identical, 1_000));
    assert_eq!(server.requests()[0]["have_md5"], md5);
}

#[test]
fn what_needs_no_question_needs_no_server() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("f"), "mine").unwrap();
    // Nothing listens there.
    let gone = ScriptedServer::play(vec![]);
    let mut download = gone.download(temp.path(), "f");
    let with = |if_exists| ClientConfig {
        if_exists,
        ..config()
    };
    assert_eq!(
        one(download.clone(), &with(IfExists::Skip)).unwrap().action,
        Action::Skipped
    );
    let exists = one(download.clone(), &with(IfExists::Error)).unwrap_err();
    assert!(
        matches!(&exists, ClientError::Stage(error) if matches!(**error, StageError::Exists)),
        "{exists:?}"
    );
    assert!(matches!(
        one(download.clone(), &config()),
        Err(ClientError::Connect(_))
    ));
    download.want_md5 = Some(md5_of(b"mine"));
    assert_eq!(one(download, &config()).unwrap().action, Action::Identical);
}

#[test]
fn another_content_than_the_user_insists_on_is_not_accepted() {
    let temp = tempfile::tempdir().unwrap();
    let server = ScriptedServer::play(vec![Play::Answer(file("f", b"other"))]);
    let mut download = server.download(temp.path(), "f");
    download.want_md5 = Some(md5_of(b"wanted"));
    let error = one(download, &config()).unwrap_err();
    assert!(
        matches!(error, ClientError::OtherContent { .. }),
        "{error:?}"
    );
    assert_eq!(entries(temp.path()), [""; 0]);
}

#[test]
fn a_size_that_fits_nowhere_is_refused_before_the_first_byte() {
    let temp = tempfile::tempdir().unwrap();
    let header = format!(
        r#"{{"filename":"f","total_size":{},"md5":"{}"}}"#,
        i64::MAX,
        md5_hex(b"")
    );
    let server = ScriptedServer::play(vec![
        Play::Answer(frame(&header)),
        // Both are asked with one write; this one is not read, for what would come before it.
        Play::Answer(file("g", b"g")),
        Play::Answer(file("g", b"g")),
    ]);
    let downloads = ["f", "g"].map(|path| server.download(temp.path(), path));
    let results = quietly(&downloads, &config());
    let Err(ClientError::Stage(error)) = &results[0] else {
        panic!("{results:?}")
    };
    assert!(matches!(**error, StageError::NoSpace { .. }), "{error:?}");
    assert!(results[1].is_ok(), "{results:?}");
    assert_eq!(entries(temp.path()), ["g"]);
}

#[test]
fn two_downloads_of_one_name_are_not_both_made() {
    let temp = tempfile::tempdir().unwrap();
    let server = ScriptedServer::play(vec![Play::Answer(file("a/f", b"1"))]);
    let downloads = ["a/f", "b/f"].map(|path| server.download(temp.path(), path));
    let results = quietly(&downloads, &config());
    assert!(
        results[0].is_ok() && matches!(results[1], Err(ClientError::SameName(_))),
        "{results:?}"
    );
}

#[test]
fn more_servers_than_connections_are_all_asked() {
    let temp = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..40).map(|n| format!("f{n}")).collect();
    let servers: Vec<_> = names
        .iter()
        .map(|name| ScriptedServer::play(vec![Play::Answer(file(name, name.as_bytes()))]))
        .collect();
    let downloads: Vec<_> = servers
        .iter()
        .zip(&names)
        .map(|(server, name)| server.download(temp.path(), name))
        .collect();
    let results = quietly(&downloads, &config());
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(entries(temp.path()).len(), names.len());
}

#[test]
fn a_file_that_ends_every_connection_costs_no_other_file() {
    let temp = tempfile::tempdir().unwrap();
    let good = |name: &str| Play::Answer(file(name, name.as_bytes()));
    let server = ScriptedServer::play(vec![
        Play::Close(Vec::new()),
        good("g1"),
        good("g2"),
        Play::Close(Vec::new()),
        Play::Close(Vec::new()),
        Play::Close(Vec::new()),
    ]);
    let downloads = ["bad", "g1", "g2"].map(|path| server.download(temp.path(), path));
    let results = quietly(&downloads, &config());
    assert!(
        matches!(results[0], Err(ClientError::Session(_))),
        "{results:?}"
    );
    assert!(results[1].is_ok() && results[2].is_ok(), "{results:?}");
}

#[test]
fn a_thread_that_panics_costs_its_file_and_no_other() {
    for (sync, name) in [
        (SyncPolicy::Auto, "trips sending"),
        (SyncPolicy::Auto, "trips receiving"),
        (SyncPolicy::Auto, "trips placing"),
        (SyncPolicy::Never, "trips placing"),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let content = |name: &str| file(name, name.as_bytes());
        let mut script = vec![Play::Answer(content("a")), Play::Answer(content("b"))];
        match name {
            "trips sending" => {}
            // What is asked behind it is asked again.
            "trips receiving" => script.insert(1, Play::Close(content(name))),
            _ => script.insert(1, Play::Answer(content(name))),
        }
        let server = ScriptedServer::play(script);
        let downloads = ["a", name, "b"].map(|name| server.download(temp.path(), name));
        let mut config = ClientConfig { sync, ..config() };
        config.retry.retries_max = 0;
        let results = quietly(&downloads, &config);
        let [a, trips, b] = <[DownloadResult; 3]>::try_from(results).unwrap();
        assert_eq!(a.unwrap().action, Action::Fetched, "{name}");
        assert_eq!(b.unwrap().action, Action::Fetched, "{name}");
        let is_ours = matches!(trips, Err(ClientError::Internal(_)));
        assert!(is_ours, "{name}: {trips:?}");
    }
}

#[test]
fn folders_that_files_of_a_list_needed_are_synced_when_all_are_there() {
    for (below, sync, failed) in [
        ("new/deep", SyncPolicy::Auto, 1),
        ("new/deep", SyncPolicy::Never, 0),
        ("", SyncPolicy::Auto, 0),
    ] {
        let temp = tempfile::tempdir().unwrap();
        let name = "trips syncing";
        let server = ScriptedServer::play(vec![Play::Answer(file(name, b"x"))]);
        let download = Download {
            below: ResourcePath::parse(below.as_bytes()).unwrap(),
            ..server.download(temp.path(), name)
        };
        let config = ClientConfig { sync, ..config() };
        let summary = Batch::new()
            .file(download)
            .run(&config, &mut |_| {})
            .unwrap();
        assert!(temp.path().join(below).join(name).exists());
        // It is there, and whether its folders survive a power cut is told of, too.
        assert_eq!((summary.done, summary.failed), (1, failed), "{below}");
    }
}

#[test]
fn nothing_is_said_to_be_there_if_its_folders_may_not_survive_a_power_cut() {
    let temp = tempfile::tempdir().unwrap();
    let name = "trips syncing";
    let server = ScriptedServer::play(vec![
        Play::Answer(file(name, b"x")),
        Play::Answer(refusal("f", "not_found")),
    ]);
    let downloads = [name, "f"].map(|name| Download {
        below: ResourcePath::parse(b"new").unwrap(),
        ..server.download(temp.path(), name)
    });
    let results = quietly(&downloads, &config());
    assert!(
        matches!(
            &results[..],
            [Err(ClientError::Internal(_)), Err(ClientError::Refused(_))]
        ),
        "{results:?}"
    );
}
