//! Placing verified files, many at once: sync their bytes, rename each, sync their folders, and
//! only then are they done; so are links, which have their names before.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::client::batch::budget::Share;
use crate::client::batch::hands::guarded;
#[cfg(test)]
use crate::client::batch::hands::trip;
use crate::client::batch::jobs::JobId;
use crate::client::batch::keeper::Keeper;
use crate::client::batch::look::Decision;
use crate::client::batch::report::{Report, Reports};
use crate::client::question::Content;
use crate::client::{Action, ClientConfig, ClientError, Download, IfExists, SyncPolicy};
use crate::store::{FileName, Placement, StageError, StagedFile, StagingFolder};
use crate::wire::Md5Digest;

/// A file that has the right bytes, permissions and time, and is to be placed.
pub(in crate::client) struct Verified {
    pub(in crate::client) id: JobId,
    pub(in crate::client) download: Arc<Download>,
    pub(in crate::client) content: Content,
    /// What was done for it.
    pub(in crate::client) action: Action,
    pub(in crate::client) staged: StagedFile,
    pub(in crate::client) synced: bool,
    /// Of the files that may be open at once.
    pub(in crate::client) share: Share,
}

/// A file that is there.
#[derive(Debug)]
pub(in crate::client) struct Placed {
    pub(in crate::client) name: FileName,
    pub(in crate::client) total_size: u64,
    pub(in crate::client) md5: Option<Md5Digest>,
    pub(in crate::client) action: Action,
}

/// What is to be on disk before it is told as done.
pub(in crate::client) enum ToPlace {
    /// It has no name yet.
    File(Verified),
    Link(Linked),
}

/// A symbolic link that has its name.
pub(in crate::client) struct Linked {
    pub(in crate::client) id: JobId,
    pub(in crate::client) placed: Placed,
    pub(in crate::client) folder: Arc<StagingFolder>,
    /// Of what may be open at once, for the folder.
    pub(in crate::client) share: Share,
}

/// Places until nothing more comes. While some are synced others arrive, so that the slower the
/// disk is, the more are placed together.
pub(in crate::client) fn run(
    to_place: &Receiver<ToPlace>,
    reports: &Reports,
    config: &ClientConfig,
    keeper: &Keeper,
) {
    while let Ok(first) = to_place.recv() {
        let mut sheaf = Sheaf::default();
        sheaf.push(first);
        while !sheaf.is_full()
            && let Ok(next) = to_place.try_recv()
        {
            sheaf.push(next);
        }
        let files: Vec<JobId> = sheaf.files.iter().map(|file| file.id).collect();
        let links: Vec<JobId> = sheaf.links.iter().map(|link| link.id).collect();
        let settled = guarded(|| Ok(sheaf.settle(config, keeper))).unwrap_or_else(|error| {
            let fail = |id| (id, Err(error.clone()));
            Settled {
                files: files.into_iter().map(fail).collect(),
                links: links.into_iter().map(fail).collect(),
            }
        });
        for (id, outcome) in settled.files {
            reports.send(Report::Finished { id, outcome });
        }
        if !settled.links.is_empty() {
            // No server was asked for them: they say nothing of it.
            let decided = settled.links.into_iter();
            let decided = decided.map(|(id, outcome)| (id, outcome.map(Decision::Finished)));
            reports.send(Report::Looked(decided.collect()));
        }
    }
}

/// Verified files that wait to be placed together, and links to be synced with them.
#[derive(Default)]
struct Sheaf {
    files: Vec<Verified>,
    bytes: u64,
    links: Vec<Linked>,
}

/// How each of a sheaf fared.
struct Settled {
    files: Vec<(JobId, Result<Placed, ClientError>)>,
    links: Vec<(JobId, Result<Placed, ClientError>)>,
}

impl Sheaf {
    fn push(&mut self, one: ToPlace) {
        match one {
            ToPlace::File(file) => {
                self.bytes += file.content.total_size;
                self.files.push(file);
            }
            ToPlace::Link(link) => self.links.push(link),
        }
    }

    fn is_full(&self) -> bool {
        self.files.len() + self.links.len() >= SHEAF_MAX || self.bytes >= SHEAF_BYTES_MAX
    }

    /// Places everything.
    fn settle(self, config: &ClientConfig, keeper: &Keeper) -> Settled {
        let Sheaf { files, links, .. } = self;
        let mut folders = Folders::default();
        for file in &files {
            folders.add(file.staged.folder());
        }
        for link in &links {
            folders.add_with_link(&link.folder);
        }
        let synced_together = sync_together(&files, &folders, config);
        let files: Vec<_> = files
            .into_iter()
            .map(|file| {
                let (id, folder) = (file.id, Arc::clone(file.staged.folder()));
                let outcome = match &synced_together {
                    Ok(together) => guarded(|| sync_and_place(file, *together, config, keeper)),
                    Err(error) => Err(error.clone()),
                };
                (id, outcome, folder)
            })
            .collect();
        let unsynced = folders.sync(config);
        let on_disk = |placed: Placed, folder: &Arc<StagingFolder>| {
            let why = unsynced.iter().find(|(of, _)| Arc::ptr_eq(of, folder));
            why.map_or(Ok(placed), |(_, error)| Err(error.clone()))
        };
        Settled {
            files: files
                .into_iter()
                .map(|(id, outcome, folder)| {
                    (id, outcome.and_then(|placed| on_disk(placed, &folder)))
                })
                .collect(),
            links: links
                .into_iter()
                .map(|link| {
                    let Linked {
                        id,
                        placed,
                        folder,
                        share: _share,
                    } = link;
                    (id, on_disk(placed, &folder))
                })
                .collect(),
        }
    }
}

/// The folders of a sheaf, each once.
#[derive(Default)]
struct Folders {
    all: Vec<Arc<StagingFolder>>,
    /// Devices on which there are new links.
    with_links: HashSet<u64>,
}

impl Folders {
    fn add(&mut self, folder: &Arc<StagingFolder>) {
        if !self.all.iter().any(|known| Arc::ptr_eq(known, folder)) {
            self.all.push(Arc::clone(folder));
        }
    }

    fn add_with_link(&mut self, folder: &Arc<StagingFolder>) {
        self.add(folder);
        self.with_links.insert(folder.device());
    }

    /// Makes what was renamed in them survive a power cut. Returns those for which that failed.
    fn sync(&self, config: &ClientConfig) -> Vec<(Arc<StagingFolder>, ClientError)> {
        let is_together = is_cheaper_together(self.all.len(), config);
        let mut together = HashMap::new();
        let sync = |folder: &Arc<StagingFolder>| {
            // A link cannot be opened to be synced itself, and not every file system takes it
            // along with its folder.
            let synced = if is_together || self.with_links.contains(&folder.device()) {
                let synced = together.entry(folder.device());
                synced
                    .or_insert_with(|| folder.sync_file_system().map_err(ClientError::from))
                    .clone()
            } else {
                folder.sync().map_err(ClientError::from)
            };
            Some((Arc::clone(folder), synced.err()?))
        };
        self.all.iter().filter_map(sync).collect()
    }
}

/// Syncs many files with one call. `Ok(false)`: they are few, or shall be synced one by one.
fn sync_together(
    files: &[Verified],
    folders: &Folders,
    config: &ClientConfig,
) -> Result<bool, ClientError> {
    let unsynced = files.iter().filter(|file| !file.synced).count();
    if !is_cheaper_together(unsynced, config) {
        return Ok(false);
    }
    let mut synced = HashSet::new();
    for folder in &folders.all {
        if synced.insert(folder.device()) {
            folder.sync_file_system()?;
        }
    }
    Ok(true)
}

/// Whether so many files, or folders, are synced with their file system.
fn is_cheaper_together(count: usize, config: &ClientConfig) -> bool {
    config.sync == SyncPolicy::Auto && count >= SYNC_TOGETHER_MIN
}

fn sync_and_place(
    file: Verified,
    synced_together: bool,
    config: &ClientConfig,
    keeper: &Keeper,
) -> Result<Placed, ClientError> {
    // Before the rename: a crash must never show the new name with other bytes.
    if !file.synced && !synced_together {
        file.staged.sync()?;
    }
    place(file, config, keeper)
}

/// Gives a file its name.
pub(in crate::client) fn place(
    file: Verified,
    config: &ClientConfig,
    keeper: &Keeper,
) -> Result<Placed, ClientError> {
    let Verified {
        download,
        content,
        action,
        staged,
        share: _share,
        ..
    } = file;
    #[cfg(test)]
    trip(&download, "trips placing");
    let folder = Arc::clone(staged.folder());
    let placement = placement(config);
    let placed = keeper.note(staged, &download, content.md5, |staged| {
        staged.place(placement)
    });
    let placed = match placed {
        Ok(name) => Placed {
            name,
            total_size: content.total_size,
            md5: Some(content.md5),
            action,
        },
        // It came while we were looking elsewhere.
        Err(StageError::Exists) if config.if_exists == IfExists::Skip => {
            folder.remove_leftovers(&download.name);
            Placed {
                name: download.name.clone(),
                total_size: 0,
                md5: None,
                action: Action::Skipped,
            }
        }
        Err(error) => return Err(error.into()),
    };
    Ok(placed)
}

/// What was done for content that came over a connection.
pub(in crate::client) fn transferred(content: &Content) -> Action {
    match content.offset {
        0 => Action::Fetched,
        from => Action::Resumed { from },
    }
}

/// Whether a file is synced by itself, before it is placed with others.
pub(in crate::client) fn is_synced_alone(total_size: u64, config: &ClientConfig) -> bool {
    match config.sync {
        SyncPolicy::Auto => total_size >= SYNCED_ALONE_BYTES_MIN,
        SyncPolicy::Always => true,
        SyncPolicy::Never => false,
    }
}

/// What becomes of what has the name.
pub(in crate::client) fn placement(config: &ClientConfig) -> Placement {
    match config.if_exists {
        IfExists::Update | IfExists::Overwrite => Placement::Replace,
        IfExists::Skip | IfExists::Error => Placement::CreateOnly,
        IfExists::Rename => Placement::Numbered,
    }
}

/// From here on a file is synced by itself.
const SYNCED_ALONE_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Half of the files that may be open at once.
const SHEAF_MAX: usize = 256;
const SHEAF_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// From here on one sync of the file system is cheaper than one of each file, or of each folder.
/// Measured with 2,000 files of 8 KiB on ext4: 0.17 s together, 0.66 s one by one, 0.17 s
/// without any.
const SYNC_TOGETHER_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Synced, synced_below};

    #[test]
    fn few_folders_are_synced_one_by_one_and_many_or_those_with_links_together() {
        for (sync, count, link, expected) in [
            (SyncPolicy::Auto, 7, None, vec![Synced::Folder; 7]),
            (SyncPolicy::Auto, 8, None, vec![Synced::FileSystem]),
            (SyncPolicy::Always, 8, None, vec![Synced::Folder; 8]),
            (SyncPolicy::Auto, 1, Some(0), vec![Synced::FileSystem]),
            (SyncPolicy::Always, 8, Some(7), vec![Synced::FileSystem]),
        ] {
            let temp = tempfile::tempdir().unwrap();
            let mut folders = Folders::default();
            for number in 0..count {
                let path = temp.path().join(number.to_string());
                std::fs::create_dir(&path).unwrap();
                let folder = StagingFolder::open(&path).unwrap();
                folders.add(&folder);
                match link {
                    Some(of) if of == number => folders.add_with_link(&folder),
                    _ => folders.add(&folder),
                }
            }
            let config = ClientConfig {
                sync,
                ..ClientConfig::default()
            };
            assert!(folders.sync(&config).is_empty());
            assert_eq!(synced_below(temp.path()), expected, "{sync:?} {link:?}");
        }
    }
}
