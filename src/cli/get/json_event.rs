//! What programs are told: an object a line, whose keys are a promise.

use std::borrow::Cow;

use serde::Serialize;

use super::wording::filename_b64;
use crate::wire::{ObjectKind, ResourcePath};

/// A file or link is present.
#[derive(Serialize)]
pub(super) struct Done<'a> {
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
    pub(super) exec_status: Option<i32>,
}

/// Something was deleted.
#[derive(Serialize)]
pub(super) struct Deleted<'a> {
    pub(super) v: u8,
    pub(super) event: &'static str,
    pub(super) filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filename_b64: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

impl Deleted<'_> {
    /// What was at this path, and is not here any more.
    pub(super) fn of(path: &ResourcePath, kind: ObjectKind) -> Deleted<'_> {
        Deleted {
            v: 1,
            event: "deleted",
            filename: String::from_utf8_lossy(path.as_bytes()),
            filename_b64: filename_b64(path.as_bytes()),
            kind: match kind {
                ObjectKind::File => "file",
                ObjectKind::Directory => "dir",
                ObjectKind::Symlink => "symlink",
                ObjectKind::Other => "other",
            },
        }
    }
}

/// Something failed.
#[derive(Serialize)]
pub(super) struct Failed<'a> {
    pub(super) v: u8,
    pub(super) event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) n: Option<usize>,
    pub(super) filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filename_b64: Option<String>,
    pub(super) code: u8,
    pub(super) reason: &'a str,
    pub(super) message: &'a str,
}

/// Something cannot be transferred.
#[derive(Serialize)]
pub(super) struct PassedOver<'a> {
    pub(super) v: u8,
    pub(super) event: &'static str,
    pub(super) n: usize,
    pub(super) filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filename_b64: Option<String>,
    pub(super) reason: &'a str,
}

/// How it all ended.
#[derive(Serialize)]
pub(super) struct Summary {
    pub(super) v: u8,
    pub(super) event: &'static str,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) passed_over: u64,
    pub(super) bytes: u64,
    pub(super) hidden: u64,
    /// With --delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) deleted: Option<u64>,
    pub(super) secs: f64,
    pub(super) code: u8,
}
