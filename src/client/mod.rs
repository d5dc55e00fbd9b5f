//! Downloading: sessions with a server, single files, and many at once.
//!
//! Nothing here prints, ends the process or reads the environment: calls return values, and
//! report events on the way.
//!
//! A [`Client`] is one server. A [`Batch`] takes any number of files and [`Tree`]s: questions are pipelined over a few
//! connections, failures that may pass are tried again, and each file is placed under its name
//! when it is verified and on disk. [`download`] is a batch of a handful of files, [`stream_to`] is
//! for pipes, [`preview()`] only looks, [`compare()`] reports what differs,
//! and [`delete_extras`] makes a local tree a mirror, [`MirrorNotes`] included. A [`Session`] is the connection itself.
//!
//! ```
//! # use std::sync::Arc;
//! use ftserve::client::{Batch, Client, ClientConfig, Comparison, Event, compare};
//! use ftserve::net::Address;
//! use ftserve::wire::ResourcePath;
//!
//! # use ftserve::digest::Pools;
//! # use ftserve::server::{Listen, Server, ServerConfig, TransferHandler, TransferLimits};
//! # use ftserve::store::{Catalog, CatalogLimits, MemoryIndex, MemoryStore};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let store = MemoryStore::new();
//! # store.insert("notes/todo.txt", "water the plants\n")?;
//! # let (index, pools) = (Arc::new(MemoryIndex::new()), Arc::new(Pools::start(2)?));
//! # let catalog = Catalog::new(store, index, pools, CatalogLimits::for_cores(2));
//! # let anywhere = Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
//! # let server = Server::bind(
//! #     ServerConfig { listen: vec![Listen::At(anywhere)], ..ServerConfig::default() },
//! #     TransferHandler::new(catalog, TransferLimits::default()),
//! # )?;
//! # let handle = server.handle();
//! # let address = handle.local_addresses()[0].clone();
//! # let serving = std::thread::spawn(move || server.run());
//! # let temp = tempfile::tempdir()?;
//! # let folder = temp.path();
//! let client = Client::new(address, ClientConfig::default());
//!
//! // One file.
//! let done = client.fetch(&ResourcePath::parse(b"notes/todo.txt")?, folder)?;
//! println!("{} bytes, {:?}", done.total_size, done.md5);
//! assert_eq!(std::fs::read(folder.join("todo.txt"))?, b"water the plants\n");
//!
//! // What of a tree is not here, or differs, or is here alone.
//! let root = ResourcePath::root();
//! let mut differing = 0;
//! let batch = Batch::new().tree(client.tree(&root, folder));
//! compare(batch, client.config(), &mut |item, compared| match compared {
//!     Ok(Comparison::Differs(difference)) => {
//!         println!("{:?}: {difference:?}", item.path);
//!         differing += 1;
//!     }
//!     Ok(_) => {}
//!     Err(error) => println!("{:?}: {error}", item.path),
//! })?;
//! assert_eq!(differing, 3);
//!
//! // The whole tree, with what becomes of each file.
//! let summary = client.fetch_tree(&root, folder, &mut |event| match event {
//!     Event::Done { item, downloaded, .. } => println!("{:?}: {:?}", item.path, downloaded.action),
//!     Event::Failed { item, error } => println!("{:?}: {error}", item.path),
//!     _ => {}
//! })?;
//! assert_eq!((summary.done, summary.failed), (1, 0));
//! # handle.stop();
//! # serving.join().expect("the server does not panic")?;
//! # Ok(())
//! # }
//! ```

mod agreement;
mod asking;
mod assembly;
mod batch;
mod beside;
mod blocks;
mod compare;
mod config;
mod connect;
mod error;
mod event;
mod follow;
mod in_time;
mod listing;
mod mirror;
mod one_server;
mod preview;
mod question;
mod receive;
mod retry;
mod session;
mod spool;
mod stream;
mod threads;
mod tree;
mod wanted;

pub use batch::{Batch, DownloadResult, Summary, download};
pub use compare::{Comparison, Difference, compare};
pub use config::{
    AddressFamily, ClientConfig, IfExists, RETRY_AFTER_MAX, RETRY_DELAY_MAX,
    RETRY_PROGRESS_BYTES_MIN, RetryPolicy, SyncPolicy,
};
pub use error::{ClientError, ConnectError, ProtocolError, ServerRefusal, SessionError};
pub use event::{Action, CommandEnd, Downloaded, Event, Item, PROGRESS_INTERVAL};
pub use listing::{Folder, Listing, Page};
pub use mirror::{DeleteLimit, Deleted, MirrorNotes, delete_extras};
pub use one_server::Client;
pub use preview::{Outlook, Prospect, Room, preview};
pub use session::{ReceivingHalf, SendingHalf, Session};
pub use stream::{StreamDownload, stream_to};
pub use tree::{Select, Tree};
pub use wanted::{Download, Entry, ListedFile, ListedFolder};

#[cfg(test)]
mod tests;
