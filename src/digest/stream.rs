//! Computes the digest of a message from its bytes as they come.

use crate::digest::lanes::Message;
use crate::wire::Md5Digest;

/// A running md5 computation.
#[derive(Clone, Default)]
pub struct Md5Stream(Message);

impl Md5Stream {
    /// An empty message.
    pub fn new() -> Md5Stream {
        Md5Stream::default()
    }

    /// Appends bytes to the message.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of the message.
    pub fn finish(self) -> Md5Digest {
        Md5Digest::from_bytes(self.0.finish())
    }

    /// The digest of a complete message.
    pub fn digest(bytes: &[u8]) -> Md5Digest {
        let mut stream = Md5Stream::new();
        stream.update(bytes);
        stream.finish()
    }

    pub(super) fn message(&mut self) -> &mut Message {
        &mut self.0
    }
}
