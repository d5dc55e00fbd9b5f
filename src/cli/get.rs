//! `ftget`: from what was typed to files, lines and an exit code.

mod arguments;
mod behaviour;
mod compare;
mod destination;
mod exec;
mod failure;
mod filter;
mod fitting;
mod help;
mod input;
mod json_event;
mod last_resort;
mod list;
mod listed;
mod local;
mod meaning;
mod mirror;
mod no_order;
mod output;
mod preflight;
mod preview;
mod progress;
mod published;
mod receipts;
mod repeats;
mod report;
mod room;
mod signals;
mod source;
mod summary;
mod wish;
mod wording;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use self::destination::{Destination, Sink};
use self::meaning::{Meaning, Order};
use self::no_order::NoOrder;
use self::receipts::Receipts;
use self::report::Reporter;
use self::wish::Wish;
use clap::CommandFactory;

use self::arguments::Typed;
use crate::cli::failure::ended;
use crate::cli::outside::{self, Outside};
use crate::cli::terminal::shown;
use crate::cli::{ExitCode, manual};
use crate::client::{self, ClientError, Event, MirrorNotes};
use crate::process::output_was_closed;

/// Runs `ftget` with these arguments, the program's name first.
pub fn get(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let meaning = match Meaning::of(arguments) {
        Ok(meaning) if output::is_standard_needed(&meaning) && output_was_closed() => {
            let sentence = "standard output is closed, and something is to be written there";
            return NoOrder::Unusable(sentence.to_owned()).show();
        }
        meaning => meaning,
    };
    let order = match meaning {
        Ok(Meaning::Fetch(order)) => order,
        Ok(Meaning::Compare {
            order,
            tells_extras,
        }) => {
            signals::end_on_signals(order.manner.quiet);
            return compare::show(order, tells_extras);
        }
        Ok(Meaning::Preview(order)) => {
            signals::end_on_signals(true);
            return preview::show(order);
        }
        Ok(Meaning::Manual) => {
            return ended("ftget", manual::write_page(Typed::command(), &help::MANUAL));
        }
        Ok(Meaning::Completions(shell)) => {
            return ended("ftget", manual::write_completions(Typed::command(), shell));
        }
        Ok(Meaning::List(order)) => {
            signals::end_on_signals(true);
            return list::list(&order);
        }
        Ok(Meaning::Check(order)) => {
            signals::end_on_signals(true);
            return receipts::check(&order);
        }
        Err(no_order) => return no_order.show(),
    };
    signals::end_on_signals(order.manner.quiet);
    let Order {
        destination,
        preflight,
        deletion,
        mut config,
        manner,
    } = order;
    let mut reporter = Reporter::new(&destination, &manner);
    if let Some(wishes) = preflight
        && !preflight::passes(wishes, deletion, &mut config, &mut reporter)
    {
        return reporter.end();
    }
    let receipts = match manner.receipts.as_deref().map(Receipts::open).transpose() {
        Ok(receipts) => receipts,
        Err(error) => {
            let receipts = manner.receipts.as_deref().unwrap_or(Path::new(""));
            let receipts = shown(receipts.as_os_str());
            let mut sentence = format!("cannot open the receipts {receipts}: {error}");
            if error.kind() == io::ErrorKind::NotFound {
                // They are opened before a folder of files is made.
                sentence += "; the folder that they go into must be there";
            }
            return NoOrder::Unusable(sentence).show();
        }
    };
    reporter.keep(receipts);
    match destination {
        Destination::Files(wishes) => {
            let trees = deletion.map(|_| mirror::trees(&wishes, &manner.files_of_ours));
            if deletion.is_some() {
                reporter.hold_back(MirrorNotes::new(&config));
            }
            let list = wishes.iter().find_map(|wish| match wish {
                Wish::List(list) => Some(list.emptiness()),
                Wish::File(_) | Wish::Tree(..) => None,
            });
            let (batch, sources) = wish::batch(wishes);
            let has_begun = exec::batch(batch, &config, &mut reporter);
            if !has_begun {
                return reporter.end();
            }
            if let Some((name, is_empty)) = list
                && is_empty.load(Ordering::SeqCst)
            {
                reporter.tell_empty(&name);
            }
            sources
                .iter()
                .filter(|source| source.is_nothing())
                .for_each(|source| reporter.tell_nothing(&source.source));
            if let (Some(trees), Some(deletion)) = (trees, deletion)
                && let Some((rest, config)) = reporter.delete(&trees, deletion, &config)
            {
                exec::batch(rest, &config, &mut reporter);
            }
        }
        Destination::Stream(pour, Sink::File(folder, name)) => {
            published::fetch(&pour, &folder, &name, &config, &mut reporter);
        }
        Destination::Stream(pour, Sink::Stream(stream)) => {
            let on_event = &mut |event: Event<'_>| drop(reporter.take(event));
            // A file of its own: the standard library's looks for ends of lines in every write.
            let unread = stream.unread();
            let output = outside::wait(unread, || stream.open());
            let output = output.map(|output| Outside::new(output, unread));
            match output {
                Ok(mut output) => drop(client::pour(&pour, &config, &mut output, on_event)),
                Err(error) => reporter.tell_unpoured(&pour, &ClientError::Output(error.into())),
            }
        }
    }
    reporter.end()
}
