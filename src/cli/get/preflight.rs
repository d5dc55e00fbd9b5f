//! `ftget --preflight`: checks all targets, and transfers nothing if one of them would fail.

use std::time::Instant;

use super::mirror;
use super::progress::{Progress, locked, on_reading};
use super::report::Reporter;
use super::target::{self, Target};
use super::wording;
use crate::client::{
    self, ClientConfig, ClientError, DeleteLimit, Event, Item, MirrorNotes, Prospect,
};

/// Checks all targets and reports what would fail. Returns whether nothing would. The time that
/// this takes is subtracted from the time limit of the run.
pub(super) fn passes(
    targets: Vec<Target>,
    deletion: Option<DeleteLimit>,
    config: &mut ClientConfig,
    reporter: &mut Reporter<'_>,
) -> bool {
    let started = Instant::now();
    let trees = mirror::trees(&targets, &reporter.style().own_files);
    let (batch, sources) = target::batch(targets);
    let reading = Progress::of_reading(reporter.style());
    let batch = batch.on_retry(wording::on_retry(reporter.style()));
    let batch = batch.on_reading(on_reading(&reading));
    let (mut entries, mut bytes) = (0_u64, 0_u64);
    let mut notes = MirrorNotes::new(config);
    let mut take = |prospect| match prospect {
        Prospect::Present { total_size, .. } => {
            entries += 1;
            bytes = bytes.saturating_add(total_size);
        }
        Prospect::PassedOver(_) => entries += 1,
        _ => {}
    };
    let looked = client::preview(batch, config, &mut |item, prospect| match prospect {
        Ok(prospect) => take(prospect),
        Err(error) if deletion.is_some() && notes.note(item, &error) => {}
        Err(error) => locked(&reading).above(|| fail(reporter, item, &error)),
    });
    locked(&reading).finish();
    let mut outlook = match looked {
        Ok(outlook) => outlook,
        Err(error) => {
            reporter.report_whole(&error);
            return false;
        }
    };
    for source in sources.iter().filter(|source| source.is_unmatched()) {
        reporter.report_unmatched(&source.source);
    }
    if let Some(limit) = deletion {
        let limit = DeleteLimit {
            dry_run: true,
            ..limit
        };
        let spent = started.elapsed();
        let on_event = &mut |event: Event<'_>| {
            if let Event::Failed { .. } | Event::Retrying { .. } | Event::Relisting { .. } = event {
                let _ = reporter.take(event);
            }
        };
        let mut mirrored = mirror::delete(&trees, limit, &mut notes, config, spent, on_event);
        outlook.locked.append(&mut mirrored.total.locked);
        if mirrored.total.reached_limit {
            reporter.report_delete_limit(limit.deleted_max);
        }
    }
    if let Some(rest) = notes.into_batch() {
        let config = mirror::after(started.elapsed(), config);
        let rest = rest.on_retry(wording::on_retry(reporter.style()));
        let rest = client::preview(rest, &config, &mut |item, prospect| match prospect {
            Ok(prospect) => take(prospect),
            Err(error) => fail(reporter, item, &error),
        });
        match rest {
            Ok(rest) => outlook.add_rest(rest),
            Err(error) => reporter.report_whole(&error),
        }
    }
    reporter.report_locked(&outlook.locked);
    reporter.report_space(&outlook.rooms);
    reporter.expect(entries, bytes);
    config.whole_timeout = config
        .whole_timeout
        .map(|whole| whole.saturating_sub(started.elapsed()));
    !reporter.has_failed()
}

fn fail(reporter: &mut Reporter<'_>, item: Item<'_>, error: &ClientError) {
    reporter.take(Event::Failed { item, error });
}
