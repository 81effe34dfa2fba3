//! Sizes, times and shares: from what people write to what the daemon counts in, and back without loss.

use super::node::Sizes;
use bytesize::ByteSize;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Why a quantity is refused, and what would do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) message: String,
    pub(super) help: String,
}

fn wrong<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { message: message.into(), help: help.into() })
}

/// A size with a unit, in bytes.
pub(super) fn size(text: &str) -> Result<u64, Wrong> {
    let is_number = text.starts_with(|c: char| c.is_ascii_digit());
    match text.parse::<ByteSize>() {
        Ok(size) if is_number => Ok(size.as_u64()),
        _ => wrong(
            format!("{text:?} is not a size"),
            r#"write a number and a unit: "64MiB", "8GiB", or decimal "8 GB""#,
        ),
    }
}

/// A size that was written as a bare number.
pub(super) fn bare_size(digits: &str, radix: u32) -> Result<u64, Wrong> {
    match u64::from_str_radix(digits, radix) {
        Ok(bytes) => Ok(bytes),
        Err(_) => wrong(
            format!("{digits} is not a number of bytes"),
            r#"write a number and a unit: "64MiB", "8GiB""#,
        ),
    }
}

/// Holds a size against what is possible; `written` is how it was put, to tell decimal units from binary ones.
pub(super) fn check_size(bytes: u64, sizes: &Sizes, written: Option<&str>) -> Result<u64, Wrong> {
    let Sizes { min, max, multiple_of } = *sizes;
    if bytes < min || bytes > max {
        let near = if bytes < min { min } else { max };
        let message = format!("{} is not within {} to {}", bytes_in_words(bytes), exact(min), exact(max));
        return wrong(message, format!("the nearest is {:?}", exact(near)));
    }
    if bytes.is_multiple_of(multiple_of) {
        return Ok(bytes);
    }
    let below = (bytes - bytes % multiple_of).max(min);
    let above = (below + multiple_of).min(max);
    let decimal = if written.is_some_and(is_decimal) {
        " (kB, MB, GB count in thousands; KiB, MiB, GiB in 1024s)"
    } else {
        ""
    };
    let message = format!("{} is no multiple of {}{decimal}", bytes_in_words(bytes), exact(multiple_of));
    wrong(message, format!("the nearest are {:?} and {:?}", exact(below), exact(above)))
}

fn is_decimal(written: &str) -> bool {
    let unit = written
        .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace())
        .to_ascii_lowercase();
    unit.len() <= 2 && unit.starts_with(['k', 'm', 'g', 't', 'p'])
}

/// A size that reads back as the same number of bytes, in the largest binary unit that divides it.
pub(super) fn exact(bytes: u64) -> String {
    for (unit, shift) in [("PiB", 50), ("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// A size for people: `8000000000 bytes (7.45 GiB)`.
pub(super) fn bytes_in_words(bytes: u64) -> String {
    if bytes < 1024 {
        format!("{bytes} bytes")
    } else {
        format!("{bytes} bytes ({})", ByteSize(bytes).display().iec())
    }
}

/// A time with a unit, in whole milliseconds.
pub(super) fn duration_ms(text: &str, range: &RangeInclusive<u64>) -> Result<u64, Wrong> {
    let Ok(duration) = humantime::parse_duration(text) else {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(no_unit(text));
        }
        return wrong(
            format!("{text:?} is not a time"),
            r#"write a number and a unit: "100ms", "30s", "5m""#,
        );
    };
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if range.contains(&ms) && duration == Duration::from_millis(ms) {
        return Ok(ms);
    }
    let (min, max) = (*range.start(), *range.end());
    if range.contains(&ms) {
        return wrong(
            format!("{text:?} is finer than a millisecond"),
            format!("the nearest is {:?}", time(ms.max(1))),
        );
    }
    let near = if ms < min { min } else { max };
    wrong(
        format!("{text:?} is not within {} to {}", time(min), time(max)),
        format!("the nearest is {:?}", time(near)),
    )
}

/// What is wrong with a time that is only a number.
pub(super) fn no_unit(digits: &str) -> Wrong {
    Wrong {
        message: format!("{digits} is a time without a unit"),
        help: format!(r#"write "{digits}s" or "{digits}ms""#),
    }
}

/// A time that reads back as the same.
pub(super) fn time(ms: u64) -> String {
    humantime::format_duration(Duration::from_millis(ms)).to_string()
}

/// `"12.5%"`, in parts of 1000.
pub(super) fn percent(text: &str, range: &RangeInclusive<u16>) -> Result<u16, Wrong> {
    let number = text.trim_end().strip_suffix('%').map(str::trim_end);
    match number.and_then(|number| thousandths(number, 1)) {
        Some(parts) => within(text, parts, range),
        None => wrong(
            format!("{text:?} is not a percentage of at most one decimal"),
            r#"write it as "50%" or "12.5%""#,
        ),
    }
}

/// `0.125`, in parts of 1000.
pub(super) fn fraction(text: &str, range: &RangeInclusive<u16>) -> Result<u16, Wrong> {
    match thousandths(text, 3) {
        Some(parts) => within(text, parts, range),
        None => wrong(
            format!("{text} is not a share of at most three decimals"),
            r#"write it as 0.125 or as "12.5%""#,
        ),
    }
}

/// A share that is a whole number: only 0 and 1 leave no doubt.
pub(super) fn whole_share(text: &str, range: &RangeInclusive<u16>) -> Result<u16, Wrong> {
    match text {
        "0" => within(text, 0, range),
        "1" => within(text, 1000, range),
        _ => wrong(
            format!("{text} is no share: a number without % is a part of 1"),
            format!(r#"write "{text}%""#),
        ),
    }
}

fn within(text: &str, parts: u64, range: &RangeInclusive<u16>) -> Result<u16, Wrong> {
    let (min, max) = (*range.start(), *range.end());
    match u16::try_from(parts) {
        Ok(parts) if range.contains(&parts) => Ok(parts),
        _ => {
            let near = if parts < u64::from(min) { min } else { max };
            let message = format!("{text} is not within {} to {}", share(min), share(max));
            wrong(message, format!("the nearest is {:?}", share(near)))
        }
    }
}

/// A decimal number times ten to the `decimals`, but always in parts of 1000 of a whole: digits, at most one point and
/// at most `decimals` digits behind it (zeros aside). In integers, so that no share is rounded.
fn thousandths(number: &str, decimals: usize) -> Option<u64> {
    let (whole, rest) = number.split_once('.').unwrap_or((number, ""));
    let rest = rest.trim_end_matches('0');
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 6 || rest.len() > decimals || !digits(whole) || !digits(rest) {
        return None;
    }
    format!("{whole}{rest:0<decimals$}").parse().ok()
}

/// A share that reads back as the same: `12.5%`.
pub(super) fn share(parts: u16) -> String {
    let (whole, tenth) = (parts / 10, parts % 10);
    if tenth == 0 { format!("{whole}%") } else { format!("{whole}.{tenth}%") }
}
