//! Sizes and durations, as people write and read them.

use crate::api::Range;
use bytesize::ByteSize;

/// A size in binary units, rounded: `0 B`, `512 B`, `64.0 KiB`, `1.5 TiB`. Exact bytes are for programs (`--json`).
pub fn binary(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
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
    fn durations_keep_two_units() {
        let cases = [(0, "0 ms"), (350, "350 ms"), (12_999, "12 s"), (303_000, "5 min 3 s")];
        for (milliseconds, words) in cases {
            assert_eq!(duration(milliseconds), words);
        }
        assert_eq!(duration(8_040_000), "2 h 14 min");
        assert_eq!(duration(273_600_000), "3 d 4 h");
    }
}
