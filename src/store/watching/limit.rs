//! The limits that the kernel sets to what one user may have watched.

/// A limit of inotify that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InotifyLimit {
    /// Programs that watch, so that nothing can be watched.
    #[error("limit of inotify instances (fs.inotify.max_user_instances) is reached")]
    Instances,
    /// Directories that are watched.
    #[error("limit of inotify watches (fs.inotify.max_user_watches) is reached")]
    Watches,
    /// Changes that were not read yet, so that some were not reported.
    #[error("limit of queued inotify events (fs.inotify.max_queued_events) was reached")]
    QueuedEvents,
}

impl InotifyLimit {
    /// The limit that an error is about.
    pub fn of(error: &std::io::Error) -> Option<InotifyLimit> {
        error.get_ref()?.downcast_ref().copied()
    }

    /// Its name in `/proc/sys`, as sysctl(8) spells it (inotify(7)).
    pub fn sysctl(self) -> &'static str {
        match self {
            InotifyLimit::Instances => "fs.inotify.max_user_instances",
            InotifyLimit::Watches => "fs.inotify.max_user_watches",
            InotifyLimit::QueuedEvents => "fs.inotify.max_queued_events",
        }
    }
}
