//! Parses `--publish`, and finds the programs before the server starts.

use std::env;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::cli::failure::{Failure, failure};
use crate::cli::serve::args::Setup;
use crate::cli::terminal::{print_line, shown};
use crate::cli::{ExitCode, visible};
use crate::server::{ErrorOutputTarget, Published, RunLimits};

/// Parses each `NAME=PROGRAM ARGS`.
pub(super) fn read(setup: &Setup) -> Result<Published, Failure> {
    let mut commands = Vec::with_capacity(setup.publish.len());
    for text in &setup.publish {
        let wrong = |reason: &str| {
            let text = visible(text.as_bytes());
            usage(format!("--publish {text}: {reason}"), None)
        };
        let (name, command) = text
            .split_once('=')
            .ok_or_else(|| wrong("write NAME=PROGRAM or NAME=PROGRAM ARGS"))?;
        if name.is_empty() {
            return Err(wrong("there is no NAME before the ="));
        }
        let words = shlex::split(command).ok_or_else(|| wrong("a quote does not end"))?;
        let mut words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        if let Some(program) = words.first_mut().filter(|word| !word.is_empty()) {
            *program = find(program).map_err(|(reason, hint)| Failure {
                code: ExitCode::LocalFile,
                error: format!("--publish {}: {reason} {}", shown(name), shown(&*program)).into(),
                hint,
            })?;
        }
        commands.push((name.as_bytes().to_vec(), words));
    }
    let limits = RunLimits {
        time_max: setup.publish_timeout,
        ..RunLimits::default()
    };
    let error_output = if setup.publish_stderr {
        ErrorOutputTarget::IntoContent
    } else {
        ErrorOutputTarget::To(Box::new(|name, line| {
            print_line(&format!("@{}: {}", visible(name), visible(line)));
        }))
    };
    Published::new(commands, limits, error_output).map_err(|(name, error)| {
        let name = visible(&name).into_owned();
        usage(format!("--publish {name}: {error}"), None)
    })
}

/// Finds a program as a shell does.
///
/// # Errors
/// The reason, and a hint.
pub(super) fn find(program: &OsStr) -> Result<OsString, (&'static str, Option<&'static str>)> {
    let may_be_run = |path: &Path| rustix::fs::access(path, Access::EXEC_OK).is_ok();
    if program.as_encoded_bytes().contains(&b'/') {
        let path = Path::new(program);
        return match path.metadata() {
            Ok(found) if !found.is_file() => Err(("not a file:", None)),
            Ok(_) if may_be_run(path) => Ok(program.to_owned()),
            Ok(_) => Err(("not executable:", Some("chmod +x makes it executable"))),
            Err(_) => Err((NO_PROGRAM, None)),
        };
    }
    let directories = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    env::split_paths(&directories)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file() && may_be_run(path))
        .map(PathBuf::into_os_string)
        .ok_or((NO_PROGRAM, Some("use its path, or check PATH")))
}

fn usage(text: String, hint: Option<&'static str>) -> Failure {
    Failure {
        hint,
        ..failure(ExitCode::Usage)(Box::<dyn Error>::from(text))
    }
}

/// The reason for a program that does not exist.
pub(super) const NO_PROGRAM: &str = "there is no program";
