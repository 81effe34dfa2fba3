//! `--serve`: a daemon that holds refused data, left for whoever wants to try the operator's part.

use super::error::Error;
use super::interrupt::Interrupt;
use super::pattern::{CROWD, Ink, LINE, lines};
use super::place::Place;
use super::plan::Policy;
use super::session::Flushed;
use super::timeline::connect;
use super::transcript::Transcript;
use holdfast_ctl::api::FailureId;
use holdfast_ringbuf::client::Client;

/// The volume that is filled up again.
const VOLUME: Policy = Policy::HoldForever;

/// Fills the volume's disk up again and waits until somebody has seen enough. The session stays open meanwhile.
///
/// # Errors
/// If the daemon goes away.
pub(super) fn serve(
    place: &Place,
    transcript: &Transcript,
    interrupt: &Interrupt,
    salt: u64,
) -> Result<(), Error> {
    let client = connect(place, VOLUME.name())?;
    let id = fill_up(&client, Ink { letter: b'D', salt })?;
    let (name, socket) = (VOLUME.name(), place.admin_socket());
    // As it was called, because after `cargo run` it is not in the PATH.
    let program = std::env::args().next().unwrap_or_else(|| "holdfastd".to_owned());
    let ctl = format!("{program} ctl --socket {}", socket.display());
    transcript.say(format_args!(
        "\nThe daemon goes on, and the disk of volume {name} is full again. Try, in this order:"
    ));
    if let Some(id) = id {
        transcript.say(format_args!("  {ctl} status\n  {ctl} explain {id}"));
    }
    for verb in ["extents", "volume grow-thin", "retry", "status"] {
        let rest = match verb {
            "extents" => format!(" {name} --state failed"),
            "volume grow-thin" => format!(" {name} 4MiB"),
            "retry" => format!(" {name} --wait"),
            _ => String::new(),
        };
        transcript.say(format_args!("  {ctl} {verb}{rest}"));
    }
    transcript.say(format_args!(
        "Its files are in {}. Ctrl-C ends it and removes everything.",
        place.files().display()
    ));
    interrupt.spares();
    interrupt.wait();
    client.close();
    Ok(())
}

/// Writes and flushes until the disk is full; the id of the flush that failed.
fn fill_up(client: &Client, ink: Ink) -> Result<Option<FailureId>, Error> {
    let refused = |source| Error::Volume { volume: VOLUME.name().to_owned(), source };
    for offset in lines(CROWD) {
        client.write_at(&ink.bytes(offset, LINE), offset).map_err(refused)?;
        if let Flushed::Failed { id, .. } = Flushed::of(client, VOLUME.name())? {
            return Ok(id);
        }
    }
    Ok(None)
}
