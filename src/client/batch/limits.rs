//! What everything in a batch keeps to together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{Batch, ClientConfig, ClientError, Event};
use crate::net::{Deadline, Rate, Wait};
use crate::wire::ResourcePath;

/// What everything in a batch keeps to together.
#[derive(Clone)]
pub(in crate::client) struct Limits {
    pub(in crate::client) whole: Option<Deadline>,
    pub(in crate::client) rate: Option<Arc<Rate>>,
    /// Hears of a question that failed and is asked again, before the pause.
    on_retry: Option<OnRetry>,
    /// Hears of a file here that is being read.
    on_reading: Option<OnReading>,
}

pub(in crate::client) type OnRetry = Arc<dyn Fn(&ClientError, Duration) + Send + Sync>;
pub(in crate::client) type OnReading = Arc<dyn Fn(&ResourcePath, u64, u64) + Send + Sync>;

impl<'a> Batch<'a> {
    /// Has a preview or a comparison tell, in any thread, what failed and is tried again; to
    /// download tells it as an [`Event`].
    #[must_use]
    pub fn on_retry(
        mut self,
        on_retry: impl Fn(&ClientError, Duration) + Send + Sync + 'static,
    ) -> Batch<'a> {
        self.on_retry = Some(Arc::new(on_retry));
        self
    }

    /// The same of how far a file here is read: its path on the server, bytes read, and of how many.
    #[must_use]
    pub fn on_reading(
        mut self,
        on_reading: impl Fn(&ResourcePath, u64, u64) + Send + Sync + 'static,
    ) -> Batch<'a> {
        self.on_reading = Some(Arc::new(on_reading));
        self
    }
}

impl Limits {
    /// From now on.
    pub(in crate::client) fn new(config: &ClientConfig) -> Limits {
        let after = |limit| Deadline::after(Instant::now(), Wait::Whole, limit);
        Limits {
            whole: config.whole_timeout.map(after),
            rate: config.rate.map(Rate::new),
            on_retry: None,
            on_reading: None,
        }
    }

    /// Has somebody hear of what is tried again.
    pub(in crate::client) fn telling(self, on_retry: Option<OnRetry>) -> Limits {
        Limits { on_retry, ..self }
    }

    /// Has those hear who want to hear of a batch that is only looked at.
    pub(in crate::client) fn telling_of(self, batch: &Batch<'_>) -> Limits {
        Limits {
            on_reading: batch.on_reading.clone(),
            ..self.telling(batch.on_retry.clone())
        }
    }

    /// Tells how far a file here is read, of which this is the path on the server. Returns whether
    /// there is time for the rest.
    pub(in crate::client) fn may_read(
        &self,
        path: &ResourcePath,
        done: u64,
        total_size: u64,
    ) -> bool {
        if let Some(on_reading) = &self.on_reading
            && total_size > 0
        {
            on_reading(path, done, total_size);
        }
        self.has_time()
    }

    /// Tells of what is tried again.
    pub(in crate::client) fn tell(&self, event: &Event<'_>) {
        if let (
            Some(on_retry),
            Event::Retrying { error, pause, .. } | Event::Relisting { error, pause },
        ) = (&self.on_retry, event)
        {
            on_retry(error, *pause);
        }
    }

    /// Whether it is not over.
    pub(in crate::client) fn has_time(&self) -> bool {
        !self
            .whole
            .is_some_and(|whole| whole.is_over(Instant::now()))
    }
}
