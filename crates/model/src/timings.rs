//! How long a run took, and for what it waited: taken from the event stream alone, whose listener says what
//! time it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::critical_path::{CriticalPath, Span, critical_path};
use crate::{Action, Event, Phase, Plan, ResourceId};

/// A stretch of time on a line of its own or beside others, since the run began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub name: String,
    pub began: Duration,
    pub ended: Duration,
}

/// The work on one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    pub id: ResourceId,
    pub action: Action,
    pub began: Duration,
    pub ended: Duration,
    pub ok: bool,
    /// What it needs of what the run changed and ended last.
    pub waited_for: Option<ResourceId>,
}

/// What is remembered of a stream, with the time at which it came.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    phases: Vec<(Phase, Duration)>,
    stages: Vec<Stretch>,
    /// What is under way: since when, and what it waited for.
    under_way: BTreeMap<ResourceId, (Duration, Option<ResourceId>)>,
    works: Vec<Work>,
    /// By resource that is changed: those that it needs and that are changed, too.
    needs: BTreeMap<ResourceId, BTreeSet<ResourceId>>,
    checks: Vec<Stretch>,
    /// By machine, what it reported.
    machines: BTreeMap<String, Vec<(String, Duration)>>,
}

/// By stage and by resource: when it began, how long it took, and what it waited for.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Timings {
    /// Of the command, from its beginning.
    pub total_ms: u64,
    /// In the order in which they began. A stage may be a part of the one before it.
    pub stages: Vec<StageTime>,
    /// What was worked on, in the order in which it began.
    pub resources: Vec<ResourceTime>,
    /// `null`: no resource was worked on.
    pub critical_path: Option<PathTime>,
}

/// A phase of the run, or a step of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StageTime {
    pub name: String,
    /// Since the command began.
    pub began_ms: u64,
    pub elapsed_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ResourceTime {
    pub id: ResourceId,
    pub action: Action,
    /// Since the command began.
    pub began_ms: u64,
    pub elapsed_ms: u64,
    pub ok: bool,
    /// Of what it had to wait for, what ended last.
    pub waited_for: Option<ResourceId>,
}

/// The longest chain of resources that waited for each other: what the run could not have been faster than.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PathTime {
    pub resources: Vec<PathStep>,
    /// The sum of its steps.
    pub length_ms: u64,
    /// From the beginning of the first resource to the end of the last one.
    pub wall_ms: u64,
    /// `wall_ms` by `length_ms`; `null` where that is nothing.
    pub ratio: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PathStep {
    pub id: ResourceId,
    /// What it counts for: its time from the end of the step before it.
    pub elapsed_ms: u64,
}

impl Timeline {
    /// An event that was sent at `at`, since the run began.
    pub fn take(&mut self, at: Duration, event: &Event) {
        match event {
            Event::PhaseStarted { phase } => self.phases.push((*phase, at)),
            Event::PhaseFinished { phase, .. } => {
                if let Some(nth) = self.phases.iter().rposition(|(begun, _)| begun == phase) {
                    let (phase, began) = self.phases.remove(nth);
                    self.stages.push(Stretch { name: name(phase), began, ended: at });
                }
            }
            Event::StageFinished { stage, elapsed_ms } => {
                let began = at.saturating_sub(Duration::from_millis(*elapsed_ms));
                self.stages.push(Stretch { name: name(stage), began, ended: at });
            }
            Event::Planned { plan, .. } => self.needs = needs(plan),
            Event::ResourceStarted { id, waited_for, .. } => {
                self.under_way.insert(id.clone(), (at, waited_for.clone()));
            }
            Event::ResourceFinished { id, action, .. } => self.ended(id, *action, at, true),
            Event::ResourceFailed { id, action, .. } => self.ended(id, *action, at, false),
            Event::Checked { check } => {
                let began = at.saturating_sub(Duration::from_millis(check.elapsed_ms));
                self.checks.push(Stretch { name: check.name.clone(), began, ended: at });
            }
            Event::MachineStage { machine, stage, .. } => {
                self.machines.entry(machine.clone()).or_default().push((stage.clone(), at));
            }
            _ => {}
        }
    }

    fn ended(&mut self, id: &ResourceId, action: Action, at: Duration, ok: bool) {
        // One that failed before it was begun took no time.
        let (began, waited_for) = self.under_way.remove(id).unwrap_or((at, None));
        self.works.push(Work { id: id.clone(), action, began, ended: at, ok, waited_for });
    }

    /// In the order in which they began, the longer one first.
    pub fn stages(&self) -> Vec<Stretch> {
        let mut stages = self.stages.clone();
        stages.sort_by_key(|stage| (stage.began, std::cmp::Reverse(stage.ended)));
        stages
    }

    /// In the order in which they began.
    pub fn works(&self) -> Vec<Work> {
        let mut works = self.works.clone();
        works.sort_by_key(|work| (work.began, work.ended));
        works
    }

    /// In the order in which they ended.
    pub fn checks(&self) -> &[Stretch] {
        &self.checks
    }

    /// What each machine reported, and when.
    pub fn machines(&self) -> &BTreeMap<String, Vec<(String, Duration)>> {
        &self.machines
    }

    /// What a command came to that took `total`.
    pub fn timings(&self, total: Duration) -> Timings {
        let stages = self.stages().into_iter().map(|Stretch { name, began, ended }| StageTime {
            name,
            began_ms: ms(began),
            elapsed_ms: ms(ended) - ms(began),
        });
        let works = self.works();
        let resources = works.iter().map(|work| ResourceTime {
            id: work.id.clone(),
            action: work.action,
            began_ms: ms(work.began),
            elapsed_ms: ms(work.ended) - ms(work.began),
            ok: work.ok,
            waited_for: work.waited_for.clone(),
        });
        Timings {
            total_ms: ms(total),
            stages: stages.collect(),
            resources: resources.collect(),
            critical_path: self.path(&works),
        }
    }

    /// In whole milliseconds, so that the sum is one also where it is shown.
    fn path(&self, works: &[Work]) -> Option<PathTime> {
        let at: BTreeMap<&ResourceId, usize> =
            works.iter().enumerate().map(|(at, work)| (&work.id, at)).collect();
        let whole = |time: Duration| Duration::from_millis(ms(time));
        let spans: Vec<Span> = works
            .iter()
            .map(|work| {
                // The engine knows more reasons to wait than a plan shows.
                let needs = self.needs.get(&work.id).into_iter().flatten().chain(&work.waited_for);
                let needs = needs.filter_map(|id| at.get(id).copied()).collect();
                Span { began: whole(work.began), ended: whole(work.ended), needs }
            })
            .collect();
        let began = spans.iter().map(|span| span.began).min()?;
        let ended = spans.iter().map(|span| span.ended).max()?;
        let CriticalPath { length, chain } = critical_path(&spans);
        let (length_ms, wall_ms) = (ms(length), ms(ended - began));
        let step =
            |(at, counted): (usize, Duration)| PathStep { id: works[at].id.clone(), elapsed_ms: ms(counted) };
        Some(PathTime {
            resources: chain.into_iter().map(step).collect(),
            length_ms,
            wall_ms,
            ratio: (length_ms > 0).then(|| (wall_ms as f64 / length_ms as f64 * 100.0).round() / 100.0),
        })
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// As in JSON.
fn name(stage: impl Serialize) -> String {
    serde_json::to_value(stage).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Through what stays as it is: nobody waits there, but for what comes before it.
fn needs(plan: &Plan) -> BTreeMap<ResourceId, BTreeSet<ResourceId>> {
    let stays = |action: Action| matches!(action, Action::NoOp | Action::Keep);
    let mut through: BTreeMap<&ResourceId, BTreeSet<ResourceId>> = BTreeMap::new();
    let mut needs = BTreeMap::new();
    for step in &plan.steps {
        let own: BTreeSet<ResourceId> =
            step.needs.iter().filter_map(|need| through.get(need)).flatten().cloned().collect();
        if stays(step.action) {
            through.insert(&step.id, own);
        } else {
            needs.insert(step.id.clone(), own);
            through.insert(&step.id, BTreeSet::from([step.id.clone()]));
        }
    }
    needs
}

#[cfg(test)]
mod tests {
    use crate::{Check, Outcome, Stage, Step};

    use super::*;

    fn id(name: &str) -> ResourceId {
        ResourceId::new("mem.box", name)
    }

    fn step(name: &str, action: Action, needs: &[&str]) -> Step {
        Step {
            id: id(name),
            action,
            reason: String::new(),
            changes: Vec::new(),
            needs: needs.iter().map(|need| id(need)).collect(),
            notes: BTreeMap::new(),
        }
    }

    fn started(name: &str, waited_for: Option<&str>) -> Event {
        Event::ResourceStarted { id: id(name), action: Action::Create, waited_for: waited_for.map(id) }
    }

    /// With a duration that only a stopped clock would have: the listener's counts.
    fn finished(name: &str) -> Event {
        Event::ResourceFinished { id: id(name), action: Action::Create, elapsed_ms: 0 }
    }

    fn timeline(events: &[(u64, Event)]) -> Timeline {
        let mut timeline = Timeline::default();
        for (at, event) in events {
            timeline.take(Duration::from_micros(at * 1000 + 700), event);
        }
        timeline
    }

    fn run() -> Timeline {
        let plan = Plan {
            steps: vec![
                step("services", Action::NoOp, &[]),
                step("bucket", Action::Create, &["services"]),
                step("folder", Action::Keep, &["bucket"]),
                step("object", Action::Create, &["folder"]),
                step("disk", Action::Create, &[]),
            ],
            ..Plan::default()
        };
        let check = Check {
            name: "history".into(),
            title: String::new(),
            outcome: Outcome::Passed,
            expected: String::new(),
            found: String::new(),
            hint: None,
            elapsed_ms: 30,
        };
        timeline(&[
            (10, Event::StageFinished { stage: Stage::Credentials, elapsed_ms: 8 }),
            (10, Event::PhaseStarted { phase: Phase::Plan }),
            (40, Event::StageFinished { stage: Stage::Files, elapsed_ms: 5 }),
            (40, Event::PhaseFinished { phase: Phase::Plan, elapsed_ms: 30, ok: true }),
            (41, Event::Planned { plan, feed: Vec::new(), cost: None }),
            (50, Event::PhaseStarted { phase: Phase::Resources }),
            (60, started("bucket", None)),
            (160, finished("bucket")),
            (161, started("disk", Some("bucket"))),
            (170, started("object", Some("bucket"))),
            (200, finished("disk")),
            (
                220,
                Event::ResourceFailed {
                    id: id("object"),
                    action: Action::Create,
                    error: String::new(),
                    hint: None,
                    elapsed_ms: 50,
                },
            ),
            (230, Event::PhaseFinished { phase: Phase::Resources, elapsed_ms: 180, ok: false }),
            (300, Event::Checked { check }),
        ])
    }

    #[test]
    fn stages_resources_and_the_path_are_told_from_the_stream() {
        let timings = run().timings(Duration::from_millis(310));
        let stage = |name: &str, began_ms, elapsed_ms| StageTime { name: name.into(), began_ms, elapsed_ms };
        assert_eq!(timings.total_ms, 310);
        assert_eq!(
            timings.stages,
            [
                stage("credentials", 2, 8),
                stage("plan", 10, 30),
                stage("files", 35, 5),
                stage("resources", 50, 180)
            ]
        );
        let told: Vec<_> = timings
            .resources
            .iter()
            .map(|work| (work.id.name.as_str(), work.began_ms, work.elapsed_ms, work.ok))
            .collect();
        assert_eq!(told, [("bucket", 60, 100, true), ("disk", 161, 39, true), ("object", 170, 50, false)]);
        assert_eq!(timings.resources[1].waited_for, Some(id("bucket")));
        let path = timings.critical_path.unwrap();
        let steps: Vec<_> =
            path.resources.iter().map(|step| (step.id.name.as_str(), step.elapsed_ms)).collect();
        assert_eq!(steps, [("bucket", 100), ("object", 50)], "through what stays as it is");
        assert_eq!((path.length_ms, path.wall_ms, path.ratio), (150, 160, Some(1.07)));
    }

    #[test]
    fn a_plan_alone_has_stages_and_no_path() {
        let events = [
            (0, Event::PhaseStarted { phase: Phase::Plan }),
            (7, Event::PhaseFinished { phase: Phase::Plan, elapsed_ms: 7, ok: true }),
            (7, Event::Planned { plan: Plan::default(), feed: Vec::new(), cost: None }),
        ];
        let timings = timeline(&events).timings(Duration::from_millis(9));
        assert_eq!((timings.stages.len(), timings.resources.len(), timings.critical_path), (1, 0, None));
    }

    #[test]
    fn what_took_no_time_has_no_ratio() {
        let path =
            timeline(&[(5, started("a", None)), (5, finished("a"))]).timings(Duration::ZERO).critical_path;
        assert_eq!(path.map(|path| (path.length_ms, path.ratio)), Some((0, None)));
    }

    #[test]
    fn the_check_began_before_it_was_told() {
        let run = run();
        assert_eq!(run.checks()[0].began, Duration::from_micros(270_700));
    }
}
