//! The configuration reference, docs/configuration.md, from the table of keys.

use std::fmt::Write;

use super::Config;
use super::schema::{KEYS, Key, Kind, SECTIONS};
use super::source::{FIELDS, SourceKind};
use super::template::yaml;
use super::versions::minors;

const HEAD: &str = "\
<!-- Generated from crates/config/src/schema.rs. To write it again:
     cargo test --test project config_reference -- --ignored -->

# Configuration

`dorainfra.yaml` says what a deployment is. Every key has a default, and a
deployment without the file is one with all defaults: only a project is needed.
`dorainfra init` writes a commented file.

## Where a value comes from

The highest source that names a key decides:

1. `--project PROJECT`
2. `--set KEY=VALUE`, the last one for a key
3. the variable of the key, `DORAINFRA_` and the key in capitals
4. `dorainfra.yaml`
5. for `project` only: `GOOGLE_CLOUD_PROJECT`
6. the default

- Every source is checked, also where a higher one overrides it, and all that is
  wrong is reported at once.
- A list is written `a,b` or `[a, b]` in `--set` and variables; labels
  `team=core,env=dev` or `{team: core, env: dev}`. `--set labels.team=core` sets
  one label beside the others. `mimir.extra` is written as YAML: `{limits: {…}}`.
- `--set KEY=` goes back to the default. An empty variable counts as not set.
- A variable that begins with `DORAINFRA_` and belongs to no key is an error.
- A relative path in the file is relative to the file's folder; elsewhere to the
  folder where the command runs.

## What belongs together

Keys are checked against each other too:

- `zones` are zones of `region`: one for `topology: single`, three for `ha`.
- `access.allow` with a network as wide as the internet needs `access.public`.
- `generator.days` and a day more fit into `mimir.retention`, and into
  `mimir.limits.out_of_order_window` where history goes through Mimir's ingester (`sources`, or a
  Mimir that takes no blocks): older samples would be deleted, or rejected.
- `alerts.watchdog` needs `alerts.rules`.
- `sources` and `generator.simulate: true` exclude each other.
- With `sources`, `generator.teams` and `generator.seed` mean nothing.
- `generator.teams` times 50 is at most `mimir.limits.max_series`; times 180 with
  `generator.service_histograms`.
- `network.create` excludes `network.name` and `network.subnet`.
- `access.external_machines: false` is for `topology: ha`, or goes with `access.external: false`.
- The keys of `mimir.extra` are keys of that `mimir.version`, as far as its keys
  are known here ({minors}).
- `mimir.version` is what the program in `mimir.binary` says of itself, if it says
  any version.
- The ports of the stack differ.
";

/// The whole page, in Markdown.
pub fn reference() -> String {
    let defaults = serde_json::to_value(Config::default()).expect("a configuration is plain data");
    let mut page = HEAD.replace("{minors}", &minors());
    for section in SECTIONS {
        let title =
            if section.path.is_empty() { "Outermost level".into() } else { format!("`{}`", section.path) };
        let _ = writeln!(page, "\n## {title}\n\n{}", section.doc);
        for key in KEYS.iter().filter(|key| key.split().0 == section.path) {
            let default = key.value_in(&defaults).map(yaml);
            entry(&mut page, key, &default.unwrap_or_default());
        }
    }
    page
}

fn entry(page: &mut String, key: &Key, default: &str) {
    let default = key.derived.map_or_else(|| format!("`{default}`"), str::to_owned);
    let _ = writeln!(page, "\n### `{}`\n\n{}\n", key.path, key.doc);
    let _ = writeln!(page, "- Allowed: {}", key.kind.allowed());
    let _ = writeln!(page, "- Default: {default}");
    let _ = writeln!(page, "- Example: `{}: {}`", key.split().1, key.example);
    let _ = writeln!(page, "- Variable: `{}`", key.variable());
    if matches!(key.kind, Kind::Sources) {
        items(page);
    }
}

/// The keys of an item of `sources`.
fn items(page: &mut String) {
    let _ =
        writeln!(page, "\nKeys of an item ([sources.md](sources.md) says what they mean for the events):\n");
    let _ = writeln!(page, "| key | of | what | example |\n| --- | --- | --- | --- |");
    for field in FIELDS {
        let types: Vec<String> = SourceKind::ALL
            .iter()
            .filter(|kind| field.types.has(**kind))
            .map(|kind| {
                let needed = if field.needed.has(*kind) { " (needed)" } else { "" };
                format!("`{}`{needed}", kind.name())
            })
            .collect();
        let Key { doc, example, .. } = field.key;
        let _ = writeln!(page, "| `{}` | {} | {doc} | `{example}` |", field.name(), types.join(", "));
    }
}
