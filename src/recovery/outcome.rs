//! How a step went, in the words that the judge and the journal need.

use std::fmt;

use crate::systemd::Error;

/// How a step went.
#[must_use]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Carried out. Says nothing about the health of the app.
    Done,
    /// There was nothing to do.
    AlreadySo,
    /// Somebody else decided before our job was through.
    Canceled,
    /// polkit or the bus policy says no.
    Refused(String),
    /// Job mode `fail`: a job of somebody else is pending and goes the other way.
    Conflict(String),
    /// Our own deadline passed; the job may still be there.
    TimedOut(String),
    /// It was tried and failed.
    Failed(String),
    /// It does not apply to the unit as it is now.
    Skipped,
    /// The bus was lost or a call got no answer: it may have been carried out or not.
    Unknown(String),
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Refused(_) => Self::Refused(text),
            Error::Conflict(_) => Self::Conflict(text),
            Error::TimedOut | Error::Disconnected(_) => Self::Unknown(text),
            Error::NoSuchUnit
            | Error::Masked
            | Error::NoSuchProcess
            | Error::NoSuchJob
            | Error::Other(..) => Self::Failed(text),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::AlreadySo => f.write_str("nothing to do"),
            Self::Canceled => f.write_str("canceled by somebody else"),
            Self::Skipped => f.write_str("skipped"),
            Self::Failed(text)
            | Self::Refused(text)
            | Self::Conflict(text)
            | Self::TimedOut(text)
            | Self::Unknown(text) => f.write_str(text),
        }
    }
}
