//! The virtio port between the tests and the agent in a machine, whose script says what goes over it.
//! Threads do the reading and writing, so that every wait of a test has a deadline.

use std::cell::Cell;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::Output;

/// The most that is taken of one output.
const MOST: usize = 64 << 20;

/// What comes out of a machine.
pub enum Heard {
    /// A boot, by its id, in which the agent listens now.
    Up(String),
    /// What a line said, and how long the machine was up then.
    Answer { id: u64, uptime: Duration, output: Output },
}

/// The tests' end of the port.
pub struct Port {
    asked: Cell<u64>,
    answered: Cell<u64>,
    to: SyncSender<Vec<u8>>,
    from: Receiver<Heard>,
}

impl Port {
    /// Over the standard input and output of QEMU.
    pub fn new(stdin: Option<ChildStdin>, stdout: Option<ChildStdout>) -> Self {
        let (to, outgoing) = sync_channel::<Vec<u8>>(4);
        let (incoming, from) = sync_channel(4);
        std::thread::spawn(move || {
            let mut stdin = stdin?;
            while let Ok(bytes) = outgoing.recv() {
                stdin.write_all(&bytes).ok()?;
                stdin.flush().ok()?;
            }
            Some(())
        });
        std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout?);
            while let Ok(heard) = read(&mut stdout) {
                if let Some(heard) = heard {
                    incoming.send(heard).ok()?;
                }
            }
            Some(())
        });
        Self { asked: Cell::new(0), answered: Cell::new(0), to, from }
    }

    /// Has a line run with an input, for `limit` at most; gives the id of its answer.
    pub fn ask(&self, limit: Duration, line: &str, input: &str) -> u64 {
        let id = self.asked.get() + 1;
        self.asked.set(id);
        let header = format!("{id} {} {} {}\n", limit.as_secs_f64(), line.len(), input.len());
        // Nobody there: the answer will be missed.
        let _ = self.to.try_send([header.as_str(), line, input].concat().into_bytes());
        id
    }

    /// What comes next; None when nothing does in time.
    pub fn hear(&self, patience: Duration) -> Option<Heard> {
        let heard = self.from.recv_timeout(patience).ok()?;
        if let Heard::Answer { id, .. } = &heard {
            self.answered.set(*id);
        }
        Some(heard)
    }

    /// Whether the last question was answered.
    pub fn idle(&self) -> bool {
        self.asked.get() == self.answered.get()
    }
}

/// One message; None when it is none of ours, as after an agent was cut off.
fn read(from: &mut BufReader<ChildStdout>) -> io::Result<Option<Heard>> {
    let mut header = Vec::new();
    if from.by_ref().take(4096).read_until(b'\n', &mut header)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let header = String::from_utf8_lossy(&header);
    let fields: Vec<&str> = header.split_whitespace().collect();
    if let ["up", boot] = fields[..] {
        return Ok(Some(Heard::Up(boot.to_owned())));
    }
    let [id, status, uptime, out, err] = fields[..] else { return Ok(None) };
    let (Ok(id), Ok(status), Ok(Ok(uptime)), Ok(out), Ok(err)) = (
        id.parse(),
        status.parse(),
        uptime.parse().map(Duration::try_from_secs_f64),
        out.parse(),
        err.parse(),
    ) else {
        return Ok(None);
    };
    let stdout = text(from, out)?;
    let stderr = text(from, err)?;
    let output = Output { status, stdout, stderr };
    Ok(Some(Heard::Answer { id, uptime, output }))
}

fn text(from: &mut BufReader<ChildStdout>, length: usize) -> io::Result<String> {
    let mut bytes = vec![0; length.min(MOST)];
    from.read_exact(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}
