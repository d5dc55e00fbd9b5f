//! Small files of one connection, which travel together.

use std::mem;

use crate::client::batch::hands::Body;
use crate::client::batch::lane::LaneWork;

/// Small files that were received and not verified yet. They are verified together.
#[derive(Default)]
pub(in crate::client) struct Group {
    files: Vec<Body>,
    bytes: u64,
}

impl Group {
    pub(in crate::client) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(in crate::client) fn push(&mut self, file: Body) {
        self.bytes += file.content.total_size;
        self.files.push(file);
    }

    /// Whether it has enough files for all SIMD lanes, and few enough for several threads.
    pub(in crate::client) fn is_full(&self) -> bool {
        self.files.len() >= GROUP_FILES_MAX || self.bytes >= GROUP_BYTES_MAX
    }

    /// Has the files verified.
    pub(in crate::client) fn hand_over(&mut self, work: &LaneWork<'_>) {
        if !self.files.is_empty() {
            self.bytes = 0;
            // The threads that verify end after this one.
            let _ = work.bodies.send(mem::take(&mut self.files));
        }
    }
}

const GROUP_FILES_MAX: usize = 64;
const GROUP_BYTES_MAX: u64 = 1024 * 1024;
