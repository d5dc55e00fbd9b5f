//! Where symbolic links lead, and which of them may be listed and made.
//!
//! The rule: in a target, every `..` comes before all names, and there are at most as many as there
//! are directories above the link. Those are real directories. Then no chain of such links leads
//! outside, in any order and after any change. At each step, whoever follows a path is in a real
//! directory and meets a name, which leads further down or to a link. Only the start of a link's
//! target climbs. It does so from the real directory of that link, and at most to the root. After
//! that only names follow.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::wire::ResourcePath;

/// Whether a link with this target follows the rule. `depth` is the number of directories above the
/// link, without the root.
pub fn leads_inside(depth: usize, target: &[u8]) -> bool {
    if target.is_empty() || target.starts_with(b"/") {
        return false;
    }
    let (mut climbed, mut has_name) = (0, false);
    for part in parts(target) {
        match part {
            b".." if has_name || climbed == depth => return false,
            b".." => climbed += 1,
            _ => has_name = true,
        }
    }
    true
}

/// Whether a link with this target follows the rule, every existing link on its way does, and
/// `is_shown` returns `true` for each name on the way. A missing name may become a directory.
/// `directory` is open at this depth in the tree, and `below` is the path from it to the directory
/// of the link, which may be missing.
pub(in crate::store) fn leads_through(
    (directory, depth): (impl AsFd, usize),
    below: &ResourcePath,
    target: &[u8],
    is_shown: impl Fn(&[u8]) -> bool,
) -> bool {
    // The position relative to the open directory: first up, then down. These are directories and
    // no links; only the last may be another kind of file.
    let (mut climbed, mut names) = (0, below.parts().map(<[u8]>::to_vec).collect::<Vec<_>>());
    if !leads_inside(depth + names.len(), target) {
        return false;
    }
    let mut rest: Vec<Vec<u8>> = parts(target).rev().map(<[u8]>::to_vec).collect();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == b".." {
            if names.pop().is_none() {
                climbed += 1;
            }
            continue;
        }
        if !is_shown(&part) {
            return false;
        }
        names.push(part);
        let path = [b"../".repeat(climbed), names.join(&b'/')].concat();
        let Some(link) = link_at(&directory, &path) else {
            continue;
        };
        names.pop();
        links += 1;
        if links > LINKS_MAX {
            // A loop leads nowhere, so not outside.
            return true;
        }
        if !leads_inside(depth - climbed + names.len(), &link) {
            return false;
        }
        rest.extend(parts(&link).rev().map(<[u8]>::to_vec));
    }
    true
}

/// The target of the link at this path, if it is one. Does not look at other file systems: they may
/// not answer, and their server resolves its own links.
fn link_at(directory: impl AsFd, path: &[u8]) -> Option<Vec<u8>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let link = match rustix::fs::openat2(&directory, path, flags, Mode::empty(), resolve) {
        Ok(found) => rustix::fs::readlinkat(found, "", Vec::new()),
        // Kernels before 5.6, and sandboxes.
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::readlinkat(&directory, path, Vec::new()),
        Err(errno) => Err(errno),
    };
    Some(link.ok()?.into_bytes())
}

/// The parts of a target, without empty ones and `.`.
fn parts(target: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    let parts = target.split(|&byte| byte == b'/');
    parts.filter(|part| !part.is_empty() && *part != b".")
}

/// The limit of the kernel: path_resolution(7).
const LINKS_MAX: usize = 40;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use super::*;

    #[test]
    fn climbing_comes_first_and_ends_at_the_root() {
        let inside: [(usize, &[u8]); 22] = [
            (0, b"a"),
            (0, b"a/b"),
            (0, b"."),
            (0, b"./a"),
            (0, b"a/"),
            (0, b"a//b/./c"),
            (0, b"lib.so.1"),
            (0, b"releases/5"),
            (0, b"..."),
            (0, b"..a"),
            (0, b"a.."),
            (0, b"a/..b"),
            (0, b"-"),
            (0, b"\xff\n"),
            (1, b".."),
            (1, b"../"),
            (1, b"./.."),
            (1, b"../a"),
            (2, b"../../a"),
            (2, b".././/../a/b"),
            (2, b"../pkg/cli.js"),
            (9, b"../../../../../../../../../a"),
        ];
        for (depth, target) in inside {
            assert!(leads_inside(depth, target), "{}", target.escape_ascii());
        }
        let outside: [(usize, &[u8]); 16] = [
            (0, b""),
            (0, b"/"),
            (0, b"/etc/passwd"),
            (0, b"//a"),
            (0, b".."),
            (0, b"./.."),
            (0, b"a/.."),
            (0, b"a/../b"),
            (0, b"a/../../b"),
            (1, b"../.."),
            (1, b"../../a"),
            (1, b"../a/.."),
            (1, b".//..//.//.."),
            (5, b"a/.."),
            (5, b"a/b/./.."),
            (5, b"../a/../b"),
        ];
        for (depth, target) in outside {
            assert!(!leads_inside(depth, target), "{}", target.escape_ascii());
        }
    }

    /// A few pseudorandom numbers.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 33) as usize % end
        }

        fn one_of<'w>(&mut self, words: &[&'w str]) -> &'w str {
            words[self.below(words.len())]
        }
    }

    fn depth(link: &Path) -> usize {
        link.components().count() - 1
    }

    /// Resolves random paths with the kernel and checks that they stay inside.
    fn assert_stays_inside(root: &Path, random: &mut Random, what: &str) {
        for _ in 0..20 {
            let parts: Vec<&str> = (0..1 + random.below(5))
                .map(|_| random.one_of(&NAMES))
                .collect();
            let path = root.join(parts.join("/"));
            let Ok(found) = path.canonicalize() else {
                continue;
            };
            assert!(
                found.starts_with(root),
                "{what}: {} leads to {}",
                path.display(),
                found.display()
            );
        }
    }

    /// Makes links at random while directories come and go. Beside the root is much that a link
    /// could lead to.
    #[test]
    fn no_random_set_of_allowed_links_leads_outside() {
        let mut random = Random(7);
        let (mut made, mut refused, mut would_lead_out) = (0, 0, 0);
        for round in 0..100 {
            let place = tempfile::tempdir().unwrap();
            let outside = place.path().canonicalize().unwrap();
            let root = outside.join("a/b");
            for name in ["a/b", "a/c/d", "b/a", "c/a/b/c", "d"] {
                fs::create_dir_all(outside.join(name)).unwrap();
            }
            let what = format!("round {round}");
            for _ in 0..40 {
                let at: PathBuf = (0..1 + random.below(3))
                    .map(|_| random.one_of(&NAMES))
                    .collect();
                let above = root.join(&at);
                let above = above.parent().unwrap();
                // As this program makes trees: through no link.
                if above.canonicalize().ok().is_none_or(|found| found != above) {
                    continue;
                }
                let name = root.join(&at);
                let is_link = name.is_symlink();
                match random.below(6) {
                    0 => {
                        if is_link {
                            fs::remove_file(&name).unwrap();
                        }
                        let _ = fs::create_dir(&name);
                    }
                    1 => {
                        // A directory is replaced, with all that is in it.
                        if is_link {
                            fs::remove_file(&name).unwrap();
                        } else {
                            let _ = fs::remove_dir_all(&name);
                        }
                    }
                    _ => {
                        // Anywhere, or first up and then down.
                        let is_any = random.below(2) == 0;
                        let climb = if is_any { 0 } else { random.below(3) };
                        let words = if is_any { &PARTS[..] } else { &NAMES };
                        let climb = std::iter::repeat_n("..", climb);
                        let parts: Vec<&str> = (0..1 + random.below(4))
                            .map(|_| random.one_of(words))
                            .collect();
                        let parts: Vec<&str> = climb.chain(parts).collect();
                        let start = random.one_of(&["", "", "", "", "/", "./"]);
                        let target = format!("{start}{}", parts.join("/"));
                        let directory = fs::File::open(above).unwrap();
                        let bytes = target.as_bytes();
                        let is_inside = leads_inside(depth(&at), bytes);
                        let from = (&directory, depth(&at));
                        let through = leads_through(from, &ResourcePath::root(), bytes, |_| true);
                        // Every existing link follows the rule, so nothing else matters.
                        assert_eq!(is_inside, through, "{what}: {} -> {target}", at.display());
                        if !is_inside {
                            refused += 1;
                            let found = above.join(&target).canonicalize();
                            would_lead_out +=
                                usize::from(found.is_ok_and(|found| !found.starts_with(&root)));
                            continue;
                        }
                        if !name.exists() && !is_link {
                            symlink(&target, &name).unwrap();
                            made += 1;
                        }
                    }
                }
                assert_stays_inside(&root, &mut random, &what);
            }
        }
        // Otherwise too few links followed the rule.
        let chances = format!("{made} made, {refused} refused, {would_lead_out} would lead out");
        assert!(
            made > 150 && refused > 300 && would_lead_out > 80,
            "{chances}"
        );
    }

    #[test]
    fn refuses_links_through_a_local_link_that_leads_outside() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root");
        fs::create_dir_all(root.join("d/e")).unwrap();
        fs::write(root.join("file"), "x").unwrap();
        for (target, link) in [
            ("/etc", "absolute"),
            ("../..", "d/up"),
            ("e/../../..", "d/round"),
            ("absolute", "chain"),
            ("../chain", "d/chain"),
            ("d/missing/../../..", "later"),
            ("loop", "loop"),
            ("d", "fine"),
            ("../fine/e", "d/fine"),
            ("..", "d/e/climbs"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let directory = |below: &str| fs::File::open(root.join(below)).unwrap();
        let leads = |below: &str, depth, target: &str| {
            let target = target.as_bytes();
            let open = leads_through(
                (directory(below), depth),
                &ResourcePath::root(),
                target,
                |_| true,
            );
            let below = ResourcePath::parse(below.as_bytes()).unwrap();
            let from_root = leads_through((directory(""), 0), &below, target, |_| true);
            assert_eq!(open, from_root, "{}", target.escape_ascii());
            open
        };
        for target in [
            "absolute",
            "absolute/passwd",
            "d/up",
            "d/up/x",
            "d/round/x",
            "chain/passwd",
            "d/chain",
            "fine/up",
            "d/fine/climbs/up/x",
            "later/x",
            "./d//./up/",
        ] {
            assert!(!leads("", 0, target), "{target}");
            assert!(!leads("d/e", 2, &format!("../../{target}")), "{target}");
        }
        for target in [
            "file",
            "file/x",
            "d/e",
            "d/missing/x",
            "missing",
            "loop",
            "loop/x",
            "fine/e/climbs/e",
            "d/fine/climbs/fine",
        ] {
            assert!(leads("", 0, target), "{target}");
            assert!(leads("d/e", 2, &format!("../../{target}")), "{target}");
        }
    }

    #[test]
    fn refuses_links_through_hidden_names() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        fs::create_dir_all(root.join(".git/x")).unwrap();
        symlink(".git", root.join("shows")).unwrap();
        symlink("shows", root.join("again")).unwrap();
        let directory = fs::File::open(root).unwrap();
        let is_shown = |name: &[u8]| !name.starts_with(b".");
        for target in [".git", ".git/x", "./.git", "shows", "shows/x", "again/x"] {
            let leads = |is_shown: &dyn Fn(&[u8]) -> bool| {
                leads_through(
                    (&directory, 0),
                    &ResourcePath::root(),
                    target.as_bytes(),
                    is_shown,
                )
            };
            assert!(!leads(&is_shown), "{target}");
            assert!(leads(&|_| true), "{target}");
        }
    }

    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    const PARTS: [&str; 8] = ["a", "b", "c", "d", "..", "..", "..", "."];
}
