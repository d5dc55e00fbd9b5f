//! `ftget`: from the command line to files, lines and an exit code.

mod args;
mod command;
mod compare;
mod config;
mod destination;
mod exec;
mod failure;
mod filter;
mod help;
mod inapplicable;
mod input;
mod json_event;
mod list;
mod listed;
mod local;
mod mirror;
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
mod target;
mod usage_error;
mod watchdog;
mod wording;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use self::command::{GetCommand, Transfer};
use self::destination::{Destination, Sink};
use self::receipts::Receipts;
use self::report::Reporter;
use self::target::Target;
use self::usage_error::UsageError;
use clap::CommandFactory;

use self::args::GetArgs;
use crate::cli::blocking::{self, BlockingStream};
use crate::cli::failure::finish_output;
use crate::cli::terminal::shown;
use crate::cli::{ExitCode, manual};
use crate::client::{self, ClientError, Event, MirrorNotes};
use crate::process::output_was_closed;

/// Runs `ftget` with these arguments, the program's name first.
pub fn get(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match GetCommand::parse(arguments) {
        Ok(command) if output::is_standard_needed(&command) && output_was_closed() => {
            let sentence = "standard output is closed, and this command writes to it";
            return UsageError::UnusableFile(sentence.to_owned()).show();
        }
        command => command,
    };
    let transfer = match command {
        Ok(GetCommand::Fetch(transfer)) => transfer,
        Ok(GetCommand::Compare {
            transfer,
            reports_extras,
        }) => {
            signals::end_on_signals(transfer.style.quiet);
            return compare::show(transfer, reports_extras);
        }
        Ok(GetCommand::Preview(transfer)) => {
            signals::end_on_signals(true);
            return preview::show(transfer);
        }
        Ok(GetCommand::Manual) => {
            return finish_output(
                "ftget",
                manual::write_page(GetArgs::command(), &help::MANUAL),
            );
        }
        Ok(GetCommand::Completions(shell)) => {
            return finish_output(
                "ftget",
                manual::write_completions(GetArgs::command(), shell),
            );
        }
        Ok(GetCommand::List(transfer)) => {
            signals::end_on_signals(true);
            return list::list(&transfer);
        }
        Ok(GetCommand::Check(transfer)) => {
            signals::end_on_signals(true);
            return receipts::check(&transfer);
        }
        Err(error) => return error.show(),
    };
    signals::end_on_signals(transfer.style.quiet);
    let Transfer {
        destination,
        preflight,
        deletion,
        mut config,
        style,
    } = transfer;
    let mut reporter = Reporter::new(&destination, &style);
    if let Some(targets) = preflight
        && !preflight::passes(targets, deletion, &mut config, &mut reporter)
    {
        return reporter.end();
    }
    let receipts = match style.receipts.as_deref().map(Receipts::open).transpose() {
        Ok(receipts) => receipts,
        Err(error) => {
            let receipts = style.receipts.as_deref().unwrap_or(Path::new(""));
            let receipts = shown(receipts.as_os_str());
            let mut sentence = format!("cannot open the receipts {receipts}: {error}");
            if error.kind() == io::ErrorKind::NotFound {
                // The receipts are opened before the directory of `--dir` is created.
                sentence += "\nhint: create its directory first";
            }
            return UsageError::UnusableFile(sentence).show();
        }
    };
    reporter.write_receipts_to(receipts);
    match destination {
        Destination::Files(targets) => {
            let trees = deletion.map(|_| mirror::trees(&targets, &style.own_files));
            if deletion.is_some() {
                reporter.hold_back(MirrorNotes::new(&config));
            }
            let list = targets.iter().find_map(|target| match target {
                Target::List(list) => Some(list.emptiness()),
                Target::File(_) | Target::Tree(..) => None,
            });
            let (batch, sources) = target::batch(targets);
            let has_begun = exec::batch(batch, &config, &mut reporter);
            if !has_begun {
                return reporter.end();
            }
            if let Some((name, is_empty)) = list
                && is_empty.load(Ordering::SeqCst)
            {
                reporter.report_empty_list(&name);
            }
            sources
                .iter()
                .filter(|source| source.is_unmatched())
                .for_each(|source| reporter.report_unmatched(&source.source));
            if let (Some(trees), Some(deletion)) = (trees, deletion)
                && let Some((rest, config)) = reporter.delete(&trees, deletion, &config)
            {
                exec::batch(rest, &config, &mut reporter);
            }
        }
        Destination::Stream(download, Sink::File(directory, name)) => {
            published::fetch(&download, &directory, &name, &config, &mut reporter);
        }
        Destination::Stream(download, Sink::Stream(stream)) => {
            let on_event = &mut |event: Event<'_>| drop(reporter.take(event));
            // Not `io::stdout()`: it searches each write for ends of lines.
            let unread = stream.unread();
            let output = blocking::run(unread, || stream.open());
            let output = output.map(|output| BlockingStream::new(output, unread));
            match output {
                Ok(mut output) => {
                    drop(client::stream_to(&download, &config, &mut output, on_event))
                }
                Err(error) => {
                    reporter.report_unopened(&download, &ClientError::Output(error.into()))
                }
            }
        }
    }
    reporter.end()
}
