//! Lists that come in pages.

use super::Run;
use crate::api::{Extent, ExtentState, Extents};
use crate::cli::PageArgs;
use crate::client::segment;
use crate::error::Error;
use serde::de::DeserializeOwned;

/// The most extents that one question asks for.
const PAGE: u64 = 4096;

impl Run<'_, '_> {
    /// Every extent of a volume that is in a state.
    pub(super) fn all_extents(&self, volume: &str, state: ExtentState) -> Result<Vec<Extent>, Error> {
        let path = format!("/v1/volumes/{}/extents?state={state}&", segment(volume));
        let everything = PageArgs { from: 0, limit: u64::MAX };
        let (_, rest) =
            self.pages(&everything, &path, |page: &mut Extents| (&mut page.extents, &mut page.next))?;
        Ok(rest.extents)
    }

    /// Asks page after page until as many extents are together as were asked for. Gives back the last answer, whose
    /// own extents were taken out, and all extents.
    pub(super) fn pages<T: DeserializeOwned>(
        &self,
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
pub(super) struct Gathered {
    pub(super) extents: Vec<Extent>,
    pub(super) next: Option<u64>,
}
