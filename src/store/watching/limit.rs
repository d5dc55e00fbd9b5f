//! The kernel's limits of inotify for one user.

/// A limit of inotify that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InotifyLimit {
    /// Programs that watch; nothing can be watched.
    #[error("limit of inotify instances (fs.inotify.max_user_instances) is reached")]
    Instances,
    /// Directories that are watched.
    #[error("limit of inotify watches (fs.inotify.max_user_watches) is reached")]
    Watches,
    /// Events that were not read in time, so that some are lost.
    #[error("limit of queued inotify events (fs.inotify.max_queued_events) was reached")]
    QueuedEvents,
}

impl InotifyLimit {
    /// The limit that an error is about.
    pub fn of(error: &std::io::Error) -> Option<InotifyLimit> {
        error.get_ref()?.downcast_ref().copied()
    }

    /// Its name in `/proc/sys`, as in sysctl(8) (inotify(7)).
    pub fn sysctl(self) -> &'static str {
        match self {
            InotifyLimit::Instances => "fs.inotify.max_user_instances",
            InotifyLimit::Watches => "fs.inotify.max_user_watches",
            InotifyLimit::QueuedEvents => "fs.inotify.max_queued_events",
        }
    }
}
