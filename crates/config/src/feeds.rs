//! What a deployment is fed with: what its sources tell, simulated teams, or nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;

/// What a deployment's values tell of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Feeds {
    /// Of what the sources have.
    Real,
    /// Of teams that nobody has.
    Simulated,
    /// There are no values: no sources, and nobody has asked for simulated teams.
    #[default]
    Nothing,
}

impl Feeds {
    /// What has to be known of values of so many teams; nothing, where they are real.
    pub fn caution(self, teams: u64) -> Option<String> {
        match self {
            Self::Real => None,
            Self::Simulated => {
                let s = if teams == 1 { "" } else { "s" };
                Some(format!("simulated data: {teams} team{s}"))
            }
            Self::Nothing => Some(NOTHING_IS_FED.to_owned()),
        }
    }
}

/// Why there are no values, and what to do about it.
pub const NOTHING_IS_FED: &str = "no data is fed until `sources` are configured, or simulated teams are asked for \
                                  (`generator.simulate: true`)";

impl Config {
    /// The same configuration, in which it is decided whether simulated teams are fed: where
    /// nothing is said, in a sandbox only, and only where there is no source.
    #[must_use]
    pub fn settled(mut self, sandbox: bool) -> Self {
        let simulate = self.generator.simulate.unwrap_or(sandbox);
        self.generator.simulate = Some(simulate && self.sources.is_empty());
        self
    }

    /// What is fed, once that is [`settled`](Self::settled).
    pub fn feeds(&self) -> Feeds {
        match (self.sources.is_empty(), self.generator.simulate) {
            (false, _) => Feeds::Real,
            (true, Some(true)) => Feeds::Simulated,
            (true, _) => Feeds::Nothing,
        }
    }

    /// How many simulated teams are fed.
    pub fn simulated_teams(&self) -> u32 {
        match self.feeds() {
            Feeds::Simulated => self.generator.teams,
            Feeds::Real | Feeds::Nothing => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sources, load};

    /// Nobody gets simulated teams on Google, or beside real ones, who has not asked for them.
    #[test]
    fn what_is_fed_follows_from_sources_the_cloud_and_what_is_asked_for() {
        const SOURCE: &str = "sources=[{type: git, path: ../shop, team: orders}]";
        let (sandbox_there, google) = (true, false);
        let cases = [
            (None, false, sandbox_there, Feeds::Simulated),
            (None, false, google, Feeds::Nothing),
            (None, true, sandbox_there, Feeds::Real),
            (None, true, google, Feeds::Real),
            (Some(true), false, sandbox_there, Feeds::Simulated),
            (Some(true), false, google, Feeds::Simulated),
            (Some(false), false, sandbox_there, Feeds::Nothing),
            (Some(false), false, google, Feeds::Nothing),
            (Some(false), true, sandbox_there, Feeds::Real),
            (Some(false), true, google, Feeds::Real),
        ];
        let of = |simulate: Option<bool>, sources: bool| {
            let simulate = simulate.map(|simulate| format!("generator.simulate={simulate}"));
            let set = simulate.into_iter().chain(sources.then(|| SOURCE.to_owned())).collect();
            load(Sources { set, ..Sources::default() })
        };
        for (simulate, sources, sandbox, feeds) in cases {
            let config = of(simulate, sources).unwrap().config.settled(sandbox);
            let about = format!("{simulate:?}, sources {sources}, sandbox {sandbox}");
            assert_eq!(config.feeds(), feeds, "{about}");
            assert_eq!(config.simulated_teams(), if feeds == Feeds::Simulated { 39 } else { 0 }, "{about}");
            assert_eq!(config.clone().settled(!sandbox), config, "{about}: it is decided once");
        }
        // Both at once is an error that says where each is, and what to remove.
        let error = of(Some(true), true).unwrap_err().to_string();
        for words in ["`generator.simulate`", "--set generator.simulate", "`sources` (--set)", "remove"] {
            assert!(error.contains(words), "{words} is not in {error}");
        }
    }
}
