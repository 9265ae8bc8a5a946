//! The process's surroundings, read once: variables and folders. The
//! rest of the program gets values.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Variables that the tool itself reads and that are no configuration keys.
pub const TOOL_VARIABLES: &[&str] =
    &["DORAINFRA_SANDBOX_DIR", "DORAINFRA_MIMIR_RELEASES", "DORAINFRA_WEBHOOK_SECRET"];

#[derive(Clone, Debug)]
pub struct Environment {
    pub variables: BTreeMap<String, String>,
    pub folder: PathBuf,
    /// This program's own file, to be started again as the generator.
    pub executable: PathBuf,
}

impl Environment {
    /// What this process sees. Variables that are not UTF-8 are left out: none
    /// of those that are read here can mean anything in another encoding.
    pub fn of_process() -> Self {
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            folder: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            executable: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("dorainfra")),
        }
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}
