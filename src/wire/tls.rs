//! The handshake: with whom, how it failed, how long the certificate holds.
//!
//! Each handshake is a whole one: nothing is resumed, so that the certificate is shown every time.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme,
    StreamOwned,
};
use rustls_platform_verifier::Verifier;

use super::certificate;
use super::line::{Stream, Wire};
use super::store::store;

/// Which certificates are good.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    /// Those that the system's trust store vouches for, for the name that was asked.
    System,
    /// The same, for who seldom asks: read for this one, and not kept, which is not worth the memory.
    SystemAnew,
    /// Any: the question is whether somebody answers.
    Anyone,
    /// Those that these vouch for.
    #[cfg(test)]
    Only(Arc<dyn ServerCertVerifier>),
}

/// Why there is no encrypted connection.
#[derive(Debug)]
pub(crate) enum Insecure {
    /// It is the server's fault; worded to go behind `…: `.
    Bad(String),
    /// No answer in time.
    TimedOut,
    /// It could not be tried.
    Untried(String),
}

/// What came of a handshake, and how long the certificate that was shown still holds, in seconds.
type Shaken<S> = (Result<Wire<S>, Insecure>, Option<i64>);

/// Shakes hands with `host`, which errors call `called`.
pub(crate) fn encrypt<S: Stream>(mut stream: S, host: &str, called: &str, trust: &Trust) -> Shaken<S> {
    let shown = Arc::new(Mutex::new(None));
    let mut connection = match begin(host, trust, &shown) {
        Ok(connection) => connection,
        Err(insecure) => return (Err(insecure), None),
    };
    let done = connection.complete_io(&mut stream);
    let remaining = *shown.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = match done {
        Ok(_) => Ok(Wire::Tls(Box::new(StreamOwned::new(connection, stream)))),
        Err(error) => Err(match error.kind() {
            ErrorKind::TimedOut => Insecure::TimedOut,
            ErrorKind::UnexpectedEof => Insecure::Bad("connection closed during the TLS handshake".into()),
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
                Insecure::Bad("connection reset during the TLS handshake".into())
            }
            _ => match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
                Some(error) => Insecure::Bad(explain(error, called, remaining)),
                None => Insecure::Bad(format!("TLS handshake fails: {error}")),
            },
        }),
    };
    (outcome, remaining)
}

fn begin(host: &str, trust: &Trust, shown: &Arc<Mutex<Option<i64>>>) -> Result<ClientConnection, Insecure> {
    let untried = |error: Error| Insecure::Untried(format!("TLS cannot be set up: {error}"));
    let name = ServerName::try_from(host.trim_end_matches('.').to_owned())
        .map_err(|_| Insecure::Untried("its host is no name that TLS knows".into()))?;
    let inner = match trust {
        Trust::System => Some(store(false).map_err(untried)? as Arc<dyn ServerCertVerifier>),
        Trust::SystemAnew => Some(Arc::new(Verifier::new(provider()).map_err(untried)?) as _),
        Trust::Anyone => None,
        #[cfg(test)]
        Trust::Only(verifier) => Some(Arc::clone(verifier)),
    };
    let system = matches!(trust, Trust::System);
    let witness = Witness { inner, system, shown: Arc::clone(shown) };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(untried)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(witness))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    ClientConnection::new(Arc::new(config), name).map_err(untried)
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// Notes how long the certificate holds before somebody else judges it.
#[derive(Debug)]
struct Witness {
    inner: Option<Arc<dyn ServerCertVerifier>>,
    system: bool,
    shown: Arc<Mutex<Option<i64>>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) =
            certificate::remaining(end_entity, seconds);
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        let verdict = inner.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        match verdict {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) if self.system => {
                store(true)?.verify_server_cert(end_entity, intermediates, name, ocsp, now)
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.inner {
            Some(inner) => inner.verify_tls12_signature(message, cert, signed),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.inner {
            Some(inner) => inner.verify_tls13_signature(message, cert, signed),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// What is wrong with a handshake, for the operator. Nothing in it is secret: certificates are public.
fn explain(error: &Error, called: &str, remaining: Option<i64>) -> String {
    match error {
        Error::InvalidCertificate(why) => match why {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("certificate is not valid for {called}")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => match remaining {
                Some(seconds @ ..0) => format!("certificate expired {} ago", rough(seconds.unsigned_abs())),
                // One further up expired, not the server's own.
                _ => "a certificate of its chain has expired".to_owned(),
            },
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "certificate is not valid yet (or this host\u{2019}s clock is wrong)".to_owned()
            }
            CertificateError::UnknownIssuer => {
                "certificate is of an authority that this host does not trust, or its chain is incomplete"
                    .to_owned()
            }
            other => format!("certificate is not accepted: {other:?}"),
        },
        Error::AlertReceived(alert) => format!("TLS handshake is refused by the server: {alert:?}"),
        Error::InvalidMessage(_) => "no TLS is spoken there".to_owned(),
        Error::PeerIncompatible(_) => "no version or cipher of TLS in common".to_owned(),
        Error::General(text) => format!("TLS handshake fails: {text}"),
        other => format!("TLS handshake fails: {other}"),
    }
}

/// `3 days`, `5 h`, `2 min`.
fn rough(seconds: u64) -> String {
    match seconds {
        0..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
