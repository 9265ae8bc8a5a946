//! Whether the cloud answers, as all calls of a client see it together. Whoever waits is told at once that
//! nobody does, and every few seconds; and all calls give up at the same time, however many there are.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use dorainfra_base::error::Cause;
use dorainfra_engine::{Fence, SystemClock};
use dorainfra_model::{Event, Events};
use tokio::time::Instant;

use super::Error;

/// How often it is said.
pub(super) const SAID_EVERY: Duration = Duration::from_secs(5);
/// A call that nobody has answered for so long is one of a cloud that does not answer.
pub(super) const QUIET: Duration = Duration::from_secs(10);

/// What is known of it. Hosts that answer are not in here.
#[derive(Debug)]
pub(super) struct Outage {
    events: Events,
    /// How long a host is tried that does not answer.
    try_for: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    silent: BTreeMap<String, Silence>,
    /// When it was said last, of any host: where the network is gone, all are silent.
    said: Option<Instant>,
    /// When any host answered last.
    answered: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Silence {
    since: Instant,
    /// When the last attempt failed.
    failed: Option<Instant>,
    attempts: u32,
    reason: String,
    cause: Option<Cause>,
}

impl Outage {
    pub fn new(events: Events, try_for: Duration) -> Self {
        Self { events, try_for, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt has failed. How much longer the host is tried: no longer than `within`.
    pub fn failed(&self, host: &str, reason: &str, cause: Option<Cause>, within: Duration) -> Duration {
        self.note(host, Instant::now(), Some((reason.to_owned(), cause)), within)
    }

    /// A call that began then is not answered yet.
    fn quiet(&self, host: &str, began: Instant, within: Duration) {
        self.note(host, began, None, within);
    }

    /// Says again what is known, where it is time to.
    pub fn still(&self, host: &str, within: Duration) {
        let mut state = self.state();
        let Some(silence) = state.silent.get(host).cloned() else { return };
        self.say(&mut state, host, &silence, within);
    }

    fn note(
        &self,
        host: &str,
        began: Instant,
        failure: Option<(String, Option<Cause>)>,
        within: Duration,
    ) -> Duration {
        let mut state = self.state();
        let silence = state.silent.entry(host.to_owned()).or_insert_with(|| Silence {
            since: began,
            failed: None,
            attempts: 0,
            reason: String::new(),
            cause: None,
        });
        match failure {
            Some((reason, cause)) => {
                silence.attempts = silence.attempts.saturating_add(1);
                (silence.reason, silence.cause) = (reason, cause);
                silence.failed = Some(Instant::now());
            }
            // What an attempt came to says more.
            None if silence.attempts == 0 => {
                silence.reason = format!("no answer for {} s", began.elapsed().as_secs());
            }
            None => {}
        }
        let silence = silence.clone();
        self.say(&mut state, host, &silence, within);
        self.left(&silence, within)
    }

    fn left(&self, silence: &Silence, within: Duration) -> Duration {
        self.try_for.saturating_sub(silence.since.elapsed()).min(within)
    }

    fn say(&self, state: &mut State, host: &str, silence: &Silence, within: Duration) {
        if state.said.is_some_and(|said| said.elapsed() < SAID_EVERY) {
            return;
        }
        state.said = Some(Instant::now());
        self.events.send(Event::CloudUnreachable {
            host: host.to_owned(),
            error: silence.reason.clone(),
            attempts: silence.attempts,
            for_ms: milliseconds(silence.since.elapsed()),
            left_ms: milliseconds(self.left(silence, within)),
        });
    }

    /// The host has answered something.
    pub fn answered(&self, host: &str) {
        let mut state = self.state();
        state.answered = Some(Instant::now());
        let Some(silence) = state.silent.remove(host) else { return };
        if state.silent.is_empty() && state.said.take().is_some() {
            let after_ms = milliseconds(silence.since.elapsed());
            self.events.send(Event::CloudReachable { host: host.to_owned(), after_ms });
        }
    }

    /// The answer of one attempt; while it does not come, that is said. `holds`: it is no news that it takes its
    /// time. `within`: how much longer it is waited for.
    pub async fn watch<T, E>(
        &self,
        host: &str,
        holds: bool,
        within: impl Fn(Duration) -> Duration,
        mut attempt: Pin<Box<impl Future<Output = Result<T, E>>>>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let answer = loop {
            match tokio::time::timeout(QUIET, &mut attempt).await {
                Ok(answer) => break answer,
                Err(_) if holds => {}
                Err(_) => self.quiet(host, began, within(began.elapsed())),
            }
        };
        if answer.is_ok() {
            self.answered(host);
        }
        answer
    }

    /// Work that goes on for as long as something moves: a transfer has no time of its own. While nothing does,
    /// that is said; after as long as a silent host is tried, it is given up.
    pub async fn while_moving<T>(
        &self,
        host: &str,
        what: &str,
        moved: &Moved,
        work: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let mut work = std::pin::pin!(work);
        let step = QUIET.min(self.try_for);
        loop {
            match tokio::time::timeout(step, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) if moved.since() < step => self.answered(host),
                Err(_) => {
                    let tried = moved.since();
                    // Attempts that fail end by themselves, and say more.
                    let fails = self.state().silent.get(host).is_some_and(|silence| silence.failed.is_some());
                    if tried >= self.try_for.saturating_mul(if fails { 2 } else { 1 }) {
                        let (host, what) = (host.to_owned(), what.to_owned());
                        let reason = format!("nothing has moved for {} s", tried.as_secs());
                        return Err(Error::Unreachable {
                            host,
                            what,
                            reason,
                            tried,
                            sent: true,
                            source: None,
                        });
                    }
                    self.quiet(host, moved.last(), self.try_for.saturating_sub(tried));
                }
            }
        }
    }

    /// What a call fails of while that host does not answer; `None`: it answers.
    pub fn of_host(&self, host: &str, what: &str, sent: bool) -> Option<Error> {
        let state = self.state();
        state.silent.get(host).map(|silence| error(host, silence, what, sent))
    }

    /// The same for a run, of whichever host has been silent for the longest time. Where another has
    /// answered since, a run fails of something else.
    pub fn error(&self) -> Option<Error> {
        let state = self.state();
        let failed = state.silent.iter().filter(|(_, silence)| {
            silence.failed.is_some_and(|failed| state.answered.is_none_or(|answered| answered < failed))
        });
        failed.min_by_key(|(_, silence)| silence.since).map(|(host, silence)| error(host, silence, "", false))
    }
}

/// When a part of a transfer moved last.
#[derive(Clone, Debug)]
pub(super) struct Moved(Arc<Mutex<Instant>>);

impl Moved {
    pub fn now() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub fn again(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn since(&self) -> Duration {
        self.last().elapsed()
    }
}

/// How much longer writes may be made: for ever, where no lease is held.
pub(super) fn may_write_for(fence: &OnceLock<Arc<Fence>>) -> Duration {
    fence.get().map_or(Duration::MAX, |fence| fence.left(&SystemClock))
}

fn error(host: &str, silence: &Silence, what: &str, sent: bool) -> Error {
    Error::Unreachable {
        host: host.to_owned(),
        what: what.to_owned(),
        reason: silence.reason.clone(),
        tried: silence.since.elapsed(),
        sent,
        source: silence.cause.clone(),
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// `HOST`, or `HOST:PORT`, of an address.
pub(super) fn host(base: &str) -> String {
    let authority = base.split_once("://").map_or(base, |(_, rest)| rest);
    authority.split('/').next().unwrap_or(authority).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1000);

    fn outage() -> (Outage, Arc<Mutex<Vec<String>>>) {
        let said = Arc::<Mutex<Vec<String>>>::default();
        let into = Arc::clone(&said);
        let events = Events::to(move |event| {
            into.lock().unwrap().push(match event {
                Event::CloudUnreachable { host, error, attempts, for_ms, left_ms } => {
                    format!("{host}: {error}, {attempts}, {} s, {} s left", for_ms / 1000, left_ms / 1000)
                }
                Event::CloudReachable { host, after_ms } => format!("{host} after {} s", after_ms / 1000),
                other => panic!("{other:?}"),
            });
        });
        (Outage::new(events, Duration::from_secs(90)), said)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_said_at_once_and_every_few_seconds_and_when_it_is_over() {
        let (outage, said) = outage();
        let take = || std::mem::take(&mut *said.lock().unwrap());
        outage.answered("a");
        assert_eq!(outage.failed("a", "refused", None, LONG), Duration::from_secs(90));
        assert_eq!(take(), ["a: refused, 1, 0 s, 90 s left"]);
        // All other calls see the same.
        outage.failed("a", "refused", None, LONG);
        outage.failed("b", "refused", None, LONG);
        tokio::time::advance(SAID_EVERY - Duration::from_millis(1)).await;
        outage.still("a", LONG);
        assert_eq!(take(), [""; 0]);
        tokio::time::advance(Duration::from_millis(1)).await;
        outage.still("c", LONG);
        outage.still("a", LONG);
        assert_eq!(take(), ["a: refused, 2, 5 s, 85 s left"]);
        // A call's own bound may be nearer.
        tokio::time::advance(SAID_EVERY).await;
        assert_eq!(outage.failed("a", "timed out", None, Duration::from_secs(7)), Duration::from_secs(7));
        assert_eq!(take(), ["a: timed out, 3, 10 s, 7 s left"]);
        outage.answered("a");
        assert_eq!(take(), [""; 0], "the other one is still silent");
        outage.answered("b");
        assert_eq!(take(), ["b after 10 s"]);
        assert!(outage.error().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn all_calls_together_give_up_at_one_time() {
        let (outage, _) = outage();
        outage.failed("a", "refused", None, LONG);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(outage.failed("a", "refused", None, LONG), Duration::from_secs(30));
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(outage.failed("a", "refused", None, LONG), Duration::ZERO);
        let error = outage.of_host("a", "GET it", false).unwrap().to_string();
        assert_eq!(error, "the cloud does not answer: a: refused; tried for 100 s, last GET it");
        assert!(outage.of_host("b", "GET it", false).is_none());
        // One of many that is closed to us is not the cloud.
        assert!(outage.error().is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        outage.answered("b");
        assert!(outage.error().is_none() && outage.of_host("a", "GET it", false).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_without_an_answer_is_silence_and_no_error() {
        let (outage, said) = outage();
        let began = Instant::now();
        tokio::time::advance(QUIET).await;
        outage.quiet("a", began, LONG);
        assert_eq!(*said.lock().unwrap(), ["a: no answer for 10 s, 0, 10 s, 80 s left"]);
        // It may still be answered.
        assert!(outage.error().is_none());
        outage.answered("a");
        assert_eq!(said.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_is_given_up_when_nothing_moves_and_not_when_it_is_slow() {
        let (outage, said) = outage();
        let moved = Moved::now();
        let parts = async {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(30)).await;
                moved.again();
            }
        };
        outage.while_moving("a", "writing b/o", &moved, parts).await.unwrap();
        let gone = outage.while_moving("a", "writing b/o", &moved, std::future::pending::<()>()).await;
        let error = gone.unwrap_err();
        assert!(matches!(&error, Error::Unreachable { host, sent: true, .. } if host == "a"), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("nothing has moved for 90 s") && text.contains("writing b/o"), "{text}");
        let said = said.lock().unwrap();
        assert!(said.iter().any(|line| line.starts_with("a: no answer for 10 s")), "{said:?}");
        assert!(said.iter().any(|line| line.starts_with("a after")), "{said:?}");
    }

    #[test]
    fn a_host_is_named_with_its_port() {
        assert_eq!(host("https://compute.googleapis.com/compute/v1/"), "compute.googleapis.com");
        assert_eq!(host("http://127.0.0.1:4123/"), "127.0.0.1:4123");
    }
}
