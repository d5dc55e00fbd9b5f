//! Writes the output of a published command to a file, which appears after it is verified.

use std::io::{self, Write};
use std::path::Path;

use super::report::Reporter;
use crate::client::{
    self, Action, ClientConfig, ClientError, Downloaded, Event, IfExists, Item, StreamDownload,
};
use crate::store::{Attributes, FileName, StageError, StagedFile, StagingDirectory};

/// Runs the command, and places its output unless it failed.
pub(super) fn fetch(
    download: &StreamDownload,
    directory: &Path,
    name: &FileName,
    config: &ClientConfig,
    reporter: &mut Reporter<'_>,
) {
    let item = Item {
        index: 0,
        address: &download.address,
        path: &download.path,
        here: None,
    };
    match place(download, directory, name, config, reporter) {
        Ok(downloaded) => drop(reporter.take(Event::Done {
            item,
            download: None,
            downloaded: &downloaded,
        })),
        Err(error) => drop(reporter.take(Event::Failed {
            item,
            error: &error,
        })),
    }
}

fn place(
    download: &StreamDownload,
    directory: &Path,
    name: &FileName,
    config: &ClientConfig,
    reporter: &mut Reporter<'_>,
) -> Result<Downloaded, ClientError> {
    if config.make_folders {
        StagingDirectory::make(directory)?;
    }
    let directory = StagingDirectory::open(directory)?;
    let attributes = Attributes {
        mode: None,
        mtime: None,
    };
    let mut output = Staging(directory.stage_whole(name, b"", &attributes)?);
    // The result is not known before the file is in place.
    let downloaded = client::stream_to(download, config, &mut output, &mut |event| match event {
        Event::Done { .. } | Event::Failed { .. } => {}
        event => drop(reporter.take(event)),
    })?;
    let Staging(staged) = output;
    let has_failed = |end: &client::CommandEnd| end.exit_status != 0;
    if downloaded.command.as_ref().is_some_and(has_failed) {
        staged.discard();
        return Ok(downloaded);
    }
    staged.sync()?;
    let placed = match staged.place(config.placement()) {
        Ok((name, _)) => name,
        Err(StageError::Exists) if config.if_exists == IfExists::Skip => {
            return Ok(Downloaded {
                name: Some(name.clone()),
                action: Action::Skipped,
                ..downloaded
            });
        }
        Err(error) => return Err(error.into()),
    };
    directory.sync()?;
    Ok(Downloaded {
        name: Some(placed),
        ..downloaded
    })
}

/// A partial file as a writer.
struct Staging(StagedFile);

impl Write for Staging {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.append(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error @ (StageError::NoSpace { .. } | StageError::DiskFull(_))) => {
                Err(io::Error::new(io::ErrorKind::StorageFull, error))
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
