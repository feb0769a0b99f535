//! The server's certificate: read from its files, and read again when they change.
//!
//! The files are looked at every few seconds, whole, since they are small and since nothing else
//! tells for sure: tools that renew certificates write in place, rename, or turn a link round. What
//! has changed is taken once it has stood still for one look, so that the key of one pair is not
//! tried with the certificate of another; what cannot be used leaves the old one in force.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use granary::config::Config;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tracing::{error, info, warn};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Bytes of a file that is taken for a certificate or key; a chain has some thousands.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Bits of a file's mode that let others than its owner and its group read it.
const READABLE_BY_OTHERS: u32 = 0o004;

/// The files that a certificate and its key are in.
#[derive(Debug, Clone)]
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What the files held at a time; not shown to anybody, for it has the key.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// The certificate in force; handshakes that begin take the newest.
#[derive(Debug)]
struct InForce(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for InForce {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&held))
    }
}

impl InForce {
    fn replace(&self, certified: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
    }
}

impl Files {
    /// The files that a configuration names; `None` if the server speaks without TLS.
    ///
    /// # Errors
    /// It names one of two.
    pub(super) fn of(config: &Config) -> anyhow::Result<Option<Self>> {
        match (&config.tls_certificate_file, &config.tls_key_file) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                Ok(Some(Self { certificate: certificate.clone(), key: key.clone() }))
            }
            (Some(_), None) => bail!(
                "tls.certificate_file is set and tls.key_file is not; name the file of its key too"
            ),
            (None, Some(_)) => bail!(
                "tls.key_file is set and tls.certificate_file is not; name the certificate too"
            ),
        }
    }

    /// Whether a server would start with what the files hold. Blocks for an instant.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        self.pair(&self.read()?).map(drop)
    }

    /// Takes connections with the certificate in the files, and with each that comes there later,
    /// for as long as the runtime lives. Blocks for an instant.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub(super) fn acceptor(self) -> anyhow::Result<TlsAcceptor> {
        self.warn_of_readers();
        let contents = self.read()?;
        let in_force = Arc::new(InForce(RwLock::new(Arc::new(self.pair(&contents)?))));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("cannot set up TLS")?;
        let mut config =
            config.with_no_client_auth().with_cert_resolver(Arc::<InForce>::clone(&in_force));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        tokio::spawn(self.follow(contents, in_force));
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Puts in force what comes into the files.
    async fn follow(self, mut in_use: Contents, in_force: Arc<InForce>) {
        let mut last = Ok(in_use.clone());
        let mut is_judged = true;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let files = self.clone();
            let looked = tokio::task::spawn_blocking(move || files.read()).await;
            // Ends with the runtime.
            let Ok(found) = looked else { return };
            let found = found.map_err(|error| format!("{error:#}"));
            if found != last {
                (last, is_judged) = (found, false);
                continue;
            }
            if std::mem::replace(&mut is_judged, true) {
                continue;
            }
            match self.judge(&last, &in_use) {
                Ok(None) => {}
                Ok(Some((contents, certified))) => {
                    in_force.replace(certified);
                    in_use = contents;
                    let certificate = self.certificate.display();
                    info!(%certificate, "took the new certificate; connections that begin get it");
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    error!(%error, "cannot use the new certificate; the old one stays in force");
                }
            }
        }
    }

    /// What of the files is to be put in force, if it is not there already.
    fn judge(
        &self,
        found: &Result<Contents, String>,
        in_use: &Contents,
    ) -> anyhow::Result<Option<(Contents, CertifiedKey)>> {
        match found {
            Ok(contents) if contents == in_use => Ok(None),
            Ok(contents) => Ok(Some((contents.clone(), self.pair(contents)?))),
            Err(why) => bail!("{why}"),
        }
    }

    fn read(&self) -> anyhow::Result<Contents> {
        Ok(Contents {
            certificate: read(&self.certificate).context("cannot read the certificate")?,
            key: read(&self.key).context("cannot read the certificate's key")?,
        })
    }

    /// The certificate and its key, if they are such and belong together.
    fn pair(&self, contents: &Contents) -> anyhow::Result<CertifiedKey> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&contents.certificate)
            .collect::<Result<_, _>>()
            .with_context(|| format!("{certificate} is no chain of certificates in PEM form"))?;
        ensure!(!chain.is_empty(), "{certificate} holds no certificate in PEM form");
        let private = PrivateKeyDer::from_pem_slice(&contents.key)
            .with_context(|| format!("{key} holds no private key in PEM form"))?;
        let pair = CertifiedKey::from_der(chain, private, &ring::default_provider());
        pair.with_context(|| {
            format!("the first certificate in {certificate} and the key in {key} are no pair")
        })
    }

    /// Warns where others than the server may read the key.
    fn warn_of_readers(&self) {
        if let Ok(found) = std::fs::metadata(&self.key)
            && found.mode() & READABLE_BY_OTHERS != 0
        {
            let key = self.key.display();
            warn!(%key, "everybody on this machine may read the certificate's key; chmod o-r it");
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let in_words = || path.display().to_string();
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(in_words)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(in_words)?;
    let is_small = u64::try_from(bytes.len()).is_ok_and(|length| length <= FILE_BYTES_MAX);
    ensure!(is_small, "{} has more than {FILE_BYTES_MAX} bytes", path.display());
    Ok(bytes)
}
