//! `ftget --dry-run`: what would be done, told.

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Instant;

use serde::Serialize;

use super::failure::{Failures, classify};
use super::listed::BadLines;
use super::meaning::{Destination, Order};
use super::mirror;
use super::wish::batch;
use super::wording::{self, Message, Source, filename_b64};
use crate::cli::failure::unwritten;
use crate::cli::terminal::{counted, tell, visible_json};
use crate::cli::{ExitCode, visible};
use crate::client::{self, Action, DeleteLimit, Deleted, Event, Item, Prospect};

/// Tells what each download would do, and ends as the downloads would as far as is known.
pub(super) fn show(order: Order) -> ExitCode {
    let Order {
        destination,
        deleted_max,
        config,
        manner,
    } = order;
    let Destination::Files(wishes) = destination else {
        return ExitCode::Usage;
    };
    let (mut failures, mut bad_lines) = (Failures::default(), BadLines::default());
    let mut output = io::stdout().lock();
    let started = Instant::now();
    let trees = deleted_max.map(|_| mirror::trees(&wishes));
    let (batch, sources) = batch(wishes);
    let mut unwritable = None;
    client::preview(batch, &config, &mut |item, prospect| {
        let written = match prospect {
            // What comes next could not be shown either.
            _ if unwritable.is_some() => Ok(()),
            Ok(prospect) if manner.json => json(&mut output, item.path.as_bytes(), &prospect),
            Ok(prospect) => {
                let name = visible(item.path.as_bytes());
                let (word, size) = (word(&prospect), counted(prospect.total_size, "byte"));
                writeln!(output, "{name}: {word}, {size}")
            }
            Err(error) => {
                failures.add(classify(&error).0);
                if !bad_lines.is_told(&error) {
                    return;
                }
                tell(&Message::of(source(item), &error).text(manner.is_coloured));
                Ok(())
            }
        };
        unwritable = unwritable.take().or(written.err());
    });
    let mut deleted = Deleted::default();
    if let (Some(trees), Some(deleted_max)) = (trees, deleted_max) {
        let limit = DeleteLimit {
            deleted_max,
            dry_run: true,
        };
        let spent = started.elapsed();
        deleted = mirror::delete(&trees, limit, &config, spent, &mut |event| {
            let written = match event {
                _ if unwritable.is_some() => Ok(()),
                Event::Deleted { item, .. } if manner.json => {
                    json_deleted(&mut output, item.path.as_bytes())
                }
                Event::Deleted { item, .. } => {
                    let name = visible(item.path.as_bytes());
                    writeln!(output, "{name}: would be deleted")
                }
                Event::Failed { item, error } => {
                    failures.add(classify(error).0);
                    tell(&Message::of(source(item), error).text(manner.is_coloured));
                    Ok(())
                }
                _ => Ok(()),
            };
            unwritable = unwritable.take().or(written.err());
        });
        if deleted.reached_limit {
            failures.add(ExitCode::DeleteLimit);
        }
    }
    if let Some(error) = unwritable {
        failures.add(unwritten("ftget", &error));
        return failures.code();
    }
    if let Some(sentence) = bad_lines.others() {
        tell(&wording::line(&sentence, manner.is_coloured));
    }
    for sentence in mirror::sentences(&deleted) {
        tell(&wording::line(&sentence, manner.is_coloured));
    }
    for source in sources.iter().filter(|source| source.is_nothing()) {
        failures.add(ExitCode::NotFound);
        let sentence = format!(
            "{}: nothing matches; ft:// takes a name as it is",
            source.source
        );
        tell(&wording::line(&sentence, manner.is_coloured));
    }
    failures.code()
}

fn source(item: Item<'_>) -> Source<'_> {
    Source {
        address: item.address,
        path: item.path,
        is_command: false,
    }
}

fn word(prospect: &Prospect) -> &'static str {
    match (prospect.action, prospect.replaces) {
        (Action::Skipped, _) => "would be skipped",
        (Action::Identical, _) => "is there already",
        (Action::Resumed { .. }, _) => "would be resumed",
        (Action::Linked, false) => "would be copied from another file here",
        (Action::Link, false) => "would be made, a link",
        (Action::Fetched | Action::Linked | Action::Link, true) => "would be replaced",
        (Action::Fetched, false) => "would be fetched",
    }
}

fn json(output: &mut impl Write, name: &[u8], prospect: &Prospect) -> io::Result<()> {
    let (action, resumed_from) = wording::action(prospect.action);
    let would = Would {
        total_size: prospect.total_size,
        resumed_from,
        replaces: prospect.replaces,
        ..Would::of(name, action)
    };
    write_json(output, &would)
}

fn json_deleted(output: &mut impl Write, name: &[u8]) -> io::Result<()> {
    write_json(output, &Would::of(name, "deleted"))
}

fn write_json(output: &mut impl Write, would: &Would<'_>) -> io::Result<()> {
    let line = serde_json::to_string(would).map_err(io::Error::other)?;
    writeln!(output, "{}", visible_json(&line))
}

#[derive(Serialize)]
struct Would<'a> {
    v: u8,
    event: &'static str,
    filename: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filename_b64: Option<String>,
    total_size: u64,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumed_from: Option<u64>,
    replaces: bool,
}

impl Would<'_> {
    /// Of nothing that is known.
    fn of<'a>(name: &'a [u8], action: &'static str) -> Would<'a> {
        Would {
            v: 1,
            event: "would",
            filename: String::from_utf8_lossy(name),
            filename_b64: filename_b64(name),
            total_size: 0,
            action,
            resumed_from: None,
            replaces: false,
        }
    }
}
