//! A bounded pool of threads for what blocks.
//!
//! Threads are started on demand, have small stacks, and end when idle, so that a steady daemon
//! holds none between rounds. It is our own because a runtime's blocking pool queues without
//! bound, has one stack size for everything, and cannot say that a job never got a thread.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::text::length;
use crate::judge::Moment;
use crate::wire::{LOOK, Patience, now};

/// A job that has the whole of its time used is given this much longer to say so itself: what it
/// reports (connecting, waiting, reading) is worth more than our "overdue".
const GRACE: Duration = Duration::from_millis(80);

/// A job that has waited so long behind others has a thread woken or started for it. Most checks are
/// through within two milliseconds, and what one thread does in turn costs a third less than what each
/// wakes another for.
const PATIENCE: Duration = Duration::from_millis(20);

/// The bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most threads, busy or idle.
    pub threads: usize,
    /// Most jobs that wait for a thread.
    pub queue: usize,
    /// How long a thread without work stays.
    pub idle: Duration,
    /// Bytes of stack of each thread. Only what is touched costs memory.
    pub stack: usize,
    /// What the threads are called, as `ps -L` shows them.
    pub name: &'static str,
}

impl Default for Limits {
    /// 256 threads (three checks of each of eighty apps can hang, and the others go on), 1024 waiting
    /// jobs, 10 s, 512 KiB (a TLS handshake in a debug build takes 200).
    fn default() -> Self {
        let idle = Duration::from_secs(10);
        Self { threads: 256, queue: 1024, idle, stack: 512 * 1024, name: "check" }
    }
}

/// Why a job has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missed {
    /// All threads were busy for the whole of its time.
    NoThread(Duration),
    /// Too many jobs wait already, or no thread could be started.
    Full,
    /// It was begun, and has not come back in time: stuck in the kernel, or in the resolver.
    Overdue(Duration),
    /// It ended without a result.
    Broken,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoThread(time) => write!(f, "no free probe thread within {}", length(*time)),
            Self::Full => f.write_str("no free probe thread, and too many checks wait for one"),
            Self::Overdue(time) => write!(f, "stuck, no result within {}", length(*time)),
            Self::Broken => f.write_str("ended without a result"),
        }
    }
}

impl std::error::Error for Missed {}

/// The time that a job has.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// It has to have ended by then.
    pub until: Moment,
    /// What it was given in all.
    pub whole: Duration,
    /// What of it was spent waiting for a thread.
    pub waited: Duration,
    /// Nobody waits for the result any more.
    given_up: Arc<AtomicBool>,
}

/// Tells the job when nobody waits for it any more, however that came.
struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Allowance {
    /// One that begins now.
    #[must_use]
    pub fn starting_now(whole: Duration) -> Self {
        Self { until: now() + whole, whole, waited: Duration::ZERO, given_up: Arc::default() }
    }

    /// The same, and no more than `most` in all.
    #[must_use]
    pub fn at_most(mut self, most: Duration) -> Self {
        if let Some(less) = self.whole.checked_sub(most) {
            self.until = self.until - less;
            self.whole = most;
        }
        self
    }

    /// The same, but it ends when so much of what is left now is over: `part` of `of` shares.
    #[must_use]
    pub fn part(mut self, part: u32, of: u32) -> Self {
        let now = now();
        self.until = now + self.until.since(now) * part / of.max(1);
        self
    }

    /// What is left of it; none when it is over, or nobody waits for the result any more. Whoever
    /// waits long asks now and then.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        if self.given_up.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.until.since(now())).filter(|left| !left.is_zero())
    }
}

impl Patience for Allowance {
    fn left(&self) -> Option<Duration> {
        Allowance::left(self)
    }
}

/// What a thread does, and how its result, if somebody still wants it, gets to whoever waits for it.
type Job = Box<dyn FnOnce() -> Option<Delivery> + Send>;
type Delivery = Box<dyn FnOnce() + Send>;

struct Inside {
    waiting: VecDeque<Job>,
    /// Results that wait for those of the jobs behind them, since waking the loop for each costs more
    /// than a short check: for 20 ms at most, as each of those jobs has somebody who waits for it, and
    /// who comes to [`Pool::hurry`] after that time.
    done: Vec<Delivery>,
    threads: usize,
    idle: usize,
    /// Threads that were started or woken, and have not looked for a job yet.
    coming: usize,
    /// When a job was taken last: a thread that began one just now is through with it soon.
    taken: Option<Moment>,
    closed: bool,
}

struct Shared {
    inside: Mutex<Inside>,
    work: Condvar,
    limits: Limits,
}

impl Shared {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Threads for what blocks. Cheap to share by reference; dropping it ends idle threads at once and
/// busy ones after their job, without waiting for them.
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// A pool within those bounds, without a thread yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let inside = Inside {
            waiting: VecDeque::new(),
            done: Vec::new(),
            threads: 0,
            idle: 0,
            coming: 0,
            taken: None,
            closed: false,
        };
        Self { shared: Arc::new(Shared { inside: Mutex::new(inside), work: Condvar::new(), limits }) }
    }

    /// Runs `job` on a thread and waits for it, `whole` and 80 ms at most.
    ///
    /// # Errors
    /// When there is no result in time; the job may then still run, and its result is thrown away. Its
    /// allowance tells it so, as it does when this future is dropped.
    pub async fn run<T, F>(&self, whole: Duration, job: F) -> Result<T, Missed>
    where
        T: Send + 'static,
        F: FnOnce(Allowance) -> T + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let begun = Arc::new(AtomicBool::new(false));
        let mark = Arc::clone(&begun);
        let queued = now();
        let waiting = Waiting(Arc::default());
        let given_up = Arc::clone(&waiting.0);
        self.submit(Box::new(move || {
            let now = now();
            let until = queued + whole;
            // Nobody waits any more: cancelled, or its time was over before it began.
            if sender.is_closed() || now >= until {
                return None;
            }
            mark.store(true, Ordering::Relaxed);
            let result = job(Allowance { until, whole, waited: now.since(queued), given_up });
            Some(Box::new(move || drop(sender.send(result))))
        }))?;
        tokio::pin!(receiver);
        let mut left = whole + GRACE;
        // Once even if it has begun: a result may be held back for it. A thread that is woken for this
        // job may take an older one, so it looks again.
        loop {
            if let Ok(outcome) = tokio::time::timeout(PATIENCE, &mut receiver).await {
                return outcome.map_err(|_| Missed::Broken);
            }
            left = left.saturating_sub(PATIENCE);
            self.hurry();
            if begun.load(Ordering::Relaxed) || left <= PATIENCE {
                break;
            }
        }
        match tokio::time::timeout(left, receiver).await {
            Ok(Ok(result)) => Ok(result),
            _ if !begun.load(Ordering::Relaxed) => Err(Missed::NoThread(whole)),
            Ok(Err(_)) => Err(Missed::Broken),
            Err(_) => Err(Missed::Overdue(whole)),
        }
    }

    /// Runs `job` on a thread of the pool, for a caller that has a thread of its own, and waits for it
    /// as long as the allowance lasts.
    ///
    /// # Errors
    /// When there is no result in time; the job may then still run, and its result is thrown away.
    pub fn run_blocking<T, F>(&self, allowance: &Allowance, job: F) -> Result<T, Missed>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let whole = allowance.left().unwrap_or_default();
        let (tell, told) = mpsc::sync_channel(1);
        let begun = Arc::new(AtomicBool::new(false));
        let mark = Arc::clone(&begun);
        let job = move || {
            mark.store(true, Ordering::Relaxed);
            let _ = tell.send(job());
            None
        };
        self.submit(Box::new(job))?;
        self.hurry();
        loop {
            let Some(left) = allowance.left() else {
                return Err(match begun.load(Ordering::Relaxed) {
                    true => Missed::Overdue(whole),
                    false => Missed::NoThread(whole),
                });
            };
            match told.recv_timeout(left.min(LOOK)) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Missed::Broken),
            }
        }
    }

    /// Threads that exist right now.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.inside().threads
    }

    /// Queues a job. A thread is woken or started for it, unless one is on its way or has begun another
    /// job just now and will be back for this one.
    fn submit(&self, job: Job) -> Result<(), Missed> {
        let mut inside = self.shared.inside();
        if inside.waiting.len() >= self.shared.limits.queue {
            return Err(Missed::Full);
        }
        inside.waiting.push_back(job);
        let now = now();
        let at_work = inside.threads > inside.idle;
        let back_soon = at_work && inside.taken.is_some_and(|taken| now.since(taken) < PATIENCE);
        if inside.coming > 0 || back_soon { Ok(()) } else { self.call(inside) }
    }

    /// Somebody has waited long enough: hands out what is done, and gets one more thread for what
    /// waits, if not enough are on their way.
    fn hurry(&self) {
        let mut inside = self.shared.inside();
        let done = std::mem::take(&mut inside.done);
        if inside.coming < inside.waiting.len() {
            // Without another one, those that there are come to it.
            let _ = self.call(inside);
        } else {
            drop(inside);
        }
        done.into_iter().for_each(|deliver| deliver());
    }

    /// Wakes an idle thread, or starts one.
    fn call(&self, mut inside: MutexGuard<'_, Inside>) -> Result<(), Missed> {
        if inside.idle > inside.coming {
            inside.coming += 1;
            drop(inside);
            self.shared.work.notify_one();
            return Ok(());
        }
        let limits = self.shared.limits;
        if inside.threads >= limits.threads {
            return Ok(());
        }
        inside.threads += 1;
        inside.coming += 1;
        drop(inside);
        let shared = Arc::clone(&self.shared);
        let builder = thread::Builder::new().name(limits.name.to_owned()).stack_size(limits.stack);
        if builder.spawn(move || serve(&shared)).is_ok() {
            return Ok(());
        }
        // TasksMax= or memory: the threads that exist will come to it; without one it cannot run.
        let mut inside = self.shared.inside();
        inside.threads -= 1;
        inside.coming = inside.coming.saturating_sub(1);
        if inside.threads == 0 && inside.waiting.pop_back().is_some() {
            return Err(Missed::Full);
        }
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut inside = self.shared.inside();
        inside.closed = true;
        inside.waiting.clear();
        inside.done.clear();
        drop(inside);
        self.shared.work.notify_all();
    }
}

fn serve(shared: &Shared) {
    let mut inside = shared.inside();
    inside.coming = inside.coming.saturating_sub(1);
    loop {
        if let Some(job) = inside.waiting.pop_front() {
            inside.taken = Some(now());
            drop(inside);
            // Where panics unwind (tests), the thread outlives them, and with it the jobs behind this one.
            let done = catch_unwind(AssertUnwindSafe(job)).ok().flatten();
            inside = shared.inside();
            inside.done.extend(done);
            if inside.waiting.is_empty() && !inside.done.is_empty() {
                let done = std::mem::take(&mut inside.done);
                drop(inside);
                done.into_iter().for_each(|deliver| deliver());
                inside = shared.inside();
            }
            continue;
        }
        if inside.closed {
            break;
        }
        inside.idle += 1;
        let (guard, waited) =
            shared.work.wait_timeout(inside, shared.limits.idle).unwrap_or_else(PoisonError::into_inner);
        inside = guard;
        inside.idle -= 1;
        // One that wakes by itself may have been called just then, which at worst is counted twice:
        // whoever waits for a thread looks again.
        inside.coming = inside.coming.saturating_sub(1);
        if waited.timed_out() && inside.waiting.is_empty() {
            break;
        }
    }
    // The lock is held from the last look at the queue until the thread no longer counts, or a job
    // that was handed to an idle thread could be left lying.
    inside.threads -= 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    fn small(threads: usize, queue: usize) -> Pool {
        Pool::new(Limits { threads, queue, idle: Duration::from_millis(50), stack: 256 * 1024, name: "test" })
    }

    #[test]
    fn runs_and_ends_idle_threads() {
        runtime().block_on(async {
            let pool = small(4, 8);
            assert_eq!(pool.run(Duration::from_secs(1), |_| 7).await, Ok(7));
            assert_eq!(pool.run(Duration::from_secs(1), |_| 8).await, Ok(8));
            // The first may not have come back to waiting when the second job came.
            assert!(pool.threads() <= 2);
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if pool.threads() == 0 {
                    break;
                }
            }
            assert_eq!(pool.threads(), 0);
            assert_eq!(pool.run(Duration::from_secs(1), |_| 9).await, Ok(9));
        });
    }

    #[test]
    fn a_stuck_job_blocks_nobody_else() {
        runtime().block_on(async {
            let pool = small(2, 8);
            let (release, hold) = mpsc::channel::<()>();
            let short = Duration::from_millis(40);
            let stuck = pool.run(short, move |_| hold.recv().is_ok());
            let other = pool.run(Duration::from_secs(1), |_| 1);
            let (stuck, other) = tokio::join!(stuck, other);
            assert_eq!((stuck, other), (Err(Missed::Overdue(short)), Ok(1)));
            drop(release);
        });
    }

    #[test]
    fn without_a_thread_it_says_so_and_never_begins() {
        runtime().block_on(async {
            let pool = small(1, 1);
            let (release, hold) = mpsc::channel::<()>();
            let (ran, did_run) = mpsc::channel::<()>();
            let short = Duration::from_millis(40);
            let (begin, begun) = oneshot::channel();
            let first = pool.run(Duration::from_secs(2), move |_| {
                let _ = begin.send(());
                hold.recv().is_ok()
            });
            let rest = async {
                begun.await.unwrap();
                let second = pool.run(short, move |_| ran.send(()).is_ok());
                let third = async {
                    tokio::task::yield_now().await;
                    pool.run(short, |_| true).await
                };
                let both = tokio::join!(second, third);
                drop(release);
                both
            };
            let (first, (second, third)) = tokio::join!(first, rest);
            assert_eq!(first, Ok(false));
            assert_eq!(second, Err(Missed::NoThread(short)));
            assert_eq!(third, Err(Missed::Full));
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(did_run.try_recv().is_err());
        });
    }

    #[test]
    fn a_result_does_not_wait_for_a_job_that_hangs() {
        runtime().block_on(async {
            let pool = small(1, 8);
            let (release, hold) = mpsc::channel::<()>();
            let asked = now();
            let first = async {
                // It is still at work when the other one is queued behind it, on the same thread.
                let done =
                    pool.run(Duration::from_secs(5), |_| thread::sleep(Duration::from_millis(10))).await;
                let took = now().since(asked);
                drop(release);
                (done, took)
            };
            let second = pool.run(Duration::from_secs(5), move |_| hold.recv().is_ok());
            let ((first, took), second) = tokio::join!(first, second);
            assert_eq!((first, second), (Ok(()), Ok(false)));
            assert!(took < Duration::from_secs(1), "{took:?}");
            assert_eq!(pool.threads(), 1);
        });
    }

    #[test]
    fn a_job_that_panics_is_broken_and_frees_its_thread() {
        runtime().block_on(async {
            let pool = small(1, 4);
            let broken = pool.run(Duration::from_secs(1), |_| -> u8 { panic!("on purpose") }).await;
            assert_eq!(broken, Err(Missed::Broken));
            assert_eq!(pool.run(Duration::from_secs(1), |_| 3).await, Ok(3));
        });
    }

    #[test]
    fn a_job_that_nobody_waits_for_is_told() {
        runtime().block_on(async {
            let pool = small(1, 4);
            let (tell, told) = mpsc::channel();
            let (begin, begun) = oneshot::channel();
            let job = pool.run(Duration::from_secs(60), move |allowance| {
                let _ = begin.send(());
                while allowance.left().is_some() {
                    thread::sleep(Duration::from_millis(1));
                }
                let _ = tell.send(());
            });
            tokio::select! {
                _ = job => panic!("it has a minute"),
                _ = begun => {}
            }
            // Its future is dropped by now, and its thread free for the next.
            assert_eq!(pool.run(Duration::from_secs(5), |_| 1).await, Ok(1));
            assert_eq!(told.try_recv(), Ok(()));
        });
    }

    #[test]
    fn short_jobs_need_few_threads_and_long_ones_get_theirs() {
        runtime().block_on(async {
            let limits = Limits { threads: 64, ..Limits::default() };
            let pool = Pool::new(limits);
            let short = (0..200).map(|_| pool.run(Duration::from_secs(5), |_| ()));
            futures_util::future::join_all(short).await;
            assert!(pool.threads() < 20, "{}", pool.threads());
            let (release, hold) = mpsc::channel::<()>();
            let hold = Arc::new(Mutex::new(hold));
            let stuck = (0..20).map(|_| {
                let hold = Arc::clone(&hold);
                pool.run(Duration::from_secs(5), move |_| hold.lock().unwrap().recv().is_ok())
            });
            let stuck = futures_util::future::join_all(stuck);
            let others = async {
                tokio::task::yield_now().await;
                for _ in 0..20 {
                    let asked = now();
                    assert_eq!(pool.run(Duration::from_secs(5), |_| 1).await, Ok(1));
                    assert!(now().since(asked) < Duration::from_millis(200));
                }
                drop(release);
            };
            tokio::join!(stuck, others);
        });
    }

    #[test]
    fn many_at_once_all_end() {
        runtime().block_on(async {
            let pool = small(8, 600);
            let jobs = (0..500).map(|i| pool.run(Duration::from_secs(5), move |_| i));
            let sum: i32 = futures_util::future::join_all(jobs).await.into_iter().map(Result::unwrap).sum();
            assert_eq!(sum, (0..500).sum::<i32>());
            assert!(pool.threads() <= 8);
        });
    }
}
