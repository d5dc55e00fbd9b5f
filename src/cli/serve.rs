//! `ftserve`: serves a directory or a file until a signal or its command ends it.

mod announce;
mod args;
mod command;
mod hashing;
mod help;
mod log;
mod options;
mod publish;
mod reload;
mod root;
mod running;
mod signals;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process;
use std::sync::Arc;
use std::thread::{self, Builder};
use std::time::Duration;

use clap::CommandFactory;

use crate::cli::ending::End;
use crate::cli::failure::{Failure, failure, finish_output, no_thread};
use crate::cli::index::index;
use crate::cli::serve::announce::{announce, reachable};
use crate::cli::serve::args::{ServeArgs, Setup};
use crate::cli::serve::command::ChildCommand;
use crate::cli::serve::hashing::BackgroundHashing;
use crate::cli::serve::log::AccessLog;
use crate::cli::serve::options::{OptionReader, OptionsError, ServeCommand, Words};
use crate::cli::serve::reload::Reload;
use crate::cli::serve::root::RootWatch;
use crate::cli::serve::running::{RunningServer, ServerParts};
use crate::cli::serve::signals::SignalThread;
use crate::cli::terminal::{shown, standard_output};
use crate::cli::usage;
use crate::cli::{ExitCode, manual, messages, visible};
use crate::digest::Pools;
use crate::process::adopt_orphans;
use crate::server::{Server, ServerError, Serving, TransferHandler, check_listening};
use crate::store::{Catalog, CatalogLimits, DirectoryStore};

/// Runs `ftserve` with these arguments, the program's name first. Returns the exit code.
pub fn serve(args: impl IntoIterator<Item = OsString>) -> process::ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|word| word == "index") {
        return index(&args);
    }
    let reading = OptionReader::of(args);
    let (setup, words) = match reading.read() {
        Ok(ServeCommand::Serve(setup, words)) => (*setup, words),
        Ok(ServeCommand::Check(setup)) => {
            return match check(&setup) {
                Ok(()) => print("the options are right"),
                Err(failure) => failure.print(),
            };
        }
        Ok(ServeCommand::Manual) => {
            return finish_output(
                "ftserve",
                manual::write_page(ServeArgs::command(), &help::MANUAL),
            )
            .into();
        }
        Ok(ServeCommand::Completions(shell)) => {
            return finish_output(
                "ftserve",
                manual::write_completions(ServeArgs::command(), shell),
            )
            .into();
        }
        Err(OptionsError::Failed(failure)) => return failure.print(),
        Err(OptionsError::CommandLine(error)) => {
            return usage::show(&error, "ftserve", help::HABITS).into();
        }
    };
    match start_and_wait(setup, reading, words) {
        Ok(end) => {
            messages::flush(MESSAGES_TIMEOUT);
            end.take()
        }
        Err(failure) => {
            let code = failure.print();
            messages::flush(MESSAGES_TIMEOUT);
            code
        }
    }
}

fn print(sentence: &str) -> process::ExitCode {
    finish_output("ftserve", writeln!(standard_output(), "{sentence}")).into()
}

type Handler = TransferHandler<Arc<DirectoryStore>>;

fn start_and_wait(setup: Setup, reading: OptionReader, words: Words) -> Result<End, Failure> {
    messages::start().map_err(no_thread)?;
    if !setup.publish.is_empty() {
        // Orphans of published commands become children of this process, which can then end them.
        adopt_orphans();
    }
    // Before the server listens, so that no early signal is lost.
    let signals = SignalThread::start(&setup, &words)?;
    let (server, running) = bind(&setup, reading, words)?;
    running.reload_on_request().map_err(no_thread)?;
    signals.can_reload(&running);
    let serving = server
        .start()
        .map_err(|error| failure(exit_code(&error))(error))?;
    signals.has_server(&running);
    if !setup.quiet {
        announce(&setup, &running);
    }
    let ended = match &setup.command {
        None => until_signalled(serving, signals),
        Some(words) => while_it_runs(serving, signals, words, &running),
    };
    running.end();
    ended
}

/// Checks the options without serving. It does not check whether the addresses are free.
fn check(setup: &Setup) -> Result<(), Failure> {
    open_root(setup)?;
    publish::read(setup)?;
    if let Some(place) = &setup.log {
        place.check().map_err(failure(ExitCode::LocalFile))?;
    }
    check_listening(&setup.server.listen).map_err(not_bound)?;
    match &setup.command {
        Some(words) => ChildCommand::check(words).map_err(|error| not_run(words, &error)),
        None => Ok(()),
    }
}

fn open_root(setup: &Setup) -> Result<DirectoryStore, Failure> {
    DirectoryStore::open_root(&setup.root, setup.directory.clone()).map_err(|error| {
        failure(ExitCode::LocalFile)(format!("cannot serve {}: {error}", shown(&setup.root)))
    })
}

fn bind(
    setup: &Setup,
    reading: OptionReader,
    words: Words,
) -> Result<(Server<Handler>, Arc<RunningServer>), Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let store = open_root(setup)?;
    let published = publish::read(setup)?;
    let published = Arc::new(published);
    let log = match &setup.log {
        None => None,
        Some(place) => Some(
            AccessLog::start(place.clone(), setup.log_format)
                .map_err(failure(ExitCode::LocalFile))?,
        ),
    };
    let store = Arc::new(store);
    let pools = Arc::new(Pools::start(cores).map_err(no_thread)?);
    let index = setup.index.open("ftserve", setup.quiet);
    let catalog = Catalog::new(
        Arc::clone(&store),
        index.index(),
        Arc::clone(&pools),
        CatalogLimits::for_cores(cores),
    );
    let mut handler =
        TransferHandler::new(catalog, setup.limits).publishing(Arc::clone(&published));
    if let Some(log) = &log {
        handler = handler.observed_by(log.observer());
    }
    let (counters, limits) = (handler.counters(), handler.limits());
    let server = Server::bind(setup.server.clone(), handler).map_err(not_bound)?;
    let hashing = Arc::new(BackgroundHashing::start(
        &index,
        &store,
        &pools,
        setup.hash_ahead,
    ));
    let root = RootWatch::start(&setup.root, &store, &hashing, setup.quiet).map_err(no_thread)?;
    let reload = Reload::new(reading, words, limits);
    let parts = ServerParts {
        counters,
        hashing,
        root,
        published,
        log,
        reload,
    };
    let running = RunningServer::new(setup, server.handle(), parts);
    Ok((server, Arc::new(running)))
}

/// Serves until SIGTERM or SIGINT, then drains. A second signal stops at once.
fn until_signalled(serving: Serving<Handler>, signals: SignalThread) -> Result<End, Failure> {
    serving.wait();
    let without_signal = End::Code(ExitCode::Unclassified as u8);
    Ok(signals.end().map_or(without_signal, End::Signal))
}

/// Serves while a command runs, forwards signals to it, and ends as it ends.
fn while_it_runs(
    serving: Serving<Handler>,
    signals: SignalThread,
    words: &[OsString],
    running: &Arc<RunningServer>,
) -> Result<End, Failure> {
    let address = running
        .handle
        .local_addresses()
        .first()
        .map(reachable)
        .unwrap_or_default();
    let named = Builder::new().name("ft-serve".to_owned());
    let serving = named.spawn(move || serving.wait()).map_err(no_thread)?;
    // The command may write to standard error too: print the line with the address first.
    messages::flush(MESSAGES_TIMEOUT);
    let outcome = ChildCommand::start(words, &address).map(|command| {
        signals.has_command(command.pid());
        command.wait()
    });
    signals.end();
    running.stop();
    let _ = serving.join();
    outcome.map_err(|error| not_run(words, &error))
}

fn not_run(words: &[OsString], error: &io::Error) -> Failure {
    let program = visible(words[0].as_encoded_bytes());
    failure(command::code_of_failure(error))(format!("cannot run {program}: {error}"))
}

fn not_bound(error: ServerError) -> Failure {
    Failure {
        code: exit_code(&error),
        hint: hint(&error),
        error: error.into(),
    }
}

fn exit_code(error: &ServerError) -> ExitCode {
    match error {
        ServerError::Bind { .. } => ExitCode::Network,
        ServerError::NowhereToListen => ExitCode::Usage,
        ServerError::Start(_) => ExitCode::Unclassified,
        ServerError::NoThread(_) => ExitCode::LocalFile,
    }
}

fn hint(error: &ServerError) -> Option<&'static str> {
    let ServerError::Bind { address, source } = error else {
        return None;
    };
    let is_socket_file = address.starts_with("unix:");
    match source.kind() {
        io::ErrorKind::InvalidInput if address.starts_with("[fe80:") && !address.contains('%') => {
            Some("a link-local address needs its interface: [fe80::1%eth0]")
        }
        io::ErrorKind::AddrInUse if is_socket_file => Some("another program is listening there"),
        io::ErrorKind::PermissionDenied if is_socket_file => None,
        io::ErrorKind::AddrInUse => Some("another program is listening there; try --port"),
        io::ErrorKind::PermissionDenied => Some("ports below 1024 need root; try --port 9521"),
        io::ErrorKind::AddrNotAvailable => Some("no interface of this machine has that address"),
        _ => None,
    }
}

/// How long the last messages may take.
const MESSAGES_TIMEOUT: Duration = Duration::from_secs(1);
