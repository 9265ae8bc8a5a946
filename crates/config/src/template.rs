//! [`Config`] → the commented `dorainfra.yaml` that `init` writes. What differs
//! from the defaults, and what everybody looks for, is set; everything else
//! stands there as a comment that can be switched on by removing its `#`.

use std::fmt::Write;

use serde_json::Value;

use super::schema::{KEYS, Key, SECTIONS, Section};
use super::{Basis, Config, PLACEHOLDER_PROJECT, tree};

/// Keys that are always set, so that the file shows what it decides.
const ALWAYS: [&str; 4] = ["project", "name", "region", "access.allow"];

/// Longest line of a comment.
const WIDTH: usize = 100;

const HEAD: &str = "\
# dorainfra.yaml: what `dorainfra apply` makes, and keeps, on Google Cloud.
#
# A line that begins with `#` and a key is a default, or an example where there is none: remove
# the `#` to change it.
# --project and --set win over DORAINFRA_* variables, these over this file.
#
# Editors complete and check this file by its schema, once it is beside it:
# dorainfra explain --schema > dorainfra.schema.json
# yaml-language-server: $schema=dorainfra.schema.json
";

/// The text of a configuration file that loads to `config`.
pub fn template(config: &Config) -> String {
    let values = serde_json::to_value(config).expect("a configuration is plain data");
    let project = if config.project.is_empty() { PLACEHOLDER_PROJECT } else { &config.project };
    let defaults = Config::defaults_of(&Basis { project, ..Basis::of(config) });
    let defaults = serde_json::to_value(defaults).expect("a configuration is plain data");
    let mut text = HEAD.to_owned();
    for section in SECTIONS {
        let depth = heading(&mut text, section);
        for key in KEYS.iter().filter(|key| key.split().0 == section.path) {
            let value = key.value_in(&values).unwrap_or(&Value::Null);
            let default = key.value_in(&defaults).unwrap_or(&Value::Null);
            // Nothing asked for: no optional path, no project yet.
            let absent = value.is_null() || value.as_str() == Some("");
            let set = !absent && (value != default || ALWAYS.contains(&key.path));
            entry(&mut text, key, depth, if set { Some(value) } else { None }, default);
        }
    }
    text
}

/// Writes the line of a section and says how deep its keys stand.
fn heading(text: &mut String, section: &Section) -> usize {
    let depth = section.path.split('.').filter(|part| !part.is_empty()).count();
    if let Some((_, name)) = section.split() {
        text.push('\n');
        comment(text, depth - 1, section.doc);
        let _ = writeln!(text, "{}{name}:", indent(depth - 1));
    }
    depth
}

fn entry(text: &mut String, key: &Key, depth: usize, value: Option<&Value>, default: &Value) {
    text.push('\n');
    comment(text, depth, key.doc);
    comment(text, depth, &format!("Allowed: {}.", key.kind.allowed()));
    let (indent, name) = (indent(depth), key.split().1);
    // A list of such a key has at least one item.
    let no_items =
        matches!(key.kind, super::schema::Kind::List(_)) && default.as_array().is_some_and(Vec::is_empty);
    let _ = match value {
        Some(value) => writeln!(text, "{indent}{name}: {}", yaml(value)),
        // No default to show: what it could be.
        None if default.is_null() || *default == "" || no_items => {
            writeln!(text, "{indent}#{name}: {}", key.example)
        }
        None => writeln!(text, "{indent}#{name}: {}", yaml(default)),
    };
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

/// `sentence` as comment lines.
fn comment(text: &mut String, depth: usize, sentence: &str) {
    let start = format!("{}#", indent(depth));
    let mut line = start.clone();
    for word in sentence.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH && line != start {
            text.push_str(&line);
            text.push('\n');
            line.clone_from(&start);
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

/// A value on one line, in flow style.
pub(super) fn yaml(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(yaml).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{}: {}", scalar(name), yaml(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// A text plain where YAML reads it back as this very text, else in quotes.
fn scalar(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && tree::parse(text).is_ok_and(|node| node.value == tree::Value::Text(text.to_owned()));
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::{Sources, load};

    fn read_back(text: &str) -> Result<Config, String> {
        let file = Some((PathBuf::from("dorainfra.yaml"), text.to_owned()));
        load(Sources { file, ..Sources::default() })
            .map(|loaded| loaded.config)
            .map_err(|errors| errors.to_string())
    }

    fn from_settings(settings: &[&str]) -> Config {
        let set = settings.iter().map(|&setting| setting.to_owned()).collect();
        load(Sources { set, ..Sources::default() }).expect("valid settings").config
    }

    fn is_commented_key(line: &str) -> bool {
        line.trim_start()
            .strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    }

    #[test]
    fn the_file_of_a_new_deployment() {
        let config =
            from_settings(&["project=my-gcp", "region=us-central1", "access.allow=caller,203.0.113.0/24"]);
        insta::assert_snapshot!(template(&config));
    }

    #[test]
    fn the_file_without_any_answer_loads_to_the_defaults() {
        assert_eq!(read_back(&template(&Config::default())), Ok(Config::default()));
    }

    #[test]
    fn every_commented_line_loads_when_switched_on_and_a_default_changes_nothing() {
        let config = from_settings(&["project=my-gcp", "region=us-central1"]);
        let text = template(&config);
        let lines: Vec<&str> = text.lines().collect();
        let mut switched = 0;
        for (index, _) in lines.iter().enumerate().filter(|(_, line)| is_commented_key(line)) {
            let line = lines[index].replacen('#', "", 1);
            let mut changed = lines.clone();
            changed[index] = &line;
            let loaded = read_back(&changed.join("\n")).unwrap_or_else(|errors| panic!("{line}\n{errors}"));
            let name = line.trim().split(':').next().unwrap();
            let optional = [
                "templates_dir",
                "binary",
                "public",
                "prometheus",
                "pushgateway",
                "subnet",
                "service_account",
                "locations",
                "endpoint",
                "config",
                "watchdog",
                "url",
                "scrape_jobs",
                "simulate",
            ]
            .contains(&name);
            assert!(optional || loaded == config, "{line} changed the configuration");
            switched += 1;
        }
        assert_eq!(switched, KEYS.len() - ALWAYS.len());
        let all: Vec<String> = lines
            .iter()
            .map(|line| if is_commented_key(line) { line.replacen('#', "", 1) } else { (*line).to_owned() })
            .collect();
        read_back(&all.join("\n")).unwrap_or_else(|errors| panic!("{errors}"));
    }

    #[test]
    fn every_example_of_the_table_is_valid() {
        for key in KEYS {
            let (section, name) = key.split();
            let mut text = String::new();
            for (depth, part) in section.split('.').filter(|part| !part.is_empty()).enumerate() {
                let _ = writeln!(text, "{}{part}:", indent(depth));
            }
            let depth = section.split('.').filter(|part| !part.is_empty()).count();
            let _ = writeln!(text, "{}{name}: {}", indent(depth), key.example);
            // What this key needs of another one.
            if key.path == "generator.native_histograms" {
                text.push_str("stack: {live: remote-write}\n");
            }
            if key.path == "access.external_machines" {
                text.push_str("mimir: {topology: ha}\n");
            }
            // Zones of the example's own region.
            read_back(&text).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
        }
    }

    #[test]
    fn lines_are_not_too_long() {
        // A digest is as long as it is.
        let text = template(&Config::default());
        for line in text.lines().filter(|line| !line.contains("@sha256:")) {
            assert!(line.chars().count() <= 110, "{line}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// What `init` writes is what was asked for.
        #[test]
        fn a_file_loads_to_the_configuration_it_was_written_from(
            project in "[a-z][a-z0-9-]{4,28}[a-z0-9]",
            name in "[a-z]([a-z0-9-]{0,10}[a-z0-9])?",
            region in "(europe|us|asia)-(west|east)[1-9]",
            zone in prop::option::of("[a-f]"),
            labels in prop::collection::btree_map("[a-df-z][a-z0-9_-]{0,8}", "[a-z0-9_-]{0,12}", 0..4),
            tenant in "[A-Za-z0-9!_*'()-]{1,20}",
            binary in prop::option::of("[^~\\p{C}][^\\p{C}]{0,30}"),
            bucket in prop::option::of("[a-f][a-f0-9_-]{1,20}[a-f0-9]"),
            days in 1u32..300,
            seed in any::<u64>(),
            public in any::<bool>(),
        ) {
            let mut set = vec![
                format!("project={project}"),
                format!("name={name}"),
                format!("region={region}"),
                format!("mimir.tenant={tenant}"),
                format!("labels={}", Value::from_iter(labels)),
                format!("generator.days={days}"),
                format!("generator.seed={seed}"),
            ];
            set.extend(zone.map(|zone| format!("zones={region}-{zone}")));
            set.extend(binary.map(|binary| format!("mimir.binary={binary}")));
            set.extend(bucket.map(|bucket| format!("mimir.bucket={bucket}")));
            if public {
                set.push("access.allow=0.0.0.0/0,::/0".into());
                set.push("access.public=i-understand".into());
            }
            // `goog…` and the like make a bucket's name that is refused.
            let Ok(loaded) = load(Sources { set, ..Sources::default() }) else { return Ok(()) };
            prop_assert_eq!(read_back(&template(&loaded.config)), Ok(loaded.config));
        }
    }
}
