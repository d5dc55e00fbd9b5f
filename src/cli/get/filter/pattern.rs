//! Patterns of paths, over bytes: `*`, `**`, `?` and `[...]`, with the common meaning of rsync(1)
//! and gitignore(5).

/// A pattern. `*` matches any number of characters and `?` one, but never a `/`. `[a-z]` matches
/// one character of a class, `[!a-z]` one outside of it. `**` as a whole part matches any number of
/// directories. `\` quotes the next character. A character is one of UTF-8, or a single byte that
/// is not UTF-8. Without a leading `/` the pattern may match in any directory. With a trailing one
/// it matches only directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli::get) struct Pattern {
    parts: Vec<PatternPart>,
    only_directories: bool,
}

/// Why text is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli::get) enum PatternError {
    /// There is nothing between two slashes.
    #[error("pattern has an empty part")]
    EmptyPart,
    /// A part is `.` or `..`, which no path has.
    #[error("pattern has a part that is . or ..")]
    DotPart,
    /// A class does not end in its part.
    #[error("pattern has [ without ]; [[] matches the bracket itself")]
    OpenClass,
    /// `[z-a]`, or a class of POSIX such as `[[:alpha:]]`.
    #[error("pattern has a class that is not valid; write [a-z] or [!a-z]")]
    BadClass,
    /// There is a backslash at the end.
    #[error("pattern ends with \\; \\\\ matches the backslash itself")]
    OpenEscape,
    /// It begins with `!`, which negates patterns in other programs.
    #[error("pattern begins with !; use --include to keep files, and \\! to match the mark itself")]
    Negated,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PatternPart {
    /// `**`: any number of directories, or none.
    Directories,
    Name(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// `*`.
    Any,
    /// `?`.
    One,
    Exactly(Character),
    /// The first and the last character of each range.
    Class {
        negated: bool,
        ranges: Vec<(Character, Character)>,
    },
}

/// A character of UTF-8, or a byte that is not UTF-8, which is greater than all characters.
type Character = u32;

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// The first error in the text.
    pub(in crate::cli::get) fn parse(text: &[u8]) -> Result<Pattern, PatternError> {
        if text.starts_with(b"!") {
            return Err(PatternError::Negated);
        }
        let (text, only_directories) = match text.strip_suffix(b"/") {
            Some(text) => (text, true),
            None => (text, false),
        };
        let mut parts = Vec::new();
        let text = match text.strip_prefix(b"/") {
            Some(text) => text,
            None => {
                parts.push(PatternPart::Directories);
                text
            }
        };
        for part in text.split(|&byte| byte == b'/') {
            parts.push(match part {
                b"" => return Err(PatternError::EmptyPart),
                b"." | b".." => return Err(PatternError::DotPart),
                b"**" => PatternPart::Directories,
                name => PatternPart::Name(read_name(name)?),
            });
        }
        if parts.last() == Some(&PatternPart::Directories) {
            // `dir/**` matches the contents of a directory, not the directory itself.
            parts.push(PatternPart::Name(vec![Token::Any]));
        }
        Ok(Pattern {
            parts,
            only_directories,
        })
    }

    /// Whether the pattern matches a path of parts between slashes.
    pub(in crate::cli::get) fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        (is_directory || !self.only_directories)
            && fits(
                &self.parts,
                path.split(|&byte| byte == b'/'),
                |part| matches!(part, PatternPart::Directories),
                |part, name| match part {
                    PatternPart::Directories => false,
                    PatternPart::Name(tokens) => name_fits(tokens, name),
                },
            )
    }

    /// Whether paths of several parts may match.
    pub(in crate::cli::get) fn reaches_below(&self) -> bool {
        self.parts.len() > 1
    }
}

/// Matches items with pattern elements, some of which stand for any number of items. Only the last
/// of those is tried again: the earlier ones found their earliest place, and a later place cannot
/// help. So the time is at most the product of both lengths.
fn fits<P, I: Iterator + Clone>(
    pattern: &[P],
    mut items: I,
    is_any: impl Fn(&P) -> bool,
    is_one: impl Fn(&P, &I::Item) -> bool,
) -> bool {
    let mut at = 0;
    let mut retry: Option<(usize, I)> = None;
    loop {
        if pattern.get(at).is_some_and(&is_any) {
            at += 1;
            retry = Some((at, items.clone()));
            continue;
        }
        let mut rest = items.clone();
        match (pattern.get(at), rest.next()) {
            (None, None) => return true,
            (Some(element), Some(item)) if is_one(element, &item) => {
                at += 1;
                items = rest;
                continue;
            }
            (_, None) => return false,
            (None | Some(_), Some(_)) => {}
        }
        let Some((behind, from)) = &mut retry else {
            return false;
        };
        from.next();
        (at, items) = (*behind, from.clone());
    }
}

fn name_fits(tokens: &[Token], name: &[u8]) -> bool {
    fits(
        tokens,
        Characters(name),
        |token| *token == Token::Any,
        |token, character| match token {
            Token::Any => false,
            Token::One => true,
            Token::Exactly(wanted) => wanted == character,
            Token::Class { negated, ranges } => {
                let within =
                    |(low, high): &(Character, Character)| (*low..=*high).contains(character);
                ranges.iter().any(within) != *negated
            }
        },
    )
}

fn read_name(name: &[u8]) -> Result<Vec<Token>, PatternError> {
    let mut tokens = Vec::new();
    let mut characters = Characters(name);
    while let Some(character) = characters.next() {
        tokens.push(match ascii(character) {
            // Several `*` are one.
            b'*' if tokens.last() == Some(&Token::Any) => continue,
            b'*' => Token::Any,
            b'?' => Token::One,
            b'[' => read_class(&mut characters)?,
            b'\\' => Token::Exactly(characters.next().ok_or(PatternError::OpenEscape)?),
            _ => Token::Exactly(character),
        });
    }
    Ok(tokens)
}

/// Reads a class after its opening bracket.
fn read_class(characters: &mut Characters<'_>) -> Result<Token, PatternError> {
    let negated = matches!(characters.0.first(), Some(b'!' | b'^'));
    if negated {
        characters.next();
    }
    let mut ranges = Vec::new();
    loop {
        let low = characters.next().ok_or(PatternError::OpenClass)?;
        let low = match ascii(low) {
            // A `]` right after the opening bracket is part of the class.
            b']' if !ranges.is_empty() => return Ok(Token::Class { negated, ranges }),
            b'[' if matches!(characters.0.first(), Some(b':' | b'.' | b'=')) => {
                return Err(PatternError::BadClass);
            }
            b'\\' => characters.next().ok_or(PatternError::OpenClass)?,
            _ => low,
        };
        let high = match characters.0 {
            [b'-', b']', ..] | [b'-'] => low,
            [b'-', ..] => {
                characters.next();
                let high = characters.next().ok_or(PatternError::OpenClass)?;
                match ascii(high) {
                    b'\\' => characters.next().ok_or(PatternError::OpenClass)?,
                    _ => high,
                }
            }
            _ => low,
        };
        if high < low {
            return Err(PatternError::BadClass);
        }
        ranges.push((low, high));
    }
}

/// The byte of an ASCII character, else 0, which has no special meaning.
fn ascii(character: Character) -> u8 {
    u8::try_from(character)
        .ok()
        .filter(u8::is_ascii)
        .unwrap_or(0)
}

/// The characters of a byte string.
#[derive(Clone)]
struct Characters<'a>(&'a [u8]);

impl Iterator for Characters<'_> {
    type Item = Character;

    fn next(&mut self) -> Option<Character> {
        let &first = self.0.first()?;
        let length = match first {
            0..0x80 => 1,
            0x80..0xe0 => 2,
            0xe0..0xf0 => 3,
            0xf0.. => 4,
        };
        let text = self
            .0
            .get(..length)
            .and_then(|bytes| std::str::from_utf8(bytes).ok());
        let (character, length) = match text.and_then(|text| text.chars().next()) {
            Some(character) => (character.into(), length),
            None => (BYTES + Character::from(first), 1),
        };
        self.0 = &self.0[length..];
        Some(character)
    }
}

/// The first number that is not a character.
const BYTES: Character = char::MAX as Character + 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, path: &[u8]) -> bool {
        let pattern =
            Pattern::parse(pattern.as_bytes()).unwrap_or_else(|e| panic!("{pattern}: {e}"));
        pattern.matches(path, false)
    }

    #[test]
    fn patterns_match_by_their_wildcards() {
        for (pattern, yes, no) in [
            ("a", &["a", "x/a", "x/y/a"][..], &["ab", "a/b", "A", ""][..]),
            ("/a", &["a"], &["x/a", "a/b"]),
            ("a/b", &["a/b", "x/a/b"], &["a", "b", "a/b/c", "xa/b"]),
            ("/a/b", &["a/b"], &["x/a/b"]),
            ("*", &["a", "a/b", ".x"], &[]),
            ("/*", &["a"], &["a/b"]),
            (
                "*.log",
                &["a.log", ".log", "x/b.log"],
                &["a.logs", "a.log/b", "log"],
            ),
            (
                "a*b*c",
                &["abc", "aXbYc", "abcbc", "abbc"],
                &["ab", "acb", "abcd"],
            ),
            ("/a*/b", &["a/b", "ax/b"], &["a/x/b"]),
            ("?", &["a", "ü", "🦀", "x/文"], &["ab", "", "ü1"]),
            ("a?c", &["abc", "aüc"], &["ac", "a/c", "abbc"]),
            ("[a-c]x", &["ax", "bx", "cx"], &["dx", "x", "[a-c]x"]),
            ("[!a-c]x", &["dx", "üx"], &["ax", "x"]),
            ("[^a]", &["b"], &["a"]),
            ("[]a]", &["]", "a"], &["b"]),
            ("[!]a]", &["b"], &["]", "a"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[-a]", &["a", "-"], &["b"]),
            ("[[]1]", &["[1]"], &["1"]),
            ("[\\]]", &["]"], &["\\"]),
            ("[ä-ü]", &["ö"], &["o"]),
            ("\\*", &["*"], &["a", "\\*"]),
            ("\\a\\\\", &["a\\"], &["a"]),
            ("{a,b}", &["{a,b}"], &["a"]),
            ("**", &["a", "a/b"], &[]),
            ("/a/**", &["a/b", "a/b/c"], &["a", "x/a/b"]),
            (
                "/a/**/b",
                &["a/b", "a/x/b", "a/x/y/b"],
                &["b", "a/bx", "a/x/y"],
            ),
            ("**/a", &["a", "x/y/a"], &["b"]),
            ("/**/a/**/b", &["a/b", "x/a/a/y/b"], &["a", "b/a"]),
            ("a**b", &["ab", "axb"], &["a/b"]),
            ("***", &["a"], &[]),
        ] {
            for path in yes {
                assert!(matches(pattern, path.as_bytes()), "{pattern} {path}");
            }
            for path in no {
                assert!(!matches(pattern, path.as_bytes()), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn each_invalid_utf8_byte_is_a_character() {
        assert!(matches("latin-?", b"latin-\xe9"));
        assert!(!matches("latin-?", b"latin-\xe9\xe9"));
        assert!(matches("*\u{fffd}*", "a\u{fffd}b".as_bytes()));
        assert!(!matches("*\u{fffd}*", b"a\xe9b"));
        let pattern = Pattern::parse(b"[\xe0-\xe9]\xff").unwrap();
        assert!(pattern.matches(b"\xe5\xff", false) && !pattern.matches(b"\xea\xff", false));
        // A character that is cut short, and one of the longest kind.
        assert!(matches("??", b"\xe6\x96") && matches("?", "\u{10ffff}".as_bytes()));
    }

    #[test]
    fn a_trailing_slash_matches_directories() {
        let pattern = Pattern::parse(b"a/").unwrap();
        assert!(pattern.matches(b"a", true) && pattern.matches(b"x/a", true));
        assert!(!pattern.matches(b"a", false));
    }

    #[test]
    fn malformed_patterns_are_refused() {
        use PatternError::{BadClass, DotPart, EmptyPart, Negated, OpenClass, OpenEscape};
        for (text, error) in [
            ("", EmptyPart),
            ("/", EmptyPart),
            ("//", EmptyPart),
            ("a//b", EmptyPart),
            ("//a", EmptyPart),
            (".", DotPart),
            ("../a", DotPart),
            ("a/.", DotPart),
            ("[", OpenClass),
            ("[]", OpenClass),
            ("[!]", OpenClass),
            ("[a", OpenClass),
            ("[a-", OpenClass),
            ("[a/b]", OpenClass),
            ("[\\]", OpenClass),
            ("[z-a]", BadClass),
            ("[[:alpha:]]", BadClass),
            ("a\\", OpenEscape),
            ("!a", Negated),
        ] {
            assert_eq!(Pattern::parse(text.as_bytes()), Err(error), "{text}");
        }
        assert!(matches("\\!a", b"!a"));
    }

    #[test]
    fn no_pattern_takes_long() {
        let pattern = "*a".repeat(100) + "b";
        assert!(!matches(&pattern, &[b'a'; 255]));
        let pattern = "**/a/".repeat(100) + "b";
        assert!(!matches(&pattern, &b"a/".repeat(255)[..509]));
    }

    /// A plain reference implementation.
    fn plainly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                (0..=name.len()).any(|skipped| plainly(rest, &name[skipped..]))
            }
            ([b'?', rest @ ..], [_, name @ ..]) => plainly(rest, name),
            ([wanted, rest @ ..], [byte, name @ ..]) => wanted == byte && plainly(rest, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn names_match_as_in_the_reference(pattern in "[ab*?]{1,8}", name in "[ab]{0,8}") {
            let found = Pattern::parse(format!("/{pattern}").as_bytes());
            prop_assert_eq!(
                found.unwrap().matches(name.as_bytes(), false),
                plainly(pattern.as_bytes(), name.as_bytes())
            );
        }

        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..20), path in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Ok(pattern) = Pattern::parse(&text) {
                pattern.matches(&path, true);
            }
        }
    }
}
