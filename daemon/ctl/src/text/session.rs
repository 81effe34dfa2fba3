//! `sessions`.

use super::Column::{Numbers, Words};
use super::{plain, table};
use crate::api::{Session, Sessions};

/// Who is connected.
pub fn sessions(sessions: &Sessions) -> String {
    let count = format!("{} of {} sessions.\n", sessions.sessions.len(), sessions.sessions_max);
    if sessions.sessions.is_empty() {
        return count;
    }
    session_table(&sessions.sessions) + "\n" + &count
}

/// Clients, a line each.
pub(super) fn session_table(sessions: &[Session]) -> String {
    let columns = [
        Numbers("SESSION"),
        Words("VOLUME"),
        Numbers("PID"),
        Numbers("UID"),
        Numbers("GID"),
        Words("SINCE"),
        Words("STATE"),
    ];
    let row = |session: &Session| {
        vec![
            session.id.to_string(),
            plain(&session.volume),
            session.pid.to_string(),
            session.uid.to_string(),
            session.gid.to_string(),
            plain(&session.since.rfc3339),
            if session.leaving { "leaving" } else { "connected" }.to_owned(),
        ]
    };
    table(&columns, sessions.iter().map(row))
}
