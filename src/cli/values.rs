//! Values of options: durations (`0.2`, `200ms`, `5s`, `2m`), sizes (`512`, `10M`), rates and
//! counts.

use std::ffi::OsString;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::{OsStringValueParser, TypedValueParser};

/// Whether names that begin with a dot are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Hidden {
    /// Do not serve them
    Hide,
    /// Serve them
    Show,
}

/// Why text is not a duration, a size or a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not a number with a unit of durations.
    #[error(
        "not a duration: write seconds (0.2) or a number with ms, s, m, h or d (200ms, 5s, 2m)"
    )]
    NotADuration,
    /// Not a number with a unit of sizes.
    #[error(
        "not a size: write bytes (512) or a number with K, M, G or T (10M is 10 MiB, 10MB is 10,000,000)"
    )]
    NotASize,
    /// Not a number with a unit of rates, or less than a byte per second.
    #[error(
        "not a rate above 0: write bytes per second (10M is 10 MiB) or bits (80mbit are 10,000,000 bytes)"
    )]
    NotARate,
    /// A number above the limit.
    #[error("{text} is too large, the limit is {limit}")]
    TooLarge {
        /// The text.
        text: String,
        /// The limit, with its unit.
        limit: &'static str,
    },
}

/// Reads a duration: seconds with an optional fraction, or a number with `ms`, `s`, `m`, `h` or
/// `d`. At most 3,650 days.
///
/// # Errors
/// [`ValueError`] names the expected form.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let (number, unit) = split_unit(text).ok_or(ValueError::NotADuration)?;
    let seconds = number
        * match unit {
            "" | "s" => 1.0,
            "ms" => 0.001,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(ValueError::NotADuration),
        };
    if seconds > DURATION_SECONDS_MAX {
        return Err(ValueError::TooLarge {
            text: text.to_owned(),
            limit: "3650d",
        });
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Reads a size in bytes: a number with an optional fraction, alone or with `K`, `M`, `G`, `T`
/// (powers of 1,024, also written `KiB`, ...) or `KB`, `MB`, `GB`, `TB` (powers of 1,000). At most
/// 2^53, which is 8 PiB.
///
/// # Errors
/// [`ValueError`] names the expected form.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    let (number, unit) = split_unit(text).ok_or(ValueError::NotASize)?;
    let bytes = number
        * match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "k" | "kib" => 1024.0,
            "kb" => 1e3,
            "m" | "mib" => 1_048_576.0,
            "mb" => 1e6,
            "g" | "gib" => 1_073_741_824.0,
            "gb" => 1e9,
            "t" | "tib" => 1_099_511_627_776.0,
            "tb" => 1e12,
            _ => return Err(ValueError::NotASize),
        };
    if bytes > SIZE_BYTES_MAX {
        return Err(ValueError::TooLarge {
            text: text.to_owned(),
            limit: "8192T",
        });
    }
    Ok(bytes as u64)
}

/// Reads a rate in bytes per second: a size, or a number with `kbit`, `mbit`, `gbit` (powers of
/// 1,000 of bits), with an optional `/s`. At least 1.
///
/// # Errors
/// [`ValueError`] names the expected form.
pub fn parse_rate(text: &str) -> Result<u64, ValueError> {
    let plain = text.strip_suffix("/s").unwrap_or(text);
    let (number, unit) = split_unit(plain).ok_or(ValueError::NotARate)?;
    let bits = match unit.to_ascii_lowercase().as_str() {
        "bit" => 1.0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        _ => {
            let bytes = parse_size(plain).map_err(|error| match error {
                ValueError::NotASize => ValueError::NotARate,
                other => other,
            })?;
            return if bytes > 0 {
                Ok(bytes)
            } else {
                Err(ValueError::NotARate)
            };
        }
    };
    let bytes = number * bits / 8.0;
    if (1.0..=SIZE_BYTES_MAX).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err(ValueError::NotARate)
    }
}

/// Reads a duration above 0.
pub(super) fn parse_limit(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be more than 0".to_owned()),
        Ok(limit) => Ok(limit),
        Err(error) => Err(error.to_string()),
    }
}

/// Accepts any word but the empty one.
pub(super) fn not_empty() -> impl TypedValueParser<Value = OsString> {
    OsStringValueParser::new().try_map(|word| match word.is_empty() {
        true => Err("must not be empty"),
        false => Ok(word),
    })
}

/// Splits a plain decimal number (no sign, no exponent) from its unit.
fn split_unit(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let starts_and_ends_with_digits = number.starts_with(|c: char| c.is_ascii_digit())
        && number.ends_with(|c: char| c.is_ascii_digit());
    if !starts_and_ends_with_digits {
        return None;
    }
    Some((number.parse().ok()?, unit))
}

const DURATION_SECONDS_MAX: f64 = 3_650.0 * 86_400.0;
// Every whole number up to here is exact in an f64.
const SIZE_BYTES_MAX: f64 = 9_007_199_254_740_992.0;

/// Reads a count above 0.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a whole number above 0".into()),
        Ok(number) => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        for (text, ms) in [
            ("0", 0),
            ("0.2", 200),
            ("200ms", 200),
            ("5", 5_000),
            ("5s", 5_000),
            ("2m", 120_000),
            ("1.5h", 5_400_000),
            ("1d", 86_400_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(ms)),
                "{text}"
            );
        }
        assert!(parse_duration("3650d").is_ok());
    }

    #[test]
    fn reads_sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("1b", 1),
            ("1K", 1024),
            ("10M", 10 << 20),
            ("10MiB", 10 << 20),
            ("10mb", 10_000_000),
            ("1.5k", 1536),
            ("2G", 2 << 30),
            ("8192T", 1 << 53),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_plain_number_with_a_known_unit() {
        for text in [
            "", "s", ".5", "5.", "1..2", "-1", "+1", "1e3", "5 s", "5sec", "inf", "nan", "٣", "5x",
            "1_000",
        ] {
            assert_eq!(
                parse_duration(text),
                Err(ValueError::NotADuration),
                "{text}"
            );
            assert_eq!(parse_size(text), Err(ValueError::NotASize), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_too_large() {
        let digits = "9".repeat(400);
        for text in ["3651d", "99999999999999999999", &digits] {
            assert!(
                matches!(parse_duration(text), Err(ValueError::TooLarge { .. })),
                "{text}"
            );
        }
        for text in ["8193T", "99999999999999999999", &digits] {
            assert!(
                matches!(parse_size(text), Err(ValueError::TooLarge { .. })),
                "{text}"
            );
        }
    }
}
