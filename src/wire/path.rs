//! The type of all paths inside a served root.

use std::cmp::Ordering;
use std::fmt;

use crate::wire::{PATH_BYTES_MAX, PATH_PART_BYTES_MAX, PATH_PARTS_MAX};

/// A validated relative path: parts between single `/`, none of them empty, `.` or `..`, no NUL,
/// within the limits. The empty path is the root. The bytes need not be UTF-8. Paths are ordered
/// part by part, each part as bytes, so a directory comes right before its contents.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ResourcePath(Box<[u8]>);

/// Why bytes are not a valid [`ResourcePath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Longer than [`PATH_BYTES_MAX`].
    #[error("name is {0} bytes, the limit is {PATH_BYTES_MAX}")]
    TooLong(usize),
    /// More parts than [`PATH_PARTS_MAX`].
    #[error("name has {0} parts, the limit is {PATH_PARTS_MAX}")]
    TooManyParts(usize),
    /// A part longer than [`PATH_PART_BYTES_MAX`].
    #[error("part of the name is {0} bytes, the limit is {PATH_PART_BYTES_MAX}")]
    PartTooLong(usize),
    /// `//`, or a slash at either end.
    #[error("name has an empty part")]
    EmptyPart,
    /// `.` or `..`.
    #[error("name has a part that is . or ..")]
    DotPart,
    /// A NUL byte.
    #[error("name has a NUL byte")]
    Nul,
}

impl ResourcePath {
    /// The root, written as `""`.
    pub fn root() -> ResourcePath {
        ResourcePath(Box::default())
    }

    /// Validates the bytes of a name.
    ///
    /// # Errors
    /// The first rule that the name violates.
    pub fn parse(bytes: &[u8]) -> Result<ResourcePath, PathError> {
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong(bytes.len()));
        }
        if bytes.is_empty() {
            return Ok(ResourcePath::root());
        }
        let mut parts = 0;
        for part in bytes.split(|&byte| byte == b'/') {
            parts += 1;
            match part {
                b"" => return Err(PathError::EmptyPart),
                b"." | b".." => return Err(PathError::DotPart),
                part if part.contains(&0) => return Err(PathError::Nul),
                part if part.len() > PATH_PART_BYTES_MAX => {
                    return Err(PathError::PartTooLong(part.len()));
                }
                _ => {}
            }
        }
        if parts > PATH_PARTS_MAX {
            return Err(PathError::TooManyParts(parts));
        }
        Ok(ResourcePath(bytes.into()))
    }

    /// The bytes, without a slash at either end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The parts from the root down; none for the root.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|&byte| byte == b'/')
            .filter(|part| !part.is_empty())
    }

    /// Whether this path lies below `directory`, at any depth.
    pub fn is_below(&self, directory: &ResourcePath) -> bool {
        directory.is_root() && !self.is_root()
            || self
                .0
                .strip_prefix(&*directory.0)
                .is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// Whether this path lies directly in `directory`.
    pub fn is_child_of(&self, directory: &ResourcePath) -> bool {
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => self.0[..slash] == *directory.0,
            None => directory.is_root() && !self.is_root(),
        }
    }

    /// The directory that contains this path; `None` for the root.
    pub fn parent(&self) -> Option<ResourcePath> {
        let name = self.file_name()?;
        let above = &self.0[..self.0.len() - name.len()];
        Some(ResourcePath(
            above.strip_suffix(b"/").unwrap_or(above).into(),
        ))
    }

    /// The last part; `None` for the root.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.parts().last()
    }
}

impl Ord for ResourcePath {
    fn cmp(&self, other: &ResourcePath) -> Ordering {
        self.parts().cmp(other.parts())
    }
}

impl PartialOrd for ResourcePath {
    fn partial_cmp(&self, other: &ResourcePath) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for ResourcePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourcePath({:?})", self.0.escape_ascii().to_string())
    }
}
