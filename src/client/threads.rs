//! Threads, which this machine may refuse: containers and `ulimit -u` limit them.

use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::client::ClientError;

/// Starts a thread.
///
/// # Errors
/// [`ClientError::NoThread`]; what it was to do is dropped.
pub(super) fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, ClientError> {
    Builder::new()
        .name(name.to_owned())
        .spawn_scoped(scope, run)
        .map_err(|error| ClientError::NoThread(Arc::new(error)))
}
