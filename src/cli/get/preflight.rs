//! `ftget --preflight`: nothing is done unless, as far as can be seen, all of it can be.

use std::time::Instant;

use super::mirror;
use super::report::Reporter;
use super::wish::{self, Wish};
use crate::client::{self, ClientConfig, DeleteLimit, Event, Prospect};

/// Looks at everything that is wished for, and tells what would fail. Returns whether nothing
/// would. The time it takes is taken from that for everything.
pub(super) fn passes(
    wishes: Vec<Wish>,
    deleted_max: Option<u64>,
    config: &mut ClientConfig,
    reporter: &mut Reporter<'_>,
) -> bool {
    let started = Instant::now();
    let trees = mirror::trees(&wishes);
    let (batch, sources) = wish::batch(wishes);
    let (mut entries, mut bytes) = (0_u64, 0_u64);
    let outlook = client::preview(batch, config, &mut |item, prospect| match prospect {
        Ok(Prospect::Present { total_size, .. }) => {
            entries += 1;
            bytes = bytes.saturating_add(total_size);
        }
        Ok(Prospect::PassedOver(_)) => entries += 1,
        Ok(_) => {}
        Err(error) => drop(reporter.take(Event::Failed {
            item,
            error: &error,
        })),
    });
    for source in sources.iter().filter(|source| source.is_nothing()) {
        reporter.tell_nothing(&source.source);
    }
    if let Some(deleted_max) = deleted_max.filter(|&max| max < u64::MAX) {
        let limit = DeleteLimit {
            deleted_max,
            dry_run: true,
        };
        let spent = started.elapsed();
        let deleted = mirror::delete(&trees, limit, config, spent, &mut |event| {
            if let Event::Failed { .. } = event {
                reporter.take(event);
            }
        });
        if deleted.reached_limit {
            reporter.tell_too_many_extras(deleted_max);
        }
    }
    reporter.tell_rooms(&outlook.rooms);
    reporter.expect(entries, bytes);
    config.whole_timeout = config
        .whole_timeout
        .map(|whole| whole.saturating_sub(started.elapsed()));
    !reporter.has_failed()
}
