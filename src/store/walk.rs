//! A walk through a tree in listing order.

use crate::store::beneath::Directory;
use crate::store::links::leads_through;
use crate::store::local::is_shown;
use crate::store::sorted_names::SortedNames;
use crate::store::{Listed, Listing, StoreError};
use crate::wire::{ObjectKind, PATH_BYTES_MAX, PATH_PART_BYTES_MAX, PATH_PARTS_MAX, ResourcePath};

/// The entries of a directory and, with `recursive`, of everything below it. Each directory comes
/// right before its contents, and names are in byte order. No link is entered, so each file appears
/// once. Holds one open directory and its names for each level of depth.
pub(super) struct Walk {
    levels: Vec<WalkLevel>,
    /// An entry to return first.
    found: Option<Listed>,
    recursive: bool,
    show_hidden: bool,
    hidden: u64,
    /// The number of parts in the path of the listed directory, if that leads through links. These
    /// parts need not be real directories, so no link may climb there.
    parts_by_links: usize,
    /// Opens a directory in another one.
    open: OpenBelow,
    /// Directories above that stay unlocked while this exists.
    _unlocked: Vec<Directory>,
}

/// A function that opens a directory in another one by name.
pub(super) type OpenBelow = fn(&Directory, &[u8]) -> Result<Directory, StoreError>;

struct WalkLevel {
    directory: Directory,
    /// The path from the root, with a slash at the end unless it is the root.
    path: Vec<u8>,
    names: SortedNames,
}

impl Walk {
    /// Walks the open directory at `path`, starting after `after`, which is below it.
    pub(super) fn of_directory(
        directory: Directory,
        path: &ResourcePath,
        recursive: bool,
        show_hidden: bool,
        after: Option<&ResourcePath>,
    ) -> Result<Walk, StoreError> {
        let mut walk = Walk {
            levels: Vec::new(),
            found: None,
            recursive,
            show_hidden,
            hidden: 0,
            parts_by_links: 0,
            open: Directory::open_below,
            _unlocked: Vec::new(),
        };
        let path = path.as_bytes();
        let Some(after) = after else {
            walk.enter(directory, path)?;
            return Ok(walk);
        };
        let inside = after.as_bytes().strip_prefix(path).unwrap_or_default();
        let parts = inside.split(|&byte| byte == b'/');
        let mut parts = parts.filter(|part| !part.is_empty()).peekable();
        let mut path = path.to_vec();
        let mut next = Some(directory);
        while let Some(directory) = next.take() {
            let Some(part) = parts.next() else {
                // The contents of the last directory come after it. Hidden entries among them were
                // counted before.
                let hidden = walk.hidden;
                match walk.enter(directory, &path) {
                    // The entry of the directory itself reported this.
                    Err(StoreError::TooDeep) => {}
                    entered => entered?,
                }
                walk.hidden = hidden;
                break;
            };
            let is_last = parts.peek().is_none();
            if recursive && is_shown(part, show_hidden) {
                next = match directory.open_below(part) {
                    Ok(directory) => Some(directory),
                    // The directory is gone or replaced; the entries after it still follow.
                    Err(StoreError::NotFound | StoreError::NotADirectory) => None,
                    // The entry of the directory itself reported this error.
                    Err(StoreError::Forbidden | StoreError::NotAtRest) if is_last => None,
                    // Without its contents the listing would look complete.
                    Err(error) => return Err(error),
                };
            }
            walk.enter_after(directory, &path, part)?;
            path = joined(&path, part);
        }
        Ok(walk)
    }

    /// Opens directories with `open` from here on; the `unlocked` directories stay open as long.
    pub(super) fn opening(mut self, open: OpenBelow, unlocked: Vec<Directory>) -> Walk {
        (self.open, self._unlocked) = (open, unlocked);
        self
    }

    /// Notes that some of the parts of the path are links.
    pub(super) fn reached_by_links(mut self, parts: usize) -> Walk {
        self.parts_by_links = parts;
        self
    }

    /// Lists a single entry or none.
    pub(super) fn of_one(found: Option<Listed>) -> Walk {
        Walk {
            levels: Vec::new(),
            found,
            recursive: false,
            show_hidden: true,
            hidden: 0,
            parts_by_links: 0,
            open: Directory::open_below,
            _unlocked: Vec::new(),
        }
    }

    fn enter(&mut self, directory: Directory, path: &[u8]) -> Result<(), StoreError> {
        let show_hidden = self.show_hidden;
        let (mut hidden, mut fits) = (0, true);
        let room = PathRoom::below(path);
        let names = SortedNames::read(&directory, b"", self.room(), |name| {
            let is_hidden = !is_shown(name, show_hidden) && is_shown(name, true);
            // FAT has names longer than any request can contain.
            hidden += u64::from(is_hidden || name.len() > PATH_PART_BYTES_MAX);
            fits &= room.has(name) || !is_shown(name, show_hidden);
            is_shown(name, show_hidden)
        })?;
        if !fits {
            // A part of it would pass for all of it.
            return Err(StoreError::TooDeep);
        }
        self.hidden += hidden;
        self.push(directory, path, names);
        Ok(())
    }

    fn enter_after(
        &mut self,
        directory: Directory,
        path: &[u8],
        after: &[u8],
    ) -> Result<(), StoreError> {
        let show_hidden = self.show_hidden;
        let names = SortedNames::read(&directory, after, self.room(), |name| {
            is_shown(name, show_hidden)
        })?;
        self.push(directory, path, names);
        Ok(())
    }

    fn push(&mut self, directory: Directory, path: &[u8], names: SortedNames) {
        let mut path = path.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        self.levels.push(WalkLevel {
            directory,
            path,
            names,
        });
    }

    /// The memory that names may still take, in bytes.
    fn room(&self) -> usize {
        NAMES_BYTES_MAX.saturating_sub(self.held_bytes())
    }

    /// Whether nothing more follows.
    pub(super) fn is_done(&self) -> bool {
        self.found.is_none() && self.levels.is_empty()
    }

    /// The path that [`Walk::step`] touches next: the next name, or the directory that has no more.
    pub(super) fn next_path(&self) -> Vec<u8> {
        let Some(level) = self.levels.last() else {
            return Vec::new();
        };
        match level.names.peek() {
            Some(name) => [&level.path, name].concat(),
            None => level
                .path
                .strip_suffix(b"/")
                .unwrap_or(&level.path)
                .to_vec(),
        }
    }

    /// Skips the next name without touching its object. `None` if the directory has no more names.
    pub(super) fn skip(&mut self, error: StoreError) -> Option<Listed> {
        let level = self.levels.last_mut()?;
        let (name, kind) = level.names.next()?;
        let path = ResourcePath::parse(&[&level.path, name].concat()).ok()?;
        let kind = kind.unwrap_or(ObjectKind::Directory);
        Some(Listed::failed(path, kind, error))
    }

    /// Handles one name. `None` if there is nothing to show for it.
    pub(super) fn step(&mut self) -> Result<Option<Listed>, StoreError> {
        if let Some(found) = self.found.take() {
            return Ok(Some(found));
        }
        let Some(level) = self.levels.last_mut() else {
            return Ok(None);
        };
        let Some((name, kind)) = level.names.next() else {
            if let Some(WalkLevel {
                directory,
                path,
                names,
            }) = self.levels.pop()
                && names.has_more()
            {
                let path = path.strip_suffix(b"/").unwrap_or(&path);
                self.enter_after(directory, path, names.last())?;
            }
            return Ok(None);
        };
        let Ok(path) = ResourcePath::parse(&[&level.path, name].concat()) else {
            // The path is too long to be requested, and is new since the directory was entered.
            self.hidden += 1;
            return Ok(None);
        };
        let meta = match level.directory.look(name) {
            Ok(meta) => meta,
            // The entry is gone by now.
            Err(StoreError::NotFound) => return Ok(None),
            Err(error) => {
                let kind = kind.unwrap_or(ObjectKind::Other);
                return Ok(Some(Listed::failed(path, kind, error)));
            }
        };
        let mut listed = Listed::of(path, meta);
        match meta.kind {
            ObjectKind::Symlink => {
                let parts = level.path.iter().filter(|&&byte| byte == b'/').count();
                let depth = parts.saturating_sub(self.parts_by_links);
                let (directory, show_hidden) = (&level.directory, self.show_hidden);
                let (here, is_shown) = (ResourcePath::root(), |name: &[u8]| {
                    is_shown(name, show_hidden)
                });
                match directory.link_target(name) {
                    Ok(target) => {
                        listed.target = target.filter(|target| {
                            leads_through((directory, depth), &here, target, is_shown)
                        });
                    }
                    Err(error) => listed.error = Some(error),
                }
            }
            ObjectKind::Directory if self.recursive => {
                let entered = (self.open)(&level.directory, name);
                let entered =
                    entered.and_then(|directory| self.enter(directory, listed.path.as_bytes()));
                match entered {
                    Ok(()) => {}
                    Err(StoreError::NotFound | StoreError::NotADirectory) => return Ok(None),
                    Err(error) => listed.error = Some(error),
                }
            }
            ObjectKind::Directory | ObjectKind::File | ObjectKind::Other => {}
        }
        Ok(Some(listed))
    }
}

impl Listing for Walk {
    fn next(&mut self) -> Result<Option<Listed>, StoreError> {
        while !self.is_done() {
            if let Some(listed) = self.step()? {
                return Ok(Some(listed));
            }
        }
        Ok(None)
    }

    fn take_hidden(&mut self) -> u64 {
        std::mem::take(&mut self.hidden)
    }

    fn hides_names(&self) -> bool {
        !self.show_hidden
    }

    fn held_bytes(&self) -> usize {
        self.levels
            .iter()
            .map(|level| level.names.held_bytes())
            .sum()
    }

    fn held_descriptors(&self) -> usize {
        self.levels.len()
    }
}

/// The space for paths below a directory.
struct PathRoom {
    has_part: bool,
    bytes: usize,
}

impl PathRoom {
    fn below(path: &[u8]) -> PathRoom {
        let parts = path.split(|&byte| byte == b'/').count();
        let slash = usize::from(!path.is_empty());
        PathRoom {
            has_part: path.is_empty() || parts < PATH_PARTS_MAX,
            bytes: PATH_BYTES_MAX.saturating_sub(path.len() + slash),
        }
    }

    fn has(&self, name: &[u8]) -> bool {
        self.has_part && name.len() <= self.bytes
    }
}

fn joined(path: &[u8], part: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return part.to_vec();
    }
    [path, b"/", part].concat()
}

/// The memory for names in one listing, in bytes; a directory with more is read several times.
const NAMES_BYTES_MAX: usize = 32 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;
    use crate::store::{DirectoryOptions, DirectoryStore, Store};

    fn store(root: &Path, show_hidden: bool) -> DirectoryStore {
        let options = DirectoryOptions {
            show_hidden,
            follow_links_inside: true,
        };
        DirectoryStore::open_root(root, options).unwrap()
    }

    fn path(name: &str) -> ResourcePath {
        ResourcePath::parse(name.as_bytes()).unwrap()
    }

    /// Every entry after `after`, as words, and the number of hidden ones.
    fn listed(
        store: &DirectoryStore,
        directory: &str,
        recursive: bool,
        after: Option<&str>,
    ) -> (Vec<String>, u64) {
        let after = after.map(path);
        let mut listing = store
            .list(&path(directory), recursive, after.as_ref())
            .unwrap();
        let mut words = Vec::new();
        while let Some(listed) = listing.next().unwrap() {
            let mut word = String::from_utf8_lossy(listed.path.as_bytes()).into_owned();
            match listed.kind {
                ObjectKind::File => {}
                ObjectKind::Directory => word.push('/'),
                ObjectKind::Other => word.push('?'),
                ObjectKind::Symlink => word.push('@'),
            }
            if let Some(target) = listed.target {
                word += &String::from_utf8_lossy(&target);
            }
            if let Some(error) = listed.error {
                word += &format!(" ({error})");
            }
            words.push(word);
        }
        (words, listing.take_hidden())
    }

    fn planted() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for name in [
            "a",
            "a.b",
            "b/c",
            "b/d/e",
            "b.c",
            ".git/x",
            "b/.hidden",
            ".ft-0-1.part",
        ] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        fs::create_dir(root.join("empty")).unwrap();
        symlink("b", root.join("link")).unwrap();
        symlink("../a", root.join("b/up")).unwrap();
        symlink("../../a", root.join("b/out")).unwrap();
        symlink("/etc", root.join("abs")).unwrap();
        symlink(".", root.join("b/loop")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            root.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        directory
    }

    const WHOLE: [&str; 14] = [
        "a",
        "a.b",
        "abs@",
        "b/",
        "b/c",
        "b/d/",
        "b/d/e",
        "b/loop@.",
        "b/out@",
        "b/up@../a",
        "b.c",
        "empty/",
        "fifo?",
        "link@b",
    ];

    #[test]
    fn lists_directories_before_contents_and_enters_no_link() {
        let next_path = planted();
        let tree = store(next_path.path(), false);
        let (whole, hidden) = listed(&tree, "", true, None);
        assert_eq!((&*whole, hidden), (&WHOLE.map(String::from)[..], 2));
        let (top, hidden) = listed(&tree, "", false, None);
        let is_top = |word: &&str| !word.starts_with("b/") || *word == "b/";
        assert_eq!(top, WHOLE.into_iter().filter(is_top).collect::<Vec<_>>());
        assert_eq!(hidden, 1);
        let (shown, hidden) = listed(&store(next_path.path(), true), "", true, None);
        assert_eq!(&shown[..3], [".git/", ".git/x", "a"]);
        assert_eq!((shown.len(), hidden), (WHOLE.len() + 3, 0));
    }

    #[test]
    fn continues_after_any_entry_with_exactly_the_rest() {
        let next_path = planted();
        let tree = store(next_path.path(), false);
        for (at, word) in WHOLE.iter().enumerate() {
            let name = word.split(['@', '?']).next().unwrap().trim_end_matches('/');
            let (rest, hidden) = listed(&tree, "", true, Some(name));
            assert_eq!(rest, WHOLE[at + 1..], "behind {name}");
            // Hidden entries of a directory are counted when it is entered.
            assert_eq!(hidden, u64::from(at < 3), "behind {name}");
        }
        for (after, next) in [
            ("b/ca", "b/d/"),
            ("b/d/e/f", "b/loop@."),
            ("b/d/nothing", "b/loop@."),
            ("link/x", ""),
            ("aa", "abs@"),
            ("zz", ""),
            ("empty", "fifo?"),
        ] {
            let (rest, _) = listed(&tree, "", true, Some(after));
            assert_eq!(rest.first().map_or("", |word| word), next, "behind {after}");
        }
        assert_eq!(listed(&tree, "b", true, Some("b/d")).0[0], "b/d/e");
        assert_eq!(listed(&tree, "b", false, Some("b/d")).0[0], "b/loop@.");
    }

    #[test]
    fn fails_where_the_rest_of_a_directory_is_unreadable() {
        // No directory of /proc can be entered, which its own entry shows.
        let tree = store(Path::new("/"), false);
        let root = ResourcePath::root();
        let inside = tree.list(&root, true, Some(&path("proc/x")));
        assert!(matches!(inside, Err(StoreError::NotAtRest)));
        assert!(tree.list(&root, true, Some(&path("proc"))).is_ok());
    }

    #[test]
    fn lists_a_directory_and_a_single_file() {
        let next_path = planted();
        let tree = store(next_path.path(), false);
        assert_eq!(listed(&tree, "b/d", false, None).0, ["b/d/e"]);
        assert_eq!(listed(&tree, "link", false, None).0[0], "link/c");
        assert_eq!(listed(&tree, "empty", true, None).0, [""; 0]);
        let refused = |name: &str| format!("{:?}", tree.list(&path(name), false, None).err());
        assert_eq!(refused("a"), "Some(NotADirectory)");
        assert_eq!(refused("fifo"), "Some(NotADirectory)");
        for name in ["nothing", ".git", "b/out", "abs"] {
            assert_eq!(refused(name), "Some(NotFound)", "{name}");
        }
        let one = store(&next_path.path().join("b/c"), false);
        assert_eq!(listed(&one, "", true, None).0, ["c"]);
    }

    #[test]
    fn reports_directories_with_paths_that_are_too_deep() {
        let directory = tempfile::tempdir().unwrap();
        let mut path = directory.path().to_owned();
        for _ in 1..PATH_PARTS_MAX {
            path.push("d");
        }
        fs::create_dir_all(path.join("e")).unwrap();
        fs::create_dir_all(path.join("empty")).unwrap();
        fs::write(path.join("last"), "x").unwrap();
        fs::write(path.join("e/too deep"), "x").unwrap();
        let tree = store(directory.path(), false);
        let (found, hidden) = listed(&tree, "", true, None);
        let above = "d/".repeat(PATH_PARTS_MAX - 1);
        let refused = format!("{above}e/ ({})", StoreError::TooDeep);
        let expected = [refused, format!("{above}empty/"), format!("{above}last")];
        assert_eq!(found[PATH_PARTS_MAX - 1..], expected);
        assert_eq!(hidden, 0);
        let behind = listed(&tree, "", true, Some(&format!("{above}e")));
        assert_eq!(behind, (expected[1..].to_vec(), 0));
        let alone = tree.list(&self::path(&format!("{above}e")), true, None);
        assert!(matches!(alone.err(), Some(StoreError::TooDeep)));
    }

    #[test]
    fn a_name_fits_only_where_its_path_is_valid() {
        let long = [[b'x'; 255].as_slice(); 15].join(&b'/');
        let deep = |parts: usize| vec!["d"; parts].join("/").into_bytes();
        let directories = [
            b"".to_vec(),
            b"a".to_vec(),
            [&long[..], b"/", &[b'x'; 100]].concat(),
        ]
        .into_iter()
        .chain([PATH_PARTS_MAX - 1, PATH_PARTS_MAX].map(deep));
        for directory in directories {
            let room = PathRoom::below(&directory);
            for bytes in [1, 154, 155, 156, 255] {
                let name = vec![b'n'; bytes];
                let path = ResourcePath::parse(&joined(&directory, &name));
                assert_eq!(
                    room.has(&name),
                    path.is_ok(),
                    "{} + {bytes}",
                    directory.len()
                );
            }
        }
    }

    #[test]
    fn virtual_file_systems_are_listed_and_not_entered() {
        let root = Path::new("/proc").canonicalize().unwrap();
        let tree = store(root.parent().unwrap(), false);
        let mut listing = tree.list(&path(""), true, Some(&path("pro"))).unwrap();
        let listed = listing.next().unwrap().unwrap();
        assert_eq!(listed.path, path("proc"));
        assert!(matches!(listed.error, Some(StoreError::NotAtRest)));
    }
}
