//! What a download would do, found out without doing it.
//!
//! Several threads look at what is here, in any order; the caller's puts their findings in order
//! again, asks servers about what neither the listing nor the folder tells, and adds up what
//! would be taken of file systems.

mod change;
mod look;
mod reporter;
mod room;

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

pub(super) use self::change::Change;
use self::look::{Looker, Seen, Trees};
use self::reporter::PreviewReporter;
pub use self::room::Room;
pub(super) use self::room::Rooms;
use crate::client::batch::Limits;
use crate::client::batch::budget::{Budget, Share};
use crate::client::batch::hands::guarded;
use crate::client::threads::start;
use crate::client::wanted::Wanted;
use crate::client::{Action, Batch, ClientConfig, ClientError, Item, ServerRefusal};
use crate::wire::{ErrorCode, ObjectKind};

/// What would become of one thing that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Prospect {
    /// A file or a link would be there.
    Present {
        /// What would be done for it.
        action: Action,
        /// Something of its name is there and would be replaced.
        replaces: bool,
        /// Bytes of the file; 0 if it would be skipped.
        total_size: u64,
    },
    /// A folder is missing and would be made.
    Folder,
    /// It cannot be transferred.
    PassedOver(ObjectKind),
}

/// What is known of everything together, when all was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outlook {
    /// Entries of trees that their servers do not show.
    pub hidden: u64,
    /// What each file system would be asked for, those that are asked for most first.
    pub rooms: Vec<Room>,
    /// Folders of this user that he cannot look into as they are. To download opens them up; what
    /// is in them was taken for missing.
    pub locked: BTreeSet<PathBuf>,
}

impl Outlook {
    /// Adds the room that the rest of a batch needs: perhaps too much, as not all of it is needed
    /// at once.
    pub fn add_rest(&mut self, rest: Outlook) {
        self.locked.extend(rest.locked);
        for room in rest.rooms {
            match self.rooms.iter_mut().find(|known| known.is_with(&room)) {
                Some(known) => known.add(&room),
                None => self.rooms.push(room),
            }
        }
        Room::sort(&mut self.rooms);
    }
}

/// Looks at everything, and tells what would become of it, in the order of the batch; transfers,
/// makes and changes nothing. A server is asked about a file, and for its digest, only where
/// neither the listing nor the folder here tells. What could not be written where it would go is
/// a failure, and so is a file that alone is larger than what is free there; whether all of
/// them together fit, [`Outlook::rooms`] says. Memory is bounded but for a few bytes for each
/// name.
///
/// # Errors
/// [`ClientError::NoThread`]: nothing was told. It takes two threads besides this one.
pub fn preview(
    batch: Batch<'_>,
    config: &ClientConfig,
    on_prospect: &mut dyn FnMut(Item<'_>, Result<Prospect, ClientError>),
) -> Result<Outlook, ClientError> {
    let (names, rest_from) = (batch.names(), batch.rest_from);
    let limits = Limits::new(config).telling_of(&batch);
    let wanted = batch.wanted(false, config, &limits);
    let (to_look_in, to_look) = bounded(SHEAVES_AHEAD_MAX);
    // Bounded by the budget of those who send.
    let (looked_in, looked) = unbounded();
    let trees = Trees::default();
    let mut outlook = std::thread::scope(|scope| {
        let lookers = std::thread::available_parallelism().map_or(1, NonZero::get);
        let start_looker = || {
            let (to_look, looked_in) = (to_look.clone(), looked_in.clone());
            let looker = Looker::new(&trees, rest_from.is_some(), &limits, config);
            start(scope, "ft-look", move || {
                look_at_all(&to_look, looker, &looked_in);
            })
        };
        start_looker()?;
        start(scope, "ft-source", move || feed(wanted, &to_look_in))?;
        // The first looks at everything if it is the only one.
        let _ = (1..lookers).try_for_each(|_| start_looker().map(drop));
        drop((to_look, looked_in));
        let first_index = rest_from.unwrap_or_default();
        let reporter = PreviewReporter::new(names, first_index, config, &limits, on_prospect);
        Ok::<_, ClientError>(reporter.run(&looked))
    })?;
    outlook.locked = trees.into_locked();
    Ok(outlook)
}

/// One thing that is wanted, on its way to be told.
struct Place<T> {
    /// Of all that comes in an order, with what is not told.
    number: u64,
    wanted: Wanted,
    seen: T,
    share: Share,
}

/// The thread that finds out what is wanted.
fn feed(wanted: impl Iterator<Item = Wanted>, to_look: &Sender<Vec<Place<()>>>) {
    let ahead = Budget::new(AHEAD_MAX);
    let mut sheaf = Vec::new();
    for (number, wanted) in (0..).zip(wanted) {
        sheaf.push(Place {
            number,
            wanted,
            seen: (),
            share: ahead.take(1),
        });
        if sheaf.len() >= LOOKED_AT_TOGETHER && to_look.send(std::mem::take(&mut sheaf)).is_err() {
            return;
        }
    }
    let _ = to_look.send(sheaf);
}

fn look_at_all(
    to_look: &Receiver<Vec<Place<()>>>,
    mut looker: Looker<'_>,
    looked: &Sender<Place<Seen>>,
) {
    for place in to_look.iter().flatten() {
        let seen = guarded(|| looker.look(&place.wanted)).unwrap_or_else(Seen::Failed);
        let _ = looked.send(Place {
            number: place.number,
            wanted: place.wanted,
            seen,
            share: place.share,
        });
    }
}

pub(super) fn not_a_file(code: ErrorCode) -> ServerRefusal {
    ServerRefusal {
        code: Some(code),
        spelling: code.as_str().to_owned(),
        message: "name is not a file".to_owned(),
        retry_after: None,
    }
}

/// Of one folder, mostly.
const LOOKED_AT_TOGETHER: usize = 32;
const SHEAVES_AHEAD_MAX: usize = 16;
/// Things that were found and are not told, since one before them is still being looked at.
const AHEAD_MAX: u64 = 8_192;
