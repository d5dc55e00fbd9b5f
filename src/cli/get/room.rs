//! Messages about free space.

use std::os::unix::ffi::OsStrExt;

use indicatif::HumanBytes;

use crate::cli::terminal::counted;
use crate::cli::visible;
use crate::client::Room;

/// The space that the whole run needs.
pub(super) fn needs(room: &Room) -> String {
    let needed = HumanBytes(room.needed_bytes);
    let directory = directory(room);
    match room.free_bytes {
        Some(free) => format!(
            "{needed} needed in {directory}, {} are free",
            HumanBytes(free)
        ),
        None => format!("{needed} needed in {directory}"),
    }
}

/// A file system on which the run does not fit.
pub(super) struct Shortage {
    pub(super) sentence: String,
    /// Whether it certainly does not fit. On some file systems the free space is an estimate.
    pub(super) is_certain: bool,
}

/// Why the run does not fit, or may not fit; `None` if it fits.
pub(super) fn shortage(room: &Room) -> Option<Shortage> {
    let is_certain = room.is_too_small();
    let directory = directory(room);
    let problem = match is_certain {
        true => format!("no space in {directory}"),
        false => format!("perhaps no space in {directory}"),
    };
    let sentence = if let Some(free) = room.free_bytes.filter(|_| room.lacks_bytes()) {
        let (needed, free) = (HumanBytes(room.needed_bytes), HumanBytes(free));
        format!("{problem}: needs {needed}, {free} are free")
    } else {
        let free = room.free_files.filter(|_| room.lacks_files())?;
        let needed = counted(room.needed_files, "file");
        format!(
            "{problem}: needs {needed}, directories and links included; {free} more can be created"
        )
    };
    Some(Shortage {
        sentence,
        is_certain,
    })
}

fn directory(room: &Room) -> String {
    visible(room.folder.as_os_str().as_bytes()).into_owned()
}
