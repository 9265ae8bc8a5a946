//! `man`: the manual pages, for who packages or installs this program.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use dorainfra_base::file::{self, Mode};

use super::context::Context;
use super::{Cli, CommandError, CommandResult, Exit};

/// Write the manual pages, one for each command
///
/// `man -l dorainfra.1` shows one; below a folder of `manpath`, in `man1`, `man dorainfra-apply` finds it.
#[derive(Debug, Args)]
pub struct Man {
    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Man {
    pub async fn run(self, context: &Context) -> CommandResult {
        let folder = context.environment.folder.join(&self.out);
        let unwritable = |path: &Path, error: std::io::Error| {
            CommandError::failed(format!("{} can't be written: {error}", path.display()))
                .hint("check the folder's permissions and the free space")
        };
        std::fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, error))?;
        let pages = pages();
        for (name, text) in &pages {
            let path = folder.join(name);
            file::output(&path, text, Mode::Public).map_err(|error| unwritable(&path, error))?;
        }
        context.printer.note(&format!("{} pages written to {}", pages.len(), folder.display()));
        Ok(Exit::Done)
    }
}

/// Name and text of each page: `dorainfra-sandbox-start.1`.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    add(&root, &mut pages);
    pages
}

fn add(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) {
    let version = command.get_version().unwrap_or_default();
    let page = clap_mangen::Man::new(command.clone())
        .title(command.get_display_name().unwrap_or(command.get_name()))
        .source(format!("dorainfra {version}"))
        .manual("dorainfra");
    let mut text = Vec::new();
    page.render(&mut text).expect("memory takes what is written");
    pages.push((page.get_filename(), text));
    command.get_subcommands().filter(|command| !command.is_hide_set()).for_each(|inner| add(inner, pages));
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn each_command_has_a_page_of_80_columns() {
        let pages = pages();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["dorainfra.1", "dorainfra-apply.1", "dorainfra-sandbox-start.1"] {
            assert!(names.contains(&name), "{name} is not in {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("help")), "{names:?}");
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in &pages {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        // Where there is a formatter; a package is built where there is one.
        let mut man = Command::new("man");
        man.arg("-l").args(&names).env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8").current_dir(folder.path());
        let Ok(shown) = man.output() else { return };
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
        assert!(text.contains("dorainfra-sandbox-start") && text.contains("OPTIONS"), "{text}");
        let wide: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{wide:?}");
        let said = String::from_utf8_lossy(&shown.stderr);
        assert!(!said.contains("warning") && !said.contains("error"), "{said}");
    }
}
