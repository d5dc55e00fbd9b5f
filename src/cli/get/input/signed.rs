//! Clear-signed text (RFC 9580, section 7) around a list or a part of it.

use super::ListReadError;
use super::line::LineError;
use super::lines::NumberedLine;

/// Removes the armour. The signature is not verified.
#[derive(Default)]
pub(super) struct Signed {
    at: SignedPart,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum SignedPart {
    #[default]
    Outside,
    /// Headers up to this line; an empty line ends them.
    Headers(u64),
    Text,
    Signature,
}

impl Signed {
    /// The line without armour; `None` if it is armour only.
    ///
    /// # Errors
    /// The line begins other PGP data.
    pub(super) fn strip(
        &mut self,
        mut line: NumberedLine,
    ) -> Result<Option<NumberedLine>, ListReadError> {
        let bytes = line.bytes.trim_ascii_end();
        match self.at {
            SignedPart::Outside if bytes == BEGIN_TEXT => {
                self.at = SignedPart::Headers(line.number)
            }
            SignedPart::Outside if bytes.starts_with(BEGIN_ANY) => {
                return Err(ListReadError::NotClear(line.number));
            }
            SignedPart::Outside => return Ok(Some(line)),
            // The reader counts empty lines and skips them, so a gap in the numbers is an empty
            // line.
            SignedPart::Headers(last) if line.number == last + 1 => {
                self.at = SignedPart::Headers(line.number)
            }
            SignedPart::Headers(_) | SignedPart::Text if bytes == BEGIN_SIGNATURE => {
                self.at = SignedPart::Signature
            }
            SignedPart::Headers(_) | SignedPart::Text => {
                self.at = SignedPart::Text;
                if line.bytes.starts_with(b"- ") {
                    line.bytes.drain(..2);
                }
                return Ok(Some(line));
            }
            SignedPart::Signature if bytes == END_SIGNATURE => self.at = SignedPart::Outside,
            SignedPart::Signature => {}
        }
        Ok(None)
    }

    /// Checks the state after the last line, which has this number.
    ///
    /// # Errors
    /// The armour is not closed, so part of the list may be missing.
    pub(super) fn end(&mut self, number: u64) -> Result<(), ListReadError> {
        match std::mem::take(&mut self.at) {
            SignedPart::Outside => Ok(()),
            SignedPart::Headers(_) | SignedPart::Text | SignedPart::Signature => {
                Err(ListReadError::Line {
                    number,
                    problem: LineError::SignedWithoutEnd,
                })
            }
        }
    }
}

const BEGIN_ANY: &[u8] = b"-----BEGIN PGP ";
const BEGIN_TEXT: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &[u8] = b"-----END PGP SIGNATURE-----";
