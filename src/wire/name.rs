//! File names in JSON: `filename`, and `filename_b64` if the bytes are not UTF-8.

use base64::display::Base64Display;
use base64::prelude::BASE64_STANDARD;
use serde::ser::{Serialize, Serializer};

use crate::wire::WireError;
use crate::wire::json_reader::Field;

/// The bytes of a name. `filename_b64` takes precedence; `None` if both fields are absent.
pub(super) fn read_name(
    filename: Field<'_>,
    filename_b64: Field<'_>,
) -> Result<Option<Vec<u8>>, WireError> {
    let text = filename.text()?;
    Ok(match filename_b64.base64()? {
        None => text.map(|text| text.into_owned().into_bytes()),
        bytes => bytes,
    })
}

/// Bytes that are serialized as padded base64.
pub(super) struct Base64<'a>(pub(super) &'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &BASE64_STANDARD))
    }
}
