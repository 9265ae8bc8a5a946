//! Why a history's blocks are not there, in words, with what to do about it.

use dorainfra_base::error::Why as Cause;

use super::super::remote_write::Accounting;

/// Why a block was given up.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Answered with a status that repeating cannot change.
    Refused { step: &'static str, status: u16, message: String },
    /// Mimir looked at the block, and found it bad.
    Invalid { block: String, message: String },
    /// TLS did not come about: certificates, not the weather.
    Tls(Cause),
    /// Still unavailable after all attempts.
    Unavailable { attempts: u32, last: Cause, answered: bool },
    /// Who answered is not Mimir.
    SomebodyElse(String),
    /// The request could not even be made.
    Broken(Cause),
}

impl Failure {
    /// Whether it was Mimir that said no.
    pub fn is_answered(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Invalid { .. } | Self::SomebodyElse(_) => true,
            Self::Unavailable { answered, .. } => *answered,
            Self::Tls(_) | Self::Broken(_) => false,
        }
    }
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Mimir takes no blocks.
    Disabled,
    /// Longer than the compactor's ranges, or across their bounds.
    Range,
    /// Of times that Mimir deletes.
    Retention,
    /// Ahead of Mimir's clock.
    Future,
    /// Larger than it takes.
    TooLarge,
    /// It was found bad once, which stays.
    FailedBefore,
    Other,
}

impl Why {
    pub fn of(status: u16, message: &str) -> Self {
        let says = |text| message.contains(text);
        if says("block upload is disabled") {
            Self::Disabled
        } else if says("retention period") {
            Self::Retention
        } else if says("compactor time range") {
            Self::Range
        } else if says("greater than the present") {
            Self::Future
        } else if status == 413 || says("maximum block size") {
            Self::TooLarge
        } else if says("block validation failed") {
            Self::FailedBefore
        } else {
            Self::Other
        }
    }
}

/// Why not every block is there, and what became of each sample.
#[derive(Debug)]
pub struct UploadError {
    pub(super) url: String,
    pub(super) failure: Failure,
    pub(super) accounting: Accounting,
}

impl std::error::Error for UploadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.failure {
            Failure::Tls(why) | Failure::Broken(why) | Failure::Unavailable { last: why, .. } => Some(why),
            Failure::Refused { .. } | Failure::Invalid { .. } | Failure::SomebodyElse(_) => None,
        }
    }
}

impl std::fmt::Display for UploadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = &self.url;
        match &self.failure {
            Failure::Refused { step, status, message } => {
                write!(f, "Mimir at {url} refused a block of the history ({step}: {status}): {message}")
            }
            Failure::Invalid { block, message } => {
                write!(f, "Mimir at {url} found the block {block} bad: {message}")
            }
            Failure::Tls(message) => write!(f, "no TLS connection to {url}: {message}"),
            Failure::Unavailable { attempts, last, .. } => {
                write!(f, "Mimir at {url} took no block in {attempts} attempts, last: {last}")
            }
            Failure::SomebodyElse(message) => {
                write!(f, "something else than Mimir answers at {url}: {message}")
            }
            Failure::Broken(message) => write!(f, "no request can be made to {url}: {message}"),
        }?;
        match self.accounting.total() {
            0 => Ok(()),
            _ => write!(f, "; {}", self.accounting),
        }
    }
}

impl UploadError {
    /// What became of the samples.
    pub fn accounting(&self) -> Accounting {
        self.accounting
    }

    /// `None`: it was no refusal.
    pub fn why(&self) -> Option<Why> {
        match &self.failure {
            Failure::Refused { status, message, .. } => Some(Why::of(*status, message)),
            _ => None,
        }
    }

    pub fn hint(&self) -> Option<String> {
        let hint = match (&self.failure, self.why()) {
            (_, Some(Why::Disabled)) => {
                "`limits.compactor_block_upload_enabled` has to be true: see `mimir.extra`, and `dorainfra apply`"
            }
            (_, Some(Why::Range)) => {
                "the last of `compactor.block_ranges` has to be a multiple of 168h: see `mimir.extra`"
            }
            (_, Some(Why::Retention)) => {
                "raise `mimir.retention` above the age of the oldest day, or lower `generator.days`"
            }
            (_, Some(Why::Future)) => "compare the clocks of this machine and of Mimir's",
            (_, Some(Why::TooLarge)) => {
                "raise `limits.compactor_block_upload_max_block_size_bytes` (see `mimir.extra`)"
            }
            (Failure::Invalid { .. }, _) | (_, Some(Why::FailedBefore)) => {
                "Mimir's log says more, and `validation.json` in the block's folder in the bucket. Send it again: it \
                 is tried under another name"
            }
            (_, Some(Why::Other)) => "`dorainfra status` shows the machine, and Mimir's log the reason",
            (Failure::Tls(_), _) => crate::TLS_HINT,
            (Failure::Unavailable { .. }, _) => {
                "`dorainfra status` shows whether the machine is ready; sending the history again is harmless"
            }
            (Failure::SomebodyElse(_), _) => {
                "nothing was stored there: a proxy or a login stands in front of it. Give Mimir's own address"
            }
            (Failure::Refused { .. } | Failure::Broken(_), _) => return None,
        };
        Some(hint.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_understood() {
        for (status, message, why) in [
            (400, "block upload is disabled", Why::Disabled),
            (422, "block max time (2024-01-01) older than retention period", Why::Retention),
            (422, "block duration (1w) is larger than max configured compactor time range (1d)", Why::Range),
            (422, "block time range crosses boundary of configured compactor time range (1d)", Why::Range),
            (400, "block time(s) greater than the present: minTime=1", Why::Future),
            (413, "The block metadata was too large", Why::TooLarge),
            (400, "block exceeds the maximum block size limit of 5 bytes", Why::TooLarge),
            (400, "block validation failed", Why::FailedBefore),
            (400, "malformed request body", Why::Other),
        ] {
            assert_eq!(Why::of(status, message), why, "{message}");
        }
    }

    #[test]
    fn an_error_says_what_became_of_the_samples() {
        let failure = Failure::Refused {
            step: "start",
            status: 422,
            message: "block duration (1w) is larger than max configured compactor time range (1d)".into(),
        };
        let accounting = Accounting { accepted: 20, refused: 5, unknown: 0, unsent: 75 };
        let error = UploadError { url: "https://mimir:9009".into(), failure, accounting };
        insta::assert_snapshot!(error, @"Mimir at https://mimir:9009 refused a block of the history (start: 422): block duration (1w) is larger than max configured compactor time range (1d); 20 of 100 samples accepted, 5 in refused requests, 75 not sent");
        assert!(error.hint().unwrap().contains("compactor.block_ranges"));
    }
}
