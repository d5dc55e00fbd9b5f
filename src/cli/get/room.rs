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

/// Why that does not fit.
pub(super) fn shortage(room: &Room) -> Option<String> {
    let folder = folder(room);
    if let Some(free) = room.free_bytes.filter(|_| room.lacks_bytes()) {
        let (needed, free) = (HumanBytes(room.needed_bytes), HumanBytes(free));
        return Some(format!(
            "no space in {folder}: needs {needed}, {free} are free"
        ));
    }
    let free = room.free_files.filter(|_| room.lacks_files())?;
    let needed = counted(room.needed_files, "file");
    Some(format!(
        "no space in {folder}: needs {needed}, folders and links included; {free} more can be made"
    ))
}

fn folder(room: &Room) -> String {
    visible(room.folder.as_os_str().as_bytes()).into_owned()
}
