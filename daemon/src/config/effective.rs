//! Settings as the file that says all of them: what `holdfastd check` can print, and what reads back as the same settings.

use super::quantity::{exact, share, time};
use super::settings::{
    Backing, EventSettings, FrontendSettings, HttpSettings, Idle, Listen, Settings, VhostSettings,
    VolumeSettings,
};
use holdfast_engine::{FlushOnFailure, Mode};
use holdfast_policy::{ClassSet, Policy, Retry, Rule};
use std::fmt::{self, Write};
use std::path::Path;
use toml::Value;

impl Settings {
    /// The configuration that says every effective value, defaults included. [`parse`](super::parse) of it gives equal
    /// settings, and it stays the same when a later version changes a default.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        self.write_toml(&mut text).expect("a String takes all that is written to it");
        text
    }

    fn write_toml(&self, out: &mut String) -> fmt::Result {
        let Settings { daemon, arena, limits, http, events, volumes, frontends, debug } = self;
        writeln!(out, "[daemon]\ncores = {:?}\nreactors = {}", daemon.cores, daemon.reactors)?;
        let idle = if daemon.idle == Idle::Spin { "spin" } else { "adaptive" };
        writeln!(out, "idle = {idle:?}\nstate_dir = {}", path(&daemon.state_dir))?;
        writeln!(out, "socket = {}\nsocket_mode = \"{:04o}\"", path(&daemon.socket), daemon.socket_mode)?;
        writeln!(
            out,
            "admin_socket = {}\nadmin_socket_mode = \"{:04o}\"",
            path(&daemon.admin_socket),
            daemon.admin_socket_mode
        )?;
        if let Some(gid) = daemon.admin_socket_gid {
            writeln!(out, "admin_socket_gid = {gid}")?;
        }
        writeln!(out, "\n[arena]\npath = {}\nsize = {:?}", path(&arena.path), exact(arena.size_bytes))?;
        writeln!(
            out,
            "line = {:?}\nstripe = {:?}",
            exact(arena.line_bytes.into()),
            exact(arena.stripe_bytes)
        )?;
        writeln!(
            out,
            "\n[limits]\nsessions_max = {}\nuser_share = {:?}\nqueue_depth_max = {}",
            limits.sessions_max,
            share(limits.user_share),
            limits.queue_depth_max
        )?;
        writeln!(out, "request_bytes_max = {:?}", exact(limits.request_bytes_max.into()))?;
        writeln!(
            out,
            "session_bytes_max = {:?}\nrequests_max = {}",
            exact(limits.session_bytes_max),
            limits.requests_max
        )?;
        writeln!(
            out,
            "device_ops_max = {}\nio_workers_max = {}",
            limits.device_ops_max, limits.io_workers_max
        )?;
        writeln!(
            out,
            "reserve = {:?}\nflush_after = {:?}",
            share(limits.reserve),
            time(limits.flush_after_ms)
        )?;
        write_http(out, http)?;
        write_events(out, events)?;
        for volume in volumes {
            write_volume(out, volume)?;
        }
        frontends.iter().try_for_each(|frontend| write_frontend(out, frontend))?;
        writeln!(out, "\n[debug]\nfault_injection = {}", debug.fault_injection)
    }
}

fn write_http(out: &mut String, http: &HttpSettings) -> fmt::Result {
    writeln!(out, "\n[http]\nallow_remote = {}", http.allow_remote)?;
    if let Some(address) = http.listen {
        writeln!(out, "listen = \"{address}\"")?;
    }
    match &http.token_file {
        Some(file) => writeln!(out, "token_file = {}", path(file)),
        None => Ok(()),
    }
}

fn write_events(out: &mut String, events: &EventSettings) -> fmt::Result {
    let words: Vec<Value> = events.exec.iter().cloned().map(Value::String).collect();
    writeln!(out, "\n[events]\nexec = {}", Value::Array(words))?;
    if let Some(webhook) = &events.webhook {
        writeln!(out, "webhook = {}", Value::String(webhook.to_string()))?;
    }
    writeln!(out, "timeout = {:?}\nattempts = {}", time(events.timeout_ms), events.attempts)
}

/// Paths come from UTF-8 text; one that was made otherwise is shown as well as it can be.
fn path(path: &Path) -> Value {
    Value::String(path.display().to_string())
}

/// The `[[volume]]` that says all of a volume's settings, as [`Settings::to_toml`] has it.
pub(super) fn volume_in_toml(volume: &VolumeSettings) -> String {
    let mut text = String::new();
    write_volume(&mut text, volume).expect("a String takes all that is written to it");
    text
}

fn write_volume(out: &mut String, volume: &VolumeSettings) -> fmt::Result {
    writeln!(out, "\n[[volume]]\nname = {:?}\nbacking = {}", volume.name, backing(&volume.backing))?;
    let mode = match volume.mode {
        Mode::WriteBack => "write-back",
        Mode::WriteThrough => "write-through",
    };
    writeln!(out, "mode = {mode:?}\nbudget = {:?}", exact(volume.budget_bytes))?;
    match volume.flush_on_failure {
        FlushOnFailure::Report => writeln!(out, "flush_on_failure = {{ kind = \"report\" }}")?,
        FlushOnFailure::Stall { timeout_ms } => {
            writeln!(out, "flush_on_failure = {{ kind = \"stall\", timeout = {:?} }}", time(timeout_ms))?;
        }
    }
    writeln!(
        out,
        "parked_flushes_max = {}\nio_timeout = {:?}",
        volume.parked_flushes_max,
        time(volume.io_timeout_ms)
    )?;
    let (from, after) = (share(volume.write_back_from), time(volume.write_back_after_ms));
    writeln!(out, "write_back = {{ from = {from:?}, after = {after:?} }}")?;
    writeln!(out, "clients = {{ uids = {:?}, gids = {:?} }}", volume.clients.uids, volume.clients.gids)?;
    writeln!(out, "read_only = {}", volume.read_only)?;
    volume.rules.as_slice().iter().try_for_each(|rule| write_rule(out, rule))
}

fn write_frontend(out: &mut String, frontend: &FrontendSettings) -> fmt::Result {
    let frontend = match frontend {
        FrontendSettings::Nbd(nbd) => nbd,
        FrontendSettings::Vhost(VhostSettings { socket, socket_mode, volume, queues, read_only }) => {
            writeln!(out, "\n[[frontend]]\nkind = \"vhost-user-blk\"\nsocket = {}", path(socket))?;
            writeln!(out, "socket_mode = \"{socket_mode:04o}\"\nvolume = {volume:?}")?;
            return writeln!(out, "queues = {queues}\nread_only = {read_only}");
        }
    };
    writeln!(out, "\n[[frontend]]\nkind = \"nbd\"")?;
    match &frontend.listen {
        Listen::Unix { path: socket, mode } => {
            writeln!(out, "socket = {}\nsocket_mode = \"{mode:04o}\"", path(socket))?;
        }
        Listen::Tcp { address, allow } => {
            let allow: Vec<String> = allow.iter().map(ToString::to_string).collect();
            writeln!(out, "listen = \"{address}\"\nallow = {allow:?}")?;
        }
    }
    writeln!(out, "volumes = {:?}\nconnections_max = {}", frontend.volumes, frontend.connections_max)?;
    writeln!(out, "read_only = {}", frontend.read_only)
}

fn backing(backing: &Backing) -> String {
    match backing {
        Backing::Block { path: node } => format!("{{ kind = \"block\", path = {} }}", path(node)),
        Backing::File { path: file, size_bytes, create, thin_limit_bytes, buffered } => {
            let size = size_bytes.map(|bytes| format!(", size = {:?}", exact(bytes))).unwrap_or_default();
            let limit = thin_limit_bytes
                .map(|bytes| format!(", thin_limit = {:?}", exact(bytes)))
                .unwrap_or_default();
            format!(
                "{{ kind = \"file\", path = {}{size}, create = {create}{limit}, buffered = {buffered} }}",
                path(file)
            )
        }
    }
}

fn write_rule(out: &mut String, rule: &Rule) -> fmt::Result {
    let class = if rule.classes == ClassSet::ANY {
        "\"any\"".to_owned()
    } else {
        format!("{:?}", rule.classes.iter().map(|class| class.name()).collect::<Vec<_>>())
    };
    let policy = match rule.policy {
        Policy::EvictImmediately(_) => "kind = \"evict-immediately\"".to_owned(),
        Policy::HoldUntilPressure(policy) => format!(
            "kind = \"hold-until-pressure\", pressure = {:?}, stall_timeout = {:?}",
            share(policy.pressure),
            time(policy.stall_timeout_ms)
        ),
        Policy::HoldForever(policy) => {
            format!("kind = \"hold-forever\", stall_timeout = {:?}", time(policy.stall_timeout_ms))
        }
    };
    let Retry { first_ms, max_ms, .. } = rule.retry;
    let (on, first, max) = (causes(&rule.retry), time(first_ms), time(max_ms));
    writeln!(out, "\n[[volume.on_failure]]\nclass = {class}\npolicy = {{ {policy} }}")?;
    writeln!(out, "retry = {{ on = {on:?}, first = {first:?}, max = {max:?} }}")
}

/// What may cause another attempt, in the words of the file.
pub(super) fn causes(retry: &Retry) -> Vec<&'static str> {
    let causes = [(retry.on_timer, "timer"), (retry.on_flush, "flush"), (retry.on_overwrite, "overwrite")];
    causes.into_iter().filter_map(|(is_on, name)| is_on.then_some(name)).collect()
}
