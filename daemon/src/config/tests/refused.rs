//! What is refused: for each mistake its line, its key, what is said of it and what would do.

use super::{MINIMAL, problems};
use crate::config::parse;

/// A mistake in a file: the lines before [`MINIMAL`], those after it, and the one problem that must be found.
struct Mistake {
    before: &'static str,
    after: &'static str,
    line: usize,
    key: &'static str,
    says: &'static str,
    help: &'static str,
}

const fn above(
    before: &'static str,
    line: usize,
    key: &'static str,
    says: &'static str,
    help: &'static str,
) -> Mistake {
    Mistake { before, after: "", line, key, says, help }
}

/// In the volume: its first free line is the fourth.
const fn below(
    after: &'static str,
    line: usize,
    key: &'static str,
    says: &'static str,
    help: &'static str,
) -> Mistake {
    Mistake { before: "", after, line, key, says, help }
}

#[rustfmt::skip]
const MISTAKES: &[Mistake] = &[
    // Names.
    above("[deamon]\n", 1, "deamon", "no section that exists", "did you mean `daemon`?"),
    above("[daemon]\ncorse = [1]\n", 2, "daemon.corse", "no key that daemon has", "did you mean `cores`?"),
    above("[daemon]\nsize = \"1GiB\"\n", 2, "daemon.size", "no key", "`size` belongs to `arena`"),
    above("[daemon]\nfrobnicate = 1\n", 2, "daemon.frobnicate", "no key", "known here: cores, "),
    above("[debug]\n\"fault injection\" = true\n", 2, "debug.\"fault injection\"", "no key", "did you mean `fault_injection`?"),
    below("write_back = { form = \"10%\" }", 4, "volume[0].write_back.form", "no key", "`from`"),
    below("colour = \"red\"", 4, "volume[0].colour", "no key that volume[0] has", "known here: name, backing"),
    // Types.
    above("daemon = 3\n", 1, "daemon", "is an integer, not a table", "`[section]`"),
    above("[daemon]\ncores = 2\n", 2, "daemon.cores", "not a list", "[2, 3]"),
    above("[daemon]\ncores = [\"2\"]\n", 2, "daemon.cores[0]", "is a string, not an integer", "without quotes"),
    above("[daemon]\nstate_dir = false\n", 2, "daemon.state_dir", "is a boolean, not a string", "in quotes"),
    above("[debug]\nfault_injection = \"true\"\n", 2, "debug.fault_injection", "not a boolean", "without quotes"),
    above("[arena]\nsize = 1.5\n", 2, "arena.size", "is a float, not a size", "\"8GiB\""),
    above("[arena]\nsize = 1979-05-27\n", 2, "arena.size", "is a datetime, not a size", "\"8GiB\""),
    // [daemon]
    above("[daemon]\ncores = [0, 1, 0]\n", 2, "daemon.cores[2]", "CPU 0 is named twice", "leave one out"),
    above("[daemon]\ncores = [-1]\n", 2, "daemon.cores[0]", "-1 is not within 0 to 8191", "nearest is 0"),
    above("[daemon]\ncores = [99999999999999999999]\n", 2, "daemon.cores[0]", "is not within", "nearest is 8191"),
    above("[daemon]\nreactors = 0\n", 2, "daemon.reactors", "0 is not within 1 to 64", "nearest is 1"),
    above("[daemon]\ncores = [2, 3]\nreactors = 3\n", 3, "daemon.reactors", "3 reactors and 2 cores", "write 2"),
    above("[daemon]\nidle = \"spinn\"\n", 2, "daemon.idle", "\"spinn\" is not possible", "did you mean \"spin\"?"),
    above("[daemon]\nstate_dir = \"state\"\n", 2, "daemon.state_dir", "\"state\" is not an absolute path", "from the root on"),
    above("[daemon]\nsocket_mode = 660\n", 2, "daemon.socket_mode", "not an octal file mode", "0o660"),
    above("[daemon]\nsocket_mode = \"0888\"\n", 2, "daemon.socket_mode", "not an octal file mode", "\"0660\""),
    above("[daemon]\nadmin_socket = \"/run/holdfast/holdfast.sock\"\n", 2, "daemon.admin_socket", "the clients' socket, too", "of their own"),
    above("[daemon]\nsocket = \"/a234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\"\n",
        2, "daemon.socket", "110 bytes are too long", "at most 107"),
    // [arena]
    above("[arena]\nsize = \"8 GB\"\n", 2, "arena.size", "8000000000 bytes (7.5 GiB) is no multiple of 2MiB (kB, MB, GB count in thousands", "\"7628MiB\" and \"7630MiB\""),
    above("[arena]\nsize = \"3MiB\"\n", 2, "arena.size", "no multiple of 2MiB", "\"2MiB\" and \"4MiB\""),
    above("[arena]\nsize = \"1MiB\"\n", 2, "arena.size", "not within 2MiB to 8TiB", "nearest is \"2MiB\""),
    above("[arena]\nsize = \"4MiB\"\n", 2, "arena.size", "4194304 bytes (4.0 MiB) give each of 1 reactors 0 lines", "write \"10MiB\" or more"),
    above("[daemon]\nreactors = 8\n[arena]\nsize = \"10MiB\"\n", 4, "arena.size", "give each of 8 reactors 0 lines; the reserve and 1 volume(s) need 1028", "write \"66MiB\" or more"),
    above("[daemon]\nreactors = 64\n[limits]\nsession_bytes_max = \"64MiB\"\n[arena]\nsize = \"100MiB\"\n", 6, "arena.size", "each of 64 reactors", "\"514MiB\" or more"),
    above("[arena]\nsize = \"big\"\n", 2, "arena.size", "\"big\" is not a size", "\"8GiB\""),
    above("[arena]\nsize = -5\n", 2, "arena.size", "-5 is not a number of bytes", "\"64MiB\""),
    above("[arena]\nline = \"2KiB\"\n", 2, "arena.line", "not within 4KiB to 16KiB", "\"4KiB\""),
    above("[arena]\nline = \"12KiB\"\n", 2, "arena.line", "12288 bytes are no power of two", "\"8KiB\""),
    above("[arena]\nstripe = \"3MiB\"\n", 2, "arena.stripe", "no power of two", "\"2MiB\" and \"4MiB\""),
    // [limits]
    above("[limits]\nqueue_depth_max = 100\n", 2, "limits.queue_depth_max", "100 is no power of two", "64 and 128"),
    above("[limits]\nrequest_bytes_max = \"2MiB\"\n", 2, "limits.request_bytes_max", "not within 64KiB to 1MiB", "\"1MiB\""),
    above("[daemon]\nreactors = 4\n[limits]\nsession_bytes_max = \"2MiB\"\n", 4, "limits.session_bytes_max", "2MiB is less than one request of 1MiB for each of 4", "write \"4MiB\" or more"),
    below("[limits]\nrequests_max = 16\ndevice_ops_max = 4\n[[volume]]\nname = \"vm2\"\nbacking = { kind = \"block\", path = \"/dev/vdc\" }", 6, "limits.device_ops_max", "4 do not leave 4 to each of 2 volumes", "write 8 or more"),
    above("[limits]\nreserve = 5\n", 2, "limits.reserve", "5 is no share", "\"5%\""),
    above("[limits]\nreserve = \"1%\"\n", 2, "limits.reserve", "1% is not within 2% to 50%", "\"2%\""),
    above("[limits]\nflush_after = 1\n", 2, "limits.flush_after", "a time without a unit", "\"1s\" or \"1ms\""),
    above("[limits]\nflush_after = \"1\"\n", 2, "limits.flush_after", "a time without a unit", "\"1s\""),
    above("[limits]\nflush_after = \"10500us\"\n", 2, "limits.flush_after", "finer than a millisecond", "\"10ms\""),
    // [http]
    above("[http]\nlisten = \"localhost:9464\"\n", 2, "http.listen", "is no address and port", "\"127.0.0.1:9464\""),
    above("[http]\nlisten = \"127.0.0.1:0\"\n", 2, "http.listen", "is no address and port", "write numbers"),
    above("[http]\nlisten = 9464\n", 2, "http.listen", "is an integer, not a string", "in quotes"),
    above("[http]\nlisten = \"0.0.0.0:9464\"\n", 2, "http.listen", "0.0.0.0 can be reached from other hosts", "`allow_remote = true`"),
    above("[http]\nlisten = \"[::]:9464\"\nallow_remote = false\n", 2, "http.listen", "can be reached from other hosts", "127.0.0.1"),
    above("[http]\ntoken_file = \"token\"\n", 2, "http.token_file", "not an absolute path", "/etc/holdfast/token"),
    above("[http]\ntoken = \"hunter2\"\n", 2, "http.token", "no key that http has", "known here: allow_remote, listen, token_file"),
    // [events]
    above("[events]\nexec = \"/bin/true\"\n", 2, "events.exec", "is a string, not a list", "in brackets"),
    above("[events]\nexec = [\"mail\", \"root\"]\n", 2, "events.exec[0]", "\"mail\" is not an absolute path", "no shell looks for it"),
    above("[events]\nexec = [\"/bin/a\\u0000b\"]\n", 2, "events.exec[0]", "with a zero byte", "none of them zero"),
    above("[events]\nwebhook = \"https://pager.example/x\"\n", 2, "events.webhook", "is no address of a webhook", "plain HTTP"),
    above("[events]\nwebhook = \"ftp://x\"\n", 2, "events.webhook", "is no address of a webhook", "http://HOST"),
    above("[events]\nwebhook = \"http://me:secret@x/\"\n", 2, "events.webhook", "is no address of a webhook", "http://HOST"),
    above("[events]\nexec = [\"/bin/true\"]\nwebhook = \"http://x/\"\n", 3, "events.webhook", "`exec` is set, too", "keep one"),
    above("[events]\ntimeout = \"10ms\"\n", 2, "events.timeout", "not within 100ms to 5m", "\"100ms\""),
    above("[events]\nattempts = 0\n", 2, "events.attempts", "0 is not within 1 to 10", "nearest is 1"),
    // [[volume]]
    below("budget = 50", 4, "volume[0].budget", "0 lines a reactor", "the nearest is "),
    below("budget = \"50.25%\"", 4, "volume[0].budget", "at most one decimal", "\"12.5%\""),
    below("budget = 0.97", 4, "volume[0].budget", "lines a reactor are not within 514", "the nearest is "),
    below("budget = \"99%\"", 4, "volume[0].budget", "not within 0.1% to 98%", "\"98%\""),
    below("mode = \"write_thruogh\"", 4, "volume[0].mode", "not possible", "did you mean \"write-through\"?"),
    below("io_timeout = \"soon\"", 4, "volume[0].io_timeout", "\"soon\" is not a time", "\"30s\""),
    below("io_timeout = \"2h\"", 4, "volume[0].io_timeout", "\"2h\" is not within 100ms to 1h", "\"1h\""),
    below("clients = { uids = [\"root\"] }", 4, "volume[0].clients.uids[0]", "not an integer", "4294967294"),
    below("clients = { gids = [4294967295] }", 4, "volume[0].clients.gids[0]", "not within", "nearest is 4294967294"),
    below("flush_on_failure = \"wait\"", 4, "volume[0].flush_on_failure", "\"wait\" is not possible", "\"report\", \"stall\""),
    below("flush_on_failure = { kind = \"report\", timeout = \"5m\" }", 4, "volume[0].flush_on_failure.timeout", "no key", "known here: kind"),
    below("flush_on_failure = { timeout = \"5m\" }", 4, "volume[0].flush_on_failure.kind", "is missing", "kind = \"stall\""),
    below("[[volume]]\nname = \"vm1\"\nbacking = { kind = \"block\", path = \"/dev/vdc\" }", 5, "volume[1].name", "already the one of volume[0].name", "its own name"),
    below("[[volume]]\nname = \"vm2\"\nbacking = { kind = \"file\", path = \"/dev/vdb\" }", 6, "volume[1].backing.path", "already the one of volume[0]", "overwrite each other"),
    below("[[volume]]\nname = \"VM 2\"\nbacking = { kind = \"block\", path = \"/dev/vdc\" }", 5, "volume[1].name", "\"VM 2\" (4 bytes) is no name", "a-z 0-9"),
    below("[[volume]]\nname = \"vm2\"", 4, "volume[1].backing", "is missing and has no default", "kind = \"block\""),
    below("[[volume]]\nname = \"vm2\"\nbacking = { kind = \"block\", path = \"/dev/vdc\", thin_limit = \"1GiB\" }", 6, "volume[1].backing.thin_limit", "no key", "known here: kind, path"),
    below("[[volume]]\nname = \"vm2\"\nbacking = { kind = \"file\", path = \"/f\", create = true }", 6, "volume[1].backing.create", "`size` is missing", "size = \"10GiB\""),
    below("[[volume]]\nname = \"vm2\"\nbacking = { kind = \"file\", path = \"/f\", size = \"1MiB\", thin_limit = \"2MiB\" }", 6, "volume[1].backing.thin_limit", "2097152 bytes are more than the file's size of 1048576", "smaller"),
    below("[[volume]]\nname = \"vm2\"\nbacking = { kind = \"file\", path = \"/f\", size = \"1000000B\" }", 6, "volume[1].backing.size", "no multiple of 4KiB", "\"976KiB\" and \"980KiB\""),
    below("budget = \"60%\"\n[[volume]]\nname = \"vm2\"\nbacking = { kind = \"block\", path = \"/dev/vdc\" }\nbudget = \"60%\"", 8, "volume[1].budget", "120.0% of the cache", "lower a budget"),
    below("budget = \"94.9%\"\n[[volume]]\nname = \"vm2\"\nbacking = { kind = \"block\", path = \"/dev/vdc\" }", 4, "volume[0].budget", "all budgets together (with the least for 1 without one) take 95.1%", "lower a budget"),
    // [[volume.on_failure]]
    below("[[volume.on_failure]]\nclass = \"any\"", 4, "volume[0].on_failure[0].policy", "is missing", "hold-forever"),
    below("[[volume.on_failure]]\nclass = \"any\"\npolicy = { kind = \"hold-forevr\" }", 6, "volume[0].on_failure[0].policy.kind", "not possible", "did you mean \"hold-forever\"?"),
    below("[[volume.on_failure]]\nclass = \"any\"\npolicy = { kind = \"hold-forever\", pressure = 0.9 }", 6, "volume[0].on_failure[0].policy.pressure", "no key", "known here: kind, stall_timeout"),
    below("[[volume.on_failure]]\nclass = \"any\"\npolicy = { kind = \"evict-immediately\", stall_timeout = \"1s\" }", 6, "volume[0].on_failure[0].policy.stall_timeout", "no key", "known here: kind"),
    below("[[volume.on_failure]]\nclass = \"any\"\npolicy = { kind = \"hold-until-pressure\", pressure = 1.5 }", 6, "volume[0].on_failure[0].policy.pressure", "1.5 is not within 0.1% to 100%", "\"100%\""),
    below("[[volume.on_failure]]\nclass = [\"space\", \"full\"]\npolicy = \"hold-forever\"", 5, "volume[0].on_failure[0].class[1]", "\"full\" is not possible", "\"medium\""),
    below("[[volume.on_failure]]\nclass = []\npolicy = \"hold-forever\"", 5, "volume[0].on_failure[0].class", "names no class", "\"any\""),
    below("[[volume.on_failure]]\nclass = [\"space\", \"space\"]\npolicy = \"hold-forever\"", 5, "volume[0].on_failure[0].class[1]", "adds nothing", "remove it"),
    below("[[volume.on_failure]]\nclass = \"any\"\npolicy = \"hold-forever\"\n[[volume.on_failure]]\nclass = \"space\"\npolicy = \"hold-forever\"", 7, "volume[0].on_failure[1]", "never used", "move it up"),
    below("[[volume.on_failure]]\nclass = \"any\"\npolicy = \"evict-immediately\"\nretry = { on = [] }", 7, "volume[0].on_failure[0].retry.on", "is empty", "\"timer\""),
    below("[[volume.on_failure]]\nclass = \"any\"\npolicy = \"hold-forever\"\nretry = { on = [\"timer\", \"timer\"] }", 7, "volume[0].on_failure[0].retry.on[1]", "named twice", "remove it"),
    below("[[volume.on_failure]]\nclass = \"any\"\npolicy = \"hold-forever\"\nretry = { first = \"0ms\" }", 7, "volume[0].on_failure[0].retry.first", "\"0ms\" is not within 10ms to 1h", "\"10ms\""),
    below("[[volume.on_failure]]\nclass = \"any\"\npolicy = \"hold-forever\"\nretry = { first = \"1m\", max = \"30s\" }", 7, "volume[0].on_failure[0].retry.max", "30s is less than `first`, 1m", "write \"1m\" or more"),
    below("on_failure = \"hold-forever\"", 4, "volume[0].on_failure", "not a list", "[[volume.on_failure]]"),
    // Syntax.
    above("[daemon]\nidle = spin\n", 2, "", "not TOML", "correct the syntax"),
    above("[daemon]\nidle = \"spin\"\nidle = \"spin\"\n", 3, "", "not TOML: duplicate key", "correct the syntax"),
];

#[test]
fn each_mistake_is_found_with_its_line_its_key_and_what_would_do() {
    for mistake in MISTAKES {
        let text = format!("{}{MINIMAL}{}\n", mistake.before, mistake.after);
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        let problem = &found[0];
        let place = (problem.line, problem.key.as_str());
        assert_eq!(place, (mistake.line, mistake.key), "{text}\n{problem:#?}");
        assert!(problem.message.contains(mistake.says), "{text}\n{problem:#?}");
        assert!(problem.help.contains(mistake.help), "{text}\n{problem:#?}");
    }
    assert!(MISTAKES.len() >= 40);
}

/// The nearest value that a problem names must itself be accepted: advice that is refused is worse than none.
#[test]
fn what_is_proposed_is_accepted() {
    let proposals = [
        ("[arena]\nsize = \"7628MiB\"\n", ""),
        ("[arena]\nsize = \"10MiB\"\n", ""),
        ("[daemon]\nreactors = 8\n[arena]\nsize = \"66MiB\"\n", ""),
        ("[daemon]\nreactors = 4\n[limits]\nsession_bytes_max = \"4MiB\"\n", ""),
        ("[limits]\nreserve = \"2%\"\n", "budget = \"98%\""),
    ];
    for (before, after) in proposals {
        super::accept(&format!("{before}{MINIMAL}{after}\n"));
    }
    for budget in ["budget = 50", "budget = 0.97"] {
        let problem = problems(&format!("{MINIMAL}{budget}\n")).remove(0);
        let near = problem.help.strip_prefix("the nearest is ").expect("a proposal");
        super::accept(&format!("{MINIMAL}budget = {near}\n"));
    }
}

#[test]
fn all_problems_are_found_at_once_in_the_order_of_the_file() {
    let text = "[daemon]\nidle = \"slow\"\nfoo = 1\n[arena]\nsize = \"5MB\"\n[[volume]]\nname = \"A\"\nbacking = { kind = \"file\" }\n\
                [[volume]]\nbacking = { kind = \"tape\", path = \"x\" }\nmode = 1\n";
    let found: Vec<(usize, String)> =
        problems(text).into_iter().map(|problem| (problem.line, problem.key)).collect();
    let expected = [
        (2, "daemon.idle"),
        (3, "daemon.foo"),
        (5, "arena.size"),
        (7, "volume[0].name"),
        (8, "volume[0].backing.path"),
        (9, "volume[1].name"),
        (10, "volume[1].backing.kind"),
        (10, "volume[1].backing.path"),
        (11, "volume[1].mode"),
    ];
    let expected: Vec<(usize, String)> = expected.map(|(line, key)| (line, key.to_owned())).to_vec();
    assert_eq!(found, expected);
}

#[test]
fn a_file_of_another_kind_is_given_up_after_a_hundred_problems() {
    let text: String = (0..1000).map(|at| format!("key{at} = 1\n")).collect();
    assert_eq!(problems(&text).len(), 100);
    let error = parse(&text, "other.toml").expect_err("refused").to_string();
    assert!(error.ends_with("other.toml: refused, 100 problems, and no more were looked for"), "{error}");
}

/// A misspelt cause is one problem; that no cause is left is none.
#[test]
fn a_misspelt_cause_is_not_also_an_empty_list() {
    let rule = "[[volume.on_failure]]\nclass = \"any\"\npolicy = \"evict-immediately\"\nretry = { on = [\"tmier\"] }\n";
    let found = problems(&format!("{MINIMAL}{rule}"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].help.contains("did you mean \"timer\"?"));
}

#[test]
fn two_mistakes_of_syntax_are_both_found() {
    let found = problems("[daemon]\nidle = spin\n[arena]\nsize = 8GiB\n");
    let lines: Vec<usize> = found.iter().map(|problem| problem.line).collect();
    assert!(lines.contains(&2) && lines.contains(&4), "{found:#?}");
}

#[test]
fn a_file_without_volumes_is_told_what_it_needs() {
    for text in ["", "[daemon]\n", "volume = []\n"] {
        let found = problems(text);
        assert_eq!((found.len(), found[0].key.as_str()), (1, "volume"), "{text:?}");
    }
    let many: String = (0..257)
        .map(|at| {
            format!("[[volume]]\nname = \"v{at}\"\nbacking = {{ kind = \"block\", path = \"/dev/v{at}\" }}\n")
        })
        .collect();
    assert!(problems(&many)[0].message.contains("257 volumes are not within 1 to 256"));
}

/// The caret stands below the value, in characters, also behind letters of several bytes and in the middle of a line.
#[test]
fn an_error_shows_the_line_with_a_caret_below_the_value() {
    let text = format!("{MINIMAL}write_back = {{ from = \"10%\", after = \"\u{fc}ber\" }} # \u{e9}\n");
    let error = parse(&text, "/etc/holdfast.toml").expect_err("refused").to_string();
    let expected = "\
error: volume[0].write_back.after: \"\u{fc}ber\" is not a time
 --> /etc/holdfast.toml:4:38
  |
4 | write_back = { from = \"10%\", after = \"\u{fc}ber\" } # \u{e9}
  |                                      ^^^^^^
  = help: write a number and a unit: \"100ms\", \"30s\", \"5m\"

/etc/holdfast.toml: refused, 1 problem";
    assert_eq!(error, expected);
}

#[test]
fn what_cannot_be_read_says_which_file_and_why() {
    let folder = std::env::temp_dir();
    let missing = folder.join("holdfast-config-that-is-not-there.toml");
    let error = crate::config::load(&missing).expect_err("there is no such file").to_string();
    assert!(
        error.contains("holdfast-config-that-is-not-there.toml") && error.contains("No such file"),
        "{error}"
    );
    for (name, bytes, says) in [
        ("long", vec![b'#'; (1 << 20) + 1], "longer than 1048576 bytes"),
        ("binary", b"# \xff".to_vec(), "not UTF-8 from byte 2 on"),
    ] {
        let path = folder.join(format!("holdfast-config-{name}-{}.toml", std::process::id()));
        std::fs::write(&path, bytes).expect("the temporary folder is writable");
        let error = crate::config::load(&path).expect_err(name).to_string();
        std::fs::remove_file(&path).expect("it was just written");
        assert!(error.contains(says), "{error}");
    }
}
