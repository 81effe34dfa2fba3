//! The screen as it reads, on a terminal that is made up.

use super::*;
use crate::api::{Arena, Backing, Daemon, Ledger, StateBytes, Time, VolumeMode, VolumeState};
use crate::rates::between;
use crate::rates::tests::stats;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

fn volume() -> Volume {
    Volume {
        name: "vm1".to_owned(),
        id: 0,
        health: Health::Degraded,
        state: VolumeState::Serving,
        why: None,
        size_bytes: 1 << 30,
        mode: VolumeMode::WriteBack,
        backing: Backing { path: "/srv/vm1.img".to_owned(), direct: true, identity: "ext4:1".to_owned() },
        policy: String::new(),
        bytes: StateBytes {
            failed_bytes: 65_536,
            not_clean_bytes: 65_536,
            budget_bytes: 131_072,
            ..StateBytes::default()
        },
        gate: None,
        overdue: 0,
        stalled_writes: 0,
        waiting_flushes: 0,
        parked_flushes: 0,
        thin: None,
    }
}

fn status() -> Status {
    Status {
        health: Health::Degraded,
        reasons: Vec::new(),
        notes: Vec::new(),
        daemon: Daemon {
            release: "0.1.0".to_owned(),
            pid: 1,
            started: Time::from_unix_ms(0),
            uptime_ms: 60_000,
            incarnation: String::new(),
            reactors: 1,
            socket: String::new(),
            sessions: 2,
            sessions_max: 64,
            line_bytes: 4096,
            arena: Arena { path: String::new(), size_bytes: 0, huge_pages: true },
            ledger: Ledger { path: String::new(), stuck: None },
            warnings: Vec::new(),
        },
        volumes: vec![volume()],
    }
}

/// What a terminal of this size shows.
fn screen(columns: u16, lines: u16) -> String {
    let (status, before, after) = (status(), stats(0, 100, 10), stats(1_000, 300, 30));
    let rates = between(&before, &after);
    let mut terminal = Terminal::new(TestBackend::new(columns, lines)).expect("a made-up terminal");
    let snapshot = Snapshot { status: &status, rates: &rates, stats: &after };
    terminal.draw(|frame| draw(frame, &snapshot)).expect("a made-up terminal");
    terminal.backend().to_string()
}

#[test]
fn states_rates_and_reactors_are_on_the_screen() {
    let screen = screen(150, 15);
    for words in [
        "DEGRADED  holdfastd 0.1.0, up 1 min 0 s, 2 of 64 sessions",
        "vm1              DEGRADED  800      75%   200",
        "800.0 KiB",
        "64.0 KiB",
        "50%",
        "CLIENTS OF       READ P50   READ P99   WRITE P50  WRITE P99",
        "vm1              -          -          15.3 us    15.3 us    -          -",
        "25%   #####                20         60",
        "q leaves",
    ] {
        assert!(screen.contains(words), "{words:?} is not on\n{screen}");
    }
}

/// On the terminal that everybody has, a state and what is held can be read; what does not fit is left out whole.
#[test]
fn on_80_columns_nothing_is_cut_in_the_middle() {
    let screen = screen(80, 15);
    let heads = "VOLUME           STATE     WRITES/S DIRTY      FAILED     LOST       BUDGET";
    let values = "vm1              DEGRADED  200      0 B        64.0 KiB   0 B        50%";
    for words in [heads, values] {
        assert!(screen.contains(words), "{words:?} is not on\n{screen}");
    }
    for columns in 1..200 {
        let kept = that_fit(&VOLUME_COLUMNS, columns);
        let wide: u16 = kept.iter().map(|&at| VOLUME_COLUMNS[at].1 + 1).sum();
        assert!(wide <= columns + 1 || kept.iter().all(|&at| VOLUME_COLUMNS[at].2 == 0), "{columns}");
        assert!(columns < 132 || kept.len() == VOLUME_COLUMNS.len(), "{columns}");
    }
}

#[test]
fn a_terminal_that_is_too_small_shows_what_fits() {
    assert!(screen(20, 2).contains("DEGRADED"));
    assert!(!screen(1, 1).is_empty());
}
