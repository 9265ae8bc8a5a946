//! What a run can't be faster than: the longest chain of pieces of work that wait for each other. Pure,
//! over times that were measured.

use std::collections::VecDeque;
use std::time::Duration;

/// A piece of work: its times since the run began, and the pieces that it needs, by their position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub began: Duration,
    pub ended: Duration,
    pub needs: Vec<usize>,
}

impl Span {
    fn took(&self) -> Duration {
        self.ended.saturating_sub(self.began)
    }
}

/// The longest chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CriticalPath {
    /// The sum of what its pieces count for.
    pub length: Duration,
    /// Its pieces in their order, each with what it counts for: all of its time, but for a piece that began
    /// before the one it needs had ended (a replacement, whose old half goes first). That one counts from there.
    pub chain: Vec<(usize, Duration)>,
}

/// The longest chain through `spans`. A need that ended after its user did, or that waits for its own user,
/// was no need.
pub fn critical_path(spans: &[Span]) -> CriticalPath {
    let mut users = vec![Vec::new(); spans.len()];
    let mut missing = vec![0_usize; spans.len()];
    for (at, span) in spans.iter().enumerate() {
        for &need in span.needs.iter().filter(|need| counts(spans, at, **need)) {
            users[need].push(at);
            missing[at] += 1;
        }
    }
    // What is in a circle never gets its turn.
    let mut lengths: Vec<Option<(Duration, Option<usize>)>> = vec![None; spans.len()];
    let mut ready: VecDeque<usize> = (0..spans.len()).filter(|&at| missing[at] == 0).collect();
    while let Some(at) = ready.pop_front() {
        let through = spans[at].needs.iter().filter(|need| counts(spans, at, **need)).filter_map(|&need| {
            let (length, _) = lengths[need]?;
            Some((length + behind(spans, at, need), Some(need)))
        });
        lengths[at] =
            through.chain([(spans[at].took(), None)]).max_by_key(|(length, need)| (*length, need.is_some()));
        for &user in &users[at] {
            missing[user] -= 1;
            if missing[user] == 0 {
                ready.push_back(user);
            }
        }
    }
    let longest = (0..spans.len()).filter_map(|at| Some((lengths[at]?.0, at))).max();
    let Some((length, mut at)) = longest else { return CriticalPath::default() };
    let mut chain = Vec::new();
    loop {
        let need = lengths[at].and_then(|(_, need)| need);
        chain.push((at, need.map_or(spans[at].took(), |need| behind(spans, at, need))));
        match need {
            Some(need) => at = need,
            None => break,
        }
    }
    chain.reverse();
    CriticalPath { length, chain }
}

fn counts(spans: &[Span], at: usize, need: usize) -> bool {
    need != at && spans.get(need).is_some_and(|need| need.ended <= spans[at].ended)
}

/// What of a piece comes after one that it needs.
fn behind(spans: &[Span], at: usize, need: usize) -> Duration {
    spans[at].ended.saturating_sub(spans[at].began.max(spans[need].ended))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn span(began: u64, ended: u64, needs: &[usize]) -> Span {
        Span { began: ms(began), ended: ms(ended), needs: needs.to_vec() }
    }

    #[test]
    fn the_longest_chain_is_not_the_one_that_ended_last() {
        // 3 waited for a free place: nothing that it needs took long.
        let spans = [span(0, 10, &[]), span(10, 60, &[0]), span(0, 5, &[]), span(60, 90, &[2])];
        let path = critical_path(&spans);
        assert_eq!(path, CriticalPath { length: ms(60), chain: vec![(0, ms(10)), (1, ms(50))] });
    }

    #[test]
    fn of_two_that_overlap_only_the_rest_counts() {
        // The machine went first, and was made again after the disk.
        let spans = [span(10, 40, &[]), span(0, 70, &[0])];
        assert_eq!(critical_path(&spans).length, ms(70), "its own time is longer than 30 + 30");
        let spans = [span(0, 10, &[]), span(10, 90, &[0]), span(80, 120, &[1])];
        let path = critical_path(&spans);
        assert_eq!((path.length, path.chain[2]), (ms(120), (2, ms(30))));
    }

    #[test]
    fn nothing_has_no_path_and_a_circle_none_that_goes_round() {
        assert_eq!(critical_path(&[]), CriticalPath::default());
        let spans = [span(0, 10, &[1]), span(0, 10, &[0]), span(0, 4, &[2, 9])];
        assert_eq!(critical_path(&spans).chain, [(2, ms(4))]);
    }

    #[test]
    fn what_takes_no_time_is_still_between() {
        let spans = [span(5, 5, &[1]), span(0, 5, &[]), span(5, 9, &[0])];
        assert_eq!(critical_path(&spans).chain, [(1, ms(5)), (0, ms(0)), (2, ms(4))]);
    }

    /// All chains, one after the other.
    fn by_trying(spans: &[Span], at: usize) -> Duration {
        let before = spans[at].needs.iter().map(|&need| by_trying(spans, need)).max().unwrap_or_default();
        before + spans[at].took()
    }

    /// As an engine would run it that starts each piece once its needs have ended, and `late` after that.
    fn schedule(tooks: &[u64], edges: &[(usize, usize)], late: &[u64]) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for (at, took) in tooks.iter().enumerate() {
            let needs: Vec<usize> =
                edges.iter().filter(|(need, user)| *user == at && need < user).map(|edge| edge.0).collect();
            let free = needs.iter().map(|&need| spans[need].ended).max().unwrap_or_default();
            let began = free + ms(late[at]);
            spans.push(Span { began, ended: began + ms(*took), needs });
        }
        spans
    }

    proptest! {
        #[test]
        fn it_is_the_longest_chain_of_a_run(
            tooks in prop::collection::vec(0u64..100, 1..10),
            edges in prop::collection::vec((0usize..10, 0usize..10), 0..25),
            late in prop::collection::vec(0u64..50, 10),
        ) {
            let spans = schedule(&tooks, &edges, &late);
            let path = critical_path(&spans);
            let longest = (0..spans.len()).map(|at| by_trying(&spans, at)).max().unwrap_or_default();
            prop_assert_eq!(path.length, longest);
            prop_assert!(path.chain.iter().all(|(at, counted)| *counted == spans[*at].took()));
            if late.iter().all(|late| *late == 0) {
                prop_assert_eq!(path.length, spans.iter().map(|span| span.ended).max().unwrap_or_default());
            }
        }

        /// Also of times that no engine would have had.
        #[test]
        fn it_is_never_longer_than_the_run_nor_shorter_than_a_piece(
            times in prop::collection::vec((0u64..100, 0u64..100), 1..12),
            edges in prop::collection::vec((0usize..14, 0usize..12), 0..40),
        ) {
            let mut spans: Vec<Span> = times.iter().map(|(began, took)| span(*began, began + took, &[])).collect();
            for (need, user) in edges {
                if let Some(user) = spans.get_mut(user) {
                    user.needs.push(need);
                }
            }
            let path = critical_path(&spans);
            let began = spans.iter().map(|span| span.began).min().unwrap_or_default();
            let ended = spans.iter().map(|span| span.ended).max().unwrap_or_default();
            prop_assert!(path.length <= ended - began);
            prop_assert_eq!(path.chain.iter().map(|(_, counted)| *counted).sum::<Duration>(), path.length);
            let links = path.chain.windows(2).all(|pair| spans[pair[1].0].needs.contains(&pair[0].0));
            prop_assert!(links, "{:?}", path);
            // What waits for itself is in no chain.
            let ordered = spans.iter().enumerate().all(|(at, span)| span.needs.iter().all(|need| *need < at));
            for span in spans.iter().filter(|_| ordered) {
                prop_assert!(path.length >= span.took());
            }
        }
    }
}
