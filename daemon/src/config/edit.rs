//! Settings that differ from others by one volume or one budget: what an operator changes by hand, checked like a file.

use super::effective::volume_in_toml;
use super::problem::ConfigError;
use super::settings::{Settings, VolumeSettings};

/// What an operator's words are called in errors.
const NAME: &str = "the change";

/// Settings with one more volume: the one `[[volume]]` that `toml` has. What the others have they keep, budgets too.
///
/// # Errors
/// What is wrong with it, or that it says something else than one volume; in words.
pub fn with_volume(settings: &Settings, toml: &str) -> Result<Settings, String> {
    let after =
        super::parse(&format!("{}\n{toml}", settings.to_toml()), NAME).map_err(|error| words(&error))?;
    let count = settings.volumes.len();
    let bare = |settings: &Settings| Settings { volumes: Vec::new(), ..settings.clone() };
    let one_more = after.volumes.len() == count + 1 && after.volumes[..count] == settings.volumes;
    if !one_more || bare(&after) != bare(settings) {
        return Err("it describes something else than one [[volume]]".to_owned());
    }
    Ok(after)
}

/// Settings without a volume. The others keep their budgets.
pub fn without_volume(settings: &Settings, name: &str) -> Settings {
    let mut after = settings.clone();
    after.volumes.retain(|volume| volume.name != name);
    after
}

/// Settings in which a volume has another budget, written as in a file.
///
/// # Errors
/// What is wrong with it, in words.
pub fn with_budget(settings: &Settings, name: &str, budget: &str) -> Result<Settings, String> {
    let before: String =
        settings.volumes.iter().filter(|volume| volume.name == name).map(volume_in_toml).collect();
    let line = |line: &str| {
        let text = toml::Value::String(budget.to_owned());
        if line.starts_with("budget = ") { format!("budget = {text}\n") } else { format!("{line}\n") }
    };
    let after: String = before.lines().map(line).collect();
    let text = settings.to_toml().replacen(&before, &after, 1);
    super::parse(&text, NAME).map_err(|error| words(&error))
}

/// Settings in which all volumes have the same budget, and one more could have it, too.
pub fn with_equal_budgets(settings: &Settings) -> Settings {
    let mut after = settings.clone();
    let volumes = u64::try_from(after.volumes.len()).expect("few volumes") + 1;
    let slots = settings.slots_beside_reserve() / volumes;
    let bytes = slots * u64::from(settings.arena.line_bytes) * u64::from(settings.daemon.reactors);
    after.volumes.iter_mut().for_each(|volume| volume.budget_bytes = bytes);
    after
}

/// The `[[volume]]` that says all of a volume's settings.
pub fn volume_toml(volume: &VolumeSettings) -> String {
    volume_in_toml(volume).trim_start().to_owned()
}

fn words(error: &ConfigError) -> String {
    match error {
        ConfigError::Refused { problems, .. } => {
            let problem = |problem: &super::Problem| {
                // The place of a volume in a list that nobody sees says nothing.
                let key = problem.key.split_once("].").map_or(problem.key.as_str(), |(_, key)| key);
                format!("{key}: {} ({})", problem.message, problem.help)
            };
            problems.iter().map(problem).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let text = "[arena]\nsize = \"64MiB\"\n[[volume]]\nname = \"a\"\nbacking = { kind = \"file\", path = \"/a\" }\n\
                    [[frontend]]\nkind = \"nbd\"\nsocket = \"/run/nbd\"\n";
        crate::config::parse(text, "test").expect("sound")
    }

    const B: &str = "[[volume]]\nname = \"b\"\nbacking = { kind = \"file\", path = \"/b\" }\n";

    #[test]
    fn a_volume_is_added_beside_the_others_and_taken_out_again() {
        let before = settings();
        let after = with_volume(&before, B).expect("it fits");
        assert_eq!(after.volumes[0], before.volumes[0], "nobody's budget changed");
        assert_eq!(after.volumes[1].name, "b");
        assert_eq!(without_volume(&after, "b"), before);
        let again = with_volume(&before, &volume_toml(&after.volumes[1])).expect("it says all of it");
        assert_eq!(again, after);
    }

    #[test]
    fn what_is_no_volume_or_does_not_fit_is_refused_in_words() {
        let before = settings();
        let refused = |toml: &str| with_volume(&before, toml).expect_err(toml);
        assert!(refused("").contains("something else"), "{}", refused(""));
        assert!(refused("[daemon]\nreactors = 2\n").contains("not TOML"));
        assert!(
            refused(&format!("{B}{}", B.replace("\"b\"", "\"c\"").replace("/b", "/c")))
                .contains("something else")
        );
        assert!(refused(&B.replace("\"b\"", "\"a\"")).contains("name"));
        assert!(refused(&format!("{B}budget = \"90%\"\n")).contains("budget"));
    }

    #[test]
    fn a_budget_is_changed_as_a_file_would() {
        let before = with_volume(&settings(), B).expect("it fits");
        let after = with_budget(&before, "a", "10MiB").expect("it fits");
        assert_eq!((after.volumes[0].budget_bytes, &after.volumes[1]), (10 << 20, &before.volumes[1]));
        assert!(with_budget(&before, "a", "99%").is_err());
        assert!(with_budget(&before, "a", "\"\n[debug]").is_err());
    }

    #[test]
    fn equal_budgets_leave_room_for_one_more() {
        let crowded = with_volume(&settings(), B).expect("it fits");
        let c = B.replace("\"b\"", "\"c\"").replace("/b", "/c");
        assert!(with_volume(&crowded, &c).is_err(), "all is given");
        with_volume(&with_equal_budgets(&crowded), &c).expect("it fits now");
    }
}
