//! Files that do what those in memory do not.

use std::sync::atomic::Ordering;

use super::super::*;
use super::talk::*;
use crate::store::{Listing, MemoryFile, MemoryStore, Object, ObjectMeta, StoreError};
use crate::wire::ResourcePath;

/// A store whose files do what those in memory do not.
struct Odd {
    store: MemoryStore,
    oddity: Oddity,
    opened: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
enum Oddity {
    /// A read gives little.
    ReadsShort,
    /// It has a byte and says that it has none.
    SaysNothing,
    /// It is another one after each look.
    Changes,
}

struct OddFile(MemoryFile, Oddity);

impl Store for Odd {
    type Object = OddFile;

    fn open(&self, path: &ResourcePath) -> Result<(OddFile, ObjectMeta), StoreError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let (file, meta) = self.store.open(path)?;
        Ok((OddFile(file, self.oddity), meta))
    }

    fn stat(&self, path: &ResourcePath) -> Result<ObjectMeta, StoreError> {
        self.store.stat(path)
    }

    fn list(
        &self,
        path: &ResourcePath,
        recursive: bool,
        after: Option<&ResourcePath>,
    ) -> Result<Box<dyn Listing>, StoreError> {
        self.store.list(path, recursive, after)
    }
}

impl Object for OddFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        match self.1 {
            Oddity::ReadsShort => {
                let most = buffer.len().min(1_000);
                self.0.read_at(&mut buffer[..most], offset)
            }
            Oddity::SaysNothing if offset == 0 && !buffer.is_empty() => {
                buffer[0] = b'x';
                Ok(1)
            }
            Oddity::SaysNothing => Ok(0),
            Oddity::Changes => self.0.read_at(buffer, offset),
        }
    }

    fn meta(&self) -> std::io::Result<ObjectMeta> {
        if matches!(self.1, Oddity::Changes) {
            self.0.rewrite("another");
        }
        self.0.meta()
    }
}

#[test]
fn odd_files_are_read_whole_refused_or_given_up() {
    let content = noise(10_000);
    let refused = |code| ("get", Outcome::Refused(code));
    for (oddity, content, opened, reported) in [
        (
            Oddity::ReadsShort,
            &content[..],
            1,
            ("get", answered(10_000)),
        ),
        (Oddity::SaysNothing, b"", 1, refused(ErrorCode::NotAFile)),
        (Oddity::Changes, b"content", 3, refused(ErrorCode::Changed)),
    ] {
        let store = Odd {
            store: MemoryStore::new(),
            oddity,
            opened: Arc::default(),
        };
        store.store.insert("f", content).unwrap();
        let opens = Arc::clone(&store.opened);
        let served = serve(store, TransferLimits::default());
        let mut talk = served.talk();
        talk.ask(r#"{"filename":"f"}"#);
        talk.rest();
        assert_eq!(served.reported(), [reported]);
        assert_eq!(opens.load(Ordering::Relaxed), opened);
        let body = talk.answer().1;
        assert!(body.is_empty() || body == content);
    }
}
