//! The sorted names of a directory, in bounded memory.

use crate::store::StoreError;
use crate::store::beneath::Directory;
use crate::wire::ObjectKind;

/// The smallest names of a directory after some name, in order. A million names of 20 bytes take 28
/// MB. If that is over the limit, only the first ones are kept. Then [`SortedNames::has_more`] is
/// `true`, and the directory must be read again for the rest.
pub(super) struct SortedNames {
    text: Vec<u8>,
    spans: Vec<Span>,
    next: usize,
    has_more: bool,
}

/// One name in `text`.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    /// SortedNames over 255 bytes cannot be requested and are left out.
    bytes: u8,
    kind: Option<ObjectKind>,
}

impl SortedNames {
    /// Reads the names of a directory after `after` for which `is_wanted` returns `true`, in about
    /// `bytes_max` bytes, but at least [`NAMES_BYTES_MIN`].
    pub(super) fn read(
        directory: &Directory,
        after: &[u8],
        bytes_max: usize,
        mut is_wanted: impl FnMut(&[u8]) -> bool,
    ) -> Result<SortedNames, StoreError> {
        let bytes_max = bytes_max.max(NAMES_BYTES_MIN);
        let mut names = SortedNames {
            text: Vec::new(),
            spans: Vec::new(),
            next: 0,
            has_more: false,
        };
        directory.visit_names(|name, kind| {
            if !is_wanted(name) || name <= after || names.is_beyond(name) {
                return;
            }
            let Ok(bytes) = u8::try_from(name.len()) else {
                return;
            };
            let start = u32::try_from(names.text.len()).unwrap_or(u32::MAX);
            names.text.extend_from_slice(name);
            names.spans.push(Span { start, bytes, kind });
            if names.held_bytes() > bytes_max {
                names.keep_first_half();
            }
        })?;
        names.sort();
        Ok(names)
    }

    /// The next name.
    pub(super) fn next(&mut self) -> Option<(&[u8], Option<ObjectKind>)> {
        let span = *self.spans.get(self.next)?;
        self.next += 1;
        Some((self.name(span), span.kind))
    }

    /// The name that [`SortedNames::next`] will return.
    pub(super) fn peek(&self) -> Option<&[u8]> {
        let span = *self.spans.get(self.next)?;
        Some(self.name(span))
    }

    /// The last name returned.
    pub(super) fn last(&self) -> &[u8] {
        let given = self.next.checked_sub(1);
        given.map_or(&[], |at| self.name(self.spans[at]))
    }

    /// Whether the directory has more names than these.
    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    /// The memory held, in bytes.
    pub(super) fn held_bytes(&self) -> usize {
        self.text.len() + self.spans.len() * size_of::<Span>()
    }

    fn name(&self, span: Span) -> &[u8] {
        let start = span.start as usize;
        &self.text[start..start + usize::from(span.bytes)]
    }

    /// Whether a name comes after all that were kept when others were dropped. The largest of those
    /// is then the first span.
    fn is_beyond(&self, name: &[u8]) -> bool {
        self.has_more
            && self
                .spans
                .first()
                .is_some_and(|&last| name > self.name(last))
    }

    /// Drops the larger half, and moves the largest of the rest to the front.
    fn keep_first_half(&mut self) {
        self.sort();
        self.has_more = true;
        self.spans.truncate(self.spans.len().div_ceil(2));
        let mut text = Vec::with_capacity(self.text.len());
        for at in 0..self.spans.len() {
            let span = self.spans[at];
            self.spans[at].start = u32::try_from(text.len()).unwrap_or(u32::MAX);
            text.extend_from_slice(self.name(span));
        }
        self.text = text;
        self.spans.reverse();
    }

    fn sort(&mut self) {
        let text = &self.text;
        let name = |span: &Span| &text[span.start as usize..][..usize::from(span.bytes)];
        self.spans
            .sort_unstable_by(|one, other| name(one).cmp(name(other)));
    }
}

/// Some hundred names at least, at any depth of a tree.
const NAMES_BYTES_MIN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::beneath::{Reach, Resolver, Root};
    use crate::wire::ResourcePath;

    fn directory_of(count: usize) -> (tempfile::TempDir, Directory) {
        let place = tempfile::tempdir().unwrap();
        for number in 0..count {
            let name = format!("{:0>40}", (number * 7919) % count);
            fs::write(place.path().join(name), "").unwrap();
        }
        let root = Root::with_resolver(place.path(), Resolver::Walk).unwrap();
        let directory = root
            .open_directory(&ResourcePath::root(), Reach::All)
            .unwrap();
        (place, directory)
    }

    fn all(names: &mut SortedNames) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some((name, kind)) = names.next() {
            assert_ne!(kind, Some(ObjectKind::Directory));
            all.push(name.to_vec());
        }
        all
    }

    #[test]
    fn reads_sorted_names_after_a_given_one() {
        let (_place, directory) = directory_of(300);
        let mut names = SortedNames::read(&directory, b"", 1 << 20, |_| true).unwrap();
        let sorted = all(&mut names);
        assert_eq!(sorted.len(), 300);
        assert!(sorted.is_sorted() && !names.has_more());
        let mut rest = SortedNames::read(&directory, &sorted[99], 1 << 20, |_| true).unwrap();
        assert_eq!(all(&mut rest), sorted[100..]);
        assert_eq!(rest.last(), sorted[299]);
    }

    #[test]
    fn names_beyond_the_limit_are_read_again() {
        let (_place, directory) = directory_of(5_000);
        let mut found: Vec<Vec<u8>> = Vec::new();
        let mut reads = 0;
        loop {
            let after = found.last().cloned().unwrap_or_default();
            let mut names = SortedNames::read(&directory, &after, 0, |_| true).unwrap();
            assert!(names.held_bytes() <= NAMES_BYTES_MIN);
            found.append(&mut all(&mut names));
            reads += 1;
            if !names.has_more() {
                break;
            }
        }
        assert_eq!(found.len(), 5_000);
        assert!(found.is_sorted());
        found.dedup();
        assert_eq!(found.len(), 5_000);
        assert!((2..20).contains(&reads), "{reads}");
    }
}
