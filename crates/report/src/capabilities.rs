//! What DORA's research names as driving each metric: where to look for a remedy. The pages are
//! those of <https://dora.dev/capabilities/>; the words here are ours.

use super::Key;

/// Where all of them are.
pub(super) const SOURCE: &str = "https://dora.dev/capabilities/";

/// A capability: its name, the last part of its address, and what it comes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capability {
    pub name: &'static str,
    slug: &'static str,
    pub about: &'static str,
}

impl Capability {
    pub fn address(&self) -> String {
        format!("{SOURCE}{}/", self.slug)
    }
}

const SMALL_BATCHES: Capability = Capability {
    name: "Working in small batches",
    slug: "working-in-small-batches",
    about: "Split work into pieces that are done in hours to a few days, and release each of them: that shortens lead \
            times, and a fault is easier to find.",
};
const APPROVAL: Capability = Capability {
    name: "Streamlining change approval",
    slug: "streamlining-change-approval",
    about: "Review by peers while a change is made, and automated checks. DORA found that approval by an outside board \
            slows delivery, and found no sign that it makes failures rarer.",
};
const TRUNK: Capability = Capability {
    name: "Trunk-based development",
    slug: "trunk-based-development",
    about: "Short-lived branches, merged at least daily, so that no change waits for a long merge.",
};
const DEPLOYMENT: Capability = Capability {
    name: "Deployment automation",
    slug: "deployment-automation",
    about: "One automated way to every environment, which anybody on the team can start. Count the manual steps first.",
};
const TESTS: Capability = Capability {
    name: "Test automation",
    slug: "test-automation",
    about: "Reliable tests that developers keep and that run with every change: faults are found before users find them.",
};
const INTEGRATION: Capability = Capability {
    name: "Continuous integration",
    slug: "continuous-integration",
    about: "Each change is built and tested at once, and a broken build is mended before anything else.",
};
const MONITORING: Capability = Capability {
    name: "Monitoring and observability",
    slug: "monitoring-and-observability",
    about: "Whoever mends has to see quickly what broke and why: a large part of the time to restore is finding out.",
};
const NOTIFICATION: Capability = Capability {
    name: "Proactive failure notification",
    slug: "proactive-failure-notification",
    about: "Alerts before users notice, to those who can mend it, and few enough of them to be taken seriously.",
};

/// The capabilities to look at first where a metric is weak.
pub(super) fn of(key: Key) -> [Capability; 3] {
    match key {
        Key::Frequency => [SMALL_BATCHES, DEPLOYMENT, APPROVAL],
        Key::LeadTime => [SMALL_BATCHES, TRUNK, APPROVAL],
        Key::FailureRate => [TESTS, INTEGRATION, SMALL_BATCHES],
        Key::Recovery => [MONITORING, NOTIFICATION, DEPLOYMENT],
        Key::Rework => [TESTS, SMALL_BATCHES, MONITORING],
    }
}

/// What to ask a team whose metric got worse.
pub(super) fn question(key: Key) -> &'static str {
    match key {
        Key::Frequency => {
            "What do finished changes wait for: a release date, an approval, a manual step, another team?"
        }
        Key::LeadTime => "Where does a change wait longest between its first commit and production?",
        Key::FailureRate => {
            "What did the last failures have in common, and which check would have caught them?"
        }
        Key::Recovery => {
            "In the last failures, what took longest: noticing, finding the cause, or deploying the repair?"
        }
        Key::Rework => {
            "Which faults led to the last unplanned deployments, and where could they have been found earlier?"
        }
    }
}
