//! What a batch has told that the mirror it is followed by has to know.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::Arc;

use crate::client::{Batch, ClientConfig, ClientError, Event, IfExists, Item, Tree};
use crate::net::Address;
use crate::wire::ResourcePath;

/// What a batch has told, of which a mirror is to be made: every name it came to, since what was
/// listed then stays, whatever the server has by now; whether something failed, since nothing is
/// deleted then; and which names it met here and could not replace, since what has them is of
/// another kind: a file where a folder comes, a folder where a file or a link comes.
///
/// A mirror holds the failures of these back ([`MirrorNotes::holds_back`]), has
/// [`crate::client::delete_extras`] make way, tells what could not be made
/// ([`MirrorNotes::tell_left`]), and fetches the rest ([`MirrorNotes::into_batch`]).
pub struct MirrorNotes {
    /// Nothing gives way: what is here is not to be replaced.
    is_unwanted: bool,
    servers: Vec<(Address, BTreeMap<ResourcePath, Obstacle>)>,
    count: usize,
    /// The trees, and below them what is not in the way any more.
    cleared: Vec<(Tree, HashSet<Box<[u8]>>)>,
    /// Behind everything that was told so far.
    next_index: usize,
    /// A few bytes for each name. One that has the number of another one stays with it.
    listed: HashSet<u64>,
    hasher: RandomState,
    failed: u64,
}

/// Something in the way.
struct Obstacle {
    /// Of what was told.
    index: usize,
    error: ClientError,
    /// It is gone, or why it stays was told.
    is_settled: bool,
}

impl MirrorNotes {
    /// None yet. There will be none unless files are replaced.
    pub fn new(config: &ClientConfig) -> MirrorNotes {
        let replaces = matches!(config.if_exists, IfExists::Update | IfExists::Overwrite);
        MirrorNotes {
            is_unwanted: !replaces,
            servers: Vec::new(),
            count: 0,
            cleared: Vec::new(),
            next_index: 0,
            listed: HashSet::new(),
            hasher: RandomState::new(),
            failed: 0,
        }
    }

    /// Whether this is told later, or never. Every event of the batch is to be shown.
    pub fn holds_back(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Failed { item, error } => self.note(*item, error),
            Event::Done { item, .. } | Event::PassedOver { item, .. } => {
                self.pass(*item);
                false
            }
            _ => false,
        }
    }

    /// Whether something is in the way: the failure is held back. What is below another one is
    /// not noted, and beyond 50,000 nothing is.
    pub fn note(&mut self, item: Item<'_>, error: &ClientError) -> bool {
        self.pass(item);
        let is_held = self.hold(item, error);
        // What could not be listed keeps the folders around it, and what is gone nothing.
        let is_other = !matches!(error, ClientError::CannotList(_) | ClientError::Gone(_));
        self.failed += u64::from(!is_held && is_other);
        is_held
    }

    fn hold(&mut self, item: Item<'_>, error: &ClientError) -> bool {
        if self.is_unwanted || !error.is_in_the_way() {
            return false;
        }
        let known = |(address, _): &(Address, _)| address == item.address;
        let at = self.servers.iter().position(known).unwrap_or_else(|| {
            self.servers.push((item.address.clone(), BTreeMap::new()));
            self.servers.len() - 1
        });
        let noted = &mut self.servers[at].1;
        let mut above = Some(item.path.clone());
        while let Some(path) = above {
            if noted.contains_key(&path) {
                return true;
            }
            above = path.parent();
        }
        if self.count >= OBSTACLES_MAX {
            return false;
        }
        // Those that are there because of this one alone.
        let behind = (Bound::Excluded(item.path), Bound::Unbounded);
        let below = noted.range(behind).map(|(path, _)| path);
        let below: Vec<_> = below
            .take_while(|path| path.is_below(item.path))
            .cloned()
            .collect();
        for path in &below {
            noted.remove(path);
        }
        let obstacle = Obstacle {
            index: item.index,
            error: error.clone(),
            is_settled: false,
        };
        noted.insert(item.path.clone(), obstacle);
        self.count = self.count + 1 - below.len();
        true
    }

    /// This was wanted.
    pub fn pass(&mut self, item: Item<'_>) {
        self.next_index = self.next_index.max(item.index + 1);
        self.listed.insert(self.number(item.address, item.path));
    }

    /// What failed that is not in the way: nothing is to be deleted.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Whether the server listed this when the batch was made.
    pub(super) fn was_listed(&self, address: &Address, path: &ResourcePath) -> bool {
        self.listed.contains(&self.number(address, path))
    }

    fn number(&self, address: &Address, path: &ResourcePath) -> u64 {
        self.hasher.hash_one((address, path))
    }

    /// Whether something was in the way of what this server has there.
    pub(super) fn has(&self, address: &Address, path: &ResourcePath) -> bool {
        let mut servers = self.servers.iter();
        servers.any(|(server, noted)| server == address && noted.contains_key(path))
    }

    /// Nothing more is to be told of this.
    pub(super) fn settle(&mut self, address: &Address, path: &ResourcePath) {
        for (server, noted) in &mut self.servers {
            if server == address
                && let Some(obstacle) = noted.get_mut(path)
            {
                obstacle.is_settled = true;
            }
        }
    }

    /// What was in the way there is gone, or would be.
    pub(super) fn clear(&mut self, tree: &Tree, cleared: &[ResourcePath]) {
        for path in cleared {
            self.settle(&tree.address, path);
        }
        let below = cleared.iter().map(|path| tree.below(path).into());
        self.cleared.push((tree.clone(), below.collect()));
    }

    /// Tells of everything that is still in the way, and returns how much that is.
    /// `reached_limit`: that is why.
    pub fn tell_left(&self, reached_limit: bool, on_event: &mut dyn FnMut(Event<'_>)) -> u64 {
        let mut told = 0;
        for (address, noted) in &self.servers {
            for (path, obstacle) in noted.iter().filter(|(_, noted)| !noted.is_settled) {
                told += 1;
                let item = Item {
                    index: obstacle.index,
                    address,
                    path,
                    here: None,
                };
                let error = if reached_limit {
                    &ClientError::DeletesTooMuch
                } else {
                    &obstacle.error
                };
                on_event(Event::Failed { item, error });
            }
        }
        told
    }

    /// What there is way for now, as it is listed by then; `None` if that is nothing. Its
    /// things have places behind those of the first batch; what that has told of the whole is
    /// not told again. Its preview takes what was in the way for gone.
    pub fn into_batch(self) -> Option<Batch<'static>> {
        let cleared = self.cleared.into_iter();
        let mut trees = cleared.filter(|(_, below)| !below.is_empty()).peekable();
        trees.peek()?;
        let first = Batch::rest(self.next_index);
        Some(trees.fold(first, |batch, (tree, cleared)| {
            let select = Arc::clone(&tree.select);
            batch.tree(Tree {
                select: Arc::new(move |below, kind| {
                    is_at_or_below(&cleared, below) && select(below, kind)
                }),
                ..tree
            })
        }))
    }
}

fn is_at_or_below(places: &HashSet<Box<[u8]>>, below: &[u8]) -> bool {
    let slashes = (0..below.len()).filter(|&at| below[at] == b'/');
    let mut above = slashes.map(|at| &below[..at]);
    // The top of the tree has no name below itself.
    places.contains(&b""[..]) || places.contains(below) || above.any(|at| places.contains(at))
}

/// About 25 MB, with their paths.
const OBSTACLES_MAX: usize = 50_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StageError;

    fn note(obstacles: &mut MirrorNotes, path: &str) -> bool {
        let address = Address::parse_bind("h:1", 1).unwrap();
        let path = ResourcePath::parse(path.as_bytes()).unwrap();
        let item = Item {
            index: 7,
            address: &address,
            path: &path,
            here: None,
        };
        obstacles.note(item, &StageError::NotReplaceable("a folder").into())
    }

    fn left(obstacles: &MirrorNotes) -> Vec<String> {
        let mut left = Vec::new();
        obstacles.tell_left(false, &mut |event| {
            if let Event::Failed { item, .. } = event {
                left.push(String::from_utf8_lossy(item.path.as_bytes()).into_owned());
            }
        });
        left
    }

    #[test]
    fn of_what_is_below_one_name_in_the_way_only_that_is_told() {
        let mut obstacles = MirrorNotes::new(&ClientConfig::default());
        for path in ["a/b/1", "a/b/2", "a.b", "a/b", "a/b/3", "c"] {
            assert!(note(&mut obstacles, path), "{path}");
        }
        assert_eq!(left(&obstacles), ["a/b", "a.b", "c"]);
        assert_eq!((obstacles.count, obstacles.next_index), (3, 8));
    }

    #[test]
    fn what_is_not_to_be_replaced_is_not_held_back() {
        for (if_exists, is_held) in [
            (IfExists::Update, true),
            (IfExists::Overwrite, true),
            (IfExists::Skip, false),
            (IfExists::Rename, false),
            (IfExists::Error, false),
        ] {
            let config = ClientConfig {
                if_exists,
                ..ClientConfig::default()
            };
            let mut obstacles = MirrorNotes::new(&config);
            assert_eq!(note(&mut obstacles, "a"), is_held, "{if_exists:?}");
        }
    }

    #[test]
    fn what_is_below_a_place_is_found_by_whole_names() {
        let places = |names: &[&str]| {
            let names = names.iter().map(|name| Box::from(name.as_bytes()));
            names.collect::<HashSet<_>>()
        };
        for (below, expected) in [
            ("a/b", true),
            ("a/b/c", true),
            ("a", false),
            ("a/bc", false),
        ] {
            assert_eq!(
                is_at_or_below(&places(&["a/b"]), below.as_bytes()),
                expected
            );
            assert!(is_at_or_below(&places(&[""]), below.as_bytes()));
            assert!(!is_at_or_below(&places(&[]), below.as_bytes()));
        }
    }
}
