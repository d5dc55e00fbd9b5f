//! What the threads of a batch tell the one that has the jobs.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::client::ClientError;
use crate::client::assembly::Assembly;
use crate::client::batch::jobs::JobId;
use crate::client::batch::lane::LaneId;
use crate::client::batch::look::Decision;
use crate::client::batch::placing::Placed;
use crate::client::receive::Following;
use crate::client::session::Held;
use crate::wire::Timestamp;

/// What happened.
pub(in crate::client) enum Report {
    /// A hand has looked for these jobs, and what it did is on disk.
    Looked(Vec<(JobId, Result<Decision, ClientError>)>),
    /// A listing failed, and is asked for again after a pause.
    Relisting { error: ClientError, pause: Duration },
    /// A connection is there.
    Connected { lane: LaneId, connection: Held },
    /// So many further questions have their whole answer.
    Answered { lane: LaneId, count: usize },
    /// A file that is here is read: bytes so far, and of how many.
    Reading(JobId, u64, u64),
    /// The server makes the digest before it can answer.
    Hashing {
        id: JobId,
        done: u64,
        total_size: u64,
    },
    /// The bytes of a large file begin.
    Began {
        id: JobId,
        total_size: u64,
        resumed_from: u64,
    },
    /// More of a large file has arrived.
    Received { id: JobId, bytes: u64, left: u64 },
    /// A file comes in blocks, of which this connection receives the first.
    Split {
        id: JobId,
        assembly: Arc<Assembly>,
        following: Box<Following>,
    },
    /// A block begins to come over this connection.
    Serves(LaneId),
    /// More of a file that comes in blocks has arrived.
    Assembled { id: JobId, assembly: Arc<Assembly> },
    /// A block was refused, or cannot be written.
    BlockFailed {
        lane: LaneId,
        id: JobId,
        assembly: Arc<Assembly>,
        block: Range<u64>,
        error: ClientError,
    },
    /// The server has what is here, with this mode and time.
    Matched {
        id: JobId,
        mode: Option<u32>,
        mtime: Option<Timestamp>,
    },
    /// The file that has the same bytes could not be copied.
    NotCopied(JobId),
    /// The ends of jobs, or of attempts.
    Finished(Vec<(JobId, Result<Placed, ClientError>)>),
    /// A connection is over.
    Ended { lane: LaneId, end: LaneEnd },
}

/// How a connection ended.
pub(in crate::client) enum LaneEnd {
    /// There never was one.
    Unconnected(ClientError),
    /// It failed while the first question without an answer was to be answered, with so many
    /// bytes of that file here, or all of its block up to that place. After a panic nothing is
    /// known of either, and the file has failed.
    Lost { error: ClientError, bytes: u64 },
    /// It was ended from here.
    Left,
}

/// Where reports go. Waits while many are still to be read.
#[derive(Clone)]
pub(in crate::client) struct Reports(pub(in crate::client) Sender<Report>);

impl Reports {
    /// Reports the end of one job, or of an attempt.
    pub(in crate::client) fn finished(&self, id: JobId, outcome: Result<Placed, ClientError>) {
        self.send(Report::Finished(vec![(id, outcome)]));
    }

    pub(in crate::client) fn send(&self, report: Report) {
        // Who does not listen any more has ended all jobs.
        let _ = self.0.send(report);
    }
}
