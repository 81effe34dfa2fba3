//! "Did you mean": the known word that differs least from the one written.

/// The word of `known` that is at most a third of its letters (and always one) away from `word`.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|candidate| (distance(word, candidate), candidate)).min()?;
    let allowed = (near.1.chars().count() / 3).max(1);
    (near.0 <= allowed).then_some(near.1)
}

/// How many letters must be put in, left out, replaced or swapped with their neighbour; hyphens, underscores and
/// capitals are the same as each other, because nobody remembers which a file uses.
fn distance(left: &str, right: &str) -> usize {
    let fold = |c: char| if c == '_' { '-' } else { c.to_ascii_lowercase() };
    // Nobody mistypes a word of ours into hundreds of letters; the cut keeps the table small whatever a file holds.
    let left: Vec<char> = left.chars().take(64).map(fold).collect();
    let right: Vec<char> = right.chars().take(64).map(fold).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (row, &letter) in left.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, &other) in right.iter().enumerate() {
            let mut cost = (above[column] + usize::from(letter != other))
                .min(above[column + 1] + 1)
                .min(line[column] + 1);
            if row > 0 && column > 0 && letter == right[column - 1] && left[row - 1] == other {
                cost = cost.min(before[column - 1] + 1);
            }
            line.push(cost);
        }
        before = std::mem::replace(&mut above, line);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn a_slip_of_the_finger_costs_one() {
        for (wrong, right) in
            [("bugdet", "budget"), ("budgt", "budget"), ("buddget", "budget"), ("budgot", "budget")]
        {
            assert_eq!(distance(wrong, right), 1, "{wrong}");
        }
        assert_eq!(distance("State-Dir", "state_dir"), 0);
        assert_eq!(distance("", "size"), 4);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn only_what_is_near_is_proposed() {
        assert_eq!(nearest("hold_forevr", ["report", "hold-forever"]), Some("hold-forever"));
        assert_eq!(nearest("colour", ["size", "path"]), None);
        assert_eq!(nearest("x", []), None);
    }
}
