//! Proves, in the background, that what the configuration needs is allowed, and says what is not.
//!
//! Everything is asked at start, at reload and from time to time; what is missing is asked again when
//! polkit says that something about it changed, and ever more slowly besides. A question that polkit
//! leaves unanswered stays open: it is answered at the moment when polkit goes on. How much is asked
//! at a time has a bound, whatever the number of apps.

mod needs;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::config::Settings;
use crate::judge::{Effects, Event, Level, Moment, Subject, UnitName, Verb};
use crate::systemd::{Bus, Error, Obstacle};

use super::clock;
use super::looping::{Daemon, Happening};
use super::telling;
use needs::{Need, Question, needs, questions};

pub use needs::Findings;

/// Questions at a time. One takes polkit about a millisecond.
const MANY: usize = 200;
/// Where nothing is missing, they are asked again after that.
const PERIOD: Duration = Duration::from_secs(600);
/// Where there are more than are asked at a time, the next ones follow after that, until each was asked.
const NEXT: Duration = Duration::from_secs(30);
/// polkit tells of a change at every login, too: so long apart at least, while nothing is missing.
const CHANGES: Duration = Duration::from_secs(20);
/// A rule that was written a moment ago is not read yet, and polkit may be on its way up: for so long it is
/// asked again before anything is said,
const BENEFIT: Duration = Duration::from_secs(2);
/// this often.
const QUICKLY: Duration = Duration::from_millis(150);
/// What is missing is asked again after that, then ever more slowly,
const SOON: Duration = Duration::from_secs(2);
/// but after that at last. Where polkit cannot be started, each question leaves a line in the journal.
const LATE: Duration = Duration::from_secs(60);
/// So many of what is missing are asked again; when one of them is there, all are.
const SAMPLE: usize = 8;

/// Why to ask now.
enum Wake {
    /// Something about polkit changed.
    Polkit,
    /// A step on that unit was refused.
    Refused(UnitName),
}

/// What has to be allowed, and whether it is.
pub struct Proving {
    needs: Vec<Need>,
    findings: Findings,
    /// Units that could not be held.
    unheld: Findings,
    orphans: Vec<String>,
    /// Something was answered on this bus: that nothing is known to be missing says something.
    answered: bool,
    wake: Option<mpsc::Sender<Wake>>,
    task: Option<AbortHandle>,
}

impl Proving {
    /// For that configuration; nothing is asked yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            needs: needs(settings),
            findings: Findings::default(),
            unheld: Findings::default(),
            orphans: Vec::new(),
            answered: false,
            wake: None,
            task: None,
        }
    }

    /// Asks on that bus from now on, everything anew; of those subjects first, who wait for it.
    pub fn begin(&mut self, bus: &Bus, waiting: &BTreeSet<Subject>, to: &mpsc::Sender<Happening>) {
        let (wake, wakes) = mpsc::channel(64);
        let asked = questions(&self.needs);
        let theirs =
            self.needs.iter().filter(|need| need.own.iter().chain(&need.of).any(|of| waiting.contains(of)));
        let theirs: BTreeSet<&UnitName> = theirs.map(|need| &need.unit).collect();
        let first = asked.iter().filter(|(unit, _)| theirs.contains(unit)).take(MANY).cloned().collect();
        let task = tokio::spawn(prove(bus.clone(), asked, first, wakes, to.clone())).abort_handle();
        self.answered = false;
        self.wake = Some(wake);
        if let Some(earlier) = self.task.replace(task) {
            earlier.abort();
        }
    }

    /// polkit came or went, or its rules are others.
    pub fn polkit_changed(&self) {
        self.wake(Wake::Polkit);
    }

    /// systemd has read its units anew: that of polkit may be masked no more.
    pub fn units_changed(&self) {
        if !self.findings.is_clear() {
            self.wake(Wake::Polkit);
        }
    }

    /// A step on that unit was refused.
    pub fn refused(&self, unit: UnitName) {
        self.wake(Wake::Refused(unit));
    }

    fn wake(&self, why: Wake) {
        // Where so many wait already, it wakes anyway.
        let _ = self.wake.as_ref().map(|wake| wake.try_send(why));
    }
}

impl Drop for Proving {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Daemon {
    /// A new configuration needs other things. What is known to be missing counts until it was asked.
    pub(super) fn configure_proving(&mut self, now: Moment, settings: &Settings) -> Effects {
        self.proving.needs = needs(settings);
        let known: BTreeSet<&UnitName> = self.proving.needs.iter().map(|need| &need.unit).collect();
        self.proving.findings.missing.retain(|unit, _| known.contains(unit));
        self.proving.unheld.missing.retain(|unit, _| known.contains(unit));
        self.begin_proving();
        self.tell_permissions(now)
    }

    /// Asks everything anew, on the bus that there is.
    pub(super) fn begin_proving(&mut self) {
        let Some(link) = &self.link else { return };
        let waiting = self.host.apps().filter(|app| app.awaits_proof()).map(|app| app.name().clone());
        self.proving.begin(&link.bus, &waiting.collect(), &self.queue);
    }

    /// What was proven.
    pub(super) fn take_proof(&mut self, now: Moment, findings: Findings) -> Effects {
        self.proving.findings = findings;
        self.proving.answered = true;
        let orphans = self.proving.findings.orphans(&self.proving.needs);
        if orphans != self.proving.orphans {
            for text in &orphans {
                telling::say(Level::Warn, format!("swap cannot be had back: {text}"));
            }
            self.proving.orphans = orphans;
        }
        // polkit was slow for these, too.
        self.hold_again.notify_one();
        self.restore_swap();
        self.tell_permissions(now)
    }

    /// A unit is held, or is not for that reason.
    pub(super) fn take_held(&mut self, now: Moment, unit: UnitName, obstacle: Option<Obstacle>) -> Effects {
        self.proving.unheld.note((unit, Verb::Ref), obstacle);
        self.tell_permissions(now)
    }

    /// Tells each app whose permission is another one.
    fn tell_permissions(&mut self, now: Moment) -> Effects {
        let proving = &self.proving;
        let mut findings = proving.findings.clone();
        for (unit, missing) in &proving.unheld.missing {
            missing.iter().for_each(|(verb, why)| findings.note((unit.clone(), *verb), Some(why.clone())));
        }
        let mut denials = findings.denials(&proving.needs);
        let mut news: Vec<(Subject, Option<crate::judge::Denial>)> = Vec::new();
        for app in self.host.apps() {
            let denial = denials.remove(app.name());
            let answered = denial.is_none() && proving.answered && app.awaits_proof();
            if app.denial() != denial.as_ref() || answered {
                news.push((app.name().clone(), denial));
            }
        }
        let told = news.into_iter();
        told.flat_map(|(app, denial)| self.host.handle(now, &app, Event::Permission(denial))).collect()
    }
}

/// Asks and asks again, until the bus is gone.
async fn prove(
    bus: Bus,
    all: Vec<Question>,
    first: Vec<Question>,
    wakes: mpsc::Receiver<Wake>,
    to: mpsc::Sender<Happening>,
) {
    let now = clock::now();
    let mut prover = Prover {
        bus,
        all,
        wakes,
        to,
        known: Findings::default(),
        told: None,
        next: 0,
        asked: 0,
        hindered: None,
        whole: true,
        urgent: first,
        pause: SOON,
        doubted: now,
        began: now,
    };
    while prover.turn().await.is_some() {}
}

struct Prover {
    bus: Bus,
    all: Vec<Question>,
    wakes: mpsc::Receiver<Wake>,
    to: mpsc::Sender<Happening>,
    known: Findings,
    told: Option<Findings>,
    /// Where in `all` the next round begins, and how many were asked since everything was.
    next: usize,
    asked: usize,
    /// The question by which it was found that nothing can be asked: any would do, but this one is known to.
    hindered: Option<Question>,
    /// Ask whatever there is room for, and not only what is missing.
    whole: bool,
    urgent: Vec<Question>,
    pause: Duration,
    /// When there was last a reason to believe that something is changing, and when the last round began.
    doubted: Moment,
    began: Moment,
}

impl Prover {
    /// A round, and the wait for the next one. None: there is nobody to ask, or nobody to tell.
    async fn turn(&mut self) -> Option<()> {
        let before = self.known.clone();
        self.began = clock::now();
        let questions = self.questions();
        match self.look(questions).await {
            Ok(()) => {}
            Err(_) if self.bus.is_closed() || self.to.is_closed() => return None,
            // Of systemd's own silence others tell.
            Err(_) => {
                tokio::time::sleep(SOON).await;
                return Some(());
            }
        }
        let asked_all = self.whole && before.general.is_none() && self.known.general.is_none();
        if !asked_all && self.known.general.is_none() && self.known != before {
            // Something is there again: whoever waits for it goes on now, and the rest is asked at once.
            self.whole = true;
            self.doubted = clock::now();
            return self.tell().await;
        }
        if asked_all && !self.all.is_empty() {
            self.next = (self.next + MANY) % self.all.len();
            self.asked = self.all.len().min(self.asked + MANY);
        }
        let worse = self.told.as_ref() != Some(&self.known) && !self.known.is_clear();
        let silent = self.known.general == Some(Obstacle::Silent);
        if worse && !silent && clock::now().since(self.doubted) < BENEFIT {
            let general = self.known.general.is_some();
            tokio::time::sleep(if general { BENEFIT / 3 } else { QUICKLY }).await;
            return Some(());
        }
        self.tell().await?;
        self.whole = self.known.is_clear();
        self.pause = if self.known == before { (self.pause * 2).min(LATE) } else { SOON };
        self.wait().await
    }

    fn questions(&mut self) -> Vec<Question> {
        if self.known.general.is_some() {
            return self.hindered.iter().chain(&self.all).take(1).cloned().collect();
        }
        let missing = self.known.missing.iter();
        let missing = missing.flat_map(|(unit, verbs)| verbs.keys().map(|verb| (unit.clone(), *verb)));
        let mut questions: Vec<Question> = missing.take(SAMPLE).collect();
        questions.append(&mut self.urgent);
        if self.whole {
            let many = MANY.min(self.all.len());
            questions.extend(self.all.iter().cycle().skip(self.next).take(many).cloned());
        }
        questions
    }

    async fn look(&mut self, questions: Vec<Question>) -> Result<(), Error> {
        // What it is silent about it may take long to answer, and then at once.
        let patient = self.known.general == Some(Obstacle::Silent);
        let hand = self.bus.hand().await?;
        let hand = if patient { hand.patient() } else { hand };
        for question in questions {
            match self.bus.obstacle(&hand, &question.0, question.1).await? {
                Some(obstacle) if obstacle.is_general() => {
                    self.known.general = Some(obstacle);
                    self.hindered = Some(question);
                    return Ok(());
                }
                obstacle => self.known.note(question, obstacle),
            }
        }
        self.known.general = None;
        Ok(())
    }

    /// Tells the loop, where it does not know.
    async fn tell(&mut self) -> Option<()> {
        if self.told.as_ref() != Some(&self.known) {
            self.told = Some(self.known.clone());
            self.to.send(Happening::Proven(Box::new(self.known.clone()))).await.ok()?;
        }
        Some(())
    }

    /// Until it is time for the next round, or something calls for it.
    async fn wait(&mut self) -> Option<()> {
        let mut until = self.began
            + match &self.known.general {
                // The next question waits for its answer by itself.
                Some(Obstacle::Silent) => return Some(()),
                _ if !self.known.is_clear() => self.pause,
                None if self.asked < self.all.len() => NEXT,
                _ => PERIOD,
            };
        loop {
            match timeout(until.since(clock::now()), self.wakes.recv()).await {
                Err(_) => return Some(()),
                Ok(None) => return None,
                Ok(Some(Wake::Refused(unit))) => {
                    self.urgent.extend(self.all.iter().filter(|(of, _)| *of == unit).cloned());
                    // Whoever was refused wants to know, whatever comes of it.
                    self.told = None;
                    break;
                }
                Ok(Some(Wake::Polkit)) if self.known.is_clear() => {
                    until = until.min(clock::now().max(self.began + CHANGES));
                    (self.next, self.asked) = (0, 0);
                    self.doubted = until;
                }
                Ok(Some(Wake::Polkit)) => break,
            }
        }
        self.whole = true;
        self.pause = SOON;
        self.doubted = clock::now();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Verb;
    use crate::systemd::fake::Fake;

    fn some(units: usize) -> Vec<Question> {
        (0..units).map(|at| (format!("app{at}.service").parse().unwrap(), Verb::Start)).collect()
    }

    /// What it tells next, within five seconds.
    async fn next(told: &mut mpsc::Receiver<Happening>) -> Findings {
        match timeout(Duration::from_secs(5), told.recv()).await {
            Ok(Some(Happening::Proven(findings))) => *findings,
            _ => panic!("nothing is told"),
        }
    }

    struct Stage {
        fake: Fake,
        wake: mpsc::Sender<Wake>,
        told: mpsc::Receiver<Happening>,
    }

    async fn stage(fake: Fake, questions: Vec<Question>) -> Stage {
        let (wake, wakes) = mpsc::channel(8);
        let (to, told) = mpsc::channel(8);
        tokio::spawn(prove(fake.bus().await, questions, Vec::new(), wakes, to));
        Stage { fake, wake, told }
    }

    #[tokio::test]
    async fn what_is_granted_is_asked_once_and_within_bounds() {
        let mut stage = stage(Fake::new(), some(450)).await;
        assert!(next(&mut stage.told).await.is_clear());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(stage.fake.calls("StartUnit?").len(), MANY);
    }

    #[tokio::test]
    async fn a_rule_that_is_read_late_is_not_missed() {
        let fake = Fake::new();
        fake.refuse("StartUnit?", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired");
        let mut stage = stage(fake, some(2)).await;
        stage.fake.called("StartUnit?", 4).await;
        stage.fake.accept_again();
        assert!(next(&mut stage.told).await.is_clear());
    }

    #[tokio::test]
    async fn what_is_missing_is_told_and_so_is_its_end_as_soon_as_polkit_says_so() {
        let fake = Fake::new();
        fake.refuse("StartUnit?", "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired");
        let mut stage = stage(fake, some(2)).await;
        assert_eq!(next(&mut stage.told).await.missing.len(), 2);
        stage.fake.accept_again();
        stage.wake.send(Wake::Polkit).await.unwrap();
        assert!(next(&mut stage.told).await.is_clear());
    }

    #[tokio::test]
    async fn silence_is_one_question_that_is_answered_in_the_end() {
        let fake = Fake::new();
        fake.silence("StartUnit?");
        let mut stage = stage(fake, some(50)).await;
        assert_eq!(next(&mut stage.told).await.general, Some(Obstacle::Silent));
        let asked = stage.fake.calls("StartUnit?").len();
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert!(stage.fake.calls("StartUnit?").len() <= asked + 1, "no piling up");
    }

    #[tokio::test]
    async fn who_was_refused_is_told_whatever_comes_of_it() {
        let mut stage = stage(Fake::new(), some(2)).await;
        assert!(next(&mut stage.told).await.is_clear());
        stage.wake.send(Wake::Refused("app1.service".parse().unwrap())).await.unwrap();
        assert!(next(&mut stage.told).await.is_clear());
    }
}
