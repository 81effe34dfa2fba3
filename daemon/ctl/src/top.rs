//! `top`: a screen that renews itself. What is drawn is a pure function of a [`Snapshot`], tested on a made-up terminal.

use crate::api::{Health, Stats, Status, Volume};
use crate::rates::{Rates, ReactorRates, VolumeRates};
use crate::size::{binary, duration};
use crate::text;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table};
use ratatui::{DefaultTerminal, Frame};
use std::io;
use std::time::{Duration, Instant};

/// What is drawn.
pub(crate) struct Snapshot<'a> {
    pub(crate) status: &'a Status,
    pub(crate) rates: &'a Rates,
    pub(crate) stats: &'a Stats,
}

/// The terminal while it is ours; given back when dropped.
pub(crate) struct Screen(DefaultTerminal);

impl Screen {
    pub(crate) fn open() -> io::Result<Screen> {
        ratatui::try_init().map(Screen)
    }

    /// Draws and waits; true if somebody wants to leave (`q`, Escape, Ctrl-C).
    pub(crate) fn show(&mut self, snapshot: &Snapshot<'_>, pause: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + pause;
        loop {
            self.0.draw(|frame| draw(frame, snapshot))?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || !event::poll(left)? {
                return Ok(false);
            }
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                let interrupt =
                    key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
                if interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) {
                    return Ok(true);
                }
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// The head with the reasons, the volumes, how long their clients waited, the reactors; what does not fit is cut at its end.
fn draw(frame: &mut Frame<'_>, snapshot: &Snapshot<'_>) {
    let status = snapshot.status;
    let reasons = u16::try_from(status.reasons.len()).unwrap_or(u16::MAX).min(6);
    let volumes = u16::try_from(status.volumes.len()).unwrap_or(u16::MAX).saturating_add(2);
    let parts = Layout::vertical([
        Constraint::Length(2 + reasons),
        Constraint::Max(volumes),
        Constraint::Max(volumes),
        Constraint::Min(0),
        Constraint::Length(1),
    ]);
    let [head, middle, waits, low, foot] = parts.areas(frame.area());
    frame.render_widget(Paragraph::new(head_lines(status)), head);
    draw_volumes(frame, middle, snapshot);
    draw_waits(frame, waits, snapshot);
    draw_reactors(frame, low, snapshot);
    let rule = Style::new().add_modifier(Modifier::DIM);
    frame.render_widget(
        Paragraph::new("q leaves; 'holdfastctl health detail' says what to do").style(rule),
        foot,
    );
}

fn head_lines(status: &Status) -> Vec<Line<'static>> {
    let daemon = &status.daemon;
    let about = format!(
        "{}  holdfastd {}, up {}, {} of {} sessions",
        status.health,
        daemon.release,
        duration(daemon.uptime_ms),
        daemon.sessions,
        daemon.sessions_max
    );
    let mut lines = vec![Line::styled(about, colour(status.health))];
    for reason in status.reasons.iter().take(6) {
        let about = reason.volume.as_deref().unwrap_or("daemon");
        lines.push(Line::styled(format!("{} {about}", reason.code), colour(reason.health)));
    }
    lines
}

const fn colour(health: Health) -> Style {
    Style::new().fg(match health {
        Health::Healthy => Color::Green,
        Health::Degraded => Color::Yellow,
        Health::Faulted => Color::Red,
    })
}

/// A column: its head, its width, and its turn to go on a terminal that is too narrow for all, the highest first. Those with 0
/// stay: what is held, and what is lost, is what somebody looks for.
type Column = (&'static str, u16, u8);

const VOLUME_COLUMNS: [Column; 13] = [
    ("VOLUME", 16, 0),
    ("STATE", 9, 0),
    ("READS/S", 8, 3),
    ("HITS", 5, 7),
    ("WRITES/S", 8, 1),
    ("FLUSH/S", 8, 4),
    ("WRITTEN/S", 10, 2),
    ("REFUSED/S", 9, 5),
    ("DIRTY", 10, 0),
    ("UNSTABLE", 10, 6),
    ("FAILED", 10, 0),
    ("LOST", 10, 0),
    ("BUDGET", 7, 0),
];

/// The places of the columns that fit side by side, with a blank between any two.
fn that_fit(columns: &[Column], width: u16) -> Vec<usize> {
    let mut kept: Vec<usize> = (0..columns.len()).collect();
    let wide = |kept: &[usize]| kept.iter().map(|&at| columns[at].1 + 1).sum::<u16>() - 1;
    while wide(&kept) > width {
        let goes = kept.iter().copied().max_by_key(|&at| columns[at].2).filter(|&at| columns[at].2 > 0);
        let Some(goes) = goes else { break };
        kept.retain(|&at| at != goes);
    }
    kept
}

fn draw_volumes(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot<'_>) {
    let kept = that_fit(&VOLUME_COLUMNS, area.width);
    let rows = snapshot.status.volumes.iter().map(|volume| {
        let rates = snapshot.rates.volumes.iter().find(|rates| rates.volume == volume.name);
        let cells = volume_cells(volume, rates);
        Row::new(kept.iter().map(|&at| cells[at].clone()).collect::<Vec<_>>()).style(colour(volume.health))
    });
    let head = kept.iter().map(|&at| VOLUME_COLUMNS[at].0);
    let widths = kept.iter().map(|&at| Constraint::Length(VOLUME_COLUMNS[at].1));
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Table::new(rows, widths).header(Row::new(head).style(bold)), area);
}

fn volume_cells(volume: &Volume, rates: Option<&VolumeRates>) -> Vec<String> {
    let bytes = &volume.bytes;
    let mut cells = vec![text::plain(&volume.name), volume.health.to_string()];
    match rates.map(text::volume_cells) {
        Some([reads, hits, writes, flushes, _, _, written, refused]) => {
            cells.extend([reads, hits, writes, flushes, written, refused]);
        }
        None => cells.extend(["-"; 6].map(str::to_owned)),
    }
    let states = [bytes.dirty_bytes, bytes.unstable_bytes, bytes.failed_bytes, bytes.lost_bytes];
    cells.extend(states.map(binary));
    let share = bytes.not_clean_bytes.saturating_mul(100).checked_div(bytes.budget_bytes);
    cells.push(share.map_or("-".to_owned(), |share| format!("{share}%")));
    cells
}

/// Of the requests that were answered since the last look; see the module `percentiles` for what is measured.
fn draw_waits(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot<'_>) {
    let head = ["CLIENTS OF"].into_iter().chain(text::WAITS);
    let rows = snapshot.rates.latencies.iter().map(|one| {
        Row::new(std::iter::once(text::plain(&one.volume)).chain(text::wait_cells(one)).collect::<Vec<_>>())
    });
    let widths = [16, 10, 10, 10, 10, 10, 10].map(Constraint::Length);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Table::new(rows, widths).header(Row::new(head).style(bold)), area);
}

fn draw_reactors(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot<'_>) {
    let head =
        ["REACTOR", "BUSY", "", "BUSY/S", "IDLE/S", "LONGEST", "NOT CLEAN", "FREE", "REQUESTS", "DEVICE I/O"];
    let rows = snapshot.rates.reactors.iter().map(|rates| Row::new(reactor_cells(rates, snapshot.stats)));
    let widths = [7, 5, 20, 10, 10, 9, 10, 10, 8, 10].map(Constraint::Length);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Table::new(rows, widths).header(Row::new(head).style(bold)), area);
}

fn reactor_cells(rates: &ReactorRates, stats: &Stats) -> Vec<String> {
    let [number, busy, busy_turns, idle_turns] = text::reactor_cells(rates);
    let mut cells = vec![number, busy, bar(rates.busy_percent.unwrap_or(0.0)), busy_turns, idle_turns];
    if let Some(reactor) = stats.reactors.iter().find(|reactor| reactor.number == rates.number) {
        let counts =
            [reactor.slots_not_clean, reactor.slots_free, reactor.requests, reactor.device_operations];
        cells.push(format!("{} us", reactor.longest_turn_ns / 1000));
        cells.extend(counts.map(|count| count.to_string()));
    }
    cells
}

/// Twenty places for a hundred percent.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 20")]
fn bar(percent: f64) -> String {
    "#".repeat((percent / 5.0).round().clamp(0.0, 20.0) as usize)
}

#[cfg(test)]
mod tests;
