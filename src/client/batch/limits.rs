//! What everything in a batch keeps to together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::{ClientConfig, ClientError, Event};
use crate::net::{Deadline, Rate, Wait};

/// What everything in a batch keeps to together.
#[derive(Clone)]
pub(in crate::client) struct Limits {
    pub(in crate::client) whole: Option<Deadline>,
    pub(in crate::client) rate: Option<Arc<Rate>>,
    /// Hears of a question that failed and is asked again, before the pause.
    on_retry: Option<OnRetry>,
}

pub(in crate::client) type OnRetry = Arc<dyn Fn(&ClientError, Duration) + Send + Sync>;

impl Limits {
    /// From now on.
    pub(in crate::client) fn new(config: &ClientConfig) -> Limits {
        let after = |limit| Deadline::after(Instant::now(), Wait::Whole, limit);
        Limits {
            whole: config.whole_timeout.map(after),
            rate: config.rate.map(Rate::new),
            on_retry: None,
        }
    }

    /// Has somebody hear of what is tried again.
    pub(in crate::client) fn telling(self, on_retry: Option<OnRetry>) -> Limits {
        Limits { on_retry, ..self }
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
