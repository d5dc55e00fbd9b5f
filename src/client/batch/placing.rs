//! Placing verified files, many at once: sync their bytes, rename each, sync their folders, and
//! only then are they done; so are links, which have their names before.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::client::batch::budget::Share;
use crate::client::batch::hands::guarded;
#[cfg(test)]
use crate::client::batch::hands::trip;
use crate::client::batch::in_place::InPlace;
use crate::client::batch::jobs::JobId;
use crate::client::batch::keeper::Keeper;
use crate::client::batch::look::Decision;
use crate::client::batch::report::{Report, Reports};
use crate::client::batch::syncing::{Manner, sync_bytes};
use crate::client::in_time::in_time;
use crate::client::question::Content;
use crate::client::{Action, ClientConfig, ClientError, Download, IfExists, SyncPolicy};
use crate::net::Deadline;
use crate::store::{FileName, StageError, StagedFile, StagingDirectory};
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
    /// They have no names yet.
    Files(Vec<Verified>),
    Link(Linked),
}

/// A symbolic link that has its name.
pub(in crate::client) struct Linked {
    pub(in crate::client) id: JobId,
    pub(in crate::client) placed: Placed,
    pub(in crate::client) folder: Arc<StagingDirectory>,
    /// Of what may be open at once, for the folder.
    pub(in crate::client) share: Share,
}

/// Places until nothing more comes, in time. While some are synced others arrive, so that the
/// slower the disk is, the more are placed together.
pub(in crate::client) fn run(
    to_place: &Receiver<ToPlace>,
    reports: &Reports,
    config: &ClientConfig,
    keeper: &Keeper,
    (whole, in_place): (Option<Deadline>, &InPlace),
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
        let ids: Vec<JobId> = files.iter().chain(&links).copied().collect();
        let settle = || Ok(sheaf.settle(config, keeper, whole, in_place));
        let settled = guarded(settle).unwrap_or_else(|error| {
            let fail = |id| (id, Err(error.clone()));
            Settled {
                files: files.into_iter().map(fail).collect(),
                links: links.into_iter().map(fail).collect(),
            }
        });
        if !settled.files.is_empty() {
            reports.send(Report::Finished(settled.files));
        }
        if !settled.links.is_empty() {
            // No server was asked for them: they say nothing of it.
            let decided = settled.links.into_iter();
            let decided = decided.map(|(id, outcome)| (id, outcome.map(Decision::Finished)));
            reports.send(Report::Looked(decided.collect()));
        }
        in_place.forget(&ids);
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
            ToPlace::Files(files) => {
                let sizes = files.iter().map(|file| file.content.total_size);
                self.bytes += sizes.sum::<u64>();
                self.files.extend(files);
            }
            ToPlace::Link(link) => self.links.push(link),
        }
    }

    fn is_full(&self) -> bool {
        self.files.len() + self.links.len() >= SHEAF_MAX || self.bytes >= SHEAF_BYTES_MAX
    }

    /// Places everything, as far as there is time.
    fn settle(
        self,
        config: &ClientConfig,
        keeper: &Keeper,
        whole: Option<Deadline>,
        in_place: &InPlace,
    ) -> Settled {
        let Sheaf {
            files,
            links,
            bytes,
        } = self;
        let mut folders = Folders::default();
        for file in &files {
            folders.add(file.staged.directory());
        }
        for link in &links {
            folders.add_with_link(&link.folder);
        }
        let manner = Manner::of(config, files.len(), bytes, &folders.all, whole);
        let synced = sync_bytes(&files, &folders.all, manner, whole);
        let files: Vec<_> = files.into_iter().zip(synced).collect();
        let place_all = |has_name: Option<&mut BTreeSet<JobId>>| {
            let is_over = has_name.is_none();
            let place_one = |(file, synced): (Verified, Result<(), ClientError>)| {
                let (id, folder) = (file.id, Arc::clone(file.staged.directory()));
                // Before the rename: a crash must never show the new name with other bytes.
                let outcome = match is_over {
                    true => Err(ClientError::OutOfTime),
                    false => synced.and_then(|()| guarded(|| place(file, config, keeper))),
                };
                (id, outcome, folder)
            };
            let placed: Vec<_> = files.into_iter().map(place_one).collect();
            let has_one = |(id, outcome, _): &(_, Result<_, _>, _)| outcome.is_ok().then_some(*id);
            if let Some(has_name) = has_name {
                has_name.extend(placed.iter().filter_map(has_one));
            }
            placed
        };
        let files = in_place.place(place_all);
        let unsynced = folders.sync(manner, whole);
        let on_disk = |placed: Placed, folder: &Arc<StagingDirectory>| {
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
    all: Vec<Arc<StagingDirectory>>,
    /// Devices on which there are new links.
    with_links: HashSet<u64>,
}

impl Folders {
    fn add(&mut self, folder: &Arc<StagingDirectory>) {
        if !self.all.iter().any(|known| Arc::ptr_eq(known, folder)) {
            self.all.push(Arc::clone(folder));
        }
    }

    fn add_with_link(&mut self, folder: &Arc<StagingDirectory>) {
        self.add(folder);
        self.with_links.insert(folder.device());
    }

    /// Makes what was renamed in them survive a power cut. Returns those for which that failed.
    fn sync(
        &self,
        manner: Manner,
        whole: Option<Deadline>,
    ) -> Vec<(Arc<StagingDirectory>, ClientError)> {
        if manner.is_in_memory {
            return Vec::new();
        }
        let is_together = manner.is_together(self.all.len());
        let (all, with_links) = (self.all.clone(), self.with_links.clone());
        let sync = move || {
            let mut together = HashMap::new();
            let sync = |folder: &Arc<StagingDirectory>| {
                // A link cannot be opened to be synced by itself.
                let has_lone_links = with_links.contains(&folder.device()) && !folder.syncs_links();
                let mut synced = Ok(false);
                if is_together || has_lone_links {
                    let sync = || folder.sync_file_system().map_err(ClientError::from);
                    synced = together.entry(folder.device()).or_insert_with(sync).clone();
                }
                match synced {
                    Ok(false) => folder.sync().map_err(ClientError::from),
                    Ok(true) => Ok(()),
                    Err(error) => Err(error),
                }
            };
            all.iter().map(sync).collect::<Vec<_>>()
        };
        let fail = |folder: &Arc<StagingDirectory>, error| (Arc::clone(folder), error);
        match in_time(whole, sync) {
            Ok(synced) => {
                let all = self.all.iter().zip(synced);
                all.filter_map(|(folder, synced)| Some(fail(folder, synced.err()?)))
                    .collect()
            }
            Err(error) => {
                let all = self.all.iter();
                all.map(|folder| fail(folder, error.clone())).collect()
            }
        }
    }
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
    let folder = Arc::clone(staged.directory());
    let placement = config.placement();
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

/// From here on a file is synced by itself.
const SYNCED_ALONE_BYTES_MIN: u64 = 16 * 1024 * 1024;
/// Half of the files that may be open at once.
const SHEAF_MAX: usize = 256;
const SHEAF_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Synced, synced_below};

    #[test]
    fn few_folders_are_synced_one_by_one_and_many_or_links_together() {
        let auto = |is_beside_others| Manner {
            is_auto: true,
            is_in_memory: false,
            is_beside_others,
        };
        let always = Manner {
            is_auto: false,
            ..auto(false)
        };
        for (manner, count, link, expected) in [
            (auto(false), 7, None, vec![Synced::Directory; 7]),
            (auto(false), 8, None, vec![Synced::FileSystem]),
            (auto(true), 8, None, vec![Synced::Directory; 8]),
            (always, 8, None, vec![Synced::Directory; 8]),
            (auto(false), 1, Some(0), vec![Synced::FileSystem]),
            (auto(true), 8, Some(0), vec![Synced::FileSystem]),
            (always, 8, Some(7), vec![Synced::FileSystem]),
        ] {
            let temp = tempfile::tempdir().unwrap();
            let takes_links = StagingDirectory::open(temp.path()).unwrap().syncs_links();
            let expected = match link.is_some() && takes_links {
                true => vec![Synced::Directory; count],
                false => expected,
            };
            let mut folders = Folders::default();
            for number in 0..count {
                let path = temp.path().join(number.to_string());
                std::fs::create_dir(&path).unwrap();
                let folder = StagingDirectory::open(&path).unwrap();
                folders.add(&folder);
                match link {
                    Some(of) if of == number => folders.add_with_link(&folder),
                    _ => folders.add(&folder),
                }
            }
            assert!(folders.sync(manner, None).is_empty());
            assert_eq!(synced_below(temp.path()), expected, "{count} {link:?}");
        }
    }
}
