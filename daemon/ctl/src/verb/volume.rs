//! `volume add`, `remove` and `budget`.

use super::{Outcome, Run};
use crate::api::{
    BudgetRequest, Reloaded, VolumeAddRequest, VolumeAdded, VolumeRemoveRequest, VolumeRemoved,
};
use crate::cli::{BudgetArgs, TypedBacking, VolumeAddArgs, VolumeRemoveArgs};
use crate::client::segment;
use crate::error::Error;
use crate::{Exit, text};
use std::path::Path;

impl Run<'_, '_> {
    pub(super) fn add_volume(&mut self, args: &VolumeAddArgs) -> Outcome {
        let request = VolumeAddRequest { toml: toml_of(args)?, dry_run: args.dry_run };
        let answer = self.client.post("/v1/volumes", &request)?;
        let added: VolumeAdded = self.client.read(&answer)?;
        self.print(&answer, |invocation| text::added(&added, invocation));
        Ok(Exit::Ok)
    }

    pub(super) fn remove_volume(&mut self, args: &VolumeRemoveArgs) -> Outcome {
        let VolumeRemoveArgs { volume, abandon, yes_lose_data, dry_run } = args;
        if *abandon && !yes_lose_data && !dry_run {
            let message = "'volume remove --abandon' loses what the device refuses, for good.";
            return Err(Error::usage(message, "Nothing was changed. If that is meant, add --yes-lose-data."));
        }
        let request =
            VolumeRemoveRequest { abandon: *abandon, yes_lose_data: *yes_lose_data, dry_run: *dry_run };
        let answer = self.client.post(&format!("/v1/volumes/{}/remove", segment(volume)), &request)?;
        let removed: VolumeRemoved = self.client.read(&answer)?;
        self.print(&answer, |_| text::removed(&removed));
        Ok(Exit::Ok)
    }

    pub(super) fn set_budget(&mut self, args: &BudgetArgs) -> Outcome {
        let request = BudgetRequest { budget: args.budget.clone(), dry_run: args.dry_run };
        let answer = self.client.post(&format!("/v1/volumes/{}/budget", segment(&args.volume)), &request)?;
        let set: Reloaded = self.client.read(&answer)?;
        self.print(&answer, |_| text::budget_set(&set));
        Ok(Exit::Ok)
    }
}

/// The `[[volume]]` that the command line describes. Whether it makes sense, the daemon says.
fn toml_of(args: &VolumeAddArgs) -> Result<String, Error> {
    let VolumeAddArgs { volume, backing, size, create, thin_limit, buffered, budget, settings, .. } = args;
    let of_file = size.is_some() || *create || thin_limit.is_some() || *buffered;
    let backing = match TypedBacking::of(backing) {
        TypedBacking::Block(_) if of_file => {
            let message = "--size, --create, --thin-limit and --buffered are for files.";
            return Err(Error::usage(message, "Nothing was changed. Leave them out, or write file:/PATH."));
        }
        TypedBacking::Block(path) => format!("{{ kind = \"block\", path = {} }}", quoted(&path)),
        TypedBacking::File(path) => {
            let size = size.map_or(String::new(), |bytes| format!(", size = \"{bytes}B\""));
            let limit = thin_limit.map_or(String::new(), |bytes| format!(", thin_limit = \"{bytes}B\""));
            let create = if *create { ", create = true" } else { "" };
            let buffered = if *buffered { ", buffered = true" } else { "" };
            format!("{{ kind = \"file\", path = {}{size}{create}{limit}{buffered} }}", quoted(&path))
        }
    };
    let name = quoted(Path::new(volume));
    let mut toml = format!("[[volume]]\nname = {name}\nbacking = {backing}\n");
    if let Some(budget) = budget {
        toml += &format!("budget = {}\n", quoted(Path::new(budget)));
    }
    settings.iter().for_each(|setting| toml += &format!("{setting}\n"));
    Ok(toml)
}

/// A basic string of TOML.
fn quoted(text: &Path) -> String {
    let mut out = String::from("\"");
    for character in text.to_string_lossy().chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => out += &format!("\\u{:04X}", u32::from(control)),
            other => out.push(other),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb, VolumeVerb};
    use clap::Parser;

    fn toml(words: &[&str]) -> Result<String, Error> {
        let cli =
            Cli::try_parse_from(["holdfastctl", "volume", "add"].iter().chain(words)).expect("it parses");
        match cli.verb {
            Verb::Volume(VolumeVerb::Add(args)) => toml_of(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_line_is_a_volume_of_the_configuration() {
        assert_eq!(
            toml(&["vm2", "--backing", "/dev/nvme1n1", "--budget", "25%"]).expect("sound"),
            "[[volume]]\nname = \"vm2\"\nbacking = { kind = \"block\", path = \"/dev/nvme1n1\" }\nbudget = \"25%\"\n"
        );
        let file =
            ["vm2", "--backing", "/srv/a \"b\"", "--size", "1MiB", "--create", "--set", "read_only = false"];
        assert_eq!(
            toml(&file).expect("sound"),
            "[[volume]]\nname = \"vm2\"\nbacking = { kind = \"file\", path = \"/srv/a \\\"b\\\"\", size = \"1048576B\", create = \
             true }\nread_only = false\n"
        );
        assert!(toml(&["vm2", "--backing", "file:/dev/shm/x"]).expect("sound").contains("kind = \"file\""));
        assert!(toml(&["vm2", "--backing", "block:/dev/loop0", "--size", "1MiB"]).is_err());
    }
}
