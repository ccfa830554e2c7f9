//! The socket of our bus service: what cannot be written is not piled up.
//!
//! The bus keeps answers that nobody fetches, up to a limit of its own, and then takes nothing from us
//! any more. Each call that was read meanwhile would wait here for its turn to answer, without end. So
//! no call is read while an answer is stuck; and a socket that is stuck for long is given up, with all
//! that waits on it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use zbus::Connection;
use zbus::address::transport::{Transport, UnixSocket};
use zbus::connection::Builder;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;

/// An answer that is stuck for so long stays so.
const STUCK: Duration = Duration::from_secs(10);
/// Connecting takes no longer.
const CONNECT: Duration = Duration::from_secs(5);

/// A connection of its own to the system bus: who floods it, or does not fetch what he asked for, is in
/// nobody's way who listens to systemd.
pub(super) async fn connect() -> zbus::Result<Connection> {
    let address = zbus::Address::system()?;
    let building = async {
        match address.transport() {
            Transport::Unix(unix) => match unix.path() {
                UnixSocket::File(path) => {
                    let stream = UnixStream::connect(path).await?;
                    Builder::socket(Stream(stream)).build().await
                }
                _ => Builder::address(address.clone()).build().await,
            },
            _ => Builder::address(address.clone()).build().await,
        }
    };
    match tokio::time::timeout(CONNECT, building).await {
        Ok(built) => built,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

#[derive(Debug)]
struct Stream(UnixStream);

impl Socket for Stream {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let (read, write) = self.0.into_split();
        let (stuck, watched) = watch::channel(false);
        Split::new(Reader { half: read, stuck: watched }, Writer { half: write, stuck: Arc::new(stuck) })
    }
}

#[derive(Debug)]
struct Reader {
    half: OwnedReadHalf,
    /// An answer does not get out.
    stuck: watch::Receiver<bool>,
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        loop {
            // The writer is gone only when the connection is.
            if self.stuck.wait_for(|stuck| !stuck).await.is_err() {
                return Ok((0, Vec::new()));
            }
            self.half.readable().await?;
            if *self.stuck.borrow() {
                continue;
            }
            match self.half.try_read(buffer) {
                Ok(length) => return Ok((length, Vec::new())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[derive(Debug)]
struct Writer {
    half: OwnedWriteHalf,
    stuck: Arc<watch::Sender<bool>>,
}

/// Reading goes on, however the write ended.
struct Unstuck(Arc<watch::Sender<bool>>);

impl Drop for Unstuck {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, buffer: &[u8], _fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut stuck = None;
        loop {
            match self.half.try_write(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if stuck.is_none() {
                self.stuck.send_replace(true);
                stuck = Some(Unstuck(Arc::clone(&self.stuck)));
            }
            match tokio::time::timeout(STUCK, self.half.writable()).await {
                Ok(writable) => writable?,
                Err(_) => {
                    // Half a message may be out: nothing can follow it. Reading ends, too.
                    let socket = self.half.as_ref();
                    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Both);
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        rustix::net::shutdown(self.half.as_ref(), rustix::net::Shutdown::Both).map_err(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[tokio::test]
    async fn nothing_is_read_while_an_answer_is_stuck() {
        const ALL: usize = 8 << 20;
        let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (mut reader, mut writer) = Stream(UnixStream::from_std(ours).unwrap()).split().take();
        let mut buffer = [0; 4];
        theirs.write_all(b"one").unwrap();
        assert_eq!(reader.recvmsg(&mut buffer).await.unwrap().0, 3);
        let answers = tokio::spawn(async move {
            let chunk = vec![0; 65_536];
            let mut written = 0;
            while written < ALL {
                written += writer.sendmsg(&chunk[..chunk.len().min(ALL - written)], &[]).await.unwrap();
            }
            writer
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        theirs.write_all(b"two").unwrap();
        let within = Duration::from_millis(200);
        assert!(tokio::time::timeout(within, reader.recvmsg(&mut buffer)).await.is_err(), "read meanwhile");
        let fetching = tokio::task::spawn_blocking(move || {
            theirs.read_exact(&mut vec![0; ALL]).unwrap();
            theirs
        });
        let _theirs = fetching.await.unwrap();
        let _writer = answers.await.unwrap();
        assert_eq!(reader.recvmsg(&mut buffer).await.unwrap().0, 3);
    }
}
