//! Computes digests, in two pools of threads.

mod lanes;
mod pools;
mod stream;

pub use lanes::{Kernel, hash_all, update_all};
pub use pools::Pools;
pub use stream::Md5Stream;
