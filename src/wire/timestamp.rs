//! `mtime` on the wire: `2026-11-20T10:11:12.123456789Z`, UTC, of fixed length.

use jiff::SignedDuration;
use jiff::civil::DateTime;

/// A moment in UTC with nanoseconds, such as a file's mtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970; may be negative.
    pub seconds: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// The text form, in ASCII, without an allocation; `None` outside the years 0001 to 9999.
    pub fn to_text(self) -> Option<[u8; TIMESTAMP_BYTES]> {
        // Civil time, since jiff's timestamps end a day before the end of 9999.
        let since = SignedDuration::new(self.seconds, i32::try_from(self.nanoseconds).ok()?);
        let moment = EPOCH
            .checked_add(since)
            .ok()
            .filter(|moment| moment.year() >= 1)?;
        let mut text = *PATTERN;
        write_digits(&mut text[0..4], moment.year().unsigned_abs().into());
        write_digits(&mut text[5..7], moment.month().unsigned_abs().into());
        write_digits(&mut text[8..10], moment.day().unsigned_abs().into());
        write_digits(&mut text[11..13], moment.hour().unsigned_abs().into());
        write_digits(&mut text[14..16], moment.minute().unsigned_abs().into());
        write_digits(&mut text[17..19], moment.second().unsigned_abs().into());
        write_digits(&mut text[20..29], self.nanoseconds);
        Some(text)
    }

    /// Parses exactly the text form. `None` for any other form, an impossible date, a leap
    /// second, or the year 0000.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let text: &[u8; TIMESTAMP_BYTES] = text.as_bytes().try_into().ok()?;
        let fits = |(byte, pattern): (&u8, &u8)| match pattern {
            b'0' => byte.is_ascii_digit(),
            mark => byte == mark,
        };
        if !text.iter().zip(PATTERN).all(fits) {
            return None;
        }
        let year = i16::try_from(read_digits(&text[0..4]))
            .ok()
            .filter(|&year| year >= 1)?;
        let [month, day, hour, minute, second] = [5, 8, 11, 14, 17]
            .map(|at| i8::try_from(read_digits(&text[at..at + 2])).unwrap_or(i8::MAX));
        let moment = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
        Some(Timestamp {
            seconds: moment.duration_since(EPOCH).as_secs(),
            nanoseconds: read_digits(&text[20..29]),
        })
    }
}

fn write_digits(digits: &mut [u8], mut number: u32) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn read_digits(digits: &[u8]) -> u32 {
    digits
        .iter()
        .fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
}

/// Length of a timestamp's text.
const TIMESTAMP_BYTES: usize = 30;
const PATTERN: &[u8; TIMESTAMP_BYTES] = b"0000-00-00T00:00:00.000000000Z";
const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [(i64, u32, &str); 9] = [
        (0, 0, "1970-01-01T00:00:00.000000000Z"),
        (0, 999_999_999, "1970-01-01T00:00:00.999999999Z"),
        (-1, 999_999_999, "1969-12-31T23:59:59.999999999Z"),
        (951_782_400, 1, "2000-02-29T00:00:00.000000001Z"),
        (1_795_169_472, 123_456_789, "2026-11-20T10:11:12.123456789Z"),
        (4_102_444_799, 0, "2099-12-31T23:59:59.000000000Z"),
        (
            253_402_300_799,
            999_999_999,
            "9999-12-31T23:59:59.999999999Z",
        ),
        (-62_135_596_800, 0, "0001-01-01T00:00:00.000000000Z"),
        (
            -62_135_596_799,
            500_000_000,
            "0001-01-01T00:00:01.500000000Z",
        ),
    ];

    #[test]
    fn writes_and_reads_independently_computed_moments() {
        for (seconds, nanoseconds, text) in TABLE {
            let time = Timestamp {
                seconds,
                nanoseconds,
            };
            assert_eq!(
                time.to_text().as_ref().map(<[u8; 30]>::as_slice),
                Some(text.as_bytes())
            );
            assert_eq!(Timestamp::parse(text), Some(time));
        }
    }

    #[test]
    fn writes_nothing_outside_the_years_1_to_9999() {
        for seconds in [253_402_300_800, -62_135_596_801, i64::MAX, i64::MIN] {
            assert_eq!(
                Timestamp {
                    seconds,
                    nanoseconds: 0
                }
                .to_text(),
                None,
                "{seconds}"
            );
        }
    }

    #[test]
    fn refuses_every_other_form() {
        for text in [
            "",
            "2026-11-20T10:11:12Z",
            "2026-11-20T10:11:12.123Z",
            "2026-11-20T10:11:12.1234567890Z",
            "2026-11-20T10:11:12.123456789",
            "2026-11-20T10:11:12.123456789z",
            "2026-11-20 10:11:12.123456789Z",
            "2026-11-20T10:11:12,123456789Z",
            "2026-11-20T10:11:12.12345678 Z",
            "2026-11-20T10:11:12.12345678+0",
            "+026-11-20T10:11:12.123456789Z",
            "-026-11-20T10:11:12.123456789Z",
            "0000-11-20T10:11:12.123456789Z",
            "2026-00-20T10:11:12.123456789Z",
            "2026-13-20T10:11:12.123456789Z",
            "2026-11-00T10:11:12.123456789Z",
            "2026-11-31T10:11:12.123456789Z",
            "2026-02-29T10:11:12.123456789Z",
            "2026-11-20T24:11:12.123456789Z",
            "2026-11-20T10:60:12.123456789Z",
            "2026-11-20T10:11:60.123456789Z",
            "2026-11-20T10:11:1٣.12345678Z",
        ] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }
}
