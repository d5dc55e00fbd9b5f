//! The lines of `--json`: one object per line, with stable keys.

use std::borrow::Cow;

use serde::Serialize;

use super::wording::{file_here, filename_b64};
use crate::client::Item;
use crate::wire::ObjectKind;

/// A file or link is present.
#[derive(Serialize)]
pub(super) struct DoneEvent<'a> {
    pub(super) v: u8,
    pub(super) event: &'static str,
    pub(super) n: usize,
    pub(super) filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filename_b64: Option<String>,
    pub(super) total_size: u64,
    pub(super) md5: Option<String>,
    pub(super) action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) resumed_from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) secs: f64,
    pub(super) attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit_status: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error_output: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exec_status: Option<i32>,
}

/// A local entry was deleted.
#[derive(Serialize)]
pub(super) struct DeletedEvent<'a> {
    pub(super) v: u8,
    pub(super) event: &'static str,
    pub(super) filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filename_b64: Option<String>,
    /// The local path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file_b64: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

impl DeletedEvent<'_> {
    /// The event for a deleted entry.
    pub(super) fn of(item: Item<'_>, kind: ObjectKind) -> DeletedEvent<'_> {
        let (file, file_b64) = file_here(item);
        DeletedEvent {
            v: 1,
            event: "deleted",
            filename: String::from_utf8_lossy(item.path.as_bytes()),
            filename_b64: filename_b64(item.path.as_bytes()),
            file,
            file_b64,
            kind: match kind {
                ObjectKind::File => "file",
                ObjectKind::Directory => "dir",
                ObjectKind::Symlink => "symlink",
                ObjectKind::Other => "other",
            },
        }
    }
}

/// A failure.
#[derive(Serialize)]
pub(super) struct FailedEvent<'a> {
    pub(super) v: u8,
    pub(super) event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) n: Option<usize>,
    pub(super) filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filename_b64: Option<String>,
    /// The local path, if the message is about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file_b64: Option<String>,
    pub(super) code: u8,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
}

/// An entry cannot be transferred.
#[derive(Serialize)]
pub(super) struct PassedOverEvent<'a> {
    pub(super) v: u8,
    pub(super) event: &'static str,
    pub(super) n: usize,
    pub(super) filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filename_b64: Option<String>,
    pub(super) reason: &'a str,
}
