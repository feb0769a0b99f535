//! `granary --help`: the commands in groups, by what one wants to do.

use std::fmt::Write as _;

use clap::Command;

/// Groups of commands, in the order of a newcomer's days. What stands in none comes last.
const GROUPS: &[(&str, &[&str])] = &[
    ("Run a server", &["serve", "config", "status", "bench"]),
    (
        "Work with datasets",
        &["login", "ls", "push", "pull", "diff", "cp", "mv", "rm", "reinstate", "merge", "meta"],
    ),
    ("Say who may do what", &["user", "team", "project", "token", "audit"]),
    ("Keep a store safe and small", &["backup", "restore", "check", "scrub", "stats", "gc"]),
];

/// Below the options.
const AFTER: &str = "\
Examples:
  granary serve --data /srv/granary
  granary login --url https://granary.example.org --username ann
  granary push photos --dataset cats
  granary pull --dataset cats copy

`granary COMMAND --help` says more of each. A command ends with 0 if all was done, 1 if something
failed (standard error says what, and the next step), 2 if the command line is wrong, and 3 if
what is stored is not sound or the server is not well; `diff` with 1 if there is a difference, and
2 if it could not look.

--url or GRANARY_URL says where the server is. Scripts set GRANARY_TOKEN, or GRANARY_USERNAME and
GRANARY_PASSWORD, instead of logging in.";

/// The program's command line with its commands in groups.
pub(crate) fn in_groups(mut command: Command) -> Command {
    // The library's own commands are there once it is built.
    command.build();
    let width = command.get_subcommands().map(|known| known.get_name().len()).max();
    let width = width.unwrap_or_default();
    let known: Vec<(String, String)> = command.get_subcommands().map(described).collect();
    let mut text = String::new();
    let mut rest: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
    for (title, names) in GROUPS {
        list(&mut text, title, names, &known, width);
        rest.retain(|name| !names.contains(name));
    }
    list(&mut text, "Beside these", &rest, &known, width);
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{text}{}\n{{options}}{{after-help}}",
        heading("Options")
    );
    command.help_template(template).after_help(AFTER)
}

fn described(command: &Command) -> (String, String) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    (command.get_name().to_owned(), about)
}

fn list(text: &mut String, title: &str, names: &[&str], known: &[(String, String)], width: usize) {
    let of_group = |name: &&str| known.iter().find(|(known, _)| known == name);
    let mut lines = names.iter().filter_map(of_group).peekable();
    if lines.peek().is_none() {
        return;
    }
    writeln!(text, "{}", heading(title)).unwrap_or_default();
    for (name, about) in lines {
        writeln!(text, "  \u{1b}[1m{name:width$}\u{1b}[0m  {about}").unwrap_or_default();
    }
    text.push('\n');
}

/// As the library writes its own headings; what is no terminal gets plain text.
fn heading(title: &str) -> String {
    format!("\u{1b}[1;4m{title}:\u{1b}[0m")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_command_is_listed_once_with_what_it_does_within_a_hundred_columns() {
        let help = in_groups(Cli::command()).render_help().to_string();
        for known in Cli::command().get_subcommands() {
            let (name, about) = described(known);
            let lines = help.lines().filter(|line| {
                line.strip_prefix("  ").is_some_and(|line| line.split(' ').next() == Some(&name))
            });
            let lines: Vec<&str> = lines.collect();
            assert_eq!(lines.len(), 1, "{name}: {help}");
            assert!(!about.is_empty() && lines[0].ends_with(&about), "{name}: {help}");
            assert!(lines[0].chars().count() <= 100, "{}", lines[0]);
        }
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}
