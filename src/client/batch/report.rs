//! What the threads of a batch tell the one that has the jobs.

use crossbeam_channel::Sender;

use crate::client::ClientError;
use crate::client::batch::jobs::JobId;
use crate::client::batch::lane::LaneId;
use crate::client::batch::look::Decision;
use crate::client::batch::placing::Placed;

/// What happened.
pub(in crate::client) enum Report {
    /// A hand has looked for these jobs.
    Looked(Vec<(JobId, Result<Decision, ClientError>)>),
    /// A connection is there.
    Connected(LaneId),
    /// So many further questions have their whole answer.
    Answered { lane: LaneId, count: usize },
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
    /// The server has what is here.
    Matched(JobId),
    /// The end of a job, or of an attempt.
    Finished {
        id: JobId,
        outcome: Result<Placed, ClientError>,
    },
    /// A connection is over.
    Ended { lane: LaneId, end: LaneEnd },
}

/// How a connection ended.
pub(in crate::client) enum LaneEnd {
    /// There never was one.
    Unconnected(ClientError),
    /// It failed while the first question without an answer was to be answered, with so many
    /// bytes of that file here.
    Lost { error: ClientError, bytes: u64 },
    /// It was ended from here.
    Left,
}

/// Where reports go. Waits while many are still to be read.
#[derive(Clone)]
pub(in crate::client) struct Reports(pub(in crate::client) Sender<Report>);

impl Reports {
    pub(in crate::client) fn send(&self, report: Report) {
        // Who does not listen any more has ended all jobs.
        let _ = self.0.send(report);
    }
}
