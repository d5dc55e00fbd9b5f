//! Parsing of receipts.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::cli::get::input::LineError;
use crate::cli::visible;
use crate::wire::Md5Digest;

/// The content of a receipt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// The path on the server.
    pub(super) filename: Vec<u8>,
    /// The local file.
    pub(super) file: PathBuf,
    pub(super) total_size: u64,
    pub(super) md5: Md5Digest,
}

impl Received {
    /// Parses a line.
    ///
    /// # Errors
    /// [`LineError::NotReceipt`] names the error in the line.
    pub(super) fn parse(line: &[u8]) -> Result<Received, LineError> {
        let bad = |reason: String| LineError::NotReceipt(visible(reason.as_bytes()).into_owned());
        if !line.starts_with(b"{") {
            return Err(bad("it is not a JSON object".to_owned()));
        }
        let object: ReceiptObject = serde_json::from_slice(line).map_err(|error| {
            // serde_json counts lines from 1 in each line of the file.
            bad(error.to_string().replace(" at line 1 column", " at column"))
        })?;
        let bytes = |text: String, base64: Option<String>| match base64 {
            None => Ok(text.into_bytes()),
            Some(base64) => BASE64_STANDARD
                .decode(base64)
                .map_err(|_| bad("a name is not padded base64".to_owned())),
        };
        let file = bytes(object.file, object.file_b64)?;
        Ok(Received {
            filename: bytes(object.filename, object.filename_b64)?,
            file: OsString::from_vec(file).into(),
            total_size: object.total_size,
            md5: Md5Digest::parse(&object.md5)
                .ok_or_else(|| bad("its md5 is not 32 hex digits".to_owned()))?,
        })
    }
}

#[derive(Deserialize)]
struct ReceiptObject {
    filename: String,
    filename_b64: Option<String>,
    total_size: u64,
    md5: String,
    file: String,
    file_b64: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_receipts_and_refuses_everything_else() {
        let line = br#"{"filename":"a","total_size":5,"md5":"07070707070707070707070707070707","file":"?","file_b64":"L3gv/w==","server":"h:1"}"#;
        let received = Received {
            filename: b"a".to_vec(),
            file: OsString::from_vec(b"/x/\xff".to_vec()).into(),
            total_size: 5,
            md5: Md5Digest::from_bytes([7; 16]),
        };
        assert_eq!(Received::parse(line), Ok(received));
        for (line, words) in [
            (&b"hello"[..], "not a JSON object"),
            (b"[]", "not a JSON object"),
            (&line[..60], "at column"),
            (br#"{"filename":"a","total_size":5,"md5":"07"}"#, "`file`"),
            (
                br#"{"filename":"a","file":"/a","total_size":5,"md5":"07"}"#,
                "32 hex digits",
            ),
            (
                br#"{"filename":"a","file":"/a","total_size":-5,"md5":""}"#,
                "`-5`",
            ),
            (
                br#"{"filename":"a","file":"/a","file_b64":"!","total_size":5,"md5":""}"#,
                "base64",
            ),
        ] {
            let sentence = Received::parse(line).unwrap_err().to_string();
            assert!(
                sentence.starts_with("line is not a receipt: "),
                "{sentence}"
            );
            assert!(sentence.contains(words), "{sentence}");
        }
    }
}
