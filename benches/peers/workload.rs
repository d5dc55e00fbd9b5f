//! What is fetched.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::harness::{Program, Scratch, noise};

/// Files in memory, and a manifest of them as `md5sum` writes it.
pub(crate) struct Workload {
    folder: Scratch,
    names: Vec<String>,
    title: String,
}

impl Workload {
    /// One file of so many bytes.
    pub(crate) fn one_file(size: usize) -> Workload {
        let folder = Scratch::in_memory();
        let path = folder.write("root/big", "");
        let mut file = File::create(path).expect("the large file");
        let mut left = size;
        while left > 0 {
            let piece = left.min(PIECE);
            file.write_all(&noise(left as u64, piece))
                .expect("room in memory");
            left -= piece;
        }
        let title = format!("one file of {} MiB", size >> 20);
        Workload::new(folder, vec!["big".to_owned()], title)
    }

    /// So many files of 1 to 16 KiB.
    pub(crate) fn small_files(count: usize) -> Workload {
        let folder = Scratch::in_memory();
        let names: Vec<String> = (0..count).map(|index| format!("file-{index:05}")).collect();
        for (index, name) in names.iter().enumerate() {
            // 7919 is prime to the range: every size comes up equally often.
            let size = 1024 + index * 7919 % (15 << 10);
            folder.write(format!("root/{name}"), noise(index as u64, size));
        }
        let title = format!("{count} files of 1 to 16 KiB");
        Workload::new(folder, names, title)
    }

    fn new(folder: Scratch, names: Vec<String>, title: String) -> Workload {
        let sums = Program::system("md5sum", "coreutils")
            .args(&names)
            .in_folder(folder.join("root"))
            .deadline(Duration::from_secs(60))
            .run()
            .expect_code(0);
        folder.write("MD5SUMS", sums.stdout);
        // A digest is kept only under a stamp that is some seconds old.
        thread::sleep(STAMPS_SETTLE);
        Workload {
            folder,
            names,
            title,
        }
    }

    /// What it is, for a headline.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// The folder to serve.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// The names of the files in it.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Their sums, as `md5sum` wrote them.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.folder.join("MD5SUMS")
    }

    /// The md5 of each name, in order.
    pub(crate) fn sums(&self) -> Vec<String> {
        let text = fs::read_to_string(self.manifest()).expect("the manifest");
        text.lines().map(|line| line[..32].to_owned()).collect()
    }

    /// Writes a file beside the root, such as a list for a client.
    pub(crate) fn write_aside(&self, name: &str, text: &str) -> PathBuf {
        self.folder.write(name, text)
    }

    /// Panics unless exactly these files are in `folder`, byte for byte.
    pub(crate) fn assert_arrived(&self, folder: &Path) {
        let count = fs::read_dir(folder).expect("the destination").count();
        assert_eq!(count, self.names.len(), "files in the destination");
        let root = self.root();
        for name in &self.names {
            assert!(
                same(&root.join(name), &folder.join(name)),
                "{name} differs from its source"
            );
        }
    }
}

fn same(one: &Path, other: &Path) -> bool {
    let mut files = [one, other].map(|path| File::open(path).expect("a file to compare"));
    let mut pieces = [Vec::new(), Vec::new()];
    loop {
        for (file, piece) in files.iter_mut().zip(&mut pieces) {
            piece.clear();
            let read = file.take(PIECE as u64).read_to_end(piece);
            read.expect("reading back");
        }
        if pieces[0] != pieces[1] {
            return false;
        }
        if pieces[0].is_empty() {
            return true;
        }
    }
}

const PIECE: usize = 16 << 20;
const STAMPS_SETTLE: Duration = Duration::from_millis(3200);
