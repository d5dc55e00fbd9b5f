//! The entries of a listing: one JSON object per line.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::wire::attributes::{
    EXPECTED_KIND, EXPECTED_MD5, EXPECTED_MODE, EXPECTED_MTIME, ascii, read_kind, read_md5,
    read_mode, read_mtime, write_attributes,
};
use crate::wire::header::{ErrorJson, read_error};
use crate::wire::json_reader::{Field, read_object, required};
use crate::wire::json_writer::write_line;
use crate::wire::name::{Base64, read_name};
use crate::wire::{ErrorReply, Md5Digest, ObjectKind, ResourcePath, Timestamp, WireError};

/// An entry of a listing, to write or as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry<'a> {
    /// The full path, usable in a request.
    pub path: ResourcePath,
    /// The kind of the object; links are not followed.
    pub kind: ObjectKind,
    /// Size of a file in bytes; 0 for everything else.
    pub total_size: u64,
    /// Digest of a file, if known.
    pub md5: Option<Md5Digest>,
    /// Modification time.
    pub mtime: Option<Timestamp>,
    /// The permission bits, at most `0o777`.
    pub mode: Option<u32>,
    /// Target of a link, if it is relative and inside the root.
    pub target: Option<Cow<'a, [u8]>>,
    /// Why the object could not be examined or entered.
    pub error: Option<ErrorReply<'a>>,
}

impl ListEntry<'_> {
    /// Appends the line, with its line feed.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_line(out, &EntryJson(self));
    }

    /// Parses one line, without its line feed. Unknown keys are ignored.
    ///
    /// # Errors
    /// [`WireError`]: not a strict object, `filename`, `total_size`, `md5` or `type` missing, a
    /// known key of the wrong type, or an invalid name.
    pub fn parse(json: &[u8]) -> Result<ListEntry<'static>, WireError> {
        let mut fields = ENTRY_KEYS.map(Field::absent);
        read_object(json, &mut fields)?;
        let [
            filename,
            filename_b64,
            total_size,
            md5,
            mtime,
            mode,
            kind,
            target,
            target_b64,
            error,
        ] = fields;
        let name = required("filename", read_name(filename, filename_b64)?)?;
        let path =
            ResourcePath::parse(&name).map_err(|error| WireError::BadName(error.to_string()))?;
        Ok(ListEntry {
            path,
            kind: required("type", kind.read(EXPECTED_KIND, read_kind)?)?,
            total_size: required("total_size", total_size.size()?)?,
            md5: required("md5", md5.read(EXPECTED_MD5, read_md5)?)?,
            mtime: mtime.read(EXPECTED_MTIME, read_mtime)?,
            mode: mode.read(EXPECTED_MODE, read_mode)?,
            target: read_name(target, target_b64)?.map(Cow::Owned),
            error: read_error(error)?,
        })
    }
}

struct EntryJson<'a>(&'a ListEntry<'a>);

impl Serialize for EntryJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = self.0;
        let mut map = serializer.serialize_map(None)?;
        let name = String::from_utf8_lossy(entry.path.as_bytes());
        map.serialize_entry("filename", &*name)?;
        map.serialize_entry("total_size", &entry.total_size)?;
        match entry.md5.map(Md5Digest::to_hex) {
            Some(hex) => map.serialize_entry("md5", ascii(&hex))?,
            None => map.serialize_entry("md5", "")?,
        }
        write_attributes(&mut map, entry.mtime, entry.mode)?;
        map.serialize_entry("type", entry.kind.as_str())?;
        // The name is owned only after invalid bytes were replaced, so it is not UTF-8.
        if let Cow::Owned(_) = name {
            map.serialize_entry("filename_b64", &Base64(entry.path.as_bytes()))?;
        }
        if let Some(target) = &entry.target {
            let text = String::from_utf8_lossy(target);
            map.serialize_entry("target", &*text)?;
            if let Cow::Owned(_) = text {
                map.serialize_entry("target_b64", &Base64(target))?;
            }
        }
        if let Some(error) = &entry.error {
            map.serialize_entry("error", &ErrorJson(error))?;
        }
        map.end()
    }
}

const ENTRY_KEYS: [&str; 10] = [
    "filename",
    "filename_b64",
    "total_size",
    "md5",
    "mtime",
    "mode",
    "type",
    "target",
    "target_b64",
    "error",
];
