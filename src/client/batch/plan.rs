//! The files that come in blocks, and which of their blocks are still to be asked for.

use std::ops::Range;
use std::sync::Arc;

use crate::client::assembly::Assembly;
use crate::client::batch::jobs::JobId;
use crate::client::question::Question;

/// The files that come in blocks.
pub(super) struct Splits {
    /// Connections that one file may use.
    pub(super) width: usize,
    files: Vec<SplitFile>,
}

struct SplitFile {
    id: JobId,
    server: usize,
    /// Since the first answer has told what there is.
    begun: Option<(Arc<Assembly>, Plan)>,
}

impl Splits {
    pub(super) fn new(width: usize) -> Splits {
        Splits {
            width,
            files: Vec::new(),
        }
    }

    /// Has a question ask for the first block alone if its file may be split. `listed_bytes`:
    /// the size of the file, if that is known.
    pub(super) fn consider(
        &mut self,
        id: JobId,
        server: usize,
        question: &mut Question,
        listed_bytes: Option<u64>,
    ) {
        let is_large = |bytes: u64| bytes.saturating_sub(question.offset) >= SPLIT_BYTES_MIN;
        let may_be = self.width > 1 && self.files.len() < SPLIT_FILES_MAX;
        if may_be && listed_bytes.is_none_or(is_large) {
            // What is there may be the same: then not even that much is to come.
            let is_compared = question.have.is_some();
            question.length = Some(if is_compared { 0 } else { BLOCK_BYTES });
            self.files.push(SplitFile {
                id,
                server,
                begun: None,
            });
        }
    }

    /// The first block of a file is on its way.
    pub(super) fn begin(&mut self, id: JobId, assembly: &Arc<Assembly>) {
        if let Some(file) = self.files.iter_mut().find(|file| file.id == id) {
            let content = &assembly.content;
            let next = content.offset + content.body_bytes;
            let plan = Plan::new(next, content.total_size);
            file.begun = Some((Arc::clone(assembly), plan));
        }
    }

    /// Whether this is how the file comes now, and not how it came in an earlier attempt.
    pub(super) fn is_current(&self, id: JobId, assembly: &Arc<Assembly>) -> bool {
        let mut begun = self.files.iter().filter(|file| file.id == id);
        begun.any(|file| matches!(&file.begun, Some((own, _)) if Arc::ptr_eq(own, assembly)))
    }

    /// The server makes the digest whenever it is asked for some of this file.
    pub(super) fn note_hashing(&mut self, id: JobId) {
        if let Some((_, plan)) = self.begun(id) {
            plan.is_costly = true;
        }
    }

    /// A block that was asked for does not come.
    pub(super) fn give_back(&mut self, id: JobId, assembly: &Arc<Assembly>, block: Range<u64>) {
        if self.is_current(id, assembly)
            && let Some((_, plan)) = self.begun(id)
        {
            plan.give_back(block);
        }
    }

    /// The attempt at this file is over; what has come of it stays.
    pub(super) fn end(&mut self, id: JobId) {
        self.files.retain(|file| {
            if file.id == id
                && let Some((assembly, _)) = &file.begun
            {
                assembly.give_up();
            }
            file.id != id
        });
    }

    /// Whether a block of this server's files is to be asked for.
    pub(super) fn has_block(&self, server: usize) -> bool {
        !self.next_blocks(server).is_empty()
    }

    /// Whether a connection more is of use, besides `open` ones.
    pub(super) fn want_lane(&self, server: usize, open: usize) -> bool {
        open < self.next_blocks(server).len() * self.width
    }

    /// The next block of each file, the one first of which the least is on its way.
    pub(super) fn next_blocks(&self, server: usize) -> Vec<(JobId, Range<u64>)> {
        let mut next: Vec<_> = self
            .files
            .iter()
            .filter(|file| file.server == server)
            .filter_map(|file| {
                let (assembly, plan) = file.begun.as_ref()?;
                let front = assembly.front();
                Some((plan.ahead(front), file.id, plan.next_block(front)?))
            })
            .collect();
        next.sort_by_key(|&(ahead, ..)| ahead);
        next.into_iter().map(|(_, id, block)| (id, block)).collect()
    }

    /// Takes the next block of a file.
    pub(super) fn take(&mut self, id: JobId, block: &Range<u64>) -> Option<Arc<Assembly>> {
        let (assembly, plan) = self.begun(id)?;
        plan.take(block);
        Some(Arc::clone(assembly))
    }

    fn begun(&mut self, id: JobId) -> Option<&mut (Arc<Assembly>, Plan)> {
        let file = self.files.iter_mut().find(|file| file.id == id)?;
        file.begun.as_mut()
    }
}

/// Which blocks of one file are still to be asked for.
struct Plan {
    /// Everything before this was asked for.
    next: u64,
    total_size: u64,
    /// What was asked for and did not come.
    given_back: Vec<Range<u64>>,
    /// Each question costs the server a look at the whole file.
    is_costly: bool,
}

impl Plan {
    fn new(next: u64, total_size: u64) -> Plan {
        Plan {
            next,
            total_size,
            given_back: Vec::new(),
            is_costly: false,
        }
    }

    /// What was asked for and is not in the file, up to `front`.
    fn ahead(&self, front: u64) -> u64 {
        self.next - front
    }

    /// The block that is to be asked for, if any is.
    fn next_block(&self, front: u64) -> Option<Range<u64>> {
        if let Some(first) = self.given_back.iter().min_by_key(|block| block.start) {
            return Some(first.clone());
        }
        let (ahead, left) = (self.ahead(front), self.total_size - self.next);
        let (most, window) = match self.is_costly {
            true => (u64::MAX, 0),
            false => (BLOCK_BYTES, WINDOW_BYTES - BLOCK_BYTES),
        };
        (left > 0 && ahead <= window).then(|| self.next..self.next + left.min(most))
    }

    fn take(&mut self, block: &Range<u64>) {
        self.given_back.retain(|given_back| given_back != block);
        self.next = self.next.max(block.end);
    }

    fn give_back(&mut self, block: Range<u64>) {
        if !block.is_empty() {
            self.given_back.push(block);
        }
    }
}

/// As much as is asked for at once: as little as is read for nothing if a file is given up.
const BLOCK_BYTES: u64 = 1024 * 1024;
/// Between the first byte that is missing in a file and the last that was asked for: as much
/// of it may have to wait in memory.
const WINDOW_BYTES: u64 = 32 * 1024 * 1024;
/// Files that come in blocks at once; others meanwhile use one connection each.
const SPLIT_FILES_MAX: usize = 2;
/// With one beside those, which stay open until other connections have brought their blocks,
/// something always goes on.
pub(in crate::client) const OPEN_FILES_MIN: u64 = SPLIT_FILES_MAX as u64 + 1;
/// What is known to be smaller is not split.
const SPLIT_BYTES_MIN: u64 = 4 * BLOCK_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = BLOCK_BYTES;

    /// Takes all that there is.
    fn take_all(plan: &mut Plan, front: u64) -> Vec<Range<u64>> {
        std::iter::from_fn(|| {
            let block = plan.next_block(front)?;
            plan.take(&block);
            Some(block)
        })
        .collect()
    }

    #[test]
    fn blocks_are_handed_out_in_their_order_and_no_further_ahead_than_the_window() {
        let mut plan = Plan::new(MIB, 100 * MIB + 7);
        let blocks = take_all(&mut plan, 0);
        assert_eq!(blocks.first(), Some(&(MIB..2 * MIB)));
        assert!(blocks.is_sorted_by(|one, next| one.end == next.start));
        assert_eq!(plan.next, WINDOW_BYTES);
        // A byte short of a block is not enough.
        assert_eq!(plan.next_block(MIB - 1), None);
        assert_eq!(take_all(&mut plan, MIB).len(), 1);
        let mut last = plan.next;
        while let Some(block) = plan.next_block(last) {
            plan.take(&block);
            last = block.end;
        }
        assert_eq!(last, 100 * MIB + 7, "the last block is as long as it is");
    }

    #[test]
    fn what_did_not_come_is_asked_for_before_anything_else() {
        let mut plan = Plan::new(MIB, 100 * MIB);
        take_all(&mut plan, 0);
        plan.give_back(9 * MIB..10 * MIB);
        plan.give_back(2 * MIB + 5..3 * MIB);
        plan.give_back(4 * MIB..4 * MIB);
        let blocks = take_all(&mut plan, 0);
        assert_eq!(blocks, [2 * MIB + 5..3 * MIB, 9 * MIB..10 * MIB]);
        assert_eq!(plan.next, WINDOW_BYTES);
    }

    #[test]
    fn where_each_block_costs_a_hash_the_rest_is_asked_for_at_once() {
        let mut plan = Plan::new(3 * MIB, 100 * MIB);
        plan.is_costly = true;
        assert_eq!(plan.next_block(3 * MIB - 1), None, "some is on its way");
        let blocks = take_all(&mut plan, 3 * MIB);
        assert_eq!((blocks.len(), &blocks[0]), (1, &(3 * MIB..100 * MIB)));
    }
}
