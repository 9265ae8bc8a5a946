//! What may run now: operations with edges between them, handed out as what
//! they need gets done. Pure: it starts nothing and waits for nothing, so that
//! every order of events can be tested.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::graph::topological;

/// One operation in the schedule.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// What has to be done before.
    pub needs: Vec<usize>,
    /// There is nothing to do: done as soon as its needs are.
    pub pass: bool,
    /// The second half of something whose first half is this node: once that is
    /// done, stopping halfway is worse than going on.
    pub continues: Option<usize>,
}

/// Where an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Ready,
    Running,
    Done,
    Failed,
    /// The named operation failed, and this one needs it.
    Blocked(usize),
}

/// How far a stop goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    /// Start nothing but second halves.
    AfterHalves,
    /// Start nothing.
    Now,
}

pub(super) struct Schedule {
    nodes: Vec<Node>,
    dependents: Vec<Vec<usize>>,
    /// How many needs are not done yet.
    missing: Vec<usize>,
    /// The longest chain of operations that waits for this one.
    height: Vec<usize>,
    states: Vec<State>,
    /// By operation: how many were done before it was.
    order: Vec<usize>,
    ended: usize,
    /// The ready ones, those with the longest chain behind them first: they
    /// decide when everything is done.
    ready: BinaryHeap<(usize, Reverse<usize>)>,
    stop: Option<Stop>,
}

impl Schedule {
    /// `nodes` have to be without circles.
    pub fn new(nodes: Vec<Node>) -> Self {
        let mut dependents = vec![Vec::new(); nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            for &need in &node.needs {
                dependents[need].push(index);
            }
        }
        let needs: Vec<Vec<usize>> = nodes.iter().map(|node| node.needs.clone()).collect();
        let mut height = vec![0; nodes.len()];
        for &index in topological(&needs, &dependents).iter().rev() {
            let behind = dependents[index].iter().map(|&dependent| height[dependent]).max().unwrap_or(0);
            height[index] = behind + usize::from(!nodes[index].pass);
        }
        let missing: Vec<usize> = needs.iter().map(Vec::len).collect();
        let free: Vec<usize> = (0..nodes.len()).filter(|&index| missing[index] == 0).collect();
        let states = vec![State::Waiting; nodes.len()];
        let (order, ended, ready) = (vec![0; nodes.len()], 0, BinaryHeap::new());
        let mut schedule =
            Self { nodes, dependents, missing, height, states, order, ended, ready, stop: None };
        for index in free {
            schedule.free(index);
        }
        schedule
    }

    /// The next operation to start, which counts as running from here on.
    pub fn next(&mut self) -> Option<usize> {
        let index = match self.stop {
            None => self.ready.pop().map(|(_, Reverse(index))| index),
            Some(Stop::Now) => None,
            Some(Stop::AfterHalves) => {
                let second_halves = |&&(_, Reverse(index)): &&(usize, Reverse<usize>)| {
                    let half = self.nodes[index].continues;
                    half.is_some_and(|first| self.states[first] == State::Done)
                };
                let found = self.ready.iter().filter(second_halves).max().copied();
                if let Some(found) = found {
                    self.ready.retain(|other| *other != found);
                }
                found.map(|(_, Reverse(index))| index)
            }
        }?;
        self.states[index] = State::Running;
        Some(index)
    }

    pub fn done(&mut self, index: usize) {
        self.states[index] = State::Done;
        self.order[index] = self.ended;
        self.ended += 1;
        let mut open = vec![index];
        while let Some(index) = open.pop() {
            for at in 0..self.dependents[index].len() {
                let dependent = self.dependents[index][at];
                self.missing[dependent] -= 1;
                if self.missing[dependent] == 0 && self.states[dependent] == State::Waiting {
                    self.free(dependent);
                }
            }
        }
    }

    pub fn failed(&mut self, index: usize) {
        self.states[index] = State::Failed;
        let mut open = self.dependents[index].clone();
        while let Some(dependent) = open.pop() {
            if self.states[dependent] == State::Waiting {
                self.states[dependent] = State::Blocked(index);
                open.extend(&self.dependents[dependent]);
            }
        }
    }

    /// What `index` had to wait for and was done last. What has nothing to do stands for what it waited for.
    pub fn waited_for(&self, index: usize) -> Option<usize> {
        let mut open = self.nodes[index].needs.clone();
        let mut seen = BTreeSet::new();
        let mut last = None;
        while let Some(need) = open.pop() {
            match self.nodes[need].pass {
                true if seen.insert(need) => open.extend(&self.nodes[need].needs),
                true => {}
                false => last = last.max(Some((self.order[need], need))),
            }
        }
        last.map(|(_, need)| need)
    }

    /// A later stop may go further, never back.
    pub fn stop(&mut self, stop: Stop) {
        self.stop = self.stop.max(Some(stop));
    }

    pub fn state(&self, index: usize) -> State {
        self.states[index]
    }

    fn free(&mut self, index: usize) {
        if self.nodes[index].pass {
            self.done(index);
        } else {
            self.states[index] = State::Ready;
            self.ready.push((self.height[index], Reverse(index)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::graph::reachable;

    fn node(needs: &[usize]) -> Node {
        Node { needs: needs.to_vec(), ..Node::default() }
    }

    fn drain(schedule: &mut Schedule) -> Vec<usize> {
        std::iter::from_fn(|| schedule.next()).collect()
    }

    #[test]
    fn the_longest_chain_goes_first() {
        // 0 stands alone; 1 ← 2 ← 3.
        let mut schedule = Schedule::new(vec![node(&[]), node(&[]), node(&[1]), node(&[2])]);
        assert_eq!(drain(&mut schedule), [1, 0]);
        schedule.done(1);
        assert_eq!(drain(&mut schedule), [2]);
    }

    #[test]
    fn what_has_nothing_to_do_is_passed_through() {
        let pass = |needs: &[usize]| Node { pass: true, ..node(needs) };
        let mut schedule = Schedule::new(vec![pass(&[]), pass(&[0]), node(&[1]), pass(&[2]), node(&[3])]);
        assert_eq!(drain(&mut schedule), [2]);
        schedule.done(2);
        assert_eq!(drain(&mut schedule), [4]);
    }

    #[test]
    fn what_one_waited_for_is_what_was_done_last() {
        let pass = Node { pass: true, ..node(&[1]) };
        let mut schedule = Schedule::new(vec![node(&[]), node(&[]), pass, node(&[0, 2])]);
        assert_eq!(drain(&mut schedule), [0, 1]);
        assert_eq!(schedule.waited_for(0), None);
        schedule.done(0);
        schedule.done(1);
        assert_eq!(schedule.waited_for(3), Some(1), "and not what only passed it on");
    }

    #[test]
    fn a_stop_lets_second_halves_end() {
        let second = Node { continues: Some(0), ..node(&[0]) };
        let nodes = vec![node(&[]), second, node(&[]), node(&[2])];
        let mut schedule = Schedule::new(nodes.clone());
        assert_eq!(drain(&mut schedule), [0, 2]);
        schedule.stop(Stop::AfterHalves);
        schedule.done(0);
        schedule.done(2);
        assert_eq!(drain(&mut schedule), [1]);
        assert_eq!(schedule.state(3), State::Ready);

        let mut schedule = Schedule::new(nodes);
        assert_eq!(drain(&mut schedule), [0, 2]);
        schedule.stop(Stop::Now);
        schedule.stop(Stop::AfterHalves);
        schedule.done(0);
        assert!(drain(&mut schedule).is_empty());
    }

    proptest! {
        /// Whatever ends in whatever order: nothing starts before its needs are
        /// done, a failure stops what needs it and nothing else, all the rest runs.
        #[test]
        fn only_what_needs_a_failed_one_is_stopped(
            edges in prop::collection::vec((0usize..15, 0usize..15), 0..40),
            passes in prop::collection::vec(any::<bool>(), 15),
            failing in prop::collection::vec(prop::bool::weighted(0.15), 15),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 15),
            bound in 1usize..5,
        ) {
            let mut nodes: Vec<Node> =
                (0..15).map(|at| Node { pass: passes[at], ..Node::default() }).collect();
            for (a, b) in edges {
                let (first, second) = (a.min(b), a.max(b));
                if first != second && !nodes[second].needs.contains(&first) {
                    nodes[second].needs.push(first);
                }
            }
            let mut schedule = Schedule::new(nodes.clone());
            let mut running = Vec::new();
            let mut picks = picks.iter();
            let mut failed = Vec::new();
            loop {
                while running.len() < bound {
                    let Some(next) = schedule.next() else { break };
                    for &need in &nodes[next].needs {
                        prop_assert_eq!(schedule.state(need), State::Done);
                    }
                    running.push(next);
                }
                if running.is_empty() {
                    break;
                }
                let pick = picks.next().map_or(0, |pick| pick.index(running.len()));
                let ended = running.swap_remove(pick);
                if failing[ended] {
                    failed.push(ended);
                    schedule.failed(ended);
                } else {
                    schedule.done(ended);
                }
            }
            let mut dependents = vec![Vec::new(); nodes.len()];
            for (at, node) in nodes.iter().enumerate() {
                for &need in &node.needs {
                    dependents[need].push(at);
                }
            }
            for (at, fails) in failing.iter().enumerate() {
                let behind = failed.iter().any(|&failed| failed != at && reachable(&dependents, [failed])[at]);
                match schedule.state(at) {
                    State::Done => prop_assert!(!behind),
                    State::Failed => prop_assert!(*fails && !behind),
                    State::Blocked(by) => prop_assert!(behind && failed.contains(&by)),
                    other => prop_assert!(false, "{} is {:?}", at, other),
                }
            }
        }
    }
}
