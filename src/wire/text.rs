//! Requests as lines of text: a name and an end mark, or a name and silence.

/// What the front of the input is.
#[derive(Debug, PartialEq, Eq)]
pub enum TextEvent {
    /// A request for this name (never empty). A copy: telnet commands were taken out.
    Name(Vec<u8>),
    /// A name longer than a path may be; its rest is dropped as it comes.
    TooLong,
    /// An HTTP request line: the connection speaks HTTP.
    Http,
}

/// Splits input into names. Holds no input: the caller's buffer does.
#[derive(Debug, Default)]
pub struct TextReader {
    dropping_long_line: bool,
}

impl TextReader {
    /// Looks at the front of `input` and says how many of its bytes are done with and what
    /// they were, if they were anything. `ended`: end of stream or silence, so that
    /// what is there is the whole line. `(n, None)` means that more bytes are needed after
    /// dropping n.
    pub fn next(&mut self, input: &[u8], ended: bool) -> (usize, Option<TextEvent>) {
        let _ = (input, ended);
        let _ = self.dropping_long_line;
        todo!()
    }
}
