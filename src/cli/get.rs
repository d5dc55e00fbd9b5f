//! `ftget`: from what was typed to files, lines and an exit code.

mod arguments;
mod exec;
mod failure;
mod filter;
mod fitting;
mod help;
mod input;
mod list;
mod listed;
mod meaning;
mod no_order;
mod output;
mod preview;
mod progress;
mod receipts;
mod report;
mod signals;
mod source;
mod wording;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use self::meaning::{Destination, Meaning, Order};
use self::no_order::NoOrder;
use self::receipts::Receipts;
use self::report::Reporter;
use clap::CommandFactory;

use self::arguments::Typed;
use crate::cli::failure::ended;
use crate::cli::{ExitCode, manual};
use crate::client::{self, ClientError, DownloadResult, Event};

/// Runs `ftget` with these arguments, the program's name first.
pub fn get(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let order = match Meaning::of(arguments) {
        Ok(Meaning::Fetch(order)) => order,
        Ok(Meaning::Preview(order)) => return preview::show(&order),
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
        Err(no_order) => return no_order.show(),
    };
    signals::end_on_signals(order.quiet);
    let receipts = match order.receipts.as_deref().map(Receipts::open).transpose() {
        Ok(receipts) => receipts,
        Err(error) => {
            let sentence = format!("cannot open the receipts: {error}");
            return NoOrder::Unusable(sentence).show();
        }
    };
    let mut reporter = Reporter::new(&order, receipts);
    reporter.complain();
    let results = carry_out(&order, &mut |event| reporter.take(event));
    reporter.end(&results)
}

fn carry_out(order: &Order, on_event: &mut dyn FnMut(Event<'_>)) -> Vec<DownloadResult> {
    match &order.destination {
        Destination::Files(downloads) => client::download(downloads, &order.config, on_event),
        Destination::StandardOutput(pour) => {
            // A file of its own: the standard library's looks for ends of lines in every write.
            let result = match io::stdout().as_fd().try_clone_to_owned() {
                Ok(output) => client::pour(pour, &order.config, &mut File::from(output), on_event),
                Err(error) => Err(ClientError::Output(error.into())),
            };
            vec![result]
        }
    }
}
