//! Verbs that go on: `events --follow`, `stats --watch`, `top`. They end with the daemon, or when somebody interrupts them.

use super::{Outcome, Run};
use crate::api::{Events, Stats, Status, Versioned};
use crate::cli::{EventsArgs, StatsArgs, TopArgs};
use crate::error::Error;
use crate::rates::between;
use crate::top::{Screen, Snapshot};
use crate::{Exit, text};
use std::time::Duration;

/// How often it is asked for new events: what an operator sees is half a second old at most.
const FOLLOW_PAUSE: Duration = Duration::from_millis(500);

/// The path of a page of what is numbered: after `since`, or the newest.
pub(super) fn page(path: &str, since: Option<u64>, limit: u64) -> String {
    let since = since.map_or(String::new(), |since| format!("since={since}&"));
    format!("{path}?{since}limit={limit}")
}

impl Run<'_, '_> {
    pub(super) fn events(&mut self, args: &EventsArgs) -> Outcome {
        let ask = |since: Option<u64>| page("/v1/events", since, args.limit);
        if !args.follow {
            let answer = self.client.get(&ask(args.since))?;
            let events: Events = self.client.read(&answer)?;
            self.print(&answer, |invocation| text::events(&events, invocation));
            return Ok(Exit::Ok);
        }
        let mut since = args.since;
        loop {
            let answer = self.client.get(&ask(since))?;
            let page: Events = self.client.read(&answer)?;
            since = Some(page.next);
            if page.events.is_empty() {
                std::thread::sleep(FOLLOW_PAUSE);
            } else if !self.print(&answer, |_| text::event_lines(&page)) {
                return Ok(Exit::Ok);
            }
        }
    }

    pub(super) fn stats(&mut self, args: &StatsArgs) -> Outcome {
        let Some(pause) = args.watch else {
            return self.show("/v1/stats", |stats: &Stats| text::stats(stats));
        };
        let mut before: Stats = self.client.read(&self.client.get("/v1/stats")?)?;
        loop {
            std::thread::sleep(pause);
            let after: Stats = self.client.read(&self.client.get("/v1/stats")?)?;
            let rates = between(&before, &after);
            if !self.print(&Versioned::of(&rates), |_| text::rates(&rates, &after)) {
                return Ok(Exit::Ok);
            }
            before = after;
        }
    }

    pub(super) fn top(&mut self, args: &TopArgs) -> Outcome {
        if self.json || !self.streams.terminal {
            let message = "'top' draws on a terminal, and there is none here.";
            return Err(Error::usage(message, "Type 'stats --watch' (with --json, if a program reads it)."));
        }
        let mut screen = Screen::open().map_err(|error| {
            Error::failed(format!("the terminal cannot be used: {error}."), "Type 'stats --watch'.")
        })?;
        let mut before: Option<Stats> = None;
        loop {
            let status: Status = self.client.read(&self.client.get("/v1/status")?)?;
            let after: Stats = self.client.read(&self.client.get("/v1/stats")?)?;
            let rates = between(before.as_ref().unwrap_or(&after), &after);
            let quit = screen.show(&Snapshot { status: &status, rates: &rates, stats: &after }, args.every);
            if quit.map_err(|error| {
                Error::failed(format!("the terminal is gone: {error}."), "Nothing was changed.")
            })? {
                return Ok(Exit::Ok);
            }
            before = Some(after);
        }
    }
}
