//! What `--publish` means: commands, found before anything is served.

use std::env;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Access;

use crate::cli::failure::{Failure, failure};
use crate::cli::{ExitCode, visible};
use crate::server::{Published, RunLimits};

/// Reads each `NAME=PROGRAM ARGS`.
pub(super) fn read(typed: &[String], time_max: Duration) -> Result<Published, Failure> {
    let mut commands = Vec::with_capacity(typed.len());
    for text in typed {
        let wrong = |reason: &str| {
            let text = visible(text.as_bytes());
            usage(format!("--publish {text}: {reason}"), None)
        };
        let (name, command) = text
            .split_once('=')
            .ok_or_else(|| wrong("write NAME=PROGRAM, with arguments if need be"))?;
        let words = shlex::split(command).ok_or_else(|| wrong("a quote does not end"))?;
        let mut words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
        if let Some(program) = words.first_mut() {
            *program = find(program).ok_or_else(|| {
                let program = visible(program.as_encoded_bytes());
                Failure {
                    code: ExitCode::LocalFile,
                    error: format!("--publish {name}: there is no program {program}").into(),
                    hint: Some("name it with its path, or look at PATH"),
                }
            })?;
        }
        commands.push((name.as_bytes().to_vec(), words));
    }
    let limits = RunLimits {
        time_max,
        ..RunLimits::default()
    };
    Published::new(commands, limits).map_err(|(name, error)| {
        let name = visible(&name).into_owned();
        usage(format!("--publish {name}: {error}"), None)
    })
}

/// The path of a program, as a shell would find it.
fn find(program: &OsStr) -> Option<OsString> {
    let is_program =
        |path: &Path| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok();
    if program.as_encoded_bytes().contains(&b'/') {
        let path = PathBuf::from(program);
        return is_program(&path).then(|| path.into());
    }
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| is_program(path))
        .map(PathBuf::into_os_string)
}

fn usage(text: String, hint: Option<&'static str>) -> Failure {
    Failure {
        hint,
        ..failure(ExitCode::Usage)(Box::<dyn Error>::from(text))
    }
}
