//! Names of the tree that lead to something here which its directory lists under another name:
//! the file system ignores case, or gives names back in another form than they were made in.

use std::collections::{HashMap, HashSet};

use super::extras::Extra;
use crate::client::batch::folding::folded;
use crate::store::{DestinationTree, Listed};
use crate::wire::ResourcePath;

/// Names that are not listed here and are found here, and what that keeps.
#[derive(Default)]
pub(super) struct Aliases {
    /// By the directory that they are in.
    found: HashMap<ResourcePath, Vec<Alias>>,
    count: usize,
    /// Places of what is listed here under another name.
    kept: HashSet<ResourcePath>,
    /// Directories with a name that leads to nobody knows what in them.
    unknown: HashSet<ResourcePath>,
    /// There were too many.
    is_everywhere: bool,
}

struct Alias {
    /// The name in lower case.
    folded: Vec<u8>,
    identity: Option<Identity>,
}

/// Device and inode. Some file systems give each name its own inode.
type Identity = (u64, u64);

impl Aliases {
    /// Comes to a place of the tree that its directory here, which is there, does not list.
    pub(super) fn come_to(&mut self, place: &ResourcePath, destination: &DestinationTree) {
        let (false, Ok(Some(found))) = (self.is_everywhere, destination.look(place)) else {
            return;
        };
        self.count += 1;
        self.is_everywhere = self.count > ALIASES_MAX;
        let alias = Alias {
            folded: folded(place.file_name().unwrap_or_default()),
            identity: identity(&found),
        };
        let folder = place.parent().unwrap_or_else(ResourcePath::root);
        self.found.entry(folder).or_default().push(alias);
    }

    /// Finds out which of these, that are in a directory of the tree and in none of them, the names
    /// lead to.
    pub(super) fn match_with<'x>(
        &mut self,
        extras: impl Iterator<Item = &'x Extra>,
        destination: &DestinationTree,
    ) {
        if self.found.is_empty() {
            return;
        }
        let mut beside: HashMap<ResourcePath, Vec<&ResourcePath>> = HashMap::new();
        for extra in extras {
            let folder = extra.place.parent().unwrap_or_else(ResourcePath::root);
            if self.found.contains_key(&folder) {
                beside.entry(folder).or_default().push(&extra.place);
            }
        }
        for (folder, aliases) in &self.found {
            let places = beside.remove(folder).unwrap_or_default();
            let (mut names, mut identities) = (HashMap::new(), HashMap::new());
            for place in places {
                names.insert(folded(place.file_name().unwrap_or_default()), place);
                if let Ok(Some(found)) = destination.look(place) {
                    identities.extend(identity(&found).map(|identity| (identity, place)));
                }
            }
            for alias in aliases {
                let by_identity = alias.identity.and_then(|found| identities.get(&found));
                match by_identity.or_else(|| names.get(&alias.folded)) {
                    Some(&place) => _ = self.kept.insert(place.clone()),
                    None => _ = self.unknown.insert(folder.clone()),
                }
            }
        }
    }

    /// Whether a name of the tree leads to what is at this place, or may lead to it or into it.
    pub(super) fn keep(&self, place: &ResourcePath) -> bool {
        let is_unknown = || around(place).any(|folder| self.unknown.contains(&folder));
        !self.found.is_empty() && (self.is_everywhere || self.kept.contains(place) || is_unknown())
    }

    /// Whether a name of the tree leads to something that a directory around this place lists
    /// under another name.
    pub(super) fn are_around(&self, place: &ResourcePath) -> bool {
        let is_found = || around(place).any(|folder| self.found.contains_key(&folder));
        !self.found.is_empty() && (self.is_everywhere || is_found())
    }
}

fn around(place: &ResourcePath) -> impl Iterator<Item = ResourcePath> {
    std::iter::successors(place.parent(), ResourcePath::parent)
}

fn identity(found: &Listed) -> Option<Identity> {
    let stamp = found.meta?.stamp;
    Some((stamp.device, stamp.inode))
}

/// About 10 MB.
const ALIASES_MAX: usize = 50_000;
