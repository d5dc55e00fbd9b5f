//! Which of what is here alone may be deleted.

use super::extras::Extras;
use crate::client::ServerRefusal;
use crate::wire::ResourcePath;

/// What of it may be deleted, if the server agrees.
pub(super) struct Chosen {
    /// None of them is in another one.
    pub(super) indices: Vec<usize>,
    pub(super) kept_hidden: u64,
    pub(super) kept_aliases: u64,
    /// Something stays because something could not be listed.
    pub(super) is_refused: bool,
}

impl Extras {
    /// Something in this folder stays, and so do the folders around it.
    pub(super) fn keep(&mut self, folder: Option<usize>) {
        let mut at = folder;
        while let Some(folder) = at
            && !self.all[folder].keeps
        {
            self.all[folder].keeps = true;
            at = self.all[folder].parent;
        }
    }

    /// Says what may be deleted: the highest folders of which nothing stays, and what is in
    /// none of these.
    pub(super) fn choose(&mut self) -> Chosen {
        let mut chosen = Chosen {
            indices: Vec::new(),
            kept_hidden: 0,
            kept_aliases: 0,
            is_refused: false,
        };
        if self.hides_names {
            for at in 0..self.all.len() {
                if self.may_be_hidden(&self.all[at].place) {
                    self.keep(self.all[at].parent);
                }
            }
        }
        let mut at = 0;
        while let Some(extra) = self.all.get(at) {
            if extra.parent.is_none() && self.is_unlisted(&extra.place) {
                chosen.is_refused = true;
            } else if self.may_be_hidden(&extra.place) {
                chosen.kept_hidden += 1;
            } else if extra.parent.is_none() && self.aliases.keep(&extra.place) {
                chosen.kept_aliases += 1;
            } else if extra.keeps {
                at += 1;
                continue;
            } else {
                chosen.indices.push(at);
            }
            at = self.end_of(at);
        }
        chosen
    }

    /// The server may have something of this name and hide it.
    pub(super) fn may_be_hidden(&self, place: &ResourcePath) -> bool {
        self.hides_names && place.file_name().unwrap_or_default().starts_with(b".")
    }

    /// Something could not be listed in the folder that this is in, or below that.
    pub(super) fn is_unlisted(&self, place: &ResourcePath) -> bool {
        self.unlisted.is_about(place)
    }

    /// What could not be listed.
    pub(super) fn first_unlisted(&self) -> Option<(ResourcePath, ServerRefusal)> {
        self.unlisted.first()
    }
}
