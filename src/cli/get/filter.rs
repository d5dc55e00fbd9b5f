//! Which entries of a tree are meant: `--include`, `--exclude`, and patterns in a source.

mod pattern;
mod typed;

pub(super) use self::pattern::{Pattern, PatternError};
pub(super) use self::typed::TypedRules;

/// Rules in their order, of which the first that matches decides. What is in an excluded folder
/// is excluded; what is in an included one is included unless a rule excludes it. Where no rule
/// matches everything is included, unless there are only rules that include.
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
    /// Adds a rule behind all others.
    pub(super) fn push(&mut self, includes: bool, pattern: Pattern) {
        self.rules.push(Rule { includes, pattern });
    }

    /// Whether there are any rules.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether what has this path below the source is included.
    pub(super) fn admits(&self, path: &[u8], is_folder: bool) -> bool {
        let mut is_included = self.rules.is_empty() || self.rules.iter().any(|rule| !rule.includes);
        for (path, is_folder) in upwards_down(path, is_folder) {
            let mut rules = self.rules.iter();
            match rules.find(|rule| rule.pattern.matches(path, is_folder)) {
                Some(rule) if rule.includes => is_included = true,
                Some(_) => return false,
                None => {}
            }
        }
        is_included
    }
}

/// What of one source is meant.
#[derive(Debug)]
pub(super) struct Selection {
    /// The pattern in the source, if it has one.
    pattern: Option<Pattern>,
    /// How it was written.
    written: Vec<u8>,
    /// Whether what is in a folder that matches is meant, too.
    is_recursive: bool,
}

/// A source's path: the longest part in front that has no pattern, and what is meant below it.
#[derive(Debug)]
pub(super) struct SplitSource<'a> {
    /// The folder; with no pattern, whatever was named.
    pub(super) path: &'a [u8],
    pub(super) selection: Selection,
    /// Whether what is meant may lie deeper than in the folder itself.
    pub(super) is_deep: bool,
}

impl Selection {
    /// Takes a source's path as it is.
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

    /// Splits a source's path at the first part that has one of `*`, `?` and `[`.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub(super) fn split(path: &[u8], is_recursive: bool) -> Result<SplitSource<'_>, PatternError> {
        let Some(first) = path.iter().position(|byte| b"*?[".contains(byte)) else {
            return Ok(Selection::everything(path, is_recursive));
        };
        let slash = path[..first].iter().rposition(|&byte| byte == b'/');
        let (folder, written) = match slash {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let pattern = Pattern::parse(&[b"/", written].concat())?;
        Ok(SplitSource {
            path: folder,
            is_deep: is_recursive || pattern.reaches_below(),
            selection: Selection {
                pattern: Some(pattern),
                written: written.to_vec(),
                is_recursive,
            },
        })
    }

    /// The pattern in the source, as it was written, if it has one.
    pub(super) fn written(&self) -> Option<&[u8]> {
        self.pattern.as_ref().map(|_| &*self.written)
    }

    /// Whether what has this path below the folder is meant.
    pub(super) fn admits(&self, path: &[u8], is_folder: bool) -> bool {
        match &self.pattern {
            None => true,
            Some(pattern) if self.is_recursive => {
                upwards_down(path, is_folder).any(|(path, folder)| pattern.matches(path, folder))
            }
            Some(pattern) => pattern.matches(path, is_folder),
        }
    }
}

/// The folders that a path leads through, the highest first, and then what it leads to; with
/// each whether it is a folder.
fn upwards_down(path: &[u8], is_folder: bool) -> impl Iterator<Item = (&[u8], bool)> {
    let ends = (0..path.len()).filter(|&at| path[at] == b'/');
    ends.map(|end| (&path[..end], true))
        .chain([(path, is_folder)])
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

    /// What is left of a tree; its folders end with a slash.
    fn left<'a>(admits: impl Fn(&[u8], bool) -> bool, tree: &[&'a str]) -> Vec<&'a str> {
        let admits = |name: &&&str| match name.strip_suffix('/') {
            Some(folder) => admits(folder.as_bytes(), true),
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
            // What is in an excluded folder is excluded, whatever includes it.
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
    fn with_only_includes_everything_else_is_out() {
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
    fn a_source_is_listed_as_far_as_it_has_no_pattern() {
        for (source, folder, written, deep) in [
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
                (folder.as_bytes(), written.as_bytes(), deep),
                "{source}"
            );
        }
        assert!(Selection::split(b"a/*", true).unwrap().is_deep);
        assert!(Selection::split(b"a/[b", false).is_err());
    }

    #[test]
    fn a_pattern_in_a_source_selects_below_the_folder() {
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
