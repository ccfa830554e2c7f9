//! What an error of systemd means for the step that met it.

use crate::judge::Outcome;
use crate::systemd::Error;

/// How a step went that ended in that error.
pub(super) fn of_error(error: Error) -> Outcome {
    let text = error.to_string();
    match error {
        Error::Hindered(obstacle) if obstacle.is_general() => Outcome::Hindered(text),
        Error::Refused(_) | Error::Hindered(_) => Outcome::Refused(text),
        Error::Conflict(_) => Outcome::Conflict(text),
        Error::TimedOut | Error::Disconnected(_) => Outcome::Unknown(text),
        Error::NoSuchUnit | Error::Masked | Error::NoSuchProcess | Error::NoSuchJob | Error::Other(..) => {
            Outcome::Failed(text)
        }
    }
}
