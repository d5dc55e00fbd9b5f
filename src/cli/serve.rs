//! `ftserve`: serves a folder or a file until it is told to stop.

mod args;
mod beside;
mod command;
mod log;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

pub(super) use self::args::Hidden;

use crate::cli::index::index;
use crate::cli::serve::args::{Args, Setup};
use crate::cli::serve::beside::Beside;
use crate::cli::serve::command::Command;
use crate::cli::{ExitCode, visible};
use crate::digest::Pools;
use crate::net::Address;
use crate::server::{Listen, Server, ServerError, ServerHandle, TransferHandler};
use crate::store::{Catalog, CatalogLimits, DirectoryStore};

/// Runs `ftserve` with these arguments, the program's name first, and says how it ended.
pub fn serve(args: impl IntoIterator<Item = OsString>) -> process::ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|word| word == "index") {
        return index(&args);
    }
    let setup = match Args::try_parse_from(args).map(Setup::from_args) {
        Ok(Ok(setup)) => setup,
        Ok(Err(error)) => return complain(ExitCode::Usage, &error, None),
        Err(error) => {
            // Help and version end well, and go to standard output.
            let _ = error.print();
            return process::ExitCode::from(
                u8::try_from(error.exit_code()).unwrap_or(ExitCode::Usage as u8),
            );
        }
    };
    match start_and_wait(setup) {
        Ok(code) => code,
        Err(failure) => complain(failure.code, &*failure.error, failure.hint),
    }
}

/// Why it does not run.
pub(super) struct Failure {
    pub(super) code: ExitCode,
    pub(super) error: Box<dyn Error>,
    pub(super) hint: Option<&'static str>,
}

type Started = Server<TransferHandler<Arc<DirectoryStore>>>;

fn start_and_wait(setup: Setup) -> Result<process::ExitCode, Failure> {
    // Before anything listens: a signal that comes early must not be lost.
    let signals = Signals::new([SIGTERM, SIGINT]).map_err(failure(ExitCode::Unclassified))?;
    let (server, beside) = bind(&setup)?;
    let handle = server.handle();
    if !setup.quiet {
        announce(&setup, &handle, &beside).map_err(failure(ExitCode::Unclassified))?;
    }
    let ended = match &setup.command {
        None => until_signalled(server, signals, &setup, &beside),
        Some(words) => while_it_runs(server, signals, words, &setup, &beside),
    };
    beside.end();
    ended
}

fn bind(setup: &Setup) -> Result<(Started, Arc<Beside>), Failure> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let store =
        DirectoryStore::open_root(&setup.root, setup.directory.clone()).map_err(|error| {
            Failure {
                code: ExitCode::LocalFile,
                error: format!(
                    "cannot serve {}: {error}",
                    visible(setup.root.as_os_str().as_encoded_bytes())
                )
                .into(),
                hint: None,
            }
        })?;
    let store = Arc::new(store);
    let pools = Arc::new(Pools::start(cores).map_err(failure(ExitCode::Unclassified))?);
    let index = setup.index.open();
    let catalog = Catalog::new(
        Arc::clone(&store),
        index.index(),
        Arc::clone(&pools),
        CatalogLimits::for_cores(cores),
    );
    let mut handler = TransferHandler::new(catalog, setup.limits.clone());
    if setup.verbose {
        handler = handler.observed_by(log::start());
    }
    let server = Server::bind(setup.server.clone(), handler).map_err(|error| Failure {
        code: exit_code(&error),
        hint: hint(&error),
        error: error.into(),
    })?;
    let beside = Beside::start(&index, &store, &pools, setup.wants_prehash);
    Ok((server, Arc::new(beside)))
}

/// Serves until SIGTERM or SIGINT, then finishes what runs; a second one ends it at once.
fn until_signalled(
    server: Started,
    mut signals: Signals,
    setup: &Setup,
    beside: &Arc<Beside>,
) -> Result<process::ExitCode, Failure> {
    let (handle, listening) = (server.handle(), signals.handle());
    let (quiet, drain_timeout) = (setup.quiet, setup.drain_timeout);
    let beside = Arc::clone(beside);
    let watcher = thread::spawn(move || {
        let mut first = None;
        for signal in signals.forever() {
            match first {
                None => {
                    first = Some(signal);
                    if !quiet {
                        say_draining(&handle, drain_timeout);
                    }
                    beside.stop();
                    handle.drain(drain_timeout);
                }
                Some(_) => handle.stop(),
            }
        }
        first
    });
    let outcome = server.run();
    listening.close();
    let signal = watcher.join().ok().flatten();
    outcome.map_err(|error| failure(exit_code(&error))(error))?;
    Ok(match signal {
        Some(SIGINT) => ExitCode::Interrupted,
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
    setup: &Setup,
    beside: &Beside,
) -> Result<process::ExitCode, Failure> {
    let (handle, listening) = (server.handle(), signals.handle());
    let address = handle
        .local_addresses()
        .first()
        .map(reachable)
        .unwrap_or_default();
    let serving = thread::spawn(move || server.run());
    let outcome = Command::start(words, &address).map(|command| {
        let pid = command.pid();
        let stop = handle.clone();
        let watcher = thread::spawn(move || {
            for (count, signal) in signals.forever().enumerate() {
                command::pass_on(pid, signal);
                if count > 0 {
                    stop.stop();
                }
            }
        });
        let code = command.wait();
        listening.close();
        let _ = watcher.join();
        code
    });
    beside.stop();
    handle.drain(setup.drain_timeout);
    let served = serving.join();
    let code = outcome.map_err(|error| Failure {
        code: ExitCode::LocalFile,
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

/// Says where it listens, what it serves and what to try.
fn announce(setup: &Setup, handle: &ServerHandle, beside: &Beside) -> io::Result<()> {
    let mut text = String::new();
    for address in handle.local_addresses() {
        text += &format!("listening on {address}\n");
    }
    let wants_both = setup
        .server
        .listen
        .iter()
        .any(|place| matches!(place, Listen::Everywhere { .. }));
    let has_ipv6 = |address: &Address| matches!(address, Address::Tcp { host, .. } if host == "::");
    if wants_both && !handle.local_addresses().iter().any(has_ipv6) {
        text += "IPv4 only: this machine has no IPv6\n";
    }
    let root = visible(setup.root.as_os_str().as_encoded_bytes());
    let connections = handle.connections_max();
    text += &format!("root {root}, read-only (at most {connections} connections");
    if connections < setup.server.connections_max {
        text += &format!(
            " instead of {}: open files are limited",
            setup.server.connections_max
        );
    }
    text += ")\n";
    if beside.has_index() {
        text += &format!("digests are remembered in {}\n", setup.index);
    }
    if let Some(address) = handle.local_addresses().first() {
        let separator = if matches!(address, Address::Unix(_)) {
            ':'
        } else {
            '/'
        };
        let name = if setup.root.is_file() {
            setup.root.file_name()
        } else {
            None
        };
        let name = name.map_or("NAME".into(), |name| visible(name.as_encoded_bytes()));
        text += &format!("try: ftget {}{separator}{name}\n", reachable(address));
    }
    // One write: whoever waits for a line finds all of them.
    io::stderr().lock().write_all(text.as_bytes())
}

fn say_draining(handle: &ServerHandle, timeout: Duration) {
    let open = handle.stats().open;
    let _ = writeln!(
        io::stderr().lock(),
        "stopping: finishing {open} connections within {timeout:?}; once more to stop at once"
    );
}

/// An address as a program on this machine reaches it.
fn reachable(address: &Address) -> String {
    match address {
        Address::Tcp { host, port } if host == "0.0.0.0" => format!("127.0.0.1:{port}"),
        Address::Tcp { host, port } if host == "::" => format!("[::1]:{port}"),
        address => address.to_string(),
    }
}

fn exit_code(error: &ServerError) -> ExitCode {
    match error {
        ServerError::Bind { .. } => ExitCode::Network,
        ServerError::NowhereToListen => ExitCode::Usage,
        ServerError::Start(_) => ExitCode::Unclassified,
    }
}

fn hint(error: &ServerError) -> Option<&'static str> {
    let ServerError::Bind { address, source } = error else {
        return None;
    };
    let is_socket_file = address.starts_with("unix:");
    match source.kind() {
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

pub(super) fn failure<E: Into<Box<dyn Error>>>(code: ExitCode) -> impl FnOnce(E) -> Failure {
    move |error| Failure {
        code,
        error: error.into(),
        hint: None,
    }
}

/// One line with the whole chain of reasons, and a hint where there is one.
pub(super) fn complain(code: ExitCode, error: &dyn Error, hint: Option<&str>) -> process::ExitCode {
    let mut text = format!("ftserve: {error}");
    let mut source = error.source();
    while let Some(reason) = source {
        text += &format!(": {reason}");
        source = reason.source();
    }
    if let Some(hint) = hint {
        text += &format!("\nhint: {hint}");
    }
    let _ = writeln!(io::stderr().lock(), "{text}");
    code.into()
}
