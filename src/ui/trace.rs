//! A run as a trace in the [Trace Event Format][format], which Perfetto and chrome://tracing show: stages,
//! resources, machines and checks, and arrows from what was waited for.
//!
//! [format]: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU

use std::collections::BTreeMap;
use std::time::Duration;

use dorainfra_model::Timeline;
use serde_json::{Value, json};

use super::labels;

/// One process: the command.
const PROCESS: u32 = 1;

/// A stretch with what is told of it.
struct Slice {
    name: String,
    began: Duration,
    ended: Duration,
    args: Value,
}

/// The trace of a command, as JSON.
pub fn trace(timeline: &Timeline, command: &str, total: Duration) -> Value {
    let mut tracks = Tracks::default();
    let whole =
        Slice { name: format!("dorainfra {command}"), began: Duration::ZERO, ended: total, args: json!({}) };
    let stages = timeline.stages().into_iter().map(|stage| Slice {
        name: stage.name,
        began: stage.began,
        ended: stage.ended,
        args: json!({}),
    });
    // Each stage lies within the one that it is a part of.
    tracks.add("stages", std::iter::once(whole).chain(stages));
    for (machine, reports) in timeline.machines() {
        let ends = reports.iter().skip(1).map(|(_, at)| *at);
        let ends = ends.chain(reports.last().map(|(_, at)| *at));
        let slices = reports.iter().zip(ends).map(|((stage, began), ended)| Slice {
            name: stage.clone(),
            began: *began,
            ended,
            args: json!({}),
        });
        tracks.add(&format!("machine {machine}"), slices);
    }
    let works = timeline.works();
    let slices = works.iter().map(|work| Slice {
        name: labels::doing(work.action, &work.id),
        began: work.began,
        ended: work.ended,
        args: json!({
            "id": work.id, "action": work.action, "ok": work.ok,
            "waited_for": work.waited_for,
        }),
    });
    let lanes = tracks.side_by_side("resources", slices);
    let at: BTreeMap<_, usize> = works.iter().enumerate().map(|(at, work)| (&work.id, at)).collect();
    for (user, work) in works.iter().enumerate() {
        let need = work.waited_for.as_ref().and_then(|need| at.get(need).copied());
        if let Some(need) = need.filter(|&need| works[need].ended <= work.began) {
            tracks.arrow((lanes[need], works[need].ended), (lanes[user], work.began));
        }
    }
    let checks = timeline.checks().iter().map(|check| Slice {
        name: check.name.clone(),
        began: check.began,
        ended: check.ended,
        args: json!({}),
    });
    tracks.side_by_side("checks", checks);
    json!({ "traceEvents": tracks.events, "displayTimeUnit": "ms" })
}

#[derive(Default)]
struct Tracks {
    events: Vec<Value>,
    threads: u32,
    arrows: u32,
}

impl Tracks {
    /// A line for slices that lie beside or within each other.
    fn add(&mut self, name: &str, slices: impl IntoIterator<Item = Slice>) {
        let thread = self.thread(name);
        for slice in slices {
            self.slice(thread, slice);
        }
    }

    /// As many lines as there is work at once; the line of each slice.
    fn side_by_side(&mut self, name: &str, slices: impl Iterator<Item = Slice>) -> Vec<u32> {
        let mut lanes: Vec<(u32, Duration)> = Vec::new();
        let mut taken = Vec::new();
        for slice in slices {
            let free = lanes.iter_mut().find(|(_, until)| *until <= slice.began);
            let thread = match free {
                Some((thread, until)) => {
                    *until = slice.ended;
                    *thread
                }
                None => {
                    let thread = self.thread(&format!("{name} {}", lanes.len() + 1));
                    lanes.push((thread, slice.ended));
                    thread
                }
            };
            taken.push(thread);
            self.slice(thread, slice);
        }
        taken
    }

    fn thread(&mut self, name: &str) -> u32 {
        self.threads += 1;
        let (thread, args) = (self.threads, json!({ "name": name }));
        self.events
            .push(json!({"ph": "M", "name": "thread_name", "pid": PROCESS, "tid": thread, "args": args}));
        let args = json!({ "sort_index": thread });
        self.events.push(
            json!({"ph": "M", "name": "thread_sort_index", "pid": PROCESS, "tid": thread, "args": args}),
        );
        thread
    }

    fn slice(&mut self, thread: u32, slice: Slice) {
        let (ts, dur) = (micros(slice.began), micros(slice.ended) - micros(slice.began));
        self.events.push(json!({
            "ph": "X", "name": slice.name, "cat": "dorainfra", "pid": PROCESS, "tid": thread,
            "ts": ts, "dur": dur, "args": slice.args,
        }));
    }

    fn arrow(&mut self, from: (u32, Duration), to: (u32, Duration)) {
        self.arrows += 1;
        let end = |ph: &str, (thread, at): (u32, Duration)| {
            json!({
                "ph": ph, "bp": "e", "id": self.arrows, "name": "waited for", "cat": "dorainfra",
                "pid": PROCESS, "tid": thread, "ts": micros(at),
            })
        };
        let ends = [end("s", from), end("f", to)];
        self.events.extend(ends);
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use dorainfra_engine::{Action, ResourceId};
    use dorainfra_model::{Event, Phase};

    use super::*;

    fn id(name: &str) -> ResourceId {
        ResourceId::new("mem.box", name)
    }

    fn timeline() -> Timeline {
        let started = |name: &str, need: Option<&str>| Event::ResourceStarted {
            id: id(name),
            action: Action::Create,
            waited_for: need.map(id),
        };
        let finished =
            |name: &str| Event::ResourceFinished { id: id(name), action: Action::Create, elapsed_ms: 0 };
        let stage = |stage: &str| Event::MachineStage {
            machine: "m".into(),
            stage: stage.into(),
            message: String::new(),
        };
        let events = [
            (0, Event::PhaseStarted { phase: Phase::Resources }),
            (1, started("a", None)),
            (2, started("b", None)),
            (5, finished("a")),
            (6, started("c", Some("a"))),
            (8, finished("b")),
            (9, finished("c")),
            (9, Event::PhaseFinished { phase: Phase::Resources, elapsed_ms: 9, ok: true }),
            (10, stage("fetch")),
            (12, stage("ready")),
        ];
        let mut timeline = Timeline::default();
        for (at, event) in events {
            timeline.take(Duration::from_millis(at), &event);
        }
        timeline
    }

    fn slices(trace: &Value) -> Vec<(String, u64, u64, u64)> {
        let events = trace["traceEvents"].as_array().unwrap().iter().filter(|event| event["ph"] == "X");
        let number = |value: &Value| value.as_u64().unwrap();
        events
            .map(|event| {
                let name = event["name"].as_str().unwrap().to_owned();
                (name, number(&event["tid"]), number(&event["ts"]), number(&event["dur"]))
            })
            .collect()
    }

    #[test]
    fn it_has_all_work_in_microseconds() {
        let trace = trace(&timeline(), "apply", Duration::from_millis(13));
        let told: Vec<_> = slices(&trace).into_iter().map(|(name, _, ts, dur)| (name, ts, dur)).collect();
        let slice = |name: &str, ts, dur| (name.to_owned(), ts, dur);
        assert_eq!(
            told,
            [
                slice("dorainfra apply", 0, 13_000),
                slice("resources", 0, 9_000),
                slice("fetch", 10_000, 2_000),
                slice("ready", 12_000, 0),
                slice("create mem.box/a", 1_000, 4_000),
                slice("create mem.box/b", 2_000, 6_000),
                slice("create mem.box/c", 6_000, 3_000),
            ]
        );
    }

    /// A viewer drops what lies across the end of another slice of its line.
    #[test]
    fn slices_of_a_line_are_beside_or_within_each_other() {
        let trace = trace(&timeline(), "apply", Duration::from_millis(13));
        let slices = slices(&trace);
        for (nth, (one, line, began, took)) in slices.iter().enumerate() {
            for (other, _, from, long) in slices[nth + 1..].iter().filter(|slice| slice.1 == *line) {
                let beside = began + took <= *from || from + long <= *began;
                let within = began <= from && from + long <= began + took;
                assert!(beside || within, "{one} and {other}");
            }
        }
        let line = |name: &str| slices.iter().find(|slice| slice.0.ends_with(name)).unwrap().1;
        assert_eq!(line("/c"), line("/a"), "a free line is taken again");
        assert_ne!(line("/b"), line("/a"));
    }

    #[test]
    fn an_arrow_leads_from_what_was_waited_for() {
        let trace = trace(&timeline(), "apply", Duration::from_millis(13));
        let events = trace["traceEvents"].as_array().unwrap();
        let ends: Vec<_> = events.iter().filter(|event| event["name"] == "waited for").collect();
        let told: Vec<_> =
            ends.iter().map(|end| (end["ph"].as_str().unwrap(), end["ts"].as_u64().unwrap())).collect();
        assert_eq!(told, [("s", 5_000), ("f", 6_000)]);
        assert_eq!(ends[0]["id"], ends[1]["id"]);
    }
}
