//! What is here compared with what servers have, without a transfer.

mod place;
mod source;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use self::place::{ToRead, read};
use self::source::Source;
use crate::client::batch::Limits;
use crate::client::batch::budget::{Budget, Share};
use crate::client::batch::hands::guarded;
use crate::client::preview::{Change, Rooms};
use crate::client::threads::start;
use crate::client::{Batch, ClientConfig, ClientError, Item, Outlook};
use crate::net::Address;
use crate::store::LocalDigests;
use crate::wire::{ObjectKind, ResourcePath};

/// What a comparison found at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Comparison {
    /// The same there and here.
    Same,
    /// Not the same.
    Differs(Difference),
    /// What cannot be transferred, and is not compared.
    PassedOver(ObjectKind),
}

/// How something here differs from what the server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// It is not here.
    Missing,
    /// It is here and not there. Only of trees.
    Extra,
    /// It is something else.
    Kind {
        /// What it is here.
        here: ObjectKind,
        /// What it is there.
        there: ObjectKind,
    },
    /// A file of another size.
    Size {
        /// Bytes here.
        here: u64,
        /// Bytes there.
        there: u64,
    },
    /// A file of the same size and another md5.
    Content,
    /// A link to somewhere else.
    Target,
    /// The content is the same, the permissions are not. Only with
    /// [`ClientConfig::preserve_mode`].
    Mode,
    /// All is the same but the time it was last written. Only with
    /// [`ClientConfig::preserve_mtime`].
    Mtime,
    /// The content is the same, neither the permissions nor the time it was last written are.
    ModeAndMtime,
}

impl Difference {
    /// The content is the same.
    fn is_of_attributes(self) -> bool {
        matches!(
            self,
            Difference::Mode | Difference::Mtime | Difference::ModeAndMtime
        )
    }
}

/// Compares what a batch would download with what is here, and changes nothing. A tree is listed
/// with its digests, and files here are read in several threads. `on_compared` hears of each
/// place in the order of the batch, trees in that of listings, in this thread. Memory is
/// bounded. Returns how many entries of trees the servers do not show, and that are not compared,
/// and what it would take to fetch what differs.
///
/// Something that one of two trees has alone is told with all that is in it; what stands where
/// the other has a folder, or is a folder itself, is told alone. Of things in several trees that
/// would get the same place the later ones are failures.
///
/// # Errors
/// [`ClientError::NoThread`]: nothing was told. It takes two threads besides this one.
///
/// ```
/// # use std::sync::Arc;
/// use ftserve::client::{Batch, Client, ClientConfig, Comparison, Difference, compare};
/// # use ftserve::net::Address;
/// # use ftserve::wire::ResourcePath;
/// # use ftserve::digest::Pools;
/// # use ftserve::server::{Listen, Server, ServerConfig, TransferHandler, TransferLimits};
/// # use ftserve::store::{Catalog, CatalogLimits, MemoryIndex, MemoryStore};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let store = MemoryStore::new();
/// # store.insert("notes/todo.txt", "water the plants\n")?;
/// # let (index, pools) = (Arc::new(MemoryIndex::new()), Arc::new(Pools::start(2)?));
/// # let catalog = Catalog::new(store, index, pools, CatalogLimits::for_cores(2));
/// # let anywhere = Address::Tcp { host: "127.0.0.1".to_owned(), port: 0 };
/// # let server = Server::bind(
/// #     ServerConfig { listen: vec![Listen::At(anywhere)], ..ServerConfig::default() },
/// #     TransferHandler::new(catalog, TransferLimits::default()),
/// # )?;
/// # let handle = server.handle();
/// # let address = handle.local_addresses()[0].clone();
/// # let serving = std::thread::spawn(move || server.run());
/// # let temp = tempfile::tempdir()?;
/// # let folder = temp.path();
/// // Of the same size as the server's, and not the same.
/// std::fs::write(folder.join("todo.txt"), "water the flower\n")?;
/// let client = Client::new(address, ClientConfig::default());
/// let tree = client.tree(&ResourcePath::parse(b"notes")?, folder);
/// let mut differences = Vec::new();
/// compare(Batch::new().tree(tree), client.config(), &mut |item, outcome| {
///     if let Ok(Comparison::Differs(difference)) = outcome {
///         differences.push((item.path.clone(), difference));
///     }
/// })?;
/// let path = ResourcePath::parse(b"notes/todo.txt")?;
/// assert_eq!(differences, [(path, Difference::Content)]);
/// # handle.stop();
/// # serving.join().expect("the server does not panic")?;
/// # Ok(())
/// # }
/// ```
pub fn compare(
    batch: Batch<'_>,
    config: &ClientConfig,
    on_compared: &mut dyn FnMut(Item<'_>, Result<Comparison, ClientError>),
) -> Result<Outlook, ClientError> {
    let names = batch.names();
    let limits = &Limits::new(config).telling_of(&batch);
    let sources = batch.into_sources();
    let (to_read_in, to_read) = bounded(READ_AHEAD_MAX);
    // Bounded by the budget of those who send.
    let (compared_in, compared) = unbounded();
    std::thread::scope(|scope| {
        let readers = std::thread::available_parallelism().map_or(1, NonZero::get);
        let start_reader = || {
            let (to_read, compared_in) = (to_read.clone(), compared_in.clone());
            let digests = &*config.local_digests;
            start(scope, "ft-read", move || {
                read_all(&to_read, digests, limits, &compared_in);
            })
        };
        let findings = Findings {
            to_read: to_read_in,
            compared: compared_in.clone(),
            ahead: Budget::new(AHEAD_MAX),
            count: 0,
        };
        start_reader()?;
        let source = start(scope, "ft-source", move || {
            Source::new(config, limits, names, findings).run(sources)
        })?;
        // The first reads everything if it is the only one.
        let _ = (1..readers).try_for_each(|_| start_reader().map(drop));
        drop((to_read, compared_in));
        let rooms = tell_in_order(&compared, on_compared);
        Ok(Outlook {
            // What was not found for a panic is not the same.
            hidden: source.join().unwrap_or_else(|panic| resume_unwind(panic)),
            rooms: rooms.sum_up(),
            ..Outlook::default()
        })
    })
}

/// What was found at one place, on its way to be told.
struct Compared {
    place: Place,
    outcome: Result<Comparison, ClientError>,
}

/// Which of all places, and its share of those that are not told yet.
struct Place {
    index: usize,
    address: Arc<Address>,
    path: ResourcePath,
    /// Its path here.
    here: Option<PathBuf>,
    /// What it would take to fetch it, and where that would go.
    change: Option<(Change, PathBuf)>,
    _share: Share,
}

/// Where findings go, until they are told or the file is read.
struct Findings {
    to_read: Sender<(Place, ToRead)>,
    compared: Sender<Compared>,
    ahead: Arc<Budget>,
    count: usize,
}

impl Findings {
    /// The next place in order. Waits while too many are not told.
    fn place(&mut self, address: &Arc<Address>, path: ResourcePath) -> Place {
        self.count += 1;
        Place {
            index: self.count - 1,
            address: Arc::clone(address),
            path,
            here: None,
            change: None,
            _share: self.ahead.take(1),
        }
    }

    fn tell(&self, place: Place, outcome: Result<Comparison, ClientError>) {
        // Who tells outlives who finds.
        let _ = self.compared.send(Compared { place, outcome });
    }

    fn read(&self, place: Place, file: ToRead) {
        let _ = self.to_read.send((place, file));
    }
}

fn read_all(
    files: &Receiver<(Place, ToRead)>,
    digests: &LocalDigests,
    limits: &Limits,
    compared: &Sender<Compared>,
) {
    for (place, file) in files {
        let outcome = guarded(|| read(&place.path, &file, digests, limits));
        let _ = compared.send(Compared { place, outcome });
    }
}

fn tell_in_order(
    compared: &Receiver<Compared>,
    on_compared: &mut dyn FnMut(Item<'_>, Result<Comparison, ClientError>),
) -> Rooms {
    let (mut early, mut next) = (BTreeMap::new(), 0);
    let mut rooms = Rooms::default();
    for found in compared {
        early.insert(found.place.index, found);
        while let Some(Compared { place, outcome }) = early.remove(&next) {
            next += 1;
            let item = Item {
                index: place.index,
                address: &place.address,
                path: &place.path,
                here: place.here.as_deref(),
            };
            if let (Some((change, at)), Ok(Comparison::Differs(difference))) =
                (&place.change, &outcome)
                && !difference.is_of_attributes()
            {
                // What alone is too large is told with the sum.
                let _ = rooms.take(change, at);
            }
            on_compared(item, outcome);
        }
    }
    rooms
}

/// Files that wait to be read.
const READ_AHEAD_MAX: usize = 256;
/// Places that were found and are not told, since one before them is still being read.
const AHEAD_MAX: u64 = 8_192;
