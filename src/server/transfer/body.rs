//! The bytes of one answer: a file, a range of it, or bytes in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::server::published::OutputSpace;
use crate::server::transfer::outbox::KeptBytes;
use crate::store::{Object, Stamp};

/// The unsent rest of a body.
pub(super) struct Body<O> {
    pub(super) source: Source<O>,
    /// Offset of the next byte to send.
    pub(super) position: u64,
    /// Offset after the last byte to send.
    pub(super) end: u64,
}

/// Where the bytes of a body come from.
pub(super) enum Source<O> {
    /// A file. Nothing is buffered: after a short write the bytes are read again from the
    /// position.
    File {
        object: Arc<O>,
        /// The file's stamp when its digest was made.
        stamp: Stamp,
    },
    /// In memory.
    Memory(KeptBytes),
    /// An unnamed file, which cannot change any more.
    Output { file: File, _space: OutputSpace },
}

impl<O: Object> Body<O> {
    pub(super) fn is_done(&self) -> bool {
        self.position == self.end
    }

    /// Returns the next bytes, read into `buffer` if they are not in memory. `None` means that
    /// the body must be abandoned: the file is shorter than before, or was rewritten. The file is
    /// checked before the last byte is returned.
    ///
    /// # Errors
    /// Reading the file failed.
    pub(super) fn read<'b>(&'b self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        let (object, stamp) = match &self.source {
            Source::File { object, stamp } => (object, stamp),
            Source::Output { file, .. } => {
                let count = FileExt::read_at(file, &mut buffer[..room], self.position)?;
                return Ok((count > 0).then_some(&buffer[..count]));
            }
            Source::Memory(kept) => {
                let from = usize::try_from(self.position).unwrap_or(usize::MAX);
                return Ok(kept.bytes().get(from..from.saturating_add(room)));
            }
        };
        let count = object.read_at(&mut buffer[..room], self.position)?;
        if count == 0 || count == left && !stamp.still_begins(&object.meta()?.stamp) {
            return Ok(None);
        }
        Ok(Some(&buffer[..count]))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::store::{MemoryFile, MemoryStore, Store};
    use crate::wire::ResourcePath;

    fn body(store: &MemoryStore, position: u64, end: u64) -> Body<MemoryFile> {
        let (object, meta) = store.open(&ResourcePath::parse(b"f").unwrap()).unwrap();
        Body {
            source: Source::File {
                object: Arc::new(object),
                stamp: meta.stamp,
            },
            position,
            end,
        }
    }

    /// The result of one read into a buffer of `room` bytes.
    fn read<O: Object>(body: &Body<O>, room: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![b'?'; room];
        body.read(&mut buffer).unwrap().map(<[u8]>::to_vec)
    }

    #[test]
    fn a_read_returns_the_next_bytes_up_to_the_buffer_size() {
        let store = MemoryStore::new();
        store.insert("f", "0123456789").unwrap();
        let kept = KeptBytes::new(b"0123456789".to_vec(), &Arc::new(AtomicUsize::new(0)));
        let in_memory: Body<MemoryFile> = Body {
            source: Source::Memory(kept),
            position: 0,
            end: 10,
        };
        for mut body in [body(&store, 0, 10), in_memory] {
            for (position, end, room, expected) in [
                (0, 10, 4, "0123"),
                (4, 10, 4, "4567"),
                (8, 10, 4, "89"),
                (2, 5, 9, "234"),
                (9, 10, 1, "9"),
            ] {
                (body.position, body.end) = (position, end);
                assert_eq!(read(&body, room).as_deref(), Some(expected.as_bytes()));
                assert!(!body.is_done());
            }
            body.position = body.end;
            assert!(body.is_done());
        }
    }

    #[test]
    fn only_the_last_bytes_require_a_check_of_the_file() {
        let store = MemoryStore::new();
        let file = store.insert("f", "0123456789").unwrap();
        let body_before = body(&store, 0, 10);
        file.rewrite("abcdefghij");
        assert_eq!(read(&body_before, 9).as_deref(), Some(&b"abcdefghi"[..]));
        assert_eq!(read(&body_before, 10), None);
        let body_before = body(&store, 0, 10);
        file.append(b"more");
        assert_eq!(read(&body_before, 10).as_deref(), Some(&b"abcdefghij"[..]));
        let body_before = body(&store, 5, 14);
        file.rewrite("abc");
        assert_eq!(read(&body_before, 4), None);
    }
}
