//! Sessions, downloads and batches.
