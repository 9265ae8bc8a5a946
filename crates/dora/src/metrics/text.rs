//! The present values of some teams, in a text format.

use dorainfra_prometheus::exposition::{self, Format};

use super::Live;
use super::counters::families;

/// All values of `teams`, family by family, without those labels that are `told`
/// in another way: by a Pushgateway's group.
pub fn text<'a>(teams: impl Iterator<Item = &'a Live> + Clone, format: Format, told: &[&str]) -> String {
    let mut text = String::with_capacity(4096);
    for (family, kind, help) in families() {
        let mut begun = false;
        for team in teams.clone() {
            for (name, labels, value) in team.values().filter(|(name, ..)| name.starts_with(family)) {
                // Those by service are not always there.
                if !std::mem::replace(&mut begun, true) {
                    format.family(&mut text, family, kind, help);
                }
                let labels = labels.iter().filter(|(label, _)| !told.contains(label));
                exposition::sample(&mut text, name, labels, value);
            }
        }
    }
    text
}
