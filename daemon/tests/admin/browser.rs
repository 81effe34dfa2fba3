//! The page in a real browser. Its pictures stay in the build's folder for temporary files of tests.

use crate::chromium::Browser;
use crate::fake::failed;
use crate::metrics::busy;
use crate::world::World;
use holdfast_engine::{Command, ListState};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// What somebody named a file to see whether the page believes it.
const MARKUP: &str = "/srv/<img src=x onerror=\"document.title='owned'\">";

fn troubled() -> World {
    let world = World::at_port(Some(TOKEN));
    let mut state = world.state();
    busy(&mut state);
    let mut lost = failed(3 << 30, 3 * 4096);
    lost.state = ListState::Lost;
    state.extents = vec![failed(1 << 30, 16 * 4096), lost];
    state.map = b"..................dddd.....wwwwffff..........".to_vec();
    state.volumes[0].path = MARKUP.to_owned();
    drop(state);
    world
}

fn retries(world: &World) -> usize {
    let state = world.state();
    state.commands.iter().filter(|(_, command, _)| matches!(command, Command::Retry { .. })).count()
}

fn submit(form: &str, input: &str, text: &str) -> String {
    format!(
        "document.getElementById('{input}').value = '{text}'; document.getElementById('{form}').requestSubmit(); true"
    )
}

#[test]
fn an_operator_opens_the_page_sees_what_is_wrong_and_retries() {
    let Some(mut browser) = Browser::start() else { return };
    let world = troubled();
    let address = format!("http://{}/", world.port.expect("a port"));
    browser.open(&address);

    browser.until("!document.getElementById('key').hidden");
    browser.picture("page-token.png");
    assert_eq!(
        browser.text("document.getElementById('volumes').textContent"),
        "",
        "nothing is shown without the token"
    );
    browser.run(&submit("key", "token", "guess-guess-guess-guess"));
    browser.until("document.getElementById('refused').textContent.includes('not the token')");
    browser.run(&submit("key", "token", TOKEN));
    browser.until("!document.getElementById('main').hidden");

    assert_eq!(browser.text("document.getElementById('health').textContent"), "FAULTED");
    let reasons = browser.text("document.getElementById('reasons').textContent");
    for code in ["HF_LOST_EXTENTS", "HF_FAILED_EXTENTS", "HF_LEDGER_STUCK", "HF_REACTOR_STALL"] {
        assert!(reasons.contains(code), "{reasons}");
    }
    let one = "document.querySelector('[data-volume=vm1]')";
    let count = |kind: &str| format!("String({one}.querySelectorAll('.map .cell.{kind}').length)");
    assert_eq!(browser.text(&format!("String({one}.querySelector('.map').childElementCount)")), "512");
    // 512 cells of a picture of 45: eleven times, and its first 17; the loss lies over one that is dirty.
    for (kind, cells) in [("d", "43"), ("w", "44"), ("f", "44"), ("l", "1")] {
        assert_eq!(browser.text(&count(kind)), cells, "cells '{kind}'");
    }
    let rows = browser.text(&format!("{one}.querySelector('.extents').innerText"));
    for word in ["lost", "failed", "ENOSPC", "space", "64.0 KiB", "2026-01-02T03:04:06.000Z"] {
        assert!(rows.contains(word), "no '{word}' in {rows}");
    }
    let rates = browser.text(&format!("{one}.querySelector('.rates').innerText"));
    assert!(rates.contains("client write") && rates.contains("device write"), "{rates}");
    let facts = browser.text(&format!("{one}.querySelector('.facts').textContent"));
    assert!(facts.contains(MARKUP), "text is shown as text: {facts}");
    browser.picture("page.png");

    // A button that asks first: leaving it does nothing.
    let click = |selector: &str| format!("document.querySelector('{selector}').click(); true");
    browser.run(&click("[data-volume=vm1] .retry"));
    browser.until("document.getElementById('ask').open");
    let question = browser.text("document.getElementById('question').textContent");
    assert_eq!(question, "Write the 64.0 KiB that the disk of 'vm1' refused?");
    browser.picture("page-retry.png");
    browser.run(&click("#no"));
    browser.until("!document.getElementById('ask').open");
    assert_eq!(retries(&world), 0);
    browser.run(&click("[data-volume=vm1] .retry"));
    browser.run(&click("#yes"));
    browser.until(&format!("{one}.querySelector('.done').textContent.includes('done')"));
    assert_eq!(retries(&world), 1);
    let done = browser.text(&format!("{one}.querySelector('.done').textContent"));
    assert_eq!(done, "retry 1 done: 60.0 KiB written, 0 B still refused");

    browser.run(&submit("explain", "failure", "0123"));
    browser.until("document.getElementById('explanation').textContent.includes('is on record')");

    assert_ne!(browser.text("document.title"), "owned", "markup in a name was carried out");
    assert_eq!(browser.complaints(), Vec::<String>::new(), "what the browser itself objected to");
    let elsewhere: Vec<String> =
        browser.asked().into_iter().filter(|url| !url.starts_with(&address)).collect();
    assert_eq!(elsewhere, Vec::<String>::new(), "what was asked of somebody else");
}
