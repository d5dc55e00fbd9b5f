//! `ftserve`: serves a folder or a file until it is told to stop.

mod announce;
mod args;
mod beside;
mod command;
mod help;
mod log;
mod publish;
mod reading;
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
use crate::cli::failure::{Failure, failure, no_thread, written};
use crate::cli::index::index;
use crate::cli::serve::announce::{announce, reachable};
use crate::cli::serve::args::{Args, Setup};
use crate::cli::serve::beside::Beside;
use crate::cli::serve::command::Command;
use crate::cli::serve::log::AccessLog;
use crate::cli::serve::reading::{NotRead, Reading, Wanted, Words};
use crate::cli::serve::reload::Reload;
use crate::cli::serve::root::RootWatch;
use crate::cli::serve::running::{Parts, Running};
use crate::cli::serve::signals::SignalThread;
use crate::cli::terminal::{shown, standard_output};
use crate::cli::usage;
use crate::cli::{ExitCode, manual, messages, visible};
use crate::digest::Pools;
use crate::process::adopt_orphans;
use crate::server::{Server, ServerError, Serving, TransferHandler, check_listening};
use crate::store::{Catalog, CatalogLimits, DirectoryStore};

/// Runs `ftserve` with these arguments, the program's name first, and says how it ended.
pub fn serve(args: impl IntoIterator<Item = OsString>) -> process::ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|word| word == "index") {
        return index(&args);
    }
    let reading = Reading::of(args);
    let (setup, words) = match reading.read() {
        Ok(Wanted::Serve(setup, words)) => (*setup, words),
        Ok(Wanted::Check(setup)) => {
            return match check(&setup) {
                Ok(()) => told("the options are right"),
                Err(failure) => failure.complain(),
            };
        }
        Ok(Wanted::Manual) => return written(manual::write_page(Args::command(), &help::MANUAL)),
        Ok(Wanted::Completions(shell)) => {
            return written(manual::write_completions(Args::command(), shell));
        }
        Err(NotRead::Failed(failure)) => return failure.complain(),
        Err(NotRead::Typed(error)) => {
            return usage::show(&error, "ftserve", help::HABITS).into();
        }
    };
    match start_and_wait(setup, reading, words) {
        Ok(end) => {
            messages::flush(MESSAGES_TIMEOUT);
            end.take()
        }
        Err(failure) => {
            let code = failure.complain();
            messages::flush(MESSAGES_TIMEOUT);
            code
        }
    }
}

fn told(sentence: &str) -> process::ExitCode {
    written(writeln!(standard_output(), "{sentence}"))
}

type Handler = TransferHandler<Arc<DirectoryStore>>;

fn start_and_wait(setup: Setup, reading: Reading, words: Words) -> Result<End, Failure> {
    messages::start().map_err(no_thread)?;
    if !setup.publish.is_empty() {
        // So that commands end with all that they started.
        adopt_orphans();
    }
    // Before anything listens: a signal that comes early must not be lost.
    let signals = SignalThread::start(&setup, &words)?;
    let (server, running) = bind(&setup, reading, words)?;
    running.reload_on_request().map_err(no_thread)?;
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

/// Looks for what would keep it from serving, as far as that can be known without doing so:
/// not whether the addresses are free.
fn check(setup: &Setup) -> Result<(), Failure> {
    open_root(setup)?;
    publish::read(setup)?;
    if let Some(place) = &setup.log {
        place.check().map_err(failure(ExitCode::LocalFile))?;
    }
    check_listening(&setup.server.listen).map_err(not_bound)?;
    match &setup.command {
        Some(words) => Command::check(words).map_err(|error| not_run(words, &error)),
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
    reading: Reading,
    words: Words,
) -> Result<(Server<Handler>, Arc<Running>), Failure> {
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
    let beside = Arc::new(Beside::start(&index, &store, &pools, setup.hash_ahead));
    let root = RootWatch::start(&setup.root, &store, &beside, setup.quiet).map_err(no_thread)?;
    let reload = Reload::new(reading, words, limits);
    let parts = Parts {
        counters,
        beside,
        root,
        published,
        log,
        reload,
    };
    let running = Running::new(setup, server.handle(), parts);
    Ok((server, Arc::new(running)))
}

/// Serves until SIGTERM or SIGINT, then finishes what runs; a second one ends it at once.
fn until_signalled(serving: Serving<Handler>, signals: SignalThread) -> Result<End, Failure> {
    serving.wait();
    let nobodys = End::Code(ExitCode::Unclassified as u8);
    Ok(signals.end().map_or(nobodys, End::Signal))
}

/// Serves as long as a command runs, to which signals are passed on; its end is ours.
fn while_it_runs(
    serving: Serving<Handler>,
    signals: SignalThread,
    words: &[OsString],
    running: &Arc<Running>,
) -> Result<End, Failure> {
    let address = running
        .handle
        .local_addresses()
        .first()
        .map(reachable)
        .unwrap_or_default();
    let named = Builder::new().name("ft-serve".to_owned());
    let serving = named.spawn(move || serving.wait()).map_err(no_thread)?;
    // The command may write there too: first comes the line with the address.
    messages::flush(MESSAGES_TIMEOUT);
    let outcome = Command::start(words, &address).map(|command| {
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
            Some("a link-local address comes with its interface: [fe80::1%eth0]")
        }
        io::ErrorKind::AddrInUse if is_socket_file => Some("another program is listening there"),
        io::ErrorKind::PermissionDenied if is_socket_file => None,
        io::ErrorKind::AddrInUse => Some("another program is listening there; try --port"),
        io::ErrorKind::PermissionDenied => {
            Some("ports below 1024 are the superuser's; try --port 9521")
        }
        io::ErrorKind::AddrNotAvailable => Some("no interface of this machine has that address"),
        _ => None,
    }
}

/// How long the last lines may take.
const MESSAGES_TIMEOUT: Duration = Duration::from_secs(1);
