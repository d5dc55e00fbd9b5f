//! Computes digests, in two pools of threads.

mod md5;
mod pools;
mod stream;

pub use pools::Pools;
pub use stream::Md5Stream;
