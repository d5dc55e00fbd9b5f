//! Text that is signed in the clear (RFC 9580, section 7), around a list or a part of it.

use super::InputError;
use super::line::LineError;
use super::lines::NumberedLine;

/// Takes the armour off. The signature is not verified.
#[derive(Default)]
pub(super) struct Signed {
    at: Part,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Outside,
    /// Headers, which an empty line ends; so far up to this line.
    Headers(u64),
    Text,
    Signature,
}

impl Signed {
    /// The line without its armour; `None` if all of it is armour.
    ///
    /// # Errors
    /// It begins something else than signed text.
    pub(super) fn take_off(
        &mut self,
        mut line: NumberedLine,
    ) -> Result<Option<NumberedLine>, InputError> {
        let bytes = line.bytes.trim_ascii_end();
        match self.at {
            Part::Outside if bytes == BEGIN_TEXT => self.at = Part::Headers(line.number),
            Part::Outside if bytes.starts_with(BEGIN_ANY) => {
                return Err(InputError::NotClear(line.number));
            }
            Part::Outside => return Ok(Some(line)),
            // Empty lines are counted and not seen.
            Part::Headers(last) if line.number == last + 1 => self.at = Part::Headers(line.number),
            Part::Headers(_) | Part::Text if bytes == BEGIN_SIGNATURE => self.at = Part::Signature,
            Part::Headers(_) | Part::Text => {
                self.at = Part::Text;
                if line.bytes.starts_with(b"- ") {
                    line.bytes.drain(..2);
                }
                return Ok(Some(line));
            }
            Part::Signature if bytes == END_SIGNATURE => self.at = Part::Outside,
            Part::Signature => {}
        }
        Ok(None)
    }

    /// There are no more lines, of which the last one has this number.
    ///
    /// # Errors
    /// The armour is not closed, so that part of the list may be missing.
    pub(super) fn end(&mut self, number: u64) -> Result<(), InputError> {
        match std::mem::take(&mut self.at) {
            Part::Outside => Ok(()),
            Part::Headers(_) | Part::Text | Part::Signature => Err(InputError::Line {
                number,
                problem: LineError::SignedWithoutEnd,
            }),
        }
    }
}

const BEGIN_ANY: &[u8] = b"-----BEGIN PGP ";
const BEGIN_TEXT: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const END_SIGNATURE: &[u8] = b"-----END PGP SIGNATURE-----";
