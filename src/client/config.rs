//! How a client behaves: limits, policies, patience.

use std::sync::Arc;
use std::time::Duration;

use crate::client::batch::plan::OPEN_FILES_MIN;
use crate::store::{Attributes, LocalDigests, NewModes, Placement, Stamp};
use crate::wire::Timestamp;

/// How a client behaves. The defaults are those of `ftget`.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Which addresses of a host name are tried.
    pub family: AddressFamily,
    /// All attempts at one connection together, each address of a name having its share.
    pub connect_timeout: Duration,
    /// The longest time without progress: without a byte, or without the server's digest
    /// advancing.
    pub progress_timeout: Duration,
    /// The longest time for everything.
    pub whole_timeout: Option<Duration>,
    /// Bytes per second that all connections of a call may receive together.
    pub rate: Option<u64>,
    /// Connections to one server at once; otherwise as many as are of use: up to 4, or what
    /// `split` says if that is more, and up to 4 beside those while each waits for the server to
    /// hash a large file. There are never more than 16, to all servers together.
    pub connections_max: Option<usize>,
    /// Connections that one large file may come over at once, in blocks; at most 16, and at most
    /// `connections_max` if that is given. With 1 it comes over one, which is best where that
    /// fills the link. For pipes it always is 1.
    pub split: usize,
    /// What happens after a failure that may pass.
    pub retry: RetryPolicy,
    /// What happens if the final name is taken.
    pub if_exists: IfExists,
    /// Whether partial files of earlier runs are continued.
    pub resume: bool,
    /// When a file counts as finished.
    pub sync: SyncPolicy,
    /// Whether files get the permissions they have on the server, but for those of `umask`, and
    /// without set-user-id and its kin; `0o666` if the server does not say. Otherwise they get what
    /// the system gives to new files.
    pub preserve_mode: bool,
    /// Whether files get the time they were last written on the server.
    pub preserve_mtime: bool,
    /// Permissions that no new file gets.
    pub umask: u32,
    /// Whether folders that are missing are made.
    pub make_folders: bool,
    /// What is known of files that are here already: those need not be read to find out whether
    /// they are what is wanted.
    pub local_digests: Arc<LocalDigests>,
    /// Files that may be open at once. What is less than 3, which [`ClientConfig::split`] needs,
    /// counts as 3. What a batch takes of descriptors depends on this and not on how much is
    /// wanted: [`ClientConfig::open_files_within`] says how many files may be open with so many.
    pub open_files_max: u64,
}

/// Which addresses of a host name are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFamily {
    /// All, in the order of the resolver.
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// What happens after a failure that may pass: a connection cut off or silent, a server that
/// is busy or shutting down. What arrived before stays.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Attempts after the first, without a file finished or a mebibyte received in between:
    /// such progress begins the count anew.
    pub retries_max: u32,
    /// The pause before the first; it doubles with each, up to 16 times that and
    /// [`RETRY_DELAY_MAX`], and is
    /// shortened at random by up to a quarter, so that many clients do not come back at once.
    /// A server's `retry_after_ms` makes it longer.
    pub delay: Duration,
    /// No attempt begins later than this after the start.
    pub time_max: Option<Duration>,
    /// Whether to wait for a server that was never reached, too; otherwise that fails at once.
    pub before_contact: bool,
}

/// What happens if the final name is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// The same content is a success without a transfer; other content is replaced.
    Update,
    /// Nothing is asked for: a success.
    Skip,
    /// It is replaced without a look.
    Overwrite,
    /// The new file is called `name.1`, `name.2`, ...
    Rename,
    /// It is an error.
    Error,
}

/// When a file counts as finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// When it would survive a power cut; many small files are synced together.
    Auto,
    /// The same, each file by itself.
    Always,
    /// When it has its name; the system writes it to disk when it likes.
    Never,
}

impl ClientConfig {
    /// What happens if the name of a new file is taken.
    pub fn placement(&self) -> Placement {
        match self.if_exists {
            IfExists::Update | IfExists::Overwrite => Placement::Replace,
            IfExists::Skip | IfExists::Error => Placement::CreateOnly,
            IfExists::Rename => Placement::Numbered,
        }
    }

    /// How many files may be open at once, from 3 to 512, so that a batch takes no more than so
    /// many descriptors: up to 100 for connections, for what is looked at, and for an index; and
    /// four for each file. With less than 112 a batch may fail for want of them. Downloads that go
    /// below more than one [`crate::client::Download::folder`] take three more for each.
    pub fn open_files_within(descriptors: u64) -> u64 {
        let for_files = descriptors.saturating_sub(DESCRIPTORS_BESIDE_FILES);
        (for_files / DESCRIPTORS_PER_FILE).clamp(OPEN_FILES_MIN, OPEN_FILES_MAX)
    }

    /// Folders that are kept open for what comes next, of each tree.
    pub(super) fn kept_folders_max(&self) -> usize {
        self.open_files_max.clamp(1, KEPT_FOLDERS_MAX) as usize
    }

    /// Connections that one large file may come over.
    pub(super) fn split_max(&self) -> usize {
        self.connections_max
            .map_or(self.split, |max| self.split.min(max))
    }

    /// What is asked for when files and folders are made. `finishes_folders`: they get permissions of
    /// their own at the end, and until then nobody else looks into them.
    pub(super) fn new_modes(&self, finishes_folders: bool) -> NewModes {
        let private = NewModes::default();
        NewModes {
            files: if self.preserve_mode {
                private.files
            } else {
                0o666
            },
            directories: match self.preserve_mode && finishes_folders {
                true => private.directories,
                false => 0o777,
            },
        }
    }

    /// What a file or folder gets of what a server told of it. Where permissions are not preserved
    /// it keeps those that the system gave it, of the umask or of a default ACL.
    pub(super) fn attributes(
        &self,
        mode: Option<u32>,
        mtime: Option<Timestamp>,
        usual_mode: u32,
    ) -> Attributes {
        let mode = mode.unwrap_or(usual_mode) & !self.umask;
        Attributes {
            mode: self.preserve_mode.then_some(mode),
            mtime: mtime.filter(|_| self.preserve_mtime),
        }
    }

    /// What something here, of this mode and stamp, is to get of what a server told of it; `None`
    /// if it has it all. A time that is right, as far as the file system keeps it, is not among it.
    pub(super) fn lacking(
        &self,
        (mode, mtime): (Option<u32>, Option<Timestamp>),
        (mode_here, here): (u32, &Stamp),
    ) -> Option<Attributes> {
        let mode = mode.filter(|_| self.preserve_mode);
        let mode = mode.map(|mode| mode & !self.umask & 0o777);
        let mode = mode.filter(|&mode| mode != mode_here);
        let mtime = mtime.filter(|&mtime| self.preserve_mtime && !here.keeps(mtime));
        (mode.is_some() || mtime.is_some()).then_some(Attributes { mode, mtime })
    }
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            family: AddressFamily::Any,
            connect_timeout: Duration::from_secs(10),
            progress_timeout: Duration::from_secs(120),
            whole_timeout: None,
            rate: None,
            connections_max: None,
            split: 1,
            retry: RetryPolicy::default(),
            if_exists: IfExists::Update,
            resume: true,
            sync: SyncPolicy::Auto,
            preserve_mode: true,
            preserve_mtime: true,
            umask: 0o022,
            make_folders: false,
            local_digests: Arc::new(LocalDigests::unkept()),
            open_files_max: ClientConfig::open_files_within(DESCRIPTORS_USUAL),
        }
    }
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            retries_max: 3,
            delay: Duration::from_secs(1),
            time_max: None,
            before_contact: false,
        }
    }
}

/// Bytes received that begin the count of retries anew: so few that who is cut off for being slow
/// gets a file piece by piece (by default a server waits 300 s for 50 bytes a second).
pub const RETRY_PROGRESS_BYTES_MIN: u64 = 16 * 1024;
/// The longest pause between two attempts that no server asked for.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
/// A short delay stays short: to wait for a server with one of 10 ms is to look often.
pub(super) const RETRY_DOUBLINGS_MAX: u32 = 4;
/// The longest pause that a server may ask for; who asks for more has refused for good.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// Twice as many as are placed together: while some are synced, others arrive.
const OPEN_FILES_MAX: u64 = 512;
/// Its own, that of its folder, and that of a folder which is kept open. One that was placed is
/// no open file any more, but its folder is open until it is synced, which makes four.
const DESCRIPTORS_PER_FILE: u64 = 4;
/// Three for each of 16 connections, four for each of 4 hands, some for an index, for what finds
/// out what is wanted, and for standard streams.
const DESCRIPTORS_BESIDE_FILES: u64 = 100;
/// What a process has if nobody raises it.
const DESCRIPTORS_USUAL: u64 = 1024;
/// Those of one tree that are kept open for the next file.
const KEPT_FOLDERS_MAX: u64 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_descriptors_are_there_for_each_file_that_may_be_open() {
        for (descriptors, files) in [
            (0, 3),
            (99, 3),
            (115, 3),
            (116, 4),
            (1024, 231),
            (2147, 511),
            (2148, 512),
            (u64::MAX, 512),
        ] {
            let open = ClientConfig::open_files_within(descriptors);
            assert_eq!(open, files, "{descriptors}");
        }
    }

    #[test]
    fn no_more_folders_are_kept_than_files_may_be_open() {
        for (open_files_max, folders) in [(0, 1), (1, 1), (127, 127), (128, 128), (129, 128)] {
            let config = ClientConfig {
                open_files_max,
                ..ClientConfig::default()
            };
            assert_eq!(config.kept_folders_max(), folders, "{open_files_max}");
        }
    }
}
