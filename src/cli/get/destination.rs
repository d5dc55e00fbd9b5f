//! Where the bytes of the sources go.

use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::args::GetArgs;
use super::filter::Filter;
use super::output::{split_output, stream};
use super::source::{is_url, read_source};
use super::target::Target;
use crate::cli::settings::SettingSources;
use crate::cli::streams::Stream;
use crate::cli::terminal::shown;
use crate::client::{Download, StreamDownload};
use crate::net::Location;
use crate::store::FileName;
use crate::wire::ResourcePath;

/// Where the bytes go.
pub(super) enum Destination {
    Files(Vec<Target>),
    /// The bytes of one source are passed on as they arrive.
    Stream(StreamDownload, Sink),
}

/// Where the streamed bytes of one source go.
pub(super) enum Sink {
    Stream(Stream),
    /// A file that appears when all bytes are verified.
    File(PathBuf, FileName),
}

impl Sink {
    pub(super) fn is_standard(&self) -> bool {
        matches!(self, Sink::Stream(Stream::Standard))
    }
}

impl Destination {
    /// The number of files, if it is known in advance.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Destination::Stream(..) => Some(1),
            Destination::Files(targets) => {
                let is_file = |target: &Target| matches!(target, Target::File(_));
                targets.iter().all(is_file).then_some(targets.len())
            }
        }
    }
}

impl GetArgs {
    /// Interprets the sources and `--output`.
    pub(super) fn destination(
        &self,
        filter: Filter,
        settings: &SettingSources,
    ) -> Result<Destination, String> {
        if let Some(_several) = self.sources.get(1) {
            for (name, given) in [
                ("output", self.output.is_some()),
                ("md5", self.md5.is_some()),
            ] {
                if given {
                    return Err(format!(
                        "{} is for one SOURCE, there are {}",
                        settings.spelling(name),
                        self.sources.len()
                    ));
                }
            }
        }
        if let Some(download) = self.command_to_run(settings)? {
            let output = match &self.output {
                None => Sink::Stream(Stream::Standard),
                Some(output) => match stream(output) {
                    Some(stream) => Sink::Stream(stream),
                    None => {
                        let (directory, name) = self.split_output(output, settings)?;
                        Sink::File(directory, name)
                    }
                },
            };
            return Ok(Destination::Stream(download, output));
        }
        let streamed = self.output.as_deref().and_then(stream);
        if self.spool && streamed.is_none() {
            return Err("--spool needs -o -".to_owned());
        }
        if let Some(output) = &self.output {
            let (location, path) = read_source(&self.sources[0])?;
            if let Some(stream) = streamed {
                if self.dir.is_some() {
                    let dir = settings.spelling("dir");
                    return Err(format!(
                        "{dir} is for files, and {} is not a file",
                        shown(output)
                    ));
                }
                let download = StreamDownload {
                    address: location.address,
                    path,
                    is_command: false,
                    want_md5: self.md5,
                    spool: self.spool.then(env::temp_dir),
                };
                return Ok(Destination::Stream(download, Sink::Stream(stream)));
            }
            if self.recursive {
                let (output, recursive) =
                    (settings.spelling("output"), settings.spelling("recursive"));
                return Err(format!(
                    "{output} is for one file; use --dir with {recursive}"
                ));
            }
            let (directory, name) = self.split_output(output, settings)?;
            let download = Download {
                want_md5: self.md5,
                ..Download::new(location.address, path, directory, name)
            };
            return Ok(Destination::Files(vec![Target::File(download)]));
        }
        Ok(Destination::Files(self.targets(filter, settings)?))
    }

    /// Splits `--output` into its directory, below `--dir`, and its name.
    fn split_output(
        &self,
        output: &OsStr,
        settings: &SettingSources,
    ) -> Result<(PathBuf, FileName), String> {
        let (directory, name) = split_output(output)?;
        let directory = match &self.dir {
            None => directory,
            Some(_) if directory.is_absolute() => {
                return Err(format!(
                    "{} is an absolute path; leave out {}",
                    shown(output),
                    settings.spelling("dir")
                ));
            }
            Some(dir) if directory == Path::new(".") => dir.clone(),
            Some(dir) => dir.join(directory),
        };
        Ok((directory, name))
    }

    /// The published command, if the one source names one with `@NAME`. In a URL, `@NAME` is a
    /// file.
    fn command_to_run(&self, settings: &SettingSources) -> Result<Option<StreamDownload>, String> {
        for source in self.sources.iter().filter(|source| !is_url(source)) {
            let location = Location::parse(source.as_bytes()).map_err(|error| error.to_string())?;
            let Some(name) = location.path.strip_prefix(b"@") else {
                continue;
            };
            if self.sources.len() > 1 {
                return Err(format!(
                    "{} is a command, and must be the only SOURCE",
                    shown(source)
                ));
            }
            if self.dir.is_some() && self.output.is_none() {
                return Err(format!(
                    "{} writes to standard output; use -o FILE with {}",
                    shown(source),
                    settings.spelling("dir")
                ));
            }
            let path =
                ResourcePath::parse(name).map_err(|error| format!("{}: {error}", shown(source)))?;
            return Ok(Some(StreamDownload {
                address: location.address,
                path,
                is_command: true,
                want_md5: self.md5,
                spool: Some(env::temp_dir()),
            }));
        }
        Ok(None)
    }
}
