use dorainfra_config::Config;
use dorainfra_deploy::blueprint::{self, BlueprintError};
use dorainfra_prometheus::Flavour;
use dorainfra_render::Overrides;

use super::fixture;

fn refused(change: impl FnOnce(&mut Config)) -> BlueprintError {
    let mut config = fixture::config();
    change(&mut config);
    blueprint::build(&config, &fixture::facts(Flavour::Mimir), &Overrides::none())
        .expect_err("this configuration cannot be built")
}

#[test]
fn configurations_that_cannot_be_built_say_why_and_what_to_do() {
    let cases: [(BlueprintError, &str); 7] = [
        (refused(|c| c.zones.clear()), "`zones` is empty"),
        (
            refused(|c| c.access.allow = vec!["0.0.0.0/0".into()]),
            "`access.allow` opens port 9009 to the whole world",
        ),
        // The same in two halves.
        (
            refused(|c| c.access.allow = vec!["0.0.0.0/1".into(), "128.0.0.0/1".into()]),
            "`access.allow` opens port 9009 to the whole world",
        ),
        (
            refused(|c| c.access.allow = vec!["2001:db8::/32".into()]),
            "`2001:db8::/32` is an IPv6 range, but the machine has an IPv4 address only",
        ),
        (refused(|c| c.access.allow = vec!["home".into()]), "`home` is not a CIDR"),
        (
            refused(|c| c.mimir.tenant = "${iam.serviceAccount/x.email}".into()),
            "the value of `mimir.tenant` holds `${`, which would read as a reference to a resource",
        ),
        (
            refused(|c| c.labels = [("a".into(), "${{ x }}".into())].into()),
            "the value of `labels.a` holds `${`, which would read as a reference to a resource",
        ),
    ];
    for (error, message) in cases {
        assert_eq!(error.to_string(), message);
        assert!(error.hint().is_some(), "{message}");
    }
}

#[test]
fn an_unknown_caller_is_told_only_where_it_is_needed() {
    let mut facts = fixture::facts(Flavour::Mimir);
    facts.caller = None;
    let error = blueprint::build(&fixture::config(), &facts, &Overrides::none()).unwrap_err();
    assert!(matches!(error, BlueprintError::UnknownCaller));
    assert!(error.hint().unwrap().contains("203.0.113.7/32"));

    let mut config = fixture::config();
    config.access.allow = vec!["192.0.2.0/24".into()];
    blueprint::build(&config, &facts, &Overrides::none()).unwrap();
}

#[test]
fn the_whole_world_is_said_out_loud_when_it_is_meant() {
    let mut config = fixture::config();
    config.access.allow = vec!["0.0.0.0/0".into()];
    config.access.public = Some("i-understand".into());
    let built = blueprint::build(&config, &fixture::facts(Flavour::Mimir), &Overrides::none()).unwrap();
    let rule = built
        .manifests
        .iter()
        .find(|manifest| manifest.name == "dorainfra-mimir" && manifest.kind == "compute.firewall");
    assert_eq!(rule.unwrap().notes["access"], "9009 from 0.0.0.0/0 (OPEN TO THE WORLD)");
}

#[test]
fn nobody_allowed_means_no_rule() {
    let mut config = fixture::config();
    config.access.allow = vec![];
    let built = blueprint::build(&config, &fixture::facts(Flavour::Mimir), &Overrides::none()).unwrap();
    let rules: Vec<String> =
        built.manifests.iter().filter(|m| m.kind == "compute.firewall").map(|m| m.name.clone()).collect();
    assert_eq!(rules, ["dorainfra-ssh", "dorainfra-deny"]);
}

fn with_disk_template(text: &str) -> String {
    let overrides = Overrides::from_map([("resources/disk.yaml.j2".to_owned(), text.to_owned())].into());
    blueprint::build(&fixture::config(), &fixture::facts(Flavour::Mimir), &overrides)
        .expect_err("this template is wrong")
        .to_string()
}

#[test]
fn a_wrong_resource_template_is_told_by_its_own_line() {
    let file = "resources/disk.yaml.j2";
    let cases = [
        ("kind: a.b\nname: x\nbody:\n  zone: {{ zome }}\n", "4: `zome` is undefined"),
        // The line in the template, although the loop made more lines than it has.
        (
            "{% for n in [1, 2, 3] %}\nkind: a.b\nname: {{ \"x\" ~ n }}\nbody: {}\n---\n{% endfor %}\nkind: a.c\nname: x\nboddy: {}\n",
            "9: unknown field `boddy`",
        ),
        ("kind: a.b\nname: x\nbody:\n  a: [1\n  b: 2\n", "5: "),
        ("kind: a.b\nname: x\nbody: 1\n", "3: `body` is not a mapping of fields"),
        ("kind: a.b\nname: {{ \"../../x\" }}\nbody: {}\n", "2: `../../x` is not a resource's name"),
        ("kind: disk\nname: x\nbody: {}\n", "1: `disk` is not a kind, such as compute.disk"),
        (
            "kind: a.b\nname: x\nbody: {}\n---\nkind: a.b\nname: x\nbody: {}\n",
            "5: a.b/x is declared a second time",
        ),
        ("kind: a.b\nname: x\ndependsOn: [y]\nbody: {}\n", "3: `y` is not a resource"),
    ];
    for (text, expected) in cases {
        let error = with_disk_template(text);
        let expected = format!("{file}, line {expected}");
        assert!(error.starts_with(&expected), "{error:?} instead of {expected:?}");
    }
}

#[test]
fn hostile_names_of_a_deployment_stay_out_of_paths() {
    for name in ["../../etc", "a\nb", "a\"b", "a b", "{{ name }}"] {
        let error = refused(|config| config.name = name.into());
        assert!(
            matches!(error, BlueprintError::Manifest { .. } | BlueprintError::Render(_)),
            "{name:?}: {error:?}"
        );
    }
}
