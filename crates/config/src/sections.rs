//! The headings of `dorainfra.yaml`, in the order of the file. The keys below them are
//! `schema`'s.

use super::key::Section;

pub const SECTIONS: &[Section] = &[
    Section { path: "", doc: "Where the deployment lives and what it is called." },
    Section { path: "mimir", doc: "The Mimir machine, its disks and its bucket." },
    Section { path: "mimir.limits", doc: "What the tenant may write." },
    Section { path: "network", doc: "The VPC network that the machine is in." },
    Section { path: "access", doc: "Who reaches Mimir over the network, and what they have to show." },
    Section { path: "secrets", doc: "Secret Manager, which keeps the certificates and their keys." },
    Section { path: "alerts", doc: "Recording and alerting rules, and who is notified." },
    Section {
        path: "stack",
        doc: "The collector stack on this machine: generator, Pushgateway and Prometheus agent.",
    },
    Section { path: "stack.ports", doc: "Loopback ports of the stack, each another one." },
    Section {
        path: "stack.images",
        doc: "Images of the Compose stack, by tag and digest. Name a mirror's where Docker Hub is not reached.",
    },
    Section { path: "generator", doc: "What is fed: how far back, how often, and which simulated teams." },
];
