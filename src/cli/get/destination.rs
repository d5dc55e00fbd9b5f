//! Where the bytes of a command line go.

use std::env;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::arguments::Typed;
use super::filter::Filter;
use super::output::{split_output, stream};
use super::source::{is_url, read_source};
use super::wish::Wish;
use crate::cli::settings::Places;
use crate::cli::streams::Stream;
use crate::cli::terminal::shown;
use crate::client::{Download, Pour};
use crate::net::Location;
use crate::store::FileName;
use crate::wire::ResourcePath;

/// Where the bytes go.
pub(super) enum Destination {
    Files(Vec<Wish>),
    /// Bytes that go on as they come.
    Stream(Pour, Sink),
}

/// The place of the bytes of one source, as they come.
pub(super) enum Sink {
    Stream(Stream),
    /// A file that appears when all of them are verified.
    File(PathBuf, FileName),
}

impl Sink {
    pub(super) fn is_standard(&self) -> bool {
        matches!(self, Sink::Stream(Stream::Standard))
    }
}

impl Destination {
    /// How many files there are, if that is known.
    pub(super) fn len(&self) -> Option<usize> {
        match self {
            Destination::Stream(..) => Some(1),
            Destination::Files(wishes) => {
                let is_file = |wish: &Wish| matches!(wish, Wish::File(_));
                wishes.iter().all(is_file).then_some(wishes.len())
            }
        }
    }
}

impl Typed {
    /// Interprets the sources and `--output`.
    pub(super) fn destination(
        &self,
        filter: Filter,
        elsewhere: &Places,
    ) -> Result<Destination, String> {
        if let Some(_several) = self.sources.get(1) {
            for (name, given) in [
                ("output", self.output.is_some()),
                ("md5", self.md5.is_some()),
            ] {
                if given {
                    return Err(format!(
                        "{} is for one SOURCE, there are {}",
                        elsewhere.called(name),
                        self.sources.len()
                    ));
                }
            }
        }
        if let Some(pour) = self.command_to_run(elsewhere)? {
            let output = match &self.output {
                None => Sink::Stream(Stream::Standard),
                Some(output) => match stream(output) {
                    Some(stream) => Sink::Stream(stream),
                    None => {
                        let (folder, name) = self.split_output(output, elsewhere)?;
                        Sink::File(folder, name)
                    }
                },
            };
            return Ok(Destination::Stream(pour, output));
        }
        let streamed = self.output.as_deref().and_then(stream);
        if self.spool && streamed.is_none() {
            return Err("--spool goes with -o -".to_owned());
        }
        if let Some(output) = &self.output {
            let (location, path) = read_source(&self.sources[0])?;
            if let Some(stream) = streamed {
                if self.dir.is_some() {
                    let dir = elsewhere.called("dir");
                    return Err(format!("{dir} is for files, and {} is none", shown(output)));
                }
                let pour = Pour {
                    address: location.address,
                    path,
                    is_command: false,
                    want_md5: self.md5,
                    spool: self.spool.then(env::temp_dir),
                };
                return Ok(Destination::Stream(pour, Sink::Stream(stream)));
            }
            if self.recursive {
                let (output, recursive) =
                    (elsewhere.called("output"), elsewhere.called("recursive"));
                return Err(format!(
                    "{output} is for one file, with {recursive} use --dir"
                ));
            }
            let (folder, name) = self.split_output(output, elsewhere)?;
            let download = Download {
                want_md5: self.md5,
                ..Download::new(location.address, path, folder, name)
            };
            return Ok(Destination::Files(vec![Wish::File(download)]));
        }
        Ok(Destination::Files(self.wishes(filter, elsewhere)?))
    }

    /// The directory and the name of `--output`, below `--dir`.
    fn split_output(
        &self,
        output: &OsStr,
        elsewhere: &Places,
    ) -> Result<(PathBuf, FileName), String> {
        let (folder, name) = split_output(output)?;
        let folder = match &self.dir {
            None => folder,
            Some(_) if folder.is_absolute() => {
                return Err(format!(
                    "{} is below no other folder, leave out {}",
                    shown(output),
                    elsewhere.called("dir")
                ));
            }
            Some(dir) if folder == Path::new(".") => dir.clone(),
            Some(dir) => dir.join(folder),
        };
        Ok((folder, name))
    }

    /// The command to run, if the one source is one: `@NAME` in every form but the URL, where
    /// it is the file of that name.
    fn command_to_run(&self, elsewhere: &Places) -> Result<Option<Pour>, String> {
        for source in self.sources.iter().filter(|source| !is_url(source)) {
            let location = Location::parse(source.as_bytes()).map_err(|error| error.to_string())?;
            let Some(name) = location.path.strip_prefix(b"@") else {
                continue;
            };
            if self.sources.len() > 1 {
                return Err(format!("{} is a command, and runs alone", shown(source)));
            }
            if self.dir.is_some() && self.output.is_none() {
                return Err(format!(
                    "{} goes to standard output; name a file with -o besides {}",
                    shown(source),
                    elsewhere.called("dir")
                ));
            }
            let path =
                ResourcePath::parse(name).map_err(|error| format!("{}: {error}", shown(source)))?;
            return Ok(Some(Pour {
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
