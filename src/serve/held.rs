//! A certificate that is got and renewed while its listener serves.

use std::sync::{Arc, PoisonError, RwLock};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::rustls::{
    self,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The certificate that a listener shows, if it has one. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct HeldCertificate(Arc<RwLock<Option<Arc<CertifiedKey>>>>);

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum HeldError {
    /// It is no PEM.
    #[error("it is no PEM certificate: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// There is none in it.
    #[error("it holds no CERTIFICATE block")]
    Empty,
    /// Its DER is not understood.
    #[error("it is not understood: {0}")]
    Unreadable(String),
    /// It is another key's, or the key is not usable.
    #[error("it does not serve with its key: {0}")]
    Pair(#[from] rustls::Error),
}

/// When a certificate begins and ends, in seconds of Unix time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its first moment.
    pub from: i64,
    /// Its last.
    pub until: i64,
}

impl HeldCertificate {
    /// Shows `certificate` from the next handshake on, if it serves with `key`, both PEM; intermediates stand after it.
    pub fn set(&self, certificate: &[u8], key: &[u8]) -> Result<Validity, HeldError> {
        let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>()?;
        let first = chain.first().ok_or(HeldError::Empty)?;
        let (_, parsed) = X509Certificate::from_der(first).map_err(|fault| HeldError::Unreadable(fault.to_string()))?;
        let validity = parsed.validity();
        let validity = Validity { from: validity.not_before.timestamp(), until: validity.not_after.timestamp() };
        let key = PrivateKeyDer::from_pem_slice(key)?;
        // Fails where the two do not belong together.
        let pair = CertifiedKey::from_der(chain, key, &ring::default_provider())?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(pair));
        Ok(validity)
    }
}

#[cfg(test)]
impl HeldCertificate {
    pub(crate) fn is_some(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl ResolvesServerCert for HeldCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
