//! Small faults of the judge, so that a test can see that the simulation finds each of them.
//!
//! Without the feature `mutations`, which nothing but that test turns on, `active` is `false` for good
//! and its callers are as if it were not there.

/// A small fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// Recoveries follow each other without pause.
    CooldownIgnored,
    /// Every stop is taken for a crash.
    AdminStopIgnored,
    /// Whoever works on an app counts less than that it is down.
    PauseBelowCrash,
    /// Bad rounds of one run count against the next.
    CountersKept,
    /// A check that could not be made is bad.
    UnknownIsBad,
    /// Failures right after a start are not forgiven.
    GraceIgnored,
    /// All attempts used up is no reason to stop.
    BreakerNeverOpens,
    /// The breaker never lets one through.
    RetryNeverComes,
    /// Any number acts at a time.
    ParallelIgnored,
    /// Attempts do not outlive the monitor.
    AttemptsForgotten,
    /// Every job is ours.
    ForeignIsOurs,
    /// Nobody asks for the database.
    DatabaseIgnored,
    /// An app whose last answer was good is restarted all the same.
    AnswersIgnored,
    /// Caches are cleared while the app runs.
    CachesWhileUp,
    /// What is about to be done is not written ahead.
    IntentNotWritten,
    /// A check that was never good is believed.
    ProofIgnored,
    /// A masked unit is recovered.
    MaskIgnored,
    /// Watching is acting.
    WatchActs,
    /// One bad round is enough.
    OneIsEnough,
    /// An app that is at work counts as frozen.
    OverloadedIsFrozen,
    /// An incident that is over stays open.
    IncidentStaysOpen,
    /// It acts while the host goes down.
    ShutdownIgnored,
    /// That the breaker is open is told at each retry.
    BreakerTellsAgain,
    /// The breaker's retries come twice as often.
    RetryEarly,
    /// One attempt fewer than allowed.
    AttemptLost,
    /// What was wrong with answers holds for ever.
    FaultSticks,
    /// What an app does to its public name is the proxy's fault.
    OwnDoingIgnored,
}

impl Mutation {
    /// Every one.
    #[cfg(feature = "mutations")]
    pub const ALL: [Self; 27] = [
        Self::CooldownIgnored,
        Self::AdminStopIgnored,
        Self::PauseBelowCrash,
        Self::CountersKept,
        Self::UnknownIsBad,
        Self::GraceIgnored,
        Self::BreakerNeverOpens,
        Self::RetryNeverComes,
        Self::ParallelIgnored,
        Self::AttemptsForgotten,
        Self::ForeignIsOurs,
        Self::DatabaseIgnored,
        Self::AnswersIgnored,
        Self::CachesWhileUp,
        Self::IntentNotWritten,
        Self::ProofIgnored,
        Self::MaskIgnored,
        Self::WatchActs,
        Self::OneIsEnough,
        Self::OverloadedIsFrozen,
        Self::IncidentStaysOpen,
        Self::ShutdownIgnored,
        Self::BreakerTellsAgain,
        Self::RetryEarly,
        Self::AttemptLost,
        Self::FaultSticks,
        Self::OwnDoingIgnored,
    ];
}

#[cfg(feature = "mutations")]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Puts one in force on this thread, or none.
#[cfg(feature = "mutations")]
pub fn activate(mutation: Option<Mutation>) {
    ACTIVE.set(mutation);
}

/// That one is in force.
#[cfg(feature = "mutations")]
pub(super) fn active(mutation: Mutation) -> bool {
    ACTIVE.get() == Some(mutation)
}

/// None ever is.
#[cfg(not(feature = "mutations"))]
pub(super) const fn active(_: Mutation) -> bool {
    false
}
