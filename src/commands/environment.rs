//! The process's surroundings, read once: variables and folders. The
//! rest of the program gets values.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Variables that the tool itself reads and that are no configuration keys.
pub const TOOL_VARIABLES: &[&str] = &[
    "DORAINFRA_SANDBOX_DIR",
    "DORAINFRA_MIMIR_RELEASES",
    "DORAINFRA_WEBHOOK_SECRET",
    // Those of `connect`, which may run this program.
    CONNECTED_VARIABLES[0].0,
    CONNECTED_VARIABLES[1].0,
    CONNECTED_VARIABLES[2].0,
    CONNECTED_VARIABLES[3].0,
    CONNECTED_VARIABLES[4].0,
    CONNECTED_VARIABLES[5].0,
];

/// Variables that `connect` gives to what it runs, and the output that each of them is.
pub const CONNECTED_VARIABLES: [(&str, &str); 6] = [
    ("DORAINFRA_ENDPOINT", "endpoint"),
    ("DORAINFRA_MIMIR_URL", "mimir_url"),
    ("DORAINFRA_TENANT", "tenant"),
    ("DORAINFRA_CA_FILE", "ca_file"),
    ("DORAINFRA_CLIENT_CERTIFICATE_FILE", "client_certificate_file"),
    ("DORAINFRA_CLIENT_KEY_FILE", "client_key_file"),
];

/// Variables that say by which proxy something is reached.
pub const PROXY_VARIABLES: [&str; 9] = [
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "REQUEST_METHOD",
];

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

    /// What `NO_PROXY` has to be for this machine's own addresses to be reached directly
    /// (the sandbox, Mimir through a tunnel); `None`: it is so already.
    pub fn proxy_exceptions(&self) -> Option<String> {
        const PROXIES: [&str; 6] =
            ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
        const LOOPBACK: &str = "localhost,127.0.0.1,127.0.0.0/8";
        let proxied = PROXIES.iter().any(|name| self.get(name).is_some());
        let present = self.get("NO_PROXY").or(self.get("no_proxy")).unwrap_or_default();
        if !proxied || present.trim() == "*" || present.contains(LOOPBACK) {
            return None;
        }
        Some(if present.is_empty() { LOOPBACK.into() } else { format!("{present},{LOOPBACK}") })
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exceptions(variables: &[(&str, &str)]) -> Option<String> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Environment { variables, folder: PathBuf::new(), executable: PathBuf::new() }.proxy_exceptions()
    }

    #[test]
    fn what_connect_gives_is_taken_for_no_key() {
        for (variable, output) in CONNECTED_VARIABLES {
            assert!(TOOL_VARIABLES.contains(&variable), "{variable}");
            assert!(dorainfra_deploy::workflow::output::OUTPUTS.contains(&output), "{output}");
        }
    }

    #[test]
    fn this_machine_is_an_exception_to_any_proxy() {
        assert_eq!(exceptions(&[]), None);
        assert_eq!(exceptions(&[("NO_PROXY", "example.com")]), None);
        let loopback = exceptions(&[("HTTPS_PROXY", "http://proxy:3128")]).unwrap();
        assert!(loopback.contains("127.0.0.0/8") && loopback.contains("localhost"));
        let both = exceptions(&[("http_proxy", "http://proxy:3128"), ("no_proxy", ".corp")]).unwrap();
        assert_eq!(both, format!(".corp,{loopback}"));
        assert_eq!(exceptions(&[("http_proxy", "http://proxy:3128"), ("NO_PROXY", &both)]), None, "once");
        assert_eq!(exceptions(&[("ALL_PROXY", "socks5://proxy"), ("NO_PROXY", "*")]), None);
    }
}
