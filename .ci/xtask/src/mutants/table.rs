//! What is shown of the mutants: a line while they are tried, a table at the end, a page for the documentation.

use super::Verdict;
use super::suite::Suite;
use std::fmt::Write;

/// One mutant in one line.
pub(crate) fn line(verdict: &Verdict) -> String {
    let by: Vec<&str> = verdict.by.iter().filter_map(|(_, killed)| killed.as_deref()).collect();
    let by = if by.is_empty() { "SURVIVES".to_owned() } else { by.join("; ") };
    format!("{:<4} {:<26} {by}", verdict.mutant.rule(), verdict.mutant.name())
}

/// A Markdown table.
pub(crate) fn table(verdicts: &[Verdict]) -> String {
    let mut text = String::from(
        "| rule | mutant | what goes wrong | simulator | tests and loom |\n|---|---|---|---|---|\n",
    );
    for verdict in verdicts {
        let mutant = verdict.mutant;
        let cell = |killed: Option<&str>| killed.unwrap_or("-").replace('|', "/");
        let tests = verdict.in_suite(Suite::Tests).or(verdict.in_suite(Suite::Loom));
        let (simulator, tests) = (cell(simulated(verdict)), cell(tests));
        let (rule, name, says) = (mutant.rule(), mutant.name(), mutant.says());
        // A String takes all that is written to it.
        let _ = writeln!(text, "| {rule} | {name} | {says} | {simulator} | {tests} |");
    }
    text
}

/// The last word of the simulator: a quick run asks it twice.
fn simulated(verdict: &Verdict) -> Option<&str> {
    let words = verdict.by.iter().filter(|(suite, _)| *suite == Suite::Simulator);
    words.filter_map(|(_, killed)| killed.as_deref()).next()
}

/// The page: the table with what it says in numbers.
pub(crate) fn page(verdicts: &[Verdict]) -> String {
    let dead = verdicts.iter().filter(|verdict| verdict.is_dead()).count();
    let simulated = verdicts.iter().filter(|verdict| simulated(verdict).is_some()).count();
    format!(
        "# Mutants: can the tests fail?\n\n\
         Deliberate bugs, each chosen by its name at run time in one build with `--cfg mutants`: first the rules M1 to M13\n\
         of the contract taken out, then slips of the hand. `cargo xtask mutants --save` writes this page (`--only NAME` tries\n\
         one; `--quick`, CI's short form, stops at the first suite that kills). A cell names the first seed with the promise\n\
         that it finds broken, or the first test that fails. To see one again: `HOLDFAST_MUTANT=NAME RUSTFLAGS='--cfg mutants' cargo run -p holdfast-sim -- --seed N`.\n\n\
         Of {} mutants {dead} die; the simulator alone kills {simulated}.\n\n{}",
        verdicts.len(),
        table(verdicts)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_mutants::Mutant;

    #[test]
    fn a_row_says_who_killed_it() {
        let by = vec![(Suite::Simulator, Some("seed 3: C5".to_owned())), (Suite::Tests, None)];
        let verdict = Verdict { mutant: Mutant::NoFence, by };
        assert_eq!(line(&verdict), "M1   NoFence                    seed 3: C5");
        let page = page(&[verdict]);
        assert!(page.contains("| M1 | NoFence |") && page.contains("| seed 3: C5 | - |"), "{page}");
        assert!(page.contains("Of 1 mutants 1 die; the simulator alone kills 1."), "{page}");
    }
}
