//! Single writes, and the order between them, by their position.

use super::schedule::Node;

/// What is done to the cloud. A step ends with the last of its operations in
/// this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    /// Nothing: the step is a no-op or keeps what is there.
    Pass,
    /// Only read: the others of a rolling group serve.
    Turn,
    Remove,
    Change,
    Make,
    /// Only waited: the member of a rolling group serves.
    Settle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    /// Position in the plan.
    pub step: usize,
    pub work: Work,
}

/// Operations with what each has to wait for.
#[derive(Default)]
pub(super) struct Operations {
    pub all: Vec<Operation>,
    pub nodes: Vec<Node>,
    /// By step: its only or its second write.
    pub last: Vec<usize>,
    /// By step: its only or its first write.
    pub first: Vec<usize>,
}

impl Operations {
    pub fn add(&mut self, step: usize, work: Work) -> usize {
        self.all.push(Operation { step, work });
        self.nodes.push(Node { pass: work == Work::Pass, ..Node::default() });
        self.all.len() - 1
    }

    pub fn add_single(&mut self, step: usize, work: Work) {
        let only = self.add(step, work);
        self.first.push(only);
        self.last.push(only);
    }

    pub fn add_replacement(&mut self, step: usize) {
        let removal = self.add(step, Work::Remove);
        let making = self.add(step, Work::Make);
        self.nodes[making].continues = Some(removal);
        self.edge(making, removal);
        self.first.push(removal);
        self.last.push(making);
    }

    /// Marks everything that comes before `node`, and `node` itself.
    pub fn before(&self, node: usize) -> Vec<bool> {
        let mut before = vec![false; self.nodes.len()];
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut before[node], true) {
                open.extend(&self.nodes[node].needs);
            }
        }
        before
    }

    pub fn edge(&mut self, node: usize, need: usize) {
        if !self.nodes[node].needs.contains(&need) {
            self.nodes[node].needs.push(need);
        }
    }
}
