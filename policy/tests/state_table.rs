//! The state machine against a table that was written by hand, cell by cell.

use holdfast_policy::{Cause, State};

/// One letter a state, in the order of its number.
const LETTERS: &str = "FILDWUCXK";

/// A row a state, a column a cause in the order of `Cause::ALL`, `.` where nothing may happen: Accepted,
/// Published, FillStarted, Filled, FillRefused, WriteBackStarted, WriteBackDone, WriteBackRefused, Inherited,
/// WriteBackDeferred, Stable, VerifierChanged, Condemned, LossRecorded, Superseded, Evicted, Dropped, Restarted.
const TABLE: [(State, &str); 9] = [
    (State::Free, "I.L..............."),
    (State::Incoming, ".D............F..."),
    (State::Filling, "...CF.........F..."),
    (State::Dirty, ".....W..X...K.F.F."),
    (State::Writing, "......UX.D....F..D"),
    (State::Unstable, "..........CD..F.FD"),
    (State::Clean, "..............FFF."),
    (State::Failed, ".....W......K.F.F."),
    (State::Condemned, ".............FF.FD"),
];

fn letter(state: Option<State>) -> char {
    state.map_or('.', |state| LETTERS.as_bytes()[state as usize] as char)
}

#[test]
fn every_cell_is_as_written() {
    for (at, (state, row)) in TABLE.into_iter().enumerate() {
        assert_eq!(State::ALL[at], state);
        assert_eq!(row.len(), Cause::ALL.len(), "row of {state:?}");
        for (cause, wanted) in Cause::ALL.into_iter().zip(row.chars()) {
            assert_eq!(letter(state.after(cause)), wanted, "{state:?} after {cause:?}");
        }
    }
}

/// C4 and M8 in the table: memory that holds acknowledged data is let go only because the data is stable,
/// durably recorded as lost, or has something newer in its place. Only an `Incoming` slot was not
/// acknowledged yet.
#[test]
fn data_leaves_only_by_four_doors() {
    let doors = [Cause::Stable, Cause::LossRecorded, Cause::Superseded, Cause::Dropped];
    for state in State::ALL.into_iter().filter(|state| state.holds_unstable_data()) {
        for cause in Cause::ALL {
            let lets_go = state.after(cause).is_some_and(|next| !next.holds_unstable_data());
            assert!(!lets_go || doors.contains(&cause), "{state:?} lets go after {cause:?}");
        }
    }
}

/// The device reads or writes the memory of these slots: nothing but the end of that operation may move them.
#[test]
fn slots_under_io_move_only_when_it_ends() {
    let ends = |state: State| {
        Cause::ALL.into_iter().filter(move |&cause| state.after(cause).is_some()).collect::<Vec<_>>()
    };
    assert_eq!(ends(State::Filling), [Cause::Filled, Cause::FillRefused, Cause::Superseded]);
    assert_eq!(
        ends(State::Writing),
        [
            Cause::WriteBackDone,
            Cause::WriteBackRefused,
            Cause::WriteBackDeferred,
            Cause::Superseded,
            Cause::Restarted
        ]
    );
}

#[test]
fn causes_are_listed_in_their_order() {
    for (at, cause) in Cause::ALL.into_iter().enumerate() {
        assert_eq!(cause as usize, at);
    }
}

#[test]
fn numbers_and_names_are_unique_and_fixed() {
    let names =
        ["free", "incoming", "filling", "dirty", "writing", "unstable", "clean", "failed", "condemned"];
    for number in 0..=u8::MAX {
        match State::from_u8(number) {
            Some(state) => {
                assert_eq!(state as u8, number);
                assert_eq!(state.name(), names[usize::from(number)]);
            }
            None => assert!(usize::from(number) >= names.len(), "{number} is a state"),
        }
    }
}

#[test]
fn what_a_state_means_for_its_memory() {
    for state in State::ALL {
        let unstable = matches!(letter(Some(state)), 'I' | 'D' | 'W' | 'U' | 'X' | 'K');
        assert_eq!(state.holds_unstable_data(), unstable, "{state:?}");
        assert_eq!(state.is_clean_or_free(), matches!(letter(Some(state)), 'F' | 'C'), "{state:?}");
    }
}
