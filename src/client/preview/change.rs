//! What would be done at one place.

use std::sync::Arc;

use super::Prospect;
use crate::client::Action;
use crate::store::TargetInfo;
use crate::wire::Md5Digest;

/// What would be done at a place.
pub(in crate::client) struct Change {
    pub(in crate::client) prospect: Prospect,
    pub(in crate::client) ground: Arc<TargetInfo>,
    /// Bytes of the file that would be gone when the new one has its name.
    pub(in crate::client) replaced_bytes: Option<u64>,
    /// Of a file, if that is known.
    pub(in crate::client) md5: Option<Md5Digest>,
}

impl Change {
    /// What is done without a byte of a file.
    pub(super) fn done(action: Action, replaces: bool, ground: Arc<TargetInfo>) -> Change {
        let prospect = Prospect::Present {
            action,
            replaces,
            total_size: 0,
        };
        Change::alone(prospect, ground)
    }

    /// Nothing is replaced, and no digest is known.
    pub(super) fn alone(prospect: Prospect, ground: Arc<TargetInfo>) -> Change {
        Change {
            prospect,
            ground,
            replaced_bytes: None,
            md5: None,
        }
    }
}
