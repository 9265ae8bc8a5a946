//! `completions`: what a shell needs to complete this program's words, and the configuration's keys.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use dorainfra_config::schema::{KEYS, Kind, SECTIONS};

use super::context::Context;
use super::{Cli, CommandResult, Exit};

/// Print the completion script of a shell
///
/// For bash: `dorainfra completions bash > /etc/bash_completion.d/dorainfra`. In bash, zsh and fish
/// the keys of dorainfra.yaml are completed, too, after `--set` and `explain`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub async fn run(self, context: &Context) -> CommandResult {
        context.printer.verbatim(&script(self.shell));
        Ok(Exit::Done)
    }
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dorainfra", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => script + &bash(),
        Shell::Zsh => zsh(&script),
        Shell::Fish => script + &fish(),
        _ => script,
    }
}

/// Each key, and the words that it may have, where it takes no others.
fn choices() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    KEYS.iter().map(|key| {
        let words = match &key.kind {
            Kind::Choice(words, _) => words.to_vec(),
            Kind::Flag => vec!["true", "false"],
            _ => Vec::new(),
        };
        (key.path, words)
    })
}

/// The keys and sections that `explain` takes.
fn explained() -> Vec<&'static str> {
    let sections = SECTIONS.iter().map(|section| section.path).filter(|path| !path.is_empty());
    KEYS.iter().map(|key| key.path).chain(sections).collect()
}

/// `mimir.topology=`, and `mimir.topology=ha` where there are words to choose from.
fn settings() -> Vec<String> {
    let of = |(path, words): (&str, Vec<&str>)| match words.is_empty() {
        true => vec![format!("{path}=")],
        false => words.iter().map(|word| format!("{path}={word}")).collect(),
    };
    choices().flat_map(of).collect()
}

/// Around clap's function. `=` begins a word of its own in bash, so that `--set KEY=VALUE` are
/// four words, and only the last of them is completed.
fn bash() -> String {
    let keys: Vec<&str> = KEYS.iter().map(|key| key.path).collect();
    let choices: String = choices()
        .filter(|(_, words)| !words.is_empty())
        .map(|(path, words)| {
            format!("        {path}) COMPREPLY=($(compgen -W '{}' -- \"$cur\")) ;;\n", words.join(" "))
        })
        .collect();
    format!(
        r#"
_dorainfra_values() {{
    local cur=$2
    case $1 in
{choices}        *) COMPREPLY=($(compgen -f -- "$cur")) ;;
    esac
}}

_dorainfra_with_keys() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} before=() word
    # Without the signs that bash takes for words.
    for word in "${{COMP_WORDS[@]:0:COMP_CWORD}}"; do
        [ "$word" = "=" ] || before+=("$word")
    done
    [ "$cur" = "=" ] && cur=
    local last=${{before[${{#before[@]}} - 1]-}} previous=${{before[${{#before[@]}} - 2]-}}
    if [ "$last" = "--set" ]; then
        compopt -o nospace 2>/dev/null
        COMPREPLY=($(compgen -S = -W "{keys}" -- "$cur"))
        return 0
    fi
    # Where a `=` was typed, or is just being typed.
    if [ "$previous" = "--set" ] && [[ ${{COMP_WORDS[COMP_CWORD]}} == "=" || ${{COMP_WORDS[COMP_CWORD - 1]}} == "=" ]]; then
        _dorainfra_values "$last" "$cur"
        return 0
    fi
    if [ "$last" = "explain" ] && [[ $cur != -* ]]; then
        COMPREPLY=($(compgen -W "{explained}" -- "$cur"))
        return 0
    fi
    _dorainfra "$@"
}}

if [[ "${{BASH_VERSINFO[0]}}" -eq 4 && "${{BASH_VERSINFO[1]}}" -ge 4 || "${{BASH_VERSINFO[0]}}" -gt 4 ]]; then
    complete -F _dorainfra_with_keys -o nosort -o bashdefault -o default dorainfra
else
    complete -F _dorainfra_with_keys -o bashdefault -o default dorainfra
fi
"#,
        keys = keys.join(" "),
        explained = explained().join(" "),
    )
}

/// clap names the function that completes an argument: ours take its place.
fn zsh(script: &str) -> String {
    let functions = format!(
        "\n_dorainfra_settings() {{\n    local -a settings=({})\n    compadd -S '' -- $settings\n}}\n\n\
         _dorainfra_keys() {{\n    local -a keys=({})\n    compadd -- $keys\n}}\n\nif [",
        settings().join(" "),
        explained().join(" "),
    );
    let mut script = script.replace(":KEY=VALUE:_default", ":KEY=VALUE:_dorainfra_settings");
    // Of `explain`, the one argument by this name.
    script = script
        .lines()
        .map(|line| match line.starts_with("'::key -- ") {
            true => line.replace(":_default", ":_dorainfra_keys") + "\n",
            false => format!("{line}\n"),
        })
        .collect();
    script.replacen("\nif [", &functions, 1)
}

fn fish() -> String {
    format!(
        "complete -c dorainfra -l set -x -a \"{}\"\n\
         complete -c dorainfra -n \"__fish_dorainfra_using_subcommand explain\" -f -a \"{}\"\n",
        settings().join(" "),
        explained().join(" "),
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What bash offers for the last of these words, by the function that the script names.
    fn offered(script: &std::path::Path, words: &[&str]) -> Vec<String> {
        let ask = format!(
            "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; \
             function=$(complete -p dorainfra | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
             $function dorainfra \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            script.display(),
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1,
        );
        let run = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn bash_completes_keys_and_their_values() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dorainfra");
        std::fs::write(&path, script(Shell::Bash)).unwrap();
        let offered = |words: &[&str]| offered(&path, words);
        assert_eq!(offered(&["dorainfra", "plan", "--set", "mimir.disk_g"]), ["mimir.disk_gb="]);
        assert_eq!(offered(&["dorainfra", "--set", "mimir.topo"]), ["mimir.topology="]);
        assert_eq!(offered(&["dorainfra", "--set", "=", "mimir.topo"]), ["mimir.topology="]);
        for words in [
            &["dorainfra", "plan", "--set", "mimir.topology", "="][..],
            &["dorainfra", "plan", "--set", "mimir.topology", "=", ""],
            &["dorainfra", "plan", "--set", "=", "mimir.topology", "=", ""],
        ] {
            assert_eq!(offered(words), ["single", "ha"], "{words:?}");
        }
        assert_eq!(offered(&["dorainfra", "plan", "--set", "mimir.topology", "=", "h"]), ["ha"]);
        assert_eq!(offered(&["dorainfra", "explain", "mimir.disk_g"]), ["mimir.disk_gb"]);
        assert!(offered(&["dorainfra", "explain", "acc"]).contains(&"access".to_owned()), "a section");
        // What clap knows is offered as before.
        assert_eq!(offered(&["dorainfra", "validat"]), ["validate"]);
        assert!(offered(&["dorainfra", "explain", "--s"]).contains(&"--schema".to_owned()));
        assert_eq!(offered(&["dorainfra", "plan", "--detailed"]), ["--detailed-exitcode"]);
    }

    #[test]
    fn zsh_and_fish_are_given_the_keys() {
        let zsh = script(Shell::Zsh);
        assert!(zsh.contains(":KEY=VALUE:_dorainfra_settings") && zsh.contains("mimir.topology=ha"));
        assert!(!zsh.contains(":KEY=VALUE:_default"));
        let key = zsh.lines().find(|line| line.starts_with("'::key -- ")).unwrap();
        assert!(key.contains(":_dorainfra_keys"), "{key}");
        for function in ["_dorainfra_settings() {", "_dorainfra_keys() {"] {
            assert_eq!(zsh.matches(function).count(), 1, "{function}");
        }
        let fish = script(Shell::Fish);
        assert!(fish.contains("-l set -x -a \"project= "), "{fish}");
        assert!(fish.contains("__fish_dorainfra_using_subcommand explain\" -f -a \"project "));
    }
}
