//! A folder that vanishes with the test, and content to put into it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

/// A temporary folder, removed on drop.
pub struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    /// A new empty folder.
    pub fn new() -> Scratch {
        Scratch::below(&std::env::temp_dir())
    }

    /// A new empty folder in memory where the system has such a place: for much data, and
    /// for times that a disk must not blur.
    pub fn in_memory() -> Scratch {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() {
            Scratch::below(memory)
        } else {
            Scratch::new()
        }
    }

    fn below(parent: &Path) -> Scratch {
        Scratch {
            folder: tempfile::Builder::new()
                .prefix("ftserve-test-")
                .tempdir_in(parent)
                .expect("a temporary folder"),
        }
    }

    /// A new folder with these files; missing folders are made.
    pub fn with_files<N: AsRef<Path>, B: AsRef<[u8]>>(
        files: impl IntoIterator<Item = (N, B)>,
    ) -> Scratch {
        let scratch = Scratch::new();
        for (name, bytes) in files {
            scratch.write(name, bytes);
        }
        scratch
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The path of `name` in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file, making its folders, and says where it is.
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().expect("a path in a folder")).expect("folders for a file");
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("cannot write {path:?}: {error}"));
        path
    }

    /// Makes a folder and those above it, and says where it is.
    pub fn make_dir(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).expect("a folder");
        path
    }

    /// The whole content of a file.
    pub fn read(&self, name: impl AsRef<Path>) -> Vec<u8> {
        let path = self.join(name);
        fs::read(&path).unwrap_or_else(|error| panic!("cannot read {path:?}: {error}"))
    }

    /// The names directly in the folder, sorted, those that begin with a dot too.
    pub fn names(&self) -> Vec<OsString> {
        let entries = fs::read_dir(self.path()).expect("the folder");
        let mut names: Vec<OsString> = entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    }
}

/// The md5 of `bytes` as 32 lowercase hex digits.
pub fn md5_hex(bytes: impl AsRef<[u8]>) -> String {
    Md5::digest(bytes.as_ref())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// `length` bytes that look random and are the same in every run for one `seed`.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    // xorshift64*: no two seeds a test would use share a stretch.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
