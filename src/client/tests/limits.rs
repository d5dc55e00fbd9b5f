use std::net::TcpListener;
use std::time::Duration;

use super::scripted::{Play, ScriptedServer, at_some_pace, config, file};
use crate::client::{Batch, ClientConfig, ClientError, Download, Event};
use crate::net::Address;
use crate::wire::ResourcePath;

#[test]
fn what_was_told_as_done_is_made_to_last_when_time_is_over() {
    at_some_pace(|factor| {
        let temp = tempfile::tempdir().unwrap();
        let name = "trips syncing";
        let server = ScriptedServer::play(vec![Play::Answer(file(name, b"x"))]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
        };
        let there = Download {
            below: ResourcePath::parse(b"new").unwrap(),
            ..server.download(temp.path(), name)
        };
        let never = Download {
            address: silent,
            ..server.download(temp.path(), "never")
        };
        let config = ClientConfig {
            whole_timeout: Some(Duration::from_secs(2) * factor),
            ..config()
        };
        let mut failed = Vec::new();
        let summary = Batch::new()
            .files([never, there])
            .run(&config, &mut |event| {
                if let Event::Failed { error, .. } = event {
                    failed.push(error.clone());
                }
            })
            .unwrap();
        assert_eq!(summary.done, 1);
        // That its folder is synced is seen by the panic there.
        assert!(
            matches!(
                &failed[..],
                [ClientError::OutOfTime, ClientError::Internal(_)]
            ),
            "{failed:?}"
        );
    });
}
