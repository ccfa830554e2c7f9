//! The life of a host: bad luck, alone and in combination, then all is mended and it must get well.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use app_monitor::judge::Verdict;

use crate::systemd::Wish;
use crate::world::{World, seconds};

/// Faults that befall one host before it is mended.
pub const FAULTS_A_LIFE: u64 = 40;

/// One life in so many ends with a fault that nothing cures: it takes as long as all else, and more lives
/// are to be had where each small fault of the judge has to be found.
const LIVES_PER_ORDEAL: u64 = if cfg!(feature = "mutations") { 5 } else { 40 };

/// What a life came to.
pub struct Life {
    pub faults: u64,
    /// Microseconds of simulated time.
    pub lived: i64,
    pub turns: u64,
    pub violation: Option<String>,
}

/// The life of the host of that seed.
pub fn life(seed: u64, faults: u64) -> Life {
    let mut world = World::of_seed(seed);
    world.run_for(seconds(60));
    let mut struck = 0;
    while struck < faults && world.violation.is_none() {
        let together = 1 + world.chance.below(4) as u64;
        for _ in 0..together.min(faults - struck) {
            world.strike();
            struck += 1;
            let pause = world.chance.length(1, 20_000);
            world.run_for(pause);
        }
        let pause = world.chance.length(1_000, 1_500_000);
        world.run_for(pause);
        world.at_rest();
    }
    if world.violation.is_none() {
        world.mend();
        let longest = world.members.iter().map(|member| member.policy.retry_interval).max();
        world.run_for(longest.unwrap_or_default() + seconds(4_000));
        world.at_rest();
        world.must_be_well();
    }
    if world.violation.is_none() && seed.is_multiple_of(LIVES_PER_ORDEAL) {
        world.suffer();
        struck += 1;
    }
    Life { faults: struck, lived: world.lived, turns: world.turns, violation: world.violation }
}

impl World {
    /// It was down when somebody's job came, of whose end nothing was told: that may have been a stop.
    fn left_alone_unheard(&self, member: usize, verdict: Verdict) -> bool {
        let down = self.units[self.members[member].unit].is_down();
        down && verdict == Verdict::StoppedByAdmin && self.ledger.members[member].unheard.is_some()
    }

    /// Liveness: everything curable is cured, and nothing stays open.
    pub fn must_be_well(&mut self) {
        for member in 0..self.members.len() {
            let Some(host) = self.monitor.host() else { return };
            let simulated = &self.members[member];
            let Some(app) = host.app(&simulated.name) else { continue };
            let view = app.view(self.now);
            let unit = &self.units[simulated.unit];
            let all_allowed = simulated.policy.max_attempts;
            let stopped = matches!(unit.wish, Wish::Stopped { .. });
            let problem = if stopped {
                let left_alone = unit.is_down();
                (!left_alone).then(|| "somebody stopped it, and it runs".to_owned())
            } else if unit.wish == Wish::Forgotten || self.left_alone_unheard(member, view.verdict) {
                None
            } else if !unit.is_up() {
                Some(format!("it is {}: {}: {}", unit.says.sub, view.verdict, view.text))
            } else if !self.is_asked(member) {
                None
            } else if view.verdict != Verdict::Healthy {
                Some(format!("{}: {}", view.verdict, view.text))
            } else if view.incident.is_some() || !view.conditions.is_empty() || view.recovery.is_some() {
                Some(format!("{:?} {:?} {:?} stay open", view.incident, view.conditions, view.recovery))
            } else if view.attempts_left != all_allowed {
                Some(format!("{} attempts are left", view.attempts_left))
            } else {
                None
            };
            if let Some(problem) = problem {
                let what = format!("{}: {problem}", self.members[member].name);
                self.violated("every curable fault ends healthy", &what);
                return;
            }
        }
    }
}

/// What many lives came to.
pub struct Lives {
    pub faults: u64,
    pub lives: u64,
    pub years: f64,
    pub turns: u64,
    /// The lives that must not be, in their order: their seeds, and why.
    pub violations: Vec<(u64, String)>,
}

impl Lives {
    /// How often each invariant was broken, most often first, with the first seeds.
    pub fn told(&self) -> String {
        let mut rules: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (seed, what) in &self.violations {
            rules.entry(rule(what)).or_default().push(*seed);
        }
        let mut rules: Vec<_> = rules.into_iter().collect();
        rules.sort_by_key(|(_, seeds)| std::cmp::Reverse(seeds.len()));
        let mut told = String::new();
        for (rule, seeds) in rules {
            let first: Vec<String> = seeds.iter().take(8).map(u64::to_string).collect();
            told += &format!("{:>6}  {rule} (seeds {})\n", seeds.len(), first.join(", "));
        }
        told
    }
}

/// The invariant that a violation is of.
pub fn rule(what: &str) -> &str {
    what.split(": ").next().unwrap_or_default()
}

/// When to stop looking.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// All faults have struck.
    End,
    /// Something was that must not be.
    FirstViolation,
}

/// So many faults, over as many hosts as it takes, on all cores. What comes out does not depend on
/// how many there are.
pub fn lives(seed: u64, faults: u64, until: Until, prepare: impl Fn() + Sync) -> Lives {
    let count = faults.div_ceil(FAULTS_A_LIFE);
    let next = AtomicU64::new(0);
    let first_bad = AtomicU64::new(u64::MAX);
    let sum = Mutex::new((0_u64, 0_i64, 0_u64, Vec::<(u64, String)>::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                prepare();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let enough = until == Until::FirstViolation && number > first_bad.load(Ordering::Relaxed);
                    if number >= count || enough {
                        return;
                    }
                    let share = FAULTS_A_LIFE.min(faults - number * FAULTS_A_LIFE);
                    let life = life(seed.wrapping_add(number), share);
                    let mut sum = sum.lock().unwrap();
                    sum.0 += life.faults;
                    sum.1 += life.lived;
                    sum.2 += life.turns;
                    if let Some(violation) = life.violation {
                        first_bad.fetch_min(number, Ordering::Relaxed);
                        sum.3.push((number, violation));
                    }
                }
            });
        }
    });
    let (faults, lived, turns, mut violations) = sum.into_inner().unwrap();
    violations.sort();
    if until == Until::FirstViolation {
        violations.truncate(1);
    }
    let years = lived as f64 / 1e6 / 86_400.0 / 365.25;
    let violations = violations.into_iter().map(|(number, what)| (seed.wrapping_add(number), what)).collect();
    Lives { faults, lives: count, years, turns, violations }
}
