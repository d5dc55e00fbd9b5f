//! Where `ftget` is tried: a server, and an empty folder to fetch into.

use std::ffi::OsString;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Program, Scratch, TestServer};

/// A server and an empty folder to fetch into.
pub(crate) struct Place {
    pub(crate) root: Scratch,
    pub(crate) server: TestServer,
    pub(crate) here: Scratch,
}

impl Place {
    /// A server of these files.
    pub(crate) fn with<N: AsRef<Path>, B: AsRef<[u8]>>(
        files: impl IntoIterator<Item = (N, B)>,
    ) -> Place {
        let root = Scratch::with_files(files);
        let server = TestServer::plain(root.path());
        Place {
            root,
            server,
            here: Scratch::new(),
        }
    }

    /// `ftget` in the empty folder.
    pub(crate) fn ftget(&self) -> Program {
        Program::ftget().in_folder(self.here.path())
    }

    /// Panics unless these files, and nothing else, lie in the folder.
    #[track_caller]
    pub(crate) fn assert_only(&self, files: &[(&str, &[u8])]) {
        let mut names: Vec<OsString> = files.iter().map(|(name, _)| (*name).into()).collect();
        names.sort();
        assert_eq!(self.here.names(), names, "what lies in the folder");
        for (name, content) in files {
            assert!(self.here.read(name) == *content, "{name} differs");
        }
    }
}

/// The first event of this kind.
#[track_caller]
pub(crate) fn event<'a>(events: &'a [Value], kind: &str) -> &'a Value {
    let found = events.iter().find(|event| event["event"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} event in {events:?}"))
}
