//! `export` and `import`.

use super::plain;
use crate::api::{Exported, Imported};
use crate::size::{binary, counted};

/// What was saved, and what to know of it.
pub fn exported(exported: &Exported) -> String {
    let volume = plain(&exported.volume);
    let (Some(file), Some(manifest)) = (&exported.file, &exported.manifest) else {
        let states = exported.states.join(" or ");
        return format!("{volume}: nothing is {states} here; no file was made.\n") + &others(exported);
    };
    let mut out = format!(
        "{volume}: {} in {} saved in '{}', described in '{}'.\n",
        binary(exported.saved_bytes),
        counted(exported.ranges, "range"),
        plain(file),
        plain(manifest)
    );
    let facts = [
        (exported.unreadable_bytes, "could not be read and are NOT in the file: lost, or given up meanwhile"),
        (exported.changed_bytes, "were overwritten by a client meanwhile: the volume has the newer data"),
        (exported.came_bytes, "came meanwhile and are not in the file: export again to have them"),
        (exported.left_bytes, "are not in that state any more: written back or given up meanwhile"),
    ];
    for (bytes, fact) in facts.into_iter().filter(|(bytes, _)| *bytes > 0) {
        out += &format!("  {} {fact}.\n", binary(bytes));
    }
    out + &others(exported)
}

/// Behind a device that refuses everything most of what is held has not failed: it was not tried.
fn others(exported: &Exported) -> String {
    match exported.other_bytes {
        0 => String::new(),
        bytes => format!(
            "  {} more are not on stable media and were not asked for: '--dirty' saves them, too.\n",
            binary(bytes)
        ),
    }
}

/// What was brought back.
pub fn imported(imported: &Imported) -> String {
    let (volume, verified) = (plain(&imported.volume), binary(imported.verified_bytes));
    let notes: String = imported.notes.iter().map(|note| format!("  note: {}\n", plain(note))).collect();
    let ranges = counted(imported.ranges, "range");
    let are = if imported.ranges == 1 { "is" } else { "are" };
    let told = match imported.dry_run {
        true => {
            format!(
                "{verified} in {ranges} {are} what was exported, and would be written. Nothing was changed."
            )
        }
        false => format!("{verified} in {ranges} written, and on stable media."),
    };
    format!("{volume}: {told}\n{notes}")
}
