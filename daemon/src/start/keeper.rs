//! The thread that lets clients in and out.

use super::crowd::{Crowd, portion};
use super::handshake::{Admitted, Outcome, Ticket, errno, hello, shake_hands, turn_away};
use super::hub::Hub;
use super::registry::Client;
use crate::reactor::{Mail, SEATS_MAX, Seat, Word, place_of};
use crate::vhost::MakeSeats;
use holdfast_engine::{SessionId, VolumeId};
use holdfast_ringbuf::daemon_side::{Door, Pending, Refusal};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Handshakes at a time: each has a thread, and a silent client keeps its for [`HANDSHAKE`](super::handshake::HANDSHAKE). One user has
/// a share of them.
const HANDSHAKES_MAX: usize = 32;
/// How often the sockets of live sessions are looked at; the reactors usually notice first.
const LOOK: Duration = Duration::from_millis(500);
/// The longest sleep between two looks at what the reactors and the handshakes say.
const PAUSE: Duration = Duration::from_millis(20);
/// How long nobody is let in after the kernel refused to.
const CLOSED: Duration = Duration::from_secs(1);

/// A session that the reactors have.
struct Live {
    /// A client's; a virtual machine's has a thread that looks after it.
    socket: Option<OwnedFd>,
    /// Who is told when it is over.
    over: Option<Sender<Option<String>>>,
    fault: Option<String>,
    /// Reactors that have not let it go yet.
    left: u32,
    leaving: bool,
    volume: VolumeId,
}

/// What the threads that negotiate with virtual machines ask for.
pub(super) enum Ask {
    /// A session for one. The answer is its name, or why there is none.
    Seat {
        client: Client,
        /// Of the volume that it knows.
        serial: u64,
        make: MakeSeats,
        given: Sender<Result<SessionId, String>>,
        over: Sender<Option<String>>,
    },
    /// The end of one.
    Leave(SessionId),
}

/// Lets clients in and out.
pub(super) struct Keeper {
    hub: Arc<Hub>,
    door: Door,
    live: BTreeMap<SessionId, Live>,
    /// Which places of the reactors' tables are taken, by a session or by a handshake, and of which user.
    places: Vec<Option<u32>>,
    next: u32,
    handshakes: Arc<Crowd>,
    admitted: (Sender<Outcome>, Receiver<Outcome>),
    asks: Receiver<Ask>,
    /// Nobody is let in before: the kernel has no descriptors left, and says so at every attempt.
    closed_until: Instant,
}

impl Keeper {
    pub(super) fn start(
        hub: Arc<Hub>,
        door: Door,
        asks: Receiver<Ask>,
        stop: Arc<AtomicBool>,
    ) -> std::io::Result<JoinHandle<()>> {
        let mut keeper = Keeper {
            hub,
            door,
            live: BTreeMap::new(),
            places: vec![None; SEATS_MAX as usize],
            next: 0,
            handshakes: Arc::new(Crowd::default()),
            admitted: channel(),
            asks,
            closed_until: Instant::now(),
        };
        std::thread::Builder::new().name("holdfast-door".to_owned()).spawn(move || keeper.keep(&stop))
    }

    fn keep(&mut self, stop: &AtomicBool) {
        let mut looked = Instant::now();
        while !stop.load(Ordering::Acquire) {
            while let Some(word) = self.hub.words.pop() {
                self.hear(word);
            }
            while let Ok(admitted) = self.admitted.1.try_recv() {
                match admitted {
                    Ok(admitted) => self.seat(admitted),
                    Err(id) => self.places[place_of(id)] = None,
                }
            }
            while let Ok(ask) = self.asks.try_recv() {
                self.answer(ask);
            }
            let listens = self.accept();
            if self.hub.stopping() {
                self.dismiss(|_| true);
            }
            let leaving: Vec<VolumeId> = self
                .hub
                .table()
                .iter()
                .filter(|served| served.is_leaving())
                .map(|served| served.id)
                .collect();
            if !leaving.is_empty() {
                self.dismiss(|volume| leaving.contains(&volume));
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look();
            }
            // A door that is knocked at and not opened would end every wait at once.
            if listens {
                self.hub.words.wait_with(&self.door, PAUSE);
            } else {
                self.hub.words.wait(PAUSE);
            }
        }
    }

    fn hear(&mut self, word: Word) {
        match word {
            Word::Answer { token, reactor, answer } => self.hub.answered(token, reactor, answer),
            Word::Over { session, fault } => {
                // Each of its reactors may say so: the first one is heard.
                let serves = self.live.get_mut(&session).filter(|live| !live.leaving);
                if let (Some(fault), Some(live)) = (fault, serves) {
                    tracing::warn!(session = session.0, %fault, "a client misbehaved: its session is closed");
                    live.fault = Some(fault);
                }
                self.let_go(session);
            }
            // Freed here, where nobody waits.
            Word::Husk(husk) => drop(husk),
            Word::Left(session) => {
                let Some(live) = self.live.get_mut(&session) else { return };
                live.left -= 1;
                if live.left == 0 {
                    self.hub.sessions.remove(session);
                    self.places[place_of(session)] = None;
                    let live = self.live.remove(&session).expect("found above");
                    if let Some(over) = live.over {
                        // Its thread is gone only when the daemon ends.
                        let _ = over.send(live.fault);
                    }
                }
            }
        }
    }

    /// Has every reactor let a session go. Its socket closes with the last of them: a client that finds it closed may send
    /// again what was not answered, and nobody takes anything from the old rings.
    fn let_go(&mut self, session: SessionId) {
        let Some(live) = self.live.get_mut(&session).filter(|live| !live.leaving) else { return };
        live.leaving = true;
        self.hub.sessions.leaving(session);
        for link in self.hub.links.iter() {
            self.hub.post(link, Mail::Leave(session));
        }
    }

    /// The daemon is stopping, or a volume is about to go: what clients have been answered is drained, and nothing new comes.
    fn dismiss(&mut self, of: impl Fn(VolumeId) -> bool) {
        let chosen = self.live.iter().filter(|(_, live)| of(live.volume));
        let sessions: Vec<SessionId> = chosen.map(|(&session, _)| session).collect();
        for session in sessions {
            self.let_go(session);
        }
    }

    fn look(&mut self) {
        let gone: Vec<SessionId> = self
            .live
            .iter()
            .filter(|(_, live)| !live.leaving && live.socket.as_ref().is_some_and(hung_up))
            .map(|(&session, _)| session)
            .collect();
        for session in gone {
            self.let_go(session);
        }
    }

    /// Lets in who knocks, as far as that is possible now; whether more can be let in.
    fn accept(&mut self) -> bool {
        if Instant::now() < self.closed_until {
            return false;
        }
        while self.handshakes.total() < HANDSHAKES_MAX {
            match self.door.accept() {
                Ok(Some(pending)) => self.greet(pending),
                Ok(None) => return true,
                Err(error) => {
                    tracing::warn!(
                        %error,
                        "a client could not be accepted; if there are too many open files, raise LimitNOFILE"
                    );
                    self.closed_until = Instant::now() + CLOSED;
                    return false;
                }
            }
        }
        false
    }

    /// What a virtual machine's thread wants.
    fn answer(&mut self, ask: Ask) {
        let (client, serial, make, given, over) = match ask {
            Ask::Leave(session) => return self.let_go(session),
            Ask::Seat { client, serial, make, given, over } => (client, serial, make, given, over),
        };
        let place = if self.hub.stopping() {
            Err("the daemon is stopping".to_owned())
        } else if !self.is_served(client.volume, serial) {
            Err("the volume is being removed, or was".to_owned())
        } else {
            self.free_place(client.uid, self.hub.in_force().limits.user_share)
        };
        let id = match place {
            Ok(place) => self.take_place(place, client.uid),
            Err(why) => {
                // Its thread is gone only when the daemon ends; the same below.
                let _ = given.send(Err(why));
                return;
            }
        };
        self.hub.sessions.add(id, client, self.hub.clock.unix_ms(self.hub.clock.now()));
        let left = u32::try_from(self.hub.links.len()).expect("few reactors");
        let volume = client.volume;
        self.live
            .insert(id, Live { socket: None, over: Some(over), fault: None, left, leaving: false, volume });
        let _ = given.send(Ok(id));
        for (link, seat) in self.hub.links.iter().zip(make(id)) {
            self.hub.post(link, Mail::Seat(Box::new(seat)));
        }
        // Only now may one of them write to another.
        self.hub.links.iter().for_each(|link| self.hub.post(link, Mail::Open(id)));
    }

    /// Whether a volume, and no other of its number, lets clients in.
    fn is_served(&self, volume: VolumeId, serial: u64) -> bool {
        let table = self.hub.table();
        table.get(volume).is_some_and(|served| served.serial == serial && !served.is_leaving())
    }

    /// The name of a session in a free place.
    fn take_place(&mut self, place: usize, uid: u32) -> SessionId {
        self.places[place] = Some(uid);
        self.next = self.next.wrapping_add(1) % (u32::MAX / SEATS_MAX);
        SessionId(self.next * SEATS_MAX + u32::try_from(place).expect("few places"))
    }

    /// Gives a client a thread for its handshake, and a place.
    fn greet(&mut self, pending: Pending) {
        let uid = pending.uid();
        let share = self.hub.in_force().limits.user_share;
        if self.handshakes.of(uid) >= portion(uid, HANDSHAKES_MAX, share) {
            // No thread for it, and no wait for its hello: it may be one of many that say nothing.
            let text = format!("user {uid} has too many handshakes under way; connect again in a while");
            let _ = pending.refuse(&Refusal { errno: errno(rustix::io::Errno::AGAIN), text });
            return;
        }
        let place = match self.free_place(uid, share) {
            Ok(place) => place,
            Err(text) => {
                let ticket = Ticket::new(&self.handshakes, uid, None);
                return hello(move || turn_away(pending, text, &ticket));
            }
        };
        let id = self.take_place(place, uid);
        let mut ticket = Ticket::new(&self.handshakes, uid, Some((self.admitted.0.clone(), id)));
        let hub = Arc::clone(&self.hub);
        hello(move || {
            if let Some(admitted) = shake_hands(&hub, pending, id) {
                ticket.admit(admitted);
            }
            drop(ticket);
            hub.words.ring();
        });
    }

    /// A place for a client of this user; or why there is none.
    fn free_place(&self, uid: u32, share: u16) -> Result<usize, String> {
        let max = self.hub.in_force().limits.sessions_max as usize;
        let taken = self.places.iter().flatten().count();
        let place = self.places.iter().position(Option::is_none).filter(|_| taken < max);
        let full = || format!("{max} sessions are open: close one, or raise 'limits.sessions_max'");
        let place = place.ok_or_else(full)?;
        let own = self.places.iter().flatten().filter(|&&of| of == uid).count();
        if own >= portion(uid, max, share) {
            return Err(format!(
                "user {uid} has {own} of {max} sessions, and no more are for one user: close one, or raise \
                 'limits.user_share' or 'limits.sessions_max'"
            ));
        }
        Ok(place)
    }

    fn seat(&mut self, admitted: Admitted) {
        let Admitted { session, id, client, serial } = admitted;
        let table = self.hub.table();
        let served = table.get(client.volume).filter(|_| self.is_served(client.volume, serial));
        let Some(served) = served else {
            // The volume went during the handshake: so does the session, and its client hears why when it comes again.
            self.places[place_of(id)] = None;
            return;
        };
        self.hub.sessions.add(id, client, self.hub.clock.unix_ms(self.hub.clock.now()));
        let (volume, read_only) = (served.id, served.settings.read_only);
        let left = u32::try_from(session.rings.len()).expect("few rings");
        let socket = Some(session.socket);
        self.live.insert(id, Live { socket, over: None, fault: None, left, leaving: false, volume });
        for (link, ring) in self.hub.links.iter().zip(session.rings) {
            self.hub.post(link, Mail::Seat(Box::new(Seat::new(id, volume, read_only, ring))));
        }
    }
}

/// Whether the other end of a socket is closed.
fn hung_up(socket: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    let none = Timespec { tv_sec: 0, tv_nsec: 0 };
    let found = poll(&mut fds, Some(&none)).unwrap_or(0);
    found > 0 && fds[0].revents().intersects(PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR)
}
