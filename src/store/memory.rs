//! Files that live in memory: for tests, and to make a store fail on purpose.

use std::io;
use std::sync::Arc;

use crate::store::{Object, ObjectMeta, Store, StoreError};
use crate::wire::ResourcePath;

/// A tree of byte strings.
#[derive(Default)]
pub struct MemoryStore {}

/// An open file of a [`MemoryStore`].
pub struct MemoryObject {
    bytes: Arc<[u8]>,
}

impl Store for MemoryStore {
    type Object = MemoryObject;

    fn open(&self, path: &ResourcePath) -> Result<(MemoryObject, ObjectMeta), StoreError> {
        let _ = path;
        todo!()
    }

    fn stat(&self, path: &ResourcePath) -> Result<ObjectMeta, StoreError> {
        let _ = path;
        todo!()
    }
}

impl Object for MemoryObject {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let _ = (buffer, offset, &self.bytes);
        todo!()
    }

    fn meta(&self) -> io::Result<ObjectMeta> {
        todo!()
    }
}
