//! `--serve`: what it tells people to type, typed.

use super::{built, folder, quickstart};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// Types a line that was printed, and gives back the exit code.
fn type_in(line: &str) -> Option<i32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().expect("it names the program");
    output.status.code()
}

#[test]
fn an_operator_who_types_what_is_printed_heals_the_volume() {
    let folder = folder();
    let mut command = quickstart(&built(), folder.path(), &["--serve"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the daemon was built");
    let mut lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
    let mut said = Vec::new();
    for line in lines.by_ref() {
        said.push(line.expect("it is text"));
        if said.last().is_some_and(|line| line.contains("Ctrl-C")) {
            break;
        }
    }
    let commands: Vec<&String> = said.iter().filter(|line| line.contains(" ctl --socket ")).collect();
    let exits: Vec<Option<i32>> = commands.iter().map(|line| type_in(line)).collect();
    kill_process(Pid::from_child(&child), Signal::INT).expect("it waits for that");
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let status = child.wait().expect("it is our child");
    let all = format!("{}\n{}", said.join("\n"), rest.join("\n"));
    // status is DEGRADED; explain, extents, grow-thin and retry do what they say; status is HEALTHY.
    assert_eq!(exits, [1, 0, 0, 0, 0, 0].map(Some), "{all}");
    assert!(all.contains("The daemon ended: exit status: 0"), "{all}");
    assert_eq!(status.code(), Some(0), "{all}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0, "{all}");
}
