//! What is said of the room on file systems.

use std::os::unix::ffi::OsStrExt;

use indicatif::HumanBytes;

use crate::cli::terminal::counted;
use crate::cli::visible;
use crate::client::Room;

/// What everything needs there.
pub(super) fn needs(room: &Room) -> String {
    let needed = HumanBytes(room.needed_bytes);
    let folder = folder(room);
    match room.free_bytes {
        Some(free) => format!("{needed} needed in {folder}, {} are free", HumanBytes(free)),
        None => format!("{needed} needed in {folder}"),
    }
}

/// Why that does not fit, or perhaps not.
pub(super) struct Shortage {
    pub(super) sentence: String,
    /// It does not fit, whatever the bytes are.
    pub(super) is_certain: bool,
}

/// What is lacking, if anything is.
pub(super) fn shortage(room: &Room) -> Option<Shortage> {
    let is_certain = room.is_too_small();
    let folder = folder(room);
    let problem = match is_certain {
        true => format!("no space in {folder}"),
        false => format!("perhaps no space in {folder}"),
    };
    let sentence = if let Some(free) = room.free_bytes.filter(|_| room.lacks_bytes()) {
        let (needed, free) = (HumanBytes(room.needed_bytes), HumanBytes(free));
        format!("{problem}: needs {needed}, {free} are free")
    } else {
        let free = room.free_files.filter(|_| room.lacks_files())?;
        let needed = counted(room.needed_files, "file");
        format!("{problem}: needs {needed}, folders and links included; {free} more can be made")
    };
    Some(Shortage {
        sentence,
        is_certain,
    })
}

fn folder(room: &Room) -> String {
    visible(room.folder.as_os_str().as_bytes()).into_owned()
}
