//! Why a history was not accepted, in words, with what to do about it.

use super::Accounting;
use super::shard::Failure;
use dorainfra_base::error::Why;

/// What a receiver's refusal means, read from its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Older than the out-of-order window reaches.
    TooOld,
    /// Another value is stored for that time already.
    Duplicate,
    /// Ahead of the receiver's clock.
    TooFarInFuture,
    MaxSeries,
    IngestionRate,
    /// Too many or too long labels, or characters that are not allowed.
    Labels,
    /// A request larger than the receiver takes.
    TooLarge,
    /// It takes no native histograms, or none of the past.
    NativeHistograms,
    /// More buckets than it takes in one.
    Buckets,
    /// No tenant was given (or the receiver wants other credentials).
    Unauthorized,
    Forbidden,
    /// No receiver at that path.
    NotFound,
    Other,
}

impl Reason {
    /// By Mimir's message identifiers, and by the words of Prometheus.
    pub fn of(status: u16, message: &str) -> Self {
        let says = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
        match status {
            401 => return Self::Unauthorized,
            403 => return Self::Forbidden,
            404 | 405 => return Self::NotFound,
            413 => return Self::TooLarge,
            _ => {}
        }
        if says(&["err-mimir-sample-duplicate-timestamp", "duplicate sample for timestamp"]) {
            Self::Duplicate
        } else if says(&["err-mimir-too-far-in-future", "too far in the future"]) {
            Self::TooFarInFuture
        } else if says(&[
            "err-mimir-sample-timestamp-too-old",
            "err-mimir-sample-out-of-order",
            "out of order sample",
            "out of bounds",
            "too old sample",
            "timestamp is too old",
        ]) {
            Self::TooOld
        } else if says(&["err-mimir-max-series", "per-user series limit"]) {
            Self::MaxSeries
        } else if says(&["err-mimir-tenant-max-ingestion-rate", "ingestion rate limit"]) {
            Self::IngestionRate
        } else if says(&[
            "err-mimir-max-native-histogram-buckets",
            "err-mimir-not-reducible-native-histogram",
        ]) {
            Self::Buckets
        } else if says(&["native histogram", "native-histogram"]) {
            Self::NativeHistograms
        } else if says(&["err-mimir-distributor-max-write-message-size", "message larger than max"]) {
            Self::TooLarge
        } else if says(&["err-mimir-max-label", "err-mimir-label", "err-mimir-metric-name", "label name"]) {
            Self::Labels
        } else if says(&["no org id"]) {
            Self::Unauthorized
        } else {
            Self::Other
        }
    }

    /// Whether it is about the samples themselves, so that time changes nothing.
    pub(super) fn is_lasting(self) -> bool {
        matches!(
            self,
            Self::TooOld
                | Self::Duplicate
                | Self::TooLarge
                | Self::Labels
                | Self::NativeHistograms
                | Self::Buckets
        )
    }

    fn words(self) -> &'static str {
        match self {
            Self::TooOld => "a sample is older than the out-of-order window reaches",
            Self::Duplicate => "another value is stored for the time of a sample already",
            Self::TooFarInFuture => "a sample is ahead of the receiver's clock",
            Self::MaxSeries => "the tenant has as many series as it may have",
            Self::IngestionRate => "more samples a second than the tenant may send",
            Self::Labels => "a series has labels that the receiver does not take",
            Self::TooLarge => "a request is larger than the receiver takes",
            Self::NativeHistograms => "the receiver takes no native histograms, or none of the past",
            Self::Buckets => "a native histogram has more buckets than the receiver takes",
            Self::Unauthorized => "the receiver wants to know who is writing",
            Self::Forbidden => "this client may not write",
            Self::NotFound => "there is no remote-write receiver at this address",
            Self::Other => "the request was refused",
        }
    }

    fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::TooOld => {
                "raise `mimir.limits.out_of_order_window` above the age of the oldest day (or lower \
                 `generator.days`), `dorainfra apply`, and send again"
            }
            Self::Duplicate => {
                "other values are stored for these days: simulated with another `generator.seed`, or of `sources` that were \
             read differently since; the stored ones stay, or name another `mimir.tenant`"
            }
            Self::TooFarInFuture => "compare the clocks of this machine and of the receiver",
            Self::MaxSeries => "raise `mimir.limits.max_series`, or lower `generator.teams`",
            Self::IngestionRate => {
                "raise `mimir.limits.ingestion_rate` and `mimir.limits.ingestion_burst`, or send again later"
            }
            Self::Labels => "shorten the team names, or raise the label limits of the tenant",
            Self::TooLarge => "send smaller requests (`distributor.max_recv_msg_size` is Mimir's bound)",
            Self::NativeHistograms => {
                "Mimir takes them with `limits.native_histograms_ingestion_enabled`, Prometheus with \
                 `--enable-feature=native-histograms` (out of order from version 3 on); else turn \
                 `generator.native_histograms` (or `--native-histograms`) off: the classic ones say the same"
            }
            Self::Buckets => {
                "raise `limits.max_native_histogram_buckets`, or allow \
                 `limits.reduce_native_histogram_over_max_buckets`; 200 are enough for times of up to a year"
            }
            Self::Unauthorized => "set `mimir.tenant`; it is sent as X-Scope-OrgID",
            Self::Forbidden => "check the tenant, and whatever stands in front of the receiver",
            Self::NotFound => {
                "check that the engine is the one that was deployed (`dorainfra status`); an address of your own \
                 has a path: `/api/v1/push` of Mimir, `/api/v1/write` of Prometheus"
            }
            Self::Other => return None,
        })
    }
}

/// Why not every sample was accepted, and what became of each.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("the receiver at {url} refused samples ({status}): {}: {message}; {accounting}", .reason.words())]
    Refused { url: String, status: u16, reason: Reason, message: String, accounting: Accounting },
    #[error("no TLS connection to {url}: {message}; {accounting}")]
    Tls {
        url: String,
        #[source]
        message: Why,
        accounting: Accounting,
    },
    #[error("the receiver at {url} was unavailable in {attempts} attempts, last: {last}; {accounting}")]
    Unavailable {
        url: String,
        attempts: u32,
        #[source]
        last: Why,
        accounting: Accounting,
    },
    #[error("something else than a receiver answers at {url}: {message}; {accounting}")]
    SomebodyElse { url: String, message: String, accounting: Accounting },
    #[error("no request can be made to {url}: {message}; {accounting}")]
    Broken {
        url: String,
        #[source]
        message: Why,
        accounting: Accounting,
    },
}

impl WriteError {
    pub(super) fn new(failure: Failure, url: &str, accounting: Accounting) -> Self {
        let url = url.to_owned();
        match failure {
            Failure::Refused { status, message } => {
                let reason = Reason::of(status, &message);
                Self::Refused { url, status, reason, message, accounting }
            }
            Failure::Tls { message } => Self::Tls { url, message, accounting },
            Failure::Unavailable { attempts, last, .. } => {
                Self::Unavailable { url, attempts, last, accounting }
            }
            Failure::SomebodyElse { message } => Self::SomebodyElse { url, message, accounting },
            Failure::Broken { message } => Self::Broken { url, message, accounting },
        }
    }

    /// What became of the samples.
    pub fn accounting(&self) -> Accounting {
        match self {
            Self::Refused { accounting, .. }
            | Self::Tls { accounting, .. }
            | Self::Unavailable { accounting, .. }
            | Self::SomebodyElse { accounting, .. }
            | Self::Broken { accounting, .. } => *accounting,
        }
    }

    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { reason, .. } => reason.hint().map(Into::into),
            Self::Tls { .. } => Some(crate::TLS_HINT.into()),
            Self::Unavailable { last, .. } if Reason::of(429, last) == Reason::IngestionRate => {
                Reason::IngestionRate.hint().map(Into::into)
            }
            Self::Unavailable { .. } => Some(
                "`dorainfra status` shows whether the machine is ready; sending the history again is harmless"
                    .into(),
            ),
            Self::SomebodyElse { .. } => Some(
                "nothing was stored there: a proxy or a login stands in front of it. Give the receiver's own \
                 address"
                    .into(),
            ),
            Self::Broken { .. } => Some("send it again: what is there already does no harm".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzzed_answers_are_told() {
        dorainfra_testutils::fuzzing::five_seconds("remote-write-answers", |input| {
            let text = String::from_utf8_lossy(input);
            for status in [200, 204, 400, 401, 409, 413, 415, 422, 429, 500] {
                let _ = Reason::of(status, &text);
            }
            let now = time::OffsetDateTime::UNIX_EPOCH;
            let wait = crate::remote_write::retry_after(&text, now);
            assert!(wait.is_none_or(|wait| wait <= dorainfra_base::answer::LONGEST_WAIT), "{wait:?}");
        });
    }

    #[test]
    fn refusals_are_understood_from_mimir_and_from_prometheus() {
        for (status, message, reason) in [
            (
                400,
                "the sample has been rejected because its timestamp is too old (err-mimir-sample-timestamp-too-old)",
                Reason::TooOld,
            ),
            (400, "out of order sample", Reason::TooOld),
            (400, "out of bounds", Reason::TooOld),
            (400, "duplicate sample for timestamp", Reason::Duplicate),
            (400, "per-user series limit of 10 exceeded (err-mimir-max-series-per-user)", Reason::MaxSeries),
            (429, "(err-mimir-tenant-max-ingestion-rate)", Reason::IngestionRate),
            (401, "no org id", Reason::Unauthorized),
            (413, "", Reason::TooLarge),
            (500, "native histograms are disabled", Reason::NativeHistograms),
            (400, "it says that it has written 0 of 9 native histograms", Reason::NativeHistograms),
            (
                400,
                "received a native histogram sample with too many buckets (err-mimir-max-native-histogram-buckets)",
                Reason::Buckets,
            ),
            (400, "something else", Reason::Other),
        ] {
            assert_eq!(Reason::of(status, message), reason, "{message}");
        }
    }

    #[test]
    fn an_age_error_names_the_limit() {
        let accounting = Accounting { accepted: 20, refused: 5, unknown: 0, unsent: 75 };
        let failure = Failure::Refused { status: 400, message: "out of bounds".into() };
        let error = WriteError::new(failure, "https://mimir:9009/api/v1/push", accounting);
        insta::assert_snapshot!(error, @"the receiver at https://mimir:9009/api/v1/push refused samples (400): a sample is older than the out-of-order window reaches: out of bounds; 20 of 100 samples accepted, 5 in refused requests, 75 not sent");
        assert!(error.hint().unwrap().contains("limits.out_of_order_window"));
    }
}
