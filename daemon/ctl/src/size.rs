//! Sizes and durations, as people write and read them.

use crate::api::Range;
use bytesize::ByteSize;
use std::time::Duration;

/// A size in binary units, rounded: `0 B`, `512 B`, `64.0 KiB`, `1.5 TiB`. Exact bytes are for programs (`--json`).
pub fn binary(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// A number of things, as `1 range` or `2 ranges`.
pub fn counted(number: u64, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A duration, rounded down to what matters of it: `350 ms`, `12 s`, `5 min 3 s`, `2 h 14 min`, `3 d 4 h`.
pub fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds} ms"),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A size as people type it: `4096`, `4KiB`, `1.5 MiB`; `KB`, `MB`, `GB` are decimal.
///
/// # Errors
/// A sentence with what would do.
pub fn parse(text: &str) -> Result<u64, String> {
    if let Ok(bytes) = text.parse() {
        return Ok(bytes);
    }
    let size: Result<ByteSize, _> = text.parse();
    size.map(|size| size.as_u64())
        .map_err(|_| format!("'{text}' is no size: write bytes (4096) or a unit (4KiB, 1.5MiB, 2GiB)"))
}

/// A range as people type it: `OFFSET:LENGTH`, each a size.
///
/// # Errors
/// A sentence with what would do.
pub fn parse_range(text: &str) -> Result<Range, String> {
    let Some((offset, length)) = text.split_once(':') else {
        return Err(format!("'{text}' is no range: write OFFSET:LENGTH, as 1MiB:64KiB"));
    };
    let (offset, length) = (parse(offset)?, parse(length)?);
    match offset.checked_add(length) {
        Some(_) if length > 0 => Ok(Range { offset, length }),
        _ => Err(format!(
            "'{text}' is no range: its length must be 1 or more, its end must be a number of bytes"
        )),
    }
}

/// A time as people type it: `100ms`, `30s`, `5m`, `1h 30m`.
///
/// # Errors
/// A sentence with what would do.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("'{text}' is no time: write a number with its unit, as 100ms, 30s, 5m"))
}

/// Like [`parse_duration`], in whole milliseconds.
///
/// # Errors
/// A sentence with what would do.
pub fn parse_milliseconds(text: &str) -> Result<u64, String> {
    let milliseconds = parse_duration(text)?.as_millis();
    u64::try_from(milliseconds).map_err(|_| format!("'{text}' is too long a time"))
}

/// The pause of something that looks again and again: 100 ms to an hour.
///
/// # Errors
/// A sentence with what would do.
pub fn parse_pause(text: &str) -> Result<Duration, String> {
    let pause = parse_duration(text)?;
    if (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&pause) {
        return Ok(pause);
    }
    Err(format!("'{text}' is no pause between two looks: write 100ms to 1h"))
}

/// A share as people type it, `90%` or `0.9`, in parts of 1000.
///
/// # Errors
/// A sentence with what would do.
pub fn parse_permille(text: &str) -> Result<u16, String> {
    let bad = || format!("'{text}' is no share: write 0.1% to 100%, with one decimal at most, or 0.001 to 1");
    let (number, factor) = match text.strip_suffix('%') {
        Some(number) => (number, 10.0),
        None => (text, 1000.0),
    };
    let parts = number.trim().parse::<f64>().map_err(|_| bad())? * factor;
    let whole = (parts - parts.round()).abs() < 1e-6 && (1.0..=1000.0).contains(&parts.round());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 1000, as was just seen")]
    if whole { Ok(parts.round() as u16) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_for_people_and_exact_when_typed() {
        assert_eq!(binary(0), "0 B");
        assert_eq!(binary(65_536), "64.0 KiB");
        assert_eq!(binary(u64::MAX), "16.0 EiB");
        assert_eq!(parse("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse("4KiB"), Ok(4096));
        assert_eq!(parse("1.5 MiB"), Ok(3 << 19));
        assert_eq!(parse("2MB"), Ok(2_000_000));
        for bad in ["", "-1", "4 bananas", "0x10", "KiB"] {
            assert!(parse(bad).unwrap_err().contains("is no size"), "{bad}");
        }
    }

    #[test]
    fn ranges_have_a_length_and_an_end() {
        assert_eq!(parse_range("1MiB:64KiB"), Ok(Range { offset: 1 << 20, length: 65_536 }));
        for bad in ["", "5", "5:", ":5", "5:0", "1:18446744073709551615", "a:b"] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_and_shares_are_typed_with_their_unit() {
        assert_eq!(parse_milliseconds("1h 30m"), Ok(5_400_000));
        assert_eq!(parse_pause("100ms"), Ok(Duration::from_millis(100)));
        for bad in ["", "5", "1ms", "2h", "-1s"] {
            assert!(parse_pause(bad).is_err(), "{bad}");
        }
        assert_eq!((parse_permille("90%"), parse_permille("0.9")), (Ok(900), Ok(900)));
        assert_eq!((parse_permille("12.5%"), parse_permille("100%")), (Ok(125), Ok(1000)));
        for bad in ["", "0", "101%", "1.1", "0.05%", "NaN", "inf%", "-5%", "a lot"] {
            assert!(parse_permille(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_keep_two_units() {
        let cases = [(0, "0 ms"), (350, "350 ms"), (12_999, "12 s"), (303_000, "5 min 3 s")];
        for (milliseconds, words) in cases {
            assert_eq!(duration(milliseconds), words);
        }
        assert_eq!(duration(8_040_000), "2 h 14 min");
        assert_eq!(duration(273_600_000), "3 d 4 h");
    }
}
