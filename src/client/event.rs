//! What a client reports while it works, and what it returns.

use std::path::Path;
use std::time::Duration;

use crate::client::{ClientError, Download};
use crate::net::Address;
use crate::store::{FileName, Unkept};
use crate::wire::{Md5Digest, ObjectKind, ResourcePath};

/// Which of all things that were wanted.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Item<'a> {
    /// Its place among them, from 0.
    pub index: usize,
    /// The server.
    pub address: &'a Address,
    /// Its path there.
    pub path: &'a ResourcePath,
    /// Its path here, where the message is about what is here: in a preview, a comparison, or of
    /// what is deleted.
    pub here: Option<&'a Path>,
}

/// Something happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// More is known of what is wanted: all of it so far, told each time some was taken up.
    Found {
        /// Files, links, and what will be passed over or has failed.
        entries: u64,
        /// Bytes of those files whose size was listed.
        bytes: u64,
        /// There is nothing else.
        is_all: bool,
    },
    /// The server makes the digest before it can answer.
    ServerHashing {
        /// Which download.
        item: Item<'a>,
        /// Bytes hashed so far.
        done: u64,
        /// Bytes of the file; 0 if the server did not say.
        total_size: u64,
    },
    /// A large file that is here is read, to be compared with the server's; at most every
    /// [`PROGRESS_INTERVAL`].
    Reading {
        /// Which download.
        item: Item<'a>,
        /// Bytes read so far.
        done: u64,
        /// Bytes of the file.
        total_size: u64,
    },
    /// The bytes of a large file begin. Small ones are only reported when they are finished.
    Began {
        /// Which download.
        item: Item<'a>,
        /// Bytes of the whole file.
        total_size: u64,
        /// Bytes that are there from an earlier attempt.
        resumed_from: u64,
    },
    /// More of a large file has arrived; at most every [`PROGRESS_INTERVAL`].
    Received {
        /// Which download.
        item: Item<'a>,
        /// Bytes of the file that are here, with those of earlier attempts.
        bytes: u64,
    },
    /// One download is finished.
    Done {
        /// Which download.
        item: Item<'a>,
        /// Where it is, unless it was streamed.
        download: Option<&'a Download>,
        /// How it ended.
        downloaded: &'a Downloaded,
    },
    /// Something was listed that cannot be transferred: a link that leads outside, a FIFO, a
    /// socket, a device.
    PassedOver {
        /// Which.
        item: Item<'a>,
        /// What it is.
        kind: ObjectKind,
    },
    /// A tree has entries that its server does not show: what is here is not the whole.
    Hidden {
        /// How many, of the folders that were listed.
        entries: u64,
    },
    /// The file systems of the destination cannot keep all: the bytes are in place.
    Unkept(Unkept),
    /// Something was deleted here, since the server does not have it.
    Deleted {
        /// Which; its path is the one that it would have there.
        item: Item<'a>,
        /// What it was.
        kind: ObjectKind,
    },
    /// One download has failed for good.
    Failed {
        /// Which download.
        item: Item<'a>,
        /// Why.
        error: &'a ClientError,
    },
    /// Something failed and is tried again after a pause.
    Retrying {
        /// How many downloads are not finished.
        unfinished: usize,
        /// What failed.
        error: &'a ClientError,
        /// The pause.
        pause: Duration,
    },
    /// The listing of a tree failed and is asked for again after a pause; what was listed
    /// before is downloaded meanwhile.
    Relisting {
        /// What failed.
        error: &'a ClientError,
        /// The pause.
        pause: Duration,
    },
}

/// A file that is present and, unless it was skipped, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Downloaded {
    /// The name it has now; another than was asked for only with
    /// [`crate::client::IfExists::Rename`]; none if it was streamed.
    pub name: Option<FileName>,
    /// Bytes of the file.
    pub total_size: u64,
    /// Its digest; `None` if it was skipped.
    pub md5: Option<Md5Digest>,
    /// What was done for it.
    pub action: Action,
    /// From its first request to its end.
    pub elapsed: Duration,
    /// Requests that were sent for it.
    pub attempts: u32,
    /// Of a published command: how it ended.
    pub command: Option<CommandEnd>,
}

impl Downloaded {
    /// Bytes that came over the network.
    pub fn transferred(&self) -> u64 {
        self.action.transferred(self.total_size)
    }
}

/// How a command ended that was run on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandEnd {
    /// 0 to 255; 128 + n for a signal.
    pub exit_status: u8,
    /// If it failed, the last lines of its error output, as they came: to be escaped before a
    /// person sees them.
    pub error_output: Option<String>,
}

/// What was done for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// All of it was transferred.
    Fetched,
    /// The rest of it was transferred.
    Resumed {
        /// Bytes that were there before.
        from: u64,
    },
    /// The same content was there already.
    Identical,
    /// The same content was there under another name, and was copied: a file of its own, which
    /// shares blocks with the other until one is written to, where the file system can do that.
    Linked,
    /// Something of that name was there, and that was enough.
    Skipped,
    /// It is a symbolic link, and was made.
    Link,
}

impl Action {
    /// How many of the bytes of a file come over the network.
    pub fn transferred(self, total_size: u64) -> u64 {
        match self {
            Action::Fetched => total_size,
            Action::Resumed { from } => total_size.saturating_sub(from),
            Action::Identical | Action::Linked | Action::Skipped | Action::Link => 0,
        }
    }
}

/// How often the progress of one file is reported, at most.
pub const PROGRESS_INTERVAL: Duration = Duration::from_millis(50);
