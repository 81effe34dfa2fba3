//! Handshakes as byte strings: what honest clients say, and what others may.

use super::*;
use proptest::prelude::*;

/// A peer that says all it has to say at once, and remembers what it is told.
struct Peer {
    says: io::Cursor<Vec<u8>>,
    heard: Vec<u8>,
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.says.read(buffer)
    }
}

impl Write for Peer {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.heard.extend(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn exports() -> Vec<Export> {
    let export = |name: &str, read_only| Export {
        name: name.to_owned(),
        bytes: 1 << 30,
        block_bytes: 512,
        line_bytes: 4096,
        read_only,
    };
    vec![export("vm1", false), export("vm2", true)]
}

fn option_of(number: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = OPTION_MAGIC.to_be_bytes().to_vec();
    bytes.extend(number.to_be_bytes());
    bytes.extend(u32::try_from(data.len()).expect("short").to_be_bytes());
    bytes.extend(data);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = length_of(text).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn go(name: &str) -> Vec<u8> {
    let mut data = string(name);
    data.extend([0, 0]);
    option_of(option::GO, &data)
}

fn set_context(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = string(name);
    data.extend(u32::try_from(queries.len()).expect("few").to_be_bytes());
    queries.iter().for_each(|query| data.extend(string(query)));
    option_of(option::SET_META_CONTEXT, &data)
}

/// What comes of a client that says `options`, and the kinds of the answers that it got.
fn talk(options: &[Vec<u8>]) -> (Result<Agreement, NoAgreement>, Vec<u32>) {
    let mut says = 3_u32.to_be_bytes().to_vec();
    says.extend(options.concat());
    let mut peer = Peer { says: io::Cursor::new(says), heard: Vec::new() };
    let agreed = negotiate(&mut peer, &exports());
    let mut kinds = Vec::new();
    let mut rest = &peer.heard[18..];
    while rest.len() >= 20 && u64_at(rest, 0) == OPTION_REPLY_MAGIC {
        kinds.push(u32_at(rest, 12));
        rest = &rest[20 + u32_at(rest, 16) as usize..];
    }
    (agreed, kinds)
}

fn agreement(options: &[Vec<u8>]) -> Agreement {
    talk(options).0.expect("an agreement")
}

#[test]
fn a_modern_client_gets_what_it_asks_for() {
    let options = [
        option_of(option::STRUCTURED_REPLY, &[]),
        set_context("vm2", &["base:allocation", "holdfast:failed", "other:thing"]),
        go("vm2"),
    ];
    let expected = Agreement {
        export: 1,
        form: ReplyForm::Structured,
        contexts: vec![Context::Allocation, Context::Failed],
    };
    assert_eq!(agreement(&options), expected);
    let kinds = talk(&options).1;
    let (ack, context, info) = (reply::ACK, reply::META_CONTEXT, reply::INFO);
    assert_eq!(kinds, [ack, context, context, ack, info, info, ack]);
}

#[test]
fn an_old_client_chooses_by_name_and_an_empty_name_is_the_first() {
    let chosen = agreement(&[option_of(option::EXPORT_NAME, b"vm2")]);
    assert_eq!((chosen.export, chosen.form), (1, ReplyForm::Simple));
    assert_eq!(agreement(&[option_of(option::EXPORT_NAME, b"")]).export, 0);
    assert!(talk(&[option_of(option::EXPORT_NAME, b"vm3")]).0.is_err());
}

#[test]
fn contexts_of_another_export_are_not_those_of_this_one() {
    let structured = option_of(option::STRUCTURED_REPLY, &[]);
    let options = [structured.clone(), set_context("vm1", &["holdfast:dirty"]), go("vm2")];
    assert_eq!(agreement(&options).contexts, []);
    let unset = [
        structured,
        set_context("vm1", &["holdfast:dirty"]),
        set_context("vm1", &["holdfast:nonsense"]),
        go("vm1"),
    ];
    assert_eq!(agreement(&unset).contexts, [], "the last question counts");
}

#[test]
fn extended_headers_bring_structure_and_cannot_be_taken_back() {
    let extended = option_of(option::EXTENDED_HEADERS, &[]);
    let options = [extended, option_of(option::STRUCTURED_REPLY, &[]), go("vm1")];
    let (agreed, kinds) = talk(&options);
    assert_eq!(agreed.expect("an agreement").form, ReplyForm::Extended);
    assert_eq!(kinds[..2], [reply::ACK, reply::ERR_INVALID]);
}

#[test]
fn what_makes_no_sense_is_refused_and_the_talk_goes_on() {
    let mut long = string("vm1");
    long[3] = 200;
    let mut more = string("vm1");
    more.extend([0, 9, 0, 0]);
    let cases = [
        (option_of(99, b"?"), reply::ERR_UNSUP),
        (option_of(option::LIST, b"?"), reply::ERR_INVALID),
        (option_of(option::STRUCTURED_REPLY, b"?"), reply::ERR_INVALID),
        (set_context("vm1", &["base:allocation"]), reply::ERR_INVALID),
        (option_of(option::GO, &long), reply::ERR_INVALID),
        (option_of(option::GO, &more), reply::ERR_INVALID),
        (go("vm3"), reply::ERR_UNKNOWN),
        (option_of(option::INFO, &vec![0; 20 << 10]), reply::ERR_TOO_BIG),
    ];
    for (nonsense, answer) in cases {
        let (agreed, kinds) = talk(&[nonsense.clone(), go("vm1")]);
        assert_eq!(kinds[0], answer, "{nonsense:02x?}");
        assert_eq!(agreed.expect("the talk goes on").export, 0);
    }
}

#[test]
fn a_talk_ends() {
    let endless: Vec<Vec<u8>> = (0..OPTIONS_MAX + 1).map(|_| option_of(option::LIST, &[])).collect();
    assert!(matches!(talk(&endless).0, Err(NoAgreement::Protocol(_))));
    assert!(matches!(talk(&[option_of(option::ABORT, &[])]).0, Err(NoAgreement::Left)));
    assert!(matches!(talk(&[b"GET / HTTP/1.1\r\n\r\n".to_vec()]).0, Err(NoAgreement::Protocol(_))));
    assert!(matches!(talk(&[]).0, Err(NoAgreement::Io(_))));
}

proptest! {
    /// Nothing that a peer says panics, or makes the server say more than it was asked.
    #[test]
    fn no_bytes_do_harm(
        numbers in prop::collection::vec((0_u32..13, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
        tail in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut options: Vec<Vec<u8>> =
            numbers.iter().map(|(number, data)| option_of(*number, data)).collect();
        options.push(tail);
        let (agreed, kinds) = talk(&options);
        prop_assert!(kinds.len() <= options.len() * (Context::ALL.len() + 5));
        if let Ok(agreed) = agreed {
            prop_assert!(agreed.export < 2);
        }
    }
}
