//! Where the time of a run went, as a table for people.

use dorainfra_model::{PathTime, ResourceTime, Timings};

use super::text::elapsed;
use super::{Role, Style, Table, labels};

/// By stage, by resource, and the longest chain of resources.
pub(super) fn table(timings: &Timings, style: &Style) -> String {
    let heading = |text: &str| format!("{}\n", style.paint(Role::Heading, text));
    let mut out = heading("Timings");
    let mut stages = Table::new(["BEGAN", "TOOK", "STAGE"]).indent(2);
    for stage in &timings.stages {
        stages.row(row(stage.began_ms, stage.elapsed_ms, Role::Plain, stage.name.clone()));
    }
    out.push_str(&stages.render(style));
    let mut resources = Table::new(["BEGAN", "TOOK", "RESOURCE"]).indent(2);
    for work in &timings.resources {
        let role = if work.ok { Role::Plain } else { Role::Bad };
        resources.row(row(work.began_ms, work.elapsed_ms, role, told(work)));
    }
    out.push_str(&resources.render(style));
    if let Some(path) = &timings.critical_path {
        let verdict = match path.ratio {
            Some(ratio) => format!("took {}: {ratio:.2} times that", elapsed(path.wall_ms)),
            None => format!("took {}", elapsed(path.wall_ms)),
        };
        let bound = format!("Critical path {}; all resources {verdict}", elapsed(path.length_ms));
        out.push_str(&heading(&bound));
        out.push_str(&chain(path, style));
    }
    out
}

fn row(began_ms: u64, elapsed_ms: u64, role: Role, text: String) -> [(Role, String); 3] {
    [(Role::Faint, elapsed(began_ms)), (Role::Plain, elapsed(elapsed_ms)), (role, text)]
}

fn told(work: &ResourceTime) -> String {
    let what = labels::doing(work.action, &work.id);
    let failed = if work.ok { "" } else { " failed" };
    match &work.waited_for {
        Some(other) => format!("{what}{failed}, after {}", labels::id(other)),
        None => format!("{what}{failed}"),
    }
}

fn chain(path: &PathTime, style: &Style) -> String {
    let mut steps = Table::bare().indent(2);
    for step in &path.resources {
        steps.row([(Role::Plain, elapsed(step.elapsed_ms)), (Role::Plain, labels::id(&step.id))]);
    }
    steps.render(style)
}

#[cfg(test)]
mod tests {
    use dorainfra_engine::{Action, ResourceId};
    use dorainfra_model::{PathStep, StageTime};

    use super::*;
    use crate::ui::text::width;

    fn timings() -> Timings {
        let id = |text: &str| text.parse::<ResourceId>().unwrap();
        let (bucket, machine) =
            (id("storage.bucket/my-gcp-dorainfra-mimir"), id("compute.instance/dorainfra-mimir"));
        let stage = |name: &str, began_ms, elapsed_ms| StageTime { name: name.into(), began_ms, elapsed_ms };
        let work =
            |id: &ResourceId, began_ms, elapsed_ms, ok, waited_for: Option<&ResourceId>| ResourceTime {
                id: id.clone(),
                action: Action::Create,
                began_ms,
                elapsed_ms,
                ok,
                waited_for: waited_for.cloned(),
            };
        let step = |id: &ResourceId, elapsed_ms| PathStep { id: id.clone(), elapsed_ms };
        Timings {
            total_ms: 83_000,
            stages: vec![
                stage("credentials", 2, 60),
                stage("plan", 70, 400),
                stage("resources", 500, 81_000),
            ],
            resources: vec![
                work(&bucket, 510, 1_250, true, None),
                work(&machine, 1_765, 79_700, false, Some(&bucket)),
            ],
            critical_path: Some(PathTime {
                resources: vec![step(&bucket, 1_250), step(&machine, 79_700)],
                length_ms: 80_950,
                wall_ms: 80_955,
                ratio: Some(1.0),
            }),
        }
    }

    #[test]
    fn it_fits_eighty_columns() {
        let style = Style { width: 80, wraps: true, ..Style::plain() };
        let table = table(&timings(), &style);
        assert!(table.lines().all(|line| width(line) <= 80), "{table}");
        insta::assert_snapshot!(table, @r"
        Timings
          BEGAN  TOOK    STAGE
          0.0s   0.1s    credentials
          0.1s   0.4s    plan
          0.5s   1m 21s  resources
          BEGAN  TOOK    RESOURCE
          0.5s   1.3s    create storage.bucket/my-gcp-dorainfra-mimir
          1.8s   1m 20s  create compute.instance/dorainfra-mimir failed, after
                         storage.bucket/my-gcp-dorainfra-mimir
        Critical path 1m 21s; all resources took 1m 21s: 1.00 times that
          1.3s    storage.bucket/my-gcp-dorainfra-mimir
          1m 20s  compute.instance/dorainfra-mimir
        ");
    }

    #[test]
    fn no_word_is_broken_at_forty() {
        let style = Style { width: 40, wraps: true, ..Style::plain() };
        let table = super::super::text::fold(&table(&timings(), &style), 40).into_owned();
        assert!(table.lines().all(|line| width(line) <= 40), "{table}");
        let words: Vec<&str> = table.split_whitespace().collect();
        for word in ["compute.instance/", "dorainfra-mimir", "storage.bucket/", "my-gcp-dorainfra-mimir"] {
            assert!(words.contains(&word) || words.contains(&format!("{word},").as_str()), "{word}: {table}");
        }
    }

    #[test]
    fn a_plan_without_changes_has_its_stages() {
        let plan = Timings { resources: Vec::new(), critical_path: None, ..timings() };
        let table = table(&plan, &Style::plain());
        assert!(table.contains("credentials") && !table.contains("RESOURCE"), "{table}");
    }
}
