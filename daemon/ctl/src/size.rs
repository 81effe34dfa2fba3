//! Sizes and durations, as people write and read them.

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
