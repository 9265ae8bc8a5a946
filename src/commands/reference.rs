//! docs/commands.md, made from the commands themselves, so that it can't differ
//! from `--help`.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use super::Cli;

/// The whole command reference as Markdown.
pub fn reference() -> String {
    let mut root = Cli::command();
    root.build();
    let mut text = String::from(
        "# Command reference\n\nGenerated from the program's own help; \
         `cargo test --test project reference` checks that it is current.\n",
    );
    section(&mut text, &root, "dorainfra", 2, &[]);
    text
}

/// `told` are the options of the commands above that this one takes as well: each
/// is told once, where it belongs to.
fn section(text: &mut String, command: &Command, path: &str, level: usize, told: &[&str]) {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let _ = write!(text, "\n{} `{path}`\n\n{}\n", "#".repeat(level), about.trim());
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let _ = write!(text, "\n    {usage}\n");
    let mut rows: Vec<String> = Vec::new();
    let mut shared: Vec<&str> = Vec::new();
    for argument in command.get_arguments() {
        if argument.is_hide_set() || matches!(argument.get_id().as_str(), "help" | "version") {
            continue;
        }
        if argument.is_global_set() {
            let name = argument.get_long().unwrap_or_default();
            if told.contains(&name) {
                continue;
            }
            shared.push(name);
        }
        let name = if argument.is_positional() {
            format!("`{}`", argument.get_id().as_str().to_uppercase())
        } else {
            let value = if argument.get_action().takes_values() {
                let names = argument.get_value_names().unwrap_or_default();
                format!(" {}", names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" "))
            } else {
                String::new()
            };
            format!("`--{}{value}`", argument.get_long().unwrap_or_default())
        };
        let help =
            argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
        let default = argument
            .get_default_values()
            .iter()
            .map(|value| value.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(",");
        let default = if default.is_empty() || !argument.get_action().takes_values() {
            String::new()
        } else {
            format!(" (default `{default}`)")
        };
        rows.push(format!("| {name} | {}{default} |", help.replace('\n', " ").replace('|', "\\|")));
    }
    if !rows.is_empty() {
        let _ = write!(text, "\n| argument | meaning |\n| --- | --- |\n{}\n", rows.join("\n"));
    }
    if !shared.is_empty() {
        let names: Vec<String> = shared.iter().map(|name| format!("`--{name}`")).collect();
        let _ = write!(text, "\nEvery command below takes these too: {}.\n", names.join(", "));
    }
    let told = [told, &shared].concat();
    for child in command.get_subcommands() {
        if child.is_hide_set() || child.get_name() == "help" {
            continue;
        }
        section(text, child, &format!("{path} {}", child.get_name()), (level + 1).min(4), &told);
    }
}
