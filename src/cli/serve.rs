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
mod running;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process;
use std::sync::Arc;
use std::thread::{self, Builder, JoinHandle};

use clap::CommandFactory;
use crossbeam_channel::bounded;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::cli::failure::{Failure, failure, no_thread, show_typed, written};
use crate::cli::index::index;
use crate::cli::serve::announce::{announce, reachable};
use crate::cli::serve::args::{Args, Setup};
use crate::cli::serve::beside::Beside;
use crate::cli::serve::command::Command;
use crate::cli::serve::log::AccessLog;
use crate::cli::serve::reading::{NotRead, Reading, Wanted, Words};
use crate::cli::serve::reload::Reload;
use crate::cli::serve::running::{Parts, Running};
use crate::cli::terminal::{shown, standard_output};
use crate::cli::{ExitCode, manual, visible};
use crate::digest::Pools;
use crate::server::{Server, ServerError, TransferHandler};
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
        Err(NotRead::Typed(error)) => return show_typed(&error),
    };
    match start_and_wait(setup, reading, words) {
        Ok(code) => code,
        Err(failure) => failure.complain(),
    }
}

fn told(sentence: &str) -> process::ExitCode {
    written(writeln!(standard_output(), "{sentence}"))
}

type Started = Server<TransferHandler<Arc<DirectoryStore>>>;

fn start_and_wait(
    setup: Setup,
    reading: Reading,
    words: Words,
) -> Result<process::ExitCode, Failure> {
    // Before anything listens: a signal that comes early must not be lost.
    let signals =
        Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failure(ExitCode::Unclassified))?;
    let (server, running) = bind(&setup, reading, words)?;
    if !setup.quiet {
        announce(&setup, &running);
    }
    let ended = match &setup.command {
        None => until_signalled(server, signals, &running),
        Some(words) => while_it_runs(server, signals, words, &running),
    };
    running.end();
    ended
}

/// Looks for what would keep it from serving, as far as that can be known without doing so:
/// not whether the addresses are free.
fn check(setup: &Setup) -> Result<(), Failure> {
    open_root(setup)?;
    publish::read(setup)?;
    match &setup.log {
        Some(place) => place.check().map_err(failure(ExitCode::LocalFile)),
        None => Ok(()),
    }
}

fn open_root(setup: &Setup) -> Result<DirectoryStore, Failure> {
    DirectoryStore::open_root(&setup.root, setup.directory.clone()).map_err(|error| {
        failure(ExitCode::LocalFile)(format!("cannot serve {}: {error}", shown(&setup.root)))
    })
}

fn bind(setup: &Setup, reading: Reading, words: Words) -> Result<(Started, Arc<Running>), Failure> {
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
    let server = Server::bind(setup.server.clone(), handler).map_err(|error| Failure {
        code: exit_code(&error),
        hint: hint(&error),
        error: error.into(),
    })?;
    let beside = Beside::start(&index, &store, &pools, setup.hash_ahead);
    let reload = Reload::new(reading, words, limits);
    let parts = Parts {
        counters,
        beside,
        published,
        log,
        reload,
    };
    let running = Running::new(setup, server.handle(), parts);
    Ok((server, Arc::new(running)))
}

/// Serves until SIGTERM or SIGINT, then finishes what runs; a second one ends it at once.
fn until_signalled(
    server: Started,
    mut signals: Signals,
    running: &Arc<Running>,
) -> Result<process::ExitCode, Failure> {
    let listening = signals.handle();
    let heard = Arc::clone(running);
    let watcher = start("ft-signals", move || {
        let mut first = None;
        for signal in signals.forever() {
            match first {
                _ if signal == SIGHUP && heard.reload() => {}
                None => {
                    first = Some(signal);
                    heard.drain();
                }
                Some(_) => heard.handle.stop(),
            }
        }
        first
    })?;
    let outcome = server.run();
    listening.close();
    let signal = watcher.join().ok().flatten();
    outcome.map_err(|error| failure(exit_code(&error))(error))?;
    Ok(match signal {
        Some(SIGINT) => ExitCode::Interrupted,
        Some(SIGHUP) => ExitCode::HungUp,
        Some(_) => ExitCode::Terminated,
        None => ExitCode::Unclassified,
    }
    .into())
}

/// Serves as long as a command runs, to which signals are passed on; its exit code is ours.
fn while_it_runs(
    server: Started,
    mut signals: Signals,
    words: &[OsString],
    running: &Arc<Running>,
) -> Result<process::ExitCode, Failure> {
    let listening = signals.handle();
    let address = running
        .handle
        .local_addresses()
        .first()
        .map(reachable)
        .unwrap_or_default();
    let (pid_in, pid) = bounded(1);
    let heard = Arc::clone(running);
    let watcher = start("ft-signals", move || {
        // None if it was not started.
        let Ok(pid) = pid.recv() else {
            return;
        };
        let mut ends = 0;
        for signal in signals.forever() {
            if signal == SIGHUP && heard.reload() {
                continue;
            }
            command::pass_on(pid, signal);
            ends += 1;
            if ends > 1 {
                heard.handle.stop();
            }
        }
    })?;
    let serving = start("ft-serve", move || server.run())?;
    let outcome = Command::start(words, &address).map(|command| {
        let _ = pid_in.send(command.pid());
        let code = command.wait();
        listening.close();
        let _ = watcher.join();
        code
    });
    running.stop();
    let served = serving.join();
    let code = outcome.map_err(|error| Failure {
        code: command::code_of_failure(&error),
        error: format!(
            "cannot run {}: {error}",
            visible(words[0].as_encoded_bytes())
        )
        .into(),
        hint: None,
    })?;
    if let Ok(Err(error)) = served {
        return Err(failure(exit_code(&error))(error));
    }
    Ok(process::ExitCode::from(code))
}

fn start<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Failure> {
    let named = Builder::new().name(name.to_owned());
    named.spawn(run).map_err(no_thread)
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
