//! One answer, as its bytes say.

use std::time::Duration;

use serde_json::Value;

/// One response: the header and the bytes after it.
#[derive(Debug)]
pub struct Answer {
    /// The header.
    pub header: Value,
    /// The header as it was sent, for what a parsed value cannot show.
    pub text: String,
    /// The bytes after it.
    pub body: Vec<u8>,
    /// From the end of the last send to the last byte.
    pub after: Duration,
}

impl Answer {
    /// A header whose body has not been read.
    #[track_caller]
    pub(super) fn of_header(text: Vec<u8>, after: Duration) -> Answer {
        let text = String::from_utf8(text).expect("a header in UTF-8");
        let header =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("header {text:?}: {error}"));
        let answer = Answer {
            header,
            text,
            body: Vec::new(),
            after,
        };
        answer.assert_well_formed();
        answer
    }

    /// The answers that bytes consist of, whole to the last byte.
    #[track_caller]
    pub fn all_in(mut bytes: &[u8]) -> Vec<Answer> {
        let mut answers = Vec::new();
        while !bytes.is_empty() {
            let length = u32::from_le_bytes(take(&mut bytes, 4).try_into().expect("4 bytes"));
            let text = take(&mut bytes, length as usize).to_vec();
            let mut answer = Answer::of_header(text, Duration::ZERO);
            let size = usize::try_from(answer.body_size()).expect("a size");
            answer.body = take(&mut bytes, size).to_vec();
            answers.push(answer);
        }
        answers
    }

    /// How many bytes follow the header: `body_size` if that is there, else `total_size`.
    pub fn body_size(&self) -> u64 {
        let key = if self.header.get("body_size").is_some() {
            "body_size"
        } else {
            "total_size"
        };
        self.header[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} is no size: {}", self.text))
    }

    /// The error's code; `None` for an answer that is no error.
    pub fn code(&self) -> Option<&str> {
        let error = self.header.get("error")?;
        Some(
            error["code"]
                .as_str()
                .unwrap_or_else(|| panic!("error without a code: {}", self.text)),
        )
    }

    /// The error's message; empty for an answer that is no error.
    pub fn message(&self) -> &str {
        self.header["error"]["message"].as_str().unwrap_or("")
    }

    /// A key that is a string.
    #[track_caller]
    pub fn str(&self, key: &str) -> &str {
        self.header[key]
            .as_str()
            .unwrap_or_else(|| panic!("{key} is no string: {}", self.text))
    }

    /// A key that is a size.
    #[track_caller]
    pub fn size(&self, key: &str) -> u64 {
        self.header[key]
            .as_u64()
            .unwrap_or_else(|| panic!("{key} is no size: {}", self.text))
    }

    /// Panics unless this is the whole of a file with these bytes.
    #[track_caller]
    pub fn assert_file(&self, name: &str, bytes: &[u8]) {
        assert_eq!(self.code(), None, "{}", self.text);
        assert_eq!(self.str("filename"), name, "{}", self.text);
        assert_eq!(self.size("total_size"), bytes.len() as u64, "{}", self.text);
        assert_eq!(self.str("md5"), super::md5_hex(bytes), "{}", self.text);
        assert!(self.body == bytes, "the body of {name} differs");
    }

    /// What holds for every response: the three keys first and in order, an error that
    /// cannot be taken for a file, and nothing that a terminal would act on.
    #[track_caller]
    pub(super) fn assert_well_formed(&self) {
        assert!(
            self.text.starts_with(r#"{"filename":"#),
            "filename is not first: {}",
            self.text
        );
        let order = ["\"total_size\":", "\"md5\":"].map(|key| self.text.find(key));
        assert!(
            order[0].is_some() && order[0] < order[1],
            "keys out of order: {}",
            self.text
        );
        let md5 = self.str("md5");
        assert!(
            md5.is_empty()
                || md5.len() == 32 && md5.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
            "{}",
            self.text
        );
        if self.code().is_some() {
            assert_eq!(
                (self.size("total_size"), md5),
                (0, ""),
                "an error that looks like a file: {}",
                self.text
            );
            assert!(
                self.message().len() <= 200,
                "the message is {} bytes: {}",
                self.message().len(),
                self.text
            );
            assert!(
                !self.message().is_empty(),
                "an error without a message: {}",
                self.text
            );
        }
        let acts = |c: char| {
            c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(
            !self.text.contains(acts),
            "control or direction characters: {:?}",
            self.text
        );
    }
}

#[track_caller]
fn take<'b>(bytes: &mut &'b [u8], count: usize) -> &'b [u8] {
    let (taken, rest) = bytes
        .split_at_checked(count)
        .unwrap_or_else(|| panic!("only {} of {count} bytes are there", bytes.len()));
    *bytes = rest;
    taken
}
