//! Verified placement: a partial file, then sync, rename and sync of the folder.

/// Why a file could not be staged or placed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {}

/// A folder in which files are staged and placed.
pub struct StagingFolder {}

/// A partial file, locked.
pub struct StagedFile {}

/// What placing a file did.
pub enum Placement {}
