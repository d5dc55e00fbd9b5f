//! What is fetched.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::harness::{Program, Scratch, noise};

/// A tree in memory.
pub(crate) struct Tree {
    folder: Scratch,
    title: String,
}

impl Tree {
    /// So many files of 1 to 16 KiB in 200 folders.
    pub(crate) fn of_small_files(count: usize) -> Tree {
        let folder = Scratch::in_memory();
        for number in 0..count {
            // 7919 is prime to the range: every size comes up equally often.
            let size = 1024 + number * 7919 % (15 << 10);
            let name = format!("{:03}/file-{number:05}", number % 200);
            folder.write(name, noise(number as u64, size));
        }
        Tree::new(
            folder,
            format!("{count} files of 1 to 16 KiB in 200 folders"),
        )
    }

    /// 2 GiB.
    pub(crate) fn of_large_files() -> Tree {
        let folder = Scratch::in_memory();
        for number in 0..64 {
            folder.write(format!("{number:02}"), noise(number, 32 << 20));
        }
        Tree::new(folder, "64 files of 32 MiB".to_owned())
    }

    /// The folder of the Rust toolchain.
    pub(crate) fn real() -> Tree {
        let folder = Scratch::in_memory();
        Program::system("sh", "dash")
            .args(["-c", "cp -r \"$(rustc --print sysroot)/.\" \"$ROOT\""])
            .env("ROOT", folder.path())
            .env("HOME", std::env::var_os("HOME").unwrap_or_default())
            .deadline(COPY_DEADLINE)
            .run()
            .expect_code(0);
        let title = format!("a real tree of {} files", count_files(folder.path()));
        Tree::new(folder, title)
    }

    fn new(folder: Scratch, title: String) -> Tree {
        // A digest is kept only under a stamp that is some seconds old.
        thread::sleep(STAMPS_SETTLE);
        Tree { folder, title }
    }

    /// What it is, for a headline.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// The folder to serve.
    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }
}

fn count_files(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    entries
        .map(|entry| {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder {
                count_files(&entry.path())
            } else {
                1
            }
        })
        .sum()
}

const STAMPS_SETTLE: Duration = Duration::from_millis(3200);
const COPY_DEADLINE: Duration = Duration::from_secs(120);
