//! The connection that a question or a message goes over, below whoever asks or tells: made under a
//! deadline, in clear or in TLS, and handed to the HTTP client, which neither connects nor resolves.
//!
//! One way for all: no proxy of the environment, no redirect followed, nothing kept alive. Whom to ask,
//! which of its addresses, for how long, and what an error means are the caller's business.

mod certificate;
mod client;
mod clock;
mod connect;
mod line;
mod store;
mod tls;

pub(crate) use client::{HEADER_LIMIT, client};
pub(crate) use clock::now;
pub(crate) use connect::{LOOK, Patience, Unconnected, begin, connect, ready, socket};
pub(crate) use line::{Patient, Wire};
pub(crate) use tls::{Insecure, Trust, encrypt};
