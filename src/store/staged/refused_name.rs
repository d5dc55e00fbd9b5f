//! Names that the file system does not take, such as those with a colon on FAT.

use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::StageError;
use super::name::{FileName, PartialName, cut};
use super::partials::CREATE_NEW;
use super::space::Space;
use super::staging_directory::StagingDirectory;
use super::tree::folds_case;
use crate::wire::PATH_PART_BYTES_MAX;

/// The unusual traits of names that a directory is known to take.
#[derive(Default)]
pub(super) struct KnownNames(AtomicU32);

impl KnownNames {
    const ALL: u32 = u32::MAX;

    fn take(&self, traits: u32) -> bool {
        traits & !self.0.load(Ordering::Relaxed) == 0
    }

    fn add(&self, traits: u32) {
        self.0.fetch_or(traits, Ordering::Relaxed);
    }
}

impl StagingDirectory {
    /// Checks that a file can get this name here, before its bytes are transferred. This costs
    /// nothing for a usual name, and little where the file system takes all names. Elsewhere a file
    /// is created for a moment, with the unusual bytes of this name in its own name.
    ///
    /// # Errors
    /// [`StageError::NameRefused`].
    pub fn check_name(&self, name: &FileName) -> Result<(), StageError> {
        let traits = traits(name.as_bytes());
        if traits == 0 || self.known_names().take(traits) {
            return Ok(());
        }
        let takes_all = Space::around(self.as_fd()).is_some_and(|space| space.takes_all_names());
        // A directory that folds case may be strict about UTF-8.
        if takes_all && folds_case(self.as_fd()) != Some(true) {
            self.known_names().add(KnownNames::ALL);
            return Ok(());
        }
        let probe = probe(name);
        let made = rustix::fs::openat(self.as_fd(), &*probe, CREATE_NEW, Mode::RUSR);
        match made.map(drop) {
            Err(errno) if is_about_name(errno) => return Err(refused(name.as_bytes(), errno)),
            Ok(()) => {
                let _ = rustix::fs::unlinkat(self.as_fd(), &*probe, AtFlags::empty());
                // One name that is not ASCII may be possible and another not.
                self.known_names().add(traits & !NOT_ASCII);
            }
            // The error is not about the name, so the next step shows it.
            Err(_) => {}
        }
        Ok(())
    }

    /// Whether an error of a rename is about the new name. The partial file was there just before.
    pub(super) fn refuses_name(
        &self,
        partial: &PartialName,
        name: &FileName,
        errno: Errno,
    ) -> bool {
        match errno {
            Errno::NOENT => {
                let look = AtFlags::SYMLINK_NOFOLLOW;
                rustix::fs::statat(self.as_fd(), &*partial.text, look).is_ok()
            }
            Errno::PERM | Errno::ACCESS | Errno::IO => {
                let is_free = || self.look(name).is_ok_and(|looked| looked.is_none());
                traits(name.as_bytes()) != 0 && is_free()
            }
            // A name that exists is possible.
            errno => is_about_name(errno) && !matches!(self.look(name), Ok(Some(_))),
        }
    }
}

/// The error that names the name as its cause.
pub(super) fn refused(name: &[u8], errno: Errno) -> StageError {
    StageError::NameRefused {
        name: name.to_vec(),
        source: errno.into(),
    }
}

/// Whether a call that makes something failed because of its name, if the directory exists.
pub(super) fn is_about_name(errno: Errno) -> bool {
    // exFAT through FUSE returns ENOENT.
    matches!(
        errno,
        Errno::INVAL | Errno::ILSEQ | Errno::NAMETOOLONG | Errno::NOENT
    )
}

/// Whether FAT and exFAT refuse this name.
pub(super) fn is_refused_by_fat(name: &[u8]) -> bool {
    traits(name) & (CONTROL | PUNCTUATION) != 0
}

/// The unusual traits of a name, a bit for each.
fn traits(name: &[u8]) -> u32 {
    let mut traits = 0;
    for &byte in name {
        traits |= match byte {
            0..0x20 => CONTROL,
            0x80.. => NOT_ASCII,
            byte => match REFUSED_BY_FAT.iter().position(|&refused| refused == byte) {
                Some(bit) => 1 << bit,
                None => 0,
            },
        };
    }
    traits |= match name.last() {
        Some(b'.') => ENDS_WITH_DOT,
        Some(b' ') => ENDS_WITH_SPACE,
        _ => 0,
    };
    if traits & NOT_ASCII != 0 && std::str::from_utf8(name).is_err() {
        traits |= NOT_UTF8;
    }
    traits
}

/// A name of no finished file that has the unusual bytes of another name.
fn probe(name: &FileName) -> Vec<u8> {
    let name = name.as_bytes();
    let is_unusual = |byte: &&u8| traits(&[**byte]) & !ENDS_WITH_DOT & !ENDS_WITH_SPACE != 0;
    let unusual: Vec<u8> = name.iter().filter(is_unusual).copied().collect();
    let mut probe = PartialName::random(*b"ffffffffffffffff").text.into_bytes();
    let room = PATH_PART_BYTES_MAX - probe.len() - 1;
    probe.extend_from_slice(cut(&unusual, room));
    // A byte may be refused only at the end of a name, or only before it.
    probe.push(match name.last() {
        Some(&last @ (b'.' | b' ')) => last,
        _ => b'_',
    });
    probe
}

const REFUSED_BY_FAT: [u8; 8] = *b"\"*:<>?\\|";
const PUNCTUATION: u32 = (1 << REFUSED_BY_FAT.len()) - 1;
const CONTROL: u32 = 1 << 8;
const ENDS_WITH_DOT: u32 = 1 << 9;
const ENDS_WITH_SPACE: u32 = 1 << 10;
const NOT_UTF8: u32 = 1 << 11;
/// FAT takes the characters of its mount's code page.
const NOT_ASCII: u32 = 1 << 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_has_the_unusual_bytes_of_the_name() {
        let probe = |name: &[u8]| {
            let probe = probe(&FileName::parse(name).unwrap());
            assert!(probe.starts_with(b".ft-ffffffffffffffff-") && probe.len() <= 255);
            let begin = probe.windows(5).position(|part| part == b".part").unwrap();
            probe[begin + 5..].to_vec()
        };
        assert_eq!(probe(b"a:b?c"), b":?_");
        assert_eq!(probe(b"a\nb"), b"\n_");
        assert_eq!(probe(b"a:b."), b":.");
        assert_eq!(probe("aé b ".as_bytes()), "é ".as_bytes());
        assert_eq!(probe(b"a\xffb"), b"\xff_");
        // The probe is at most as long as a name may be.
        assert_eq!(
            probe(&[b':'; 255]).len(),
            255 - b".ft-ffffffffffffffff-0123456789abcdef.part".len()
        );
        let long = "é".repeat(127);
        assert!(long.as_bytes().starts_with(&probe(long.as_bytes())[..200]));
    }

    #[test]
    fn usual_names_have_no_traits() {
        for name in [&b"a"[..], b"a b.c", b".hidden", b"a;b&c'd", b"-rf", b"~#%"] {
            assert_eq!(traits(name), 0, "{}", name.escape_ascii());
        }
        for name in [&b"a:b"[..], b"a\x1f", b"|", b"\\", b"x?\xc3"] {
            assert!(is_refused_by_fat(name), "{}", name.escape_ascii());
        }
        for name in [&b"a."[..], b"a ", b"a\xff", "é".as_bytes()] {
            assert!(traits(name) != 0 && !is_refused_by_fat(name));
        }
    }

    #[test]
    fn a_name_is_known_once_all_its_traits_are() {
        let known = KnownNames::default();
        assert!(known.take(0) && !known.take(CONTROL));
        known.add(CONTROL | ENDS_WITH_DOT);
        assert!(known.take(CONTROL) && known.take(CONTROL | ENDS_WITH_DOT));
        assert!(!known.take(CONTROL | ENDS_WITH_SPACE));
        known.add(KnownNames::ALL);
        assert!(known.take(u32::MAX));
    }

    #[test]
    fn keeps_known_name_traits_per_directory() {
        let temp = tempfile::tempdir().unwrap();
        let directory = StagingDirectory::open(temp.path()).unwrap();
        assert!(!directory.known_names().take(CONTROL));
        directory.known_names().add(CONTROL);
        assert!(directory.known_names().take(CONTROL));
    }

    #[test]
    fn a_probe_leaves_no_file_behind() {
        let temp = tempfile::tempdir().unwrap();
        let directory = StagingDirectory::open(temp.path()).unwrap();
        for name in [&b"usual"[..], b"a:b", b"a\xff.", b"\n "] {
            directory
                .check_name(&FileName::parse(name).unwrap())
                .unwrap();
        }
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_error_of_a_rename_is_about_the_name_if_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let directory = StagingDirectory::open(temp.path()).unwrap();
        let (here, gone) = (
            PartialName::random(*b"0000000000000000"),
            PartialName::random(*b"1111111111111111"),
        );
        std::fs::write(temp.path().join(&here.text), "").unwrap();
        std::fs::write(temp.path().join("taken:"), "").unwrap();
        for (partial, name, errno, is_about_it) in [
            (&here, "a", Errno::INVAL, true),
            (&here, "a", Errno::ILSEQ, true),
            (&here, "a", Errno::NAMETOOLONG, true),
            (&here, "a", Errno::NOSPC, false),
            (&here, "a", Errno::NOENT, true),
            (&gone, "a", Errno::NOENT, false),
            (&here, "a:", Errno::PERM, true),
            (&here, "a:", Errno::ACCESS, true),
            (&here, "a:", Errno::IO, true),
            (&here, "a", Errno::IO, false),
            (&here, "taken:", Errno::IO, false),
        ] {
            let name = FileName::parse(name.as_bytes()).unwrap();
            let found = directory.refuses_name(partial, &name, errno);
            assert_eq!(found, is_about_it, "{name:?} {errno:?}");
        }
    }

    #[test]
    fn every_trait_has_a_bit() {
        for (name, expected) in [
            (&b"a\x1fb"[..], CONTROL),
            (b"a\x20b", 0),
            (b"a\x7fb", 0),
            (b"\"", 1 << 0),
            (b"*", 1 << 1),
            (b"a|b", 1 << 7),
            (b"a:|", 1 << 2 | 1 << 7),
            (b"a.", ENDS_WITH_DOT),
            (b"a ", ENDS_WITH_SPACE),
            ("\u{80}".as_bytes(), NOT_ASCII),
            (b"a\x80", NOT_ASCII | NOT_UTF8),
        ] {
            assert_eq!(traits(name), expected, "{}", name.escape_ascii());
        }
    }
}
