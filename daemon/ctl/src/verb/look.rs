//! Verbs that change nothing.

use super::{Outcome, Run};
use crate::api::{Events, Explanation, Extent, Extents, Faults, Started, Stats, Status, Versioned, Volumes};
use crate::cli::{EventsArgs, ExplainArgs, ExtentsArgs, PageArgs};
use crate::client::segment;
use crate::error::Error;
use crate::{Exit, text};
use serde::de::DeserializeOwned;

/// The most extents that one question asks for.
const PAGE: u64 = 4096;

impl Run<'_, '_> {
    pub(super) fn status(&mut self) -> Outcome {
        let answer = self.client.get("/v1/status")?;
        let status: Status = self.client.read(&answer)?;
        self.print(&answer, |invocation| text::status(&status, invocation));
        Ok(Exit::of_health(status.health))
    }

    pub(super) fn volumes(&mut self) -> Outcome {
        self.show("/v1/volumes", |volumes: &Volumes| text::volumes(volumes))
    }

    pub(super) fn stats(&mut self) -> Outcome {
        self.show("/v1/stats", |stats: &Stats| text::stats(stats))
    }

    pub(super) fn events(&mut self, args: &EventsArgs) -> Outcome {
        let path = format!("/v1/events?since={}&limit={}", args.since, args.limit);
        self.show(&path, |events: &Events| text::events(events))
    }

    pub(super) fn faults(&mut self, volume: &str) -> Outcome {
        self.show(&format!("/v1/volumes/{}/fault", segment(volume)), |faults: &Faults| text::faults(faults))
    }

    /// Exits as the verb that started the operation would have.
    pub(super) fn operation(&mut self, id: u64) -> Outcome {
        let answer = self.client.get(&format!("/v1/operations/{id}"))?;
        let Started { operation } = self.client.read(&answer)?;
        self.print(&answer, |invocation| text::operation(&operation, invocation));
        Ok(if operation.complete() { Exit::Ok } else { Exit::Incomplete })
    }

    pub(super) fn extents(&mut self, args: &ExtentsArgs) -> Outcome {
        let (volume, state) = (segment(&args.volume), args.state);
        let (mut page, rest): (Extents, _) = self.pages(
            &args.page,
            &format!("/v1/volumes/{volume}/extents?state={state}&"),
            |page: &mut Extents| (&mut page.extents, &mut page.next),
        )?;
        page.extents = rest.extents;
        page.next = rest.next;
        self.print(&Versioned::of(&page), |invocation| text::extents(&page, invocation));
        Ok(Exit::Ok)
    }

    pub(super) fn explain(&mut self, args: &ExplainArgs) -> Outcome {
        let path = format!("/v1/explain/{}?", args.id);
        let (mut page, rest): (Explanation, _) =
            self.pages(&args.page, &path, |page: &mut Explanation| (&mut page.extents, &mut page.next))?;
        page.extents = rest.extents;
        page.next = rest.next;
        self.print(&Versioned::of(&page), |invocation| text::explanation(&page, invocation));
        Ok(Exit::Ok)
    }

    fn show<T: DeserializeOwned>(&mut self, path: &str, text: impl FnOnce(&T) -> String) -> Outcome {
        let answer = self.client.get(path)?;
        let body: T = self.client.read(&answer)?;
        self.print(&answer, |_| text(&body));
        Ok(Exit::Ok)
    }

    /// Asks page after page until as many extents are together as were asked for. Gives back the last answer, whose
    /// own extents were taken out, and all extents.
    fn pages<T: DeserializeOwned>(
        &mut self,
        args: &PageArgs,
        path: &str,
        parts: impl Fn(&mut T) -> (&mut Vec<Extent>, &mut Option<u64>),
    ) -> Result<(T, Gathered), Error> {
        let mut gathered = Gathered::default();
        let (mut from, mut left) = (args.from, args.limit);
        loop {
            let answer = self.client.get(&format!("{path}from={from}&limit={}", left.min(PAGE)))?;
            let mut page: T = self.client.read(&answer)?;
            let (extents, next) = parts(&mut page);
            left = left.saturating_sub(u64::try_from(extents.len()).unwrap_or(u64::MAX));
            gathered.extents.append(extents);
            gathered.next = next.take();
            match gathered.next {
                Some(next) if left > 0 && next > from => from = next,
                _ => return Ok((page, gathered)),
            }
        }
    }
}

/// Extents of many pages.
#[derive(Default)]
struct Gathered {
    extents: Vec<Extent>,
    next: Option<u64>,
}
