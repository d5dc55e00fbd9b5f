//! Which entries of a tree are selected: `--include`, `--exclude`, and patterns in a source.

mod args;
mod pattern;

pub(super) use self::args::FilterArgs;
pub(super) use self::pattern::{Pattern, PatternError};

/// Rules in their order; the first that matches decides. The contents of an excluded directory are
/// excluded. The contents of an included one are included unless a rule excludes them. Without a
/// matching rule an entry is included, unless all rules are includes.
#[derive(Debug, Default)]
pub(super) struct Filter {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    includes: bool,
    pattern: Pattern,
}

impl Filter {
    /// Appends a rule.
    pub(super) fn push(&mut self, includes: bool, pattern: Pattern) {
        self.rules.push(Rule { includes, pattern });
    }

    /// Whether there are no rules.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether the entry with this path below the source is included.
    pub(super) fn admits(&self, path: &[u8], is_directory: bool) -> bool {
        let mut is_included = self.rules.is_empty() || self.rules.iter().any(|rule| !rule.includes);
        for (path, is_directory) in ancestors_and_self(path, is_directory) {
            let mut rules = self.rules.iter();
            match rules.find(|rule| rule.pattern.matches(path, is_directory)) {
                Some(rule) if rule.includes => is_included = true,
                Some(_) => return false,
                None => {}
            }
        }
        is_included
    }
}

/// The pattern in a source.
#[derive(Debug)]
pub(super) struct Selection {
    /// `None` if the source has no pattern.
    pattern: Option<Pattern>,
    /// The pattern as it was typed.
    written: Vec<u8>,
    /// Whether the contents of a matching directory are selected too.
    is_recursive: bool,
}

/// A source's path, split before the first part with a wildcard.
#[derive(Debug)]
pub(super) struct SplitSource<'a> {
    /// The directory, or the whole path if there is no pattern.
    pub(super) path: &'a [u8],
    pub(super) selection: Selection,
    /// Whether selected entries may lie deeper than in the directory itself.
    pub(super) is_deep: bool,
}

impl Selection {
    /// Takes a source's path literally.
    pub(super) fn everything(path: &[u8], is_recursive: bool) -> SplitSource<'_> {
        SplitSource {
            path,
            selection: Selection {
                pattern: None,
                written: Vec::new(),
                is_recursive,
            },
            is_deep: is_recursive,
        }
    }

    /// Splits a source's path before the first part that has one of `*`, `?` and `[`.
    ///
    /// # Errors
    /// The pattern is malformed.
    pub(super) fn split(path: &[u8], is_recursive: bool) -> Result<SplitSource<'_>, PatternError> {
        let Some(first) = path.iter().position(|byte| b"*?[".contains(byte)) else {
            return Ok(Selection::everything(path, is_recursive));
        };
        let slash = path[..first].iter().rposition(|&byte| byte == b'/');
        let (directory, written) = match slash {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let pattern = Pattern::parse(&[b"/", written].concat())?;
        Ok(SplitSource {
            path: directory,
            is_deep: is_recursive || pattern.reaches_below(),
            selection: Selection {
                pattern: Some(pattern),
                written: written.to_vec(),
                is_recursive,
            },
        })
    }

    /// The pattern as it was typed, if there is one.
    pub(super) fn written(&self) -> Option<&[u8]> {
        self.pattern.as_ref().map(|_| &*self.written)
    }

    /// Whether the entry with this path below the directory is selected.
    pub(super) fn admits(&self, path: &[u8], is_directory: bool) -> bool {
        match &self.pattern {
            None => true,
            Some(pattern) if self.is_recursive => ancestors_and_self(path, is_directory)
                .any(|(path, directory)| pattern.matches(path, directory)),
            Some(pattern) => pattern.matches(path, is_directory),
        }
    }
}

/// The ancestors of a path, the topmost first, and then the path itself. Each comes with whether it
/// is a directory.
fn ancestors_and_self(path: &[u8], is_directory: bool) -> impl Iterator<Item = (&[u8], bool)> {
    let ends = (0..path.len()).filter(|&at| path[at] == b'/');
    ends.map(|end| (&path[..end], true))
        .chain([(path, is_directory)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(rules: &[&str]) -> Filter {
        let mut filter = Filter::default();
        for rule in rules {
            let (sign, pattern) = rule.split_at(1);
            filter.push(sign == "+", Pattern::parse(pattern.as_bytes()).unwrap());
        }
        filter
    }

    /// The entries of a tree that a filter admits. Names of directories end with a slash.
    fn left<'a>(admits: impl Fn(&[u8], bool) -> bool, tree: &[&'a str]) -> Vec<&'a str> {
        let admits = |name: &&&str| match name.strip_suffix('/') {
            Some(directory) => admits(directory.as_bytes(), true),
            None => admits(name.as_bytes(), false),
        };
        tree.iter().filter(admits).copied().collect()
    }

    const TREE: [&str; 9] = [
        "a.log",
        "a.tmp",
        "logs/",
        "logs/b.log",
        "logs/c.tmp",
        "logs/old/",
        "logs/old/d.log",
        "tmp",
        "x/tmp/",
    ];

    #[test]
    fn the_first_rule_that_matches_decides() {
        for (rules, expected) in [
            (&[][..], &TREE[..]),
            (
                &["-*.tmp"],
                &[
                    "a.log",
                    "logs/",
                    "logs/b.log",
                    "logs/old/",
                    "logs/old/d.log",
                    "tmp",
                    "x/tmp/",
                ],
            ),
            (
                &["+c.tmp", "-*.tmp", "-*tmp"],
                &[
                    "a.log",
                    "logs/",
                    "logs/b.log",
                    "logs/c.tmp",
                    "logs/old/",
                    "logs/old/d.log",
                ],
            ),
            (
                &["-*.tmp", "+c.tmp"],
                &[
                    "a.log",
                    "logs/",
                    "logs/b.log",
                    "logs/old/",
                    "logs/old/d.log",
                    "tmp",
                    "x/tmp/",
                ],
            ),
            // The contents of an excluded directory are excluded, even if an include matches them.
            (
                &["-old", "+d.log"],
                &[
                    "a.log",
                    "a.tmp",
                    "logs/",
                    "logs/b.log",
                    "logs/c.tmp",
                    "tmp",
                    "x/tmp/",
                ],
            ),
            (&["+*.log", "-*"], &["a.log"]),
            (
                &["+*/", "+*.log", "-*"],
                &[
                    "a.log",
                    "logs/",
                    "logs/b.log",
                    "logs/old/",
                    "logs/old/d.log",
                    "x/tmp/",
                ],
            ),
            (
                &["-tmp/"],
                &[
                    "a.log",
                    "a.tmp",
                    "logs/",
                    "logs/b.log",
                    "logs/c.tmp",
                    "logs/old/",
                    "logs/old/d.log",
                    "tmp",
                ],
            ),
            (
                &["-/tmp"],
                &[
                    "a.log",
                    "a.tmp",
                    "logs/",
                    "logs/b.log",
                    "logs/c.tmp",
                    "logs/old/",
                    "logs/old/d.log",
                    "x/tmp/",
                ],
            ),
        ] {
            let filter = filter(rules);
            assert_eq!(
                left(|p, f| filter.admits(p, f), &TREE),
                expected,
                "{rules:?}"
            );
        }
    }

    #[test]
    fn with_only_includes_everything_else_is_excluded() {
        for (rules, expected) in [
            (
                &["+*.log"][..],
                &["a.log", "logs/b.log", "logs/old/d.log"][..],
            ),
            (
                &["+logs"],
                &[
                    "logs/",
                    "logs/b.log",
                    "logs/c.tmp",
                    "logs/old/",
                    "logs/old/d.log",
                ],
            ),
            (
                &["+old/", "+tmp"],
                &["logs/old/", "logs/old/d.log", "tmp", "x/tmp/"],
            ),
            (&["+nothing"], &[]),
        ] {
            let filter = filter(rules);
            assert_eq!(
                left(|p, f| filter.admits(p, f), &TREE),
                expected,
                "{rules:?}"
            );
        }
    }

    #[test]
    fn a_source_is_split_before_its_pattern() {
        for (source, directory, written, deep) in [
            ("", "", "", false),
            ("a/b", "a/b", "", false),
            ("a\\b", "a\\b", "", false),
            ("*", "", "*", false),
            ("*.log", "", "*.log", false),
            ("a/b/*.log", "a/b", "*.log", false),
            ("a/b*/c", "a", "b*/c", true),
            ("a/**", "a", "**", true),
            ("a/x[1]", "a", "x[1]", false),
            ("a?b/", "", "a?b/", false),
        ] {
            let split = Selection::split(source.as_bytes(), false).unwrap();
            assert_eq!(
                (
                    split.path,
                    split.selection.written().unwrap_or(b""),
                    split.is_deep
                ),
                (directory.as_bytes(), written.as_bytes(), deep),
                "{source}"
            );
        }
        assert!(Selection::split(b"a/*", true).unwrap().is_deep);
        assert!(Selection::split(b"a/[b", false).is_err());
    }

    #[test]
    fn a_pattern_in_a_source_selects_below_its_directory() {
        for (source, recursive, expected) in [
            ("*.log", false, &["a.log"][..]),
            ("*.log", true, &["a.log"]),
            ("*", false, &["a.log", "a.tmp", "logs/", "tmp"]),
            ("l*", false, &["logs/"]),
            (
                "l*",
                true,
                &[
                    "logs/",
                    "logs/b.log",
                    "logs/c.tmp",
                    "logs/old/",
                    "logs/old/d.log",
                ],
            ),
            (
                "l*/",
                true,
                &[
                    "logs/",
                    "logs/b.log",
                    "logs/c.tmp",
                    "logs/old/",
                    "logs/old/d.log",
                ],
            ),
            ("t*/", true, &[]),
            ("*/*.log", false, &["logs/b.log"]),
            (
                "**/*.log",
                false,
                &["a.log", "logs/b.log", "logs/old/d.log"],
            ),
            (
                "l*/**",
                false,
                &["logs/b.log", "logs/c.tmp", "logs/old/", "logs/old/d.log"],
            ),
            ("?.???", false, &["a.log", "a.tmp"]),
        ] {
            let selection = Selection::split(source.as_bytes(), recursive)
                .unwrap()
                .selection;
            assert_eq!(
                left(|p, f| selection.admits(p, f), &TREE),
                expected,
                "{source}"
            );
        }
    }
}
