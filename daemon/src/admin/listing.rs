//! Listing extents: the pages of all reactors become one page in the order of the offsets.

use super::refusal::Refusal;
use super::{Answers, Backend, Peer};
use holdfast_engine::{Answer, ByteRange, Command, Extent, ListState, VolumeId};
use std::time::Duration;

/// Rounds of questions for one page. Long runs of equal lines become one extent each, so a short page can take many
/// small answers; after this many it is cut short, and the reader goes on with the next one.
const ROUNDS_MAX: usize = 256;

/// How long reactors may take for one round. One that turns answers within a turn; this is for one that does not.
const ROUND_TIMEOUT: Duration = Duration::from_secs(5);

/// Extents in the order of their offsets.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page {
    /// At most as many as were asked for.
    pub(super) extents: Vec<Extent>,
    /// Where the next page begins, if there is one.
    pub(super) next: Option<u64>,
}

/// What one reactor answered: extents, and where its next page begins.
type ReactorPage = (Vec<Extent>, Option<u64>);

/// Asks every reactor for extents of `volume` in `state` from byte `from` on, until `limit` extents are together.
///
/// # Errors
/// A [`Refusal`] if the volume is not served, a reactor refuses, or does not answer.
pub(super) async fn list(
    backend: &dyn Backend,
    volume: VolumeId,
    state: ListState,
    from: u64,
    limit: usize,
    by: Peer,
) -> Result<Page, Refusal> {
    let mut page = Page::default();
    let mut from = from;
    for _ in 0..ROUNDS_MAX {
        let answers = backend.command(volume, Command::List { state, from }, by)?;
        let pages = collect(answers, backend.daemon().reactors.len()).await?;
        let (extents, next) = merge(pages, from);
        for extent in extents {
            if !push(&mut page.extents, extent, limit) {
                page.next = Some(extent.range.offset);
                return Ok(page);
            }
        }
        match next {
            None => return Ok(page),
            Some(next) if next > from => from = next,
            Some(next) => return Err(Refusal::internal(format!("A listing at {from} goes on at {next}."))),
        }
    }
    page.next = Some(from);
    Ok(page)
}

/// [`list`] for a thread of its own, as plain ranges; a refusal is in words.
///
/// # Errors
/// As [`list`].
pub(crate) fn list_ranges(
    backend: &dyn Backend,
    volume: VolumeId,
    state: ListState,
    from: u64,
    limit: usize,
) -> Result<(Vec<ByteRange>, Option<u64>), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let own = rustix::process::geteuid().as_raw();
    let by = Peer { uid: own, gid: rustix::process::getegid().as_raw(), pid: None };
    let page = runtime.block_on(list(backend, volume, state, from, limit, by));
    let page = page.map_err(|refusal| format!("{} {}", refusal.message, refusal.remedy))?;
    Ok((page.extents.into_iter().map(|extent| extent.range).collect(), page.next))
}

/// Waits for the page of every reactor.
async fn collect(mut answers: Answers, reactors: usize) -> Result<Vec<ReactorPage>, Refusal> {
    let mut pages = Vec::with_capacity(reactors);
    while pages.len() < reactors {
        let Ok(answer) = tokio::time::timeout(ROUND_TIMEOUT, answers.recv()).await else {
            let (got, seconds) = (pages.len(), ROUND_TIMEOUT.as_secs());
            let message = format!("Only {got} of {reactors} reactors answered within {seconds} s.");
            return Err(Refusal::busy(message, "See 'holdfastctl status' for a reactor that does not turn."));
        };
        match answer {
            Some((_, Answer::Listed { extents, next })) => pages.push((extents, next)),
            Some((reactor, Answer::Refused { errno })) => {
                let message =
                    format!("Reactor {reactor} refused to list: {}.", super::view::errno(errno).name);
                return Err(Refusal::busy(message, "The volume is being opened or closed: try again."));
            }
            Some((reactor, answer)) => {
                return Err(Refusal::internal(format!(
                    "Reactor {reactor} answered a listing with {answer:?}."
                )));
            }
            None => return Err(Refusal::busy("The daemon is stopping.", "Try again when it has started.")),
        }
    }
    Ok(pages)
}

/// Waits until every reactor has said that it is done.
///
/// # Errors
/// A [`Refusal`] if one refuses, does not answer, or the daemon stops meanwhile.
pub(super) async fn all_done(mut answers: Answers, reactors: usize) -> Result<(), Refusal> {
    for done in 0..reactors {
        let Ok(answer) = tokio::time::timeout(ROUND_TIMEOUT, answers.recv()).await else {
            let message =
                format!("Only {done} of {reactors} reactors have answered; the others will when they turn.");
            return Err(Refusal::busy(message, "See 'holdfastctl status' for a reactor that does not turn."));
        };
        match answer {
            Some((_, Answer::Done)) => {}
            Some((reactor, answer)) => {
                return Err(Refusal::internal(format!(
                    "Reactor {reactor} answered a change with {answer:?}."
                )));
            }
            None => return Err(Refusal::busy("The daemon is stopping.", "Try again when it has started.")),
        }
    }
    Ok(())
}

/// One round's extents in order, as far as every reactor has told, and where the next round begins.
///
/// A reactor whose page ended at its `next` may have more from there on, so nothing beyond the smallest `next` can be
/// put in order yet: what others said about it is asked for again.
fn merge(pages: Vec<ReactorPage>, from: u64) -> (Vec<Extent>, Option<u64>) {
    let horizon = pages.iter().filter_map(|(_, next)| *next).min();
    let told = horizon.unwrap_or(u64::MAX);
    let mut extents: Vec<Extent> = pages
        .into_iter()
        .flat_map(|(extents, _)| extents)
        .filter_map(|extent| clip(extent, from, told))
        .collect();
    extents.sort_by_key(|extent| extent.range.offset);
    (extents, horizon)
}

/// The part of `extent` in `from..to`.
fn clip(mut extent: Extent, from: u64, to: u64) -> Option<Extent> {
    let offset = extent.range.offset.max(from);
    let end = extent.range.end().min(to);
    extent.range = ByteRange { offset, length: end.checked_sub(offset)? };
    (extent.range.length > 0).then_some(extent)
}

/// Adds `extent`, to its equal neighbour if it has one; false if there are `limit` already.
pub(super) fn push(extents: &mut Vec<Extent>, extent: Extent, limit: usize) -> bool {
    if let Some(last) = extents.last_mut()
        && joins(last, &extent)
    {
        last.range.length += extent.range.length;
        last.first = last.first.min(extent.first);
        last.last = last.last.max(extent.last);
        return true;
    }
    let room = extents.len() < limit;
    if room {
        extents.push(extent);
    }
    room
}

/// Whether `next` begins where `last` ends and tells the same story. Times may differ: an operator wants one line for
/// one outage, and sees when it began and when it was last felt.
fn joins(last: &Extent, next: &Extent) -> bool {
    let story = |extent: &Extent| (extent.state, extent.class, extent.errno, extent.attempts);
    last.range.end() == next.range.offset && story(last) == story(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_engine::Instant;

    fn extent(offset: u64, length: u64, errno: u16) -> Extent {
        let range = ByteRange { offset, length };
        let (first, last) = (Instant(offset), Instant(offset));
        Extent { range, state: ListState::Failed, class: 2, errno, attempts: 1, first, last }
    }

    fn offsets(extents: &[Extent]) -> Vec<u64> {
        extents.iter().map(|extent| extent.range.offset).collect()
    }

    #[test]
    fn nothing_beyond_the_shortest_page_is_told() {
        let pages = vec![
            (vec![extent(0, 8, 28), extent(16, 8, 28)], Some(32)),
            (vec![extent(8, 8, 28), extent(40, 8, 28)], Some(48)),
            (vec![], None),
        ];
        let (extents, next) = merge(pages, 0);
        assert_eq!(offsets(&extents), [0, 8, 16]);
        assert_eq!(next, Some(32));
    }

    #[test]
    fn an_extent_over_the_horizon_is_told_in_two_parts() {
        let (extents, next) = merge(vec![(vec![extent(0, 100, 28)], None), (vec![], Some(60))], 10);
        assert_eq!(extents.len(), 1);
        assert_eq!(extents[0].range, ByteRange { offset: 10, length: 50 });
        assert_eq!(next, Some(60));
    }

    #[test]
    fn equal_neighbours_become_one_and_keep_the_widest_times() {
        let mut page = Vec::new();
        assert!(push(&mut page, extent(0, 8, 28), 2));
        assert!(push(&mut page, extent(8, 8, 28), 2));
        assert!(push(&mut page, extent(24, 8, 28), 2), "a gap begins another");
        assert!(push(&mut page, extent(32, 8, 28), 2), "a full page still takes what joins");
        assert!(!push(&mut page, extent(40, 8, 5), 2), "another errno is another extent");
        assert_eq!(page[0].range, ByteRange { offset: 0, length: 16 });
        assert_eq!((page[0].first, page[0].last), (Instant(0), Instant(8)));
        assert_eq!(page[1].range, ByteRange { offset: 24, length: 16 });
    }
}
