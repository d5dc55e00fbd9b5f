//! What is on disk when something is told.

use std::fs;

use super::scripted::{Play, ScriptedServer, config, frame, md5_hex, refusal};
use crate::client::{
    Action, Batch, ClientConfig, DeleteLimit, Event, MirrorNotes, SyncPolicy, Tree, delete_extras,
};
use crate::store::{Synced, synced_below};
use crate::wire::ResourcePath;

/// A listing of this folder to its end.
fn page(entries: &[&str]) -> Vec<u8> {
    let body: String = entries
        .iter()
        .map(|entry| format!("{{{entry}}}\n"))
        .collect();
    let (size, md5) = (body.len(), md5_hex(body.as_bytes()));
    let header = format!(
        r#"{{"filename":"d","total_size":{size},"md5":"{md5}","last":true,"recursive":true}}"#
    );
    [frame(&header), body.into_bytes()].concat()
}

fn tree(server: &ScriptedServer, place: &std::path::Path) -> Tree {
    let path = ResourcePath::parse(b"d").unwrap();
    Tree::all(server.address.clone(), path, place.to_owned())
}

#[test]
fn a_link_is_reported_as_done_when_it_was_synced() {
    for (sync, at_least) in [
        (SyncPolicy::Auto, 1),
        (SyncPolicy::Always, 1),
        (SyncPolicy::Never, 0),
    ] {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("sub")).unwrap();
        let link = r#""total_size":0,"md5":"","type":"symlink","target":"x""#;
        let server = ScriptedServer::play(vec![Play::Answer(page(&[
            &format!(r#""filename":"d/link",{link}"#),
            r#""filename":"d/sub","total_size":0,"md5":"","type":"dir""#,
            &format!(r#""filename":"d/sub/link",{link}"#),
        ]))]);
        let config = ClientConfig { sync, ..config() };
        let mut done = Vec::new();
        let summary = Batch::new()
            .tree(tree(&server, temp.path()))
            .run(&config, &mut |event| {
                if let Event::Done { downloaded, .. } = event {
                    done.push((downloaded.action, synced_below(temp.path())));
                }
            });
        let summary = summary.unwrap();
        assert_eq!((summary.done, summary.failed), (2, 0));
        for (action, synced) in done {
            assert_eq!(action, Action::Link);
            let expected = at_least..=2 * at_least;
            assert!(expected.contains(&synced.len()), "{sync:?}: {synced:?}");
        }
        for link in ["link", "sub/link"] {
            let target = fs::read_link(temp.path().join(link)).unwrap();
            assert_eq!(target.as_os_str(), "x");
        }
    }
}

#[test]
fn what_was_deleted_is_made_to_last_once() {
    for (sync, expected) in [
        (SyncPolicy::Auto, vec![Synced::FileSystem]),
        (SyncPolicy::Always, vec![Synced::FileSystem]),
        (SyncPolicy::Never, vec![]),
    ] {
        let temp = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(temp.path().join(name), "").unwrap();
        }
        let mut script = vec![Play::Answer(page(&[]))];
        script.extend(
            ["a", "b", "c"].map(|name| Play::Answer(refusal(&format!("d/{name}"), "not_found"))),
        );
        let server = ScriptedServer::play(script);
        let config = ClientConfig { sync, ..config() };
        let limit = DeleteLimit {
            allow_empty: true,
            deleted_max: 10,
            dry_run: false,
        };
        let deleted = delete_extras(
            &tree(&server, temp.path()),
            limit,
            &mut MirrorNotes::new(&config),
            &config,
            &mut |_| {},
        );
        assert_eq!((deleted.deleted, deleted.failed), (3, 0));
        assert_eq!(synced_below(temp.path()), expected, "{sync:?}");
    }
}
