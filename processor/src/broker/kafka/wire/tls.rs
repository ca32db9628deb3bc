//! TLS by rustls, set up from librdkafka's settings.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::broker::fault::{Fault, Result};

/// Whom we trust and who we are, as the settings say it.
#[derive(Clone, Default)]
pub(super) struct TlsSettings {
    /// `ssl.ca.location`: a file, or a directory of files.
    pub(super) ca_location: Option<String>,
    /// `ssl.ca.pem`.
    pub(super) ca_pem: Option<String>,
    /// `ssl.certificate.location`.
    pub(super) certificate_location: Option<String>,
    /// `ssl.certificate.pem`.
    pub(super) certificate_pem: Option<String>,
    /// `ssl.key.location`.
    pub(super) key_location: Option<String>,
    /// `ssl.key.pem`.
    pub(super) key_pem: Option<String>,
    /// `ssl.endpoint.identification.algorithm` is `https`, not `none`.
    pub(super) verify_name: bool,
}

/// Without what is secret.
impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("ca_location", &self.ca_location)
            .field("certificate_location", &self.certificate_location)
            .field("key_location", &self.key_location)
            .field("verify_name", &self.verify_name)
            .finish_non_exhaustive()
    }
}

/// Why our TLS cannot use the client's key, if it cannot: it needs a password, or is of a kind that OpenSSL alone takes.
/// A key that cannot be read at all is no such case.
pub(super) fn key_trouble(settings: &TlsSettings) -> Option<String> {
    let pem = match (&settings.key_location, &settings.key_pem) {
        (Some(place), _) => fs::read(place).ok()?,
        (None, pem) => pem.as_ref()?.clone().into_bytes(),
    };
    if String::from_utf8_lossy(&pem).contains("ENCRYPTED") {
        return Some("the key of ssl.key.location is encrypted".into());
    }
    let key = PrivateKeyDer::from_pem_slice(&pem).ok()?;
    let refused = ring::default_provider().key_provider.load_private_key(key).err()?;
    Some(format!("the key of ssl.key.location is not taken: {refused}"))
}

/// What every connection of a cluster shares.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Reads the files. `Misuse`: what cannot be read, by the setting's name.
    pub(super) fn new(settings: &TlsSettings) -> Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(roots(settings)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|e| Fault::misuse(format!("the certificates of ssl.ca.location cannot be used: {e}")))?;
        let verifier: Arc<dyn ServerCertVerifier> = if settings.verify_name {
            verifier
        } else {
            Arc::new(AnyName(verifier))
        };
        let builder = ClientConfig::builder_with_provider(provider as Arc<CryptoProvider>)
            .with_safe_default_protocol_versions()
            .map_err(|e| Fault::fatal(format!("TLS cannot be set up: {e}")))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match identity(settings)? {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|e| {
                Fault::misuse(format!(
                    "ssl.certificate.location and ssl.key.location do not go together: {e}"
                ))
            })?,
        };
        Ok(Self(Arc::new(config)))
    }

    /// The client's side of a session with `host`, the name that the certificate must have.
    pub(super) fn session(&self, host: &str) -> Result<ClientConnection> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Fault::misuse(format!("{host} is no name that a certificate can have")))?;
        ClientConnection::new(self.0.clone(), name)
            .map_err(|e| Fault::fatal(format!("a TLS session with {host} cannot be made: {e}")))
    }
}

/// Certificates that are trusted: those named, else the system's.
fn roots(settings: &TlsSettings) -> Result<RootCertStore> {
    let mut found: Vec<CertificateDer<'static>> = Vec::new();
    if let Some(location) = &settings.ca_location {
        for file in files(Path::new(location))? {
            found.extend(certificates(&read("ssl.ca.location", &file)?, "ssl.ca.location")?);
        }
    }
    if let Some(pem) = &settings.ca_pem {
        found.extend(certificates(pem.as_bytes(), "ssl.ca.pem")?);
    }
    let named = settings.ca_location.is_some() || settings.ca_pem.is_some();
    if !named {
        // What of the system's cannot be read is not trusted; that none could be is told below.
        found = rustls_native_certs::load_native_certs().certs;
    }
    let mut roots = RootCertStore::empty();
    let (taken, refused) = roots.add_parsable_certificates(found);
    if taken == 0 {
        let place = settings.ca_location.as_deref().unwrap_or("ssl.ca.pem");
        return Err(Fault::misuse(if named {
            format!("there is no usable certificate in {place} ({refused} are not understood): name the CA's PEM file")
        } else {
            "this system has no trusted certificates: set ssl.ca.location to the CA's PEM file".into()
        }));
    }
    Ok(roots)
}

/// A file, or the files of a directory.
fn files(location: &Path) -> Result<Vec<PathBuf>> {
    if !location.is_dir() {
        return Ok(vec![location.to_path_buf()]);
    }
    let entries = fs::read_dir(location).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let entries = entries.map_err(|e| unreadable("ssl.ca.location", location, &e))?;
    let mut files: Vec<PathBuf> = entries
        .iter()
        .map(fs::DirEntry::path)
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    Ok(files)
}

fn read(setting: &str, place: &Path) -> Result<Vec<u8>> {
    fs::read(place).map_err(|e| unreadable(setting, place, &e))
}

fn unreadable(setting: &str, place: &Path, error: &std::io::Error) -> Fault {
    Fault::misuse(format!("{setting}: {} cannot be read: {error}", place.display()))
}

fn certificates(pem: &[u8], setting: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| Fault::misuse(format!("{setting} is not PEM: {e}")))
}

/// Our own certificate, with what leads to its CA, and its key.
fn identity(settings: &TlsSettings) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>> {
    let (setting, chain) = match (&settings.certificate_location, &settings.certificate_pem) {
        (Some(place), _) => {
            let setting = "ssl.certificate.location";
            (setting, Some(read(setting, Path::new(place))?))
        }
        (None, pem) => ("ssl.certificate.pem", pem.as_ref().map(|pem| pem.as_bytes().to_vec())),
    };
    let key = match (&settings.key_location, &settings.key_pem) {
        (Some(place), _) => Some(read("ssl.key.location", Path::new(place))?),
        (None, pem) => pem.as_ref().map(|pem| pem.as_bytes().to_vec()),
    };
    match (chain, key) {
        (None, None) => Ok(None),
        (Some(chain), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(&key)
                .map_err(|e| Fault::misuse(format!("ssl.key.location holds no private key in PEM: {e}")))?;
            Ok(Some((certificates(&chain, setting)?, key)))
        }
        _ => Err(Fault::misuse(
            "a client certificate needs both ssl.certificate.location and ssl.key.location",
        )),
    }
}

/// Trusts the CA for any name (`ssl.endpoint.identification.algorithm=none`).
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let verified = self
            .0
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The name is looked at last: everything else was good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::FaultKind;

    /// As Java writes it: without the public half, which ring wants.
    const HALF_A_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
        MEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcEJzAlAgEBBCBwru1HOfLhfC+QIcKb\n\
        nNYN+5YI70us+6Hc64x6LioR7g==\n-----END PRIVATE KEY-----\n";

    #[test]
    fn keys_that_only_openssl_takes_are_known_beforehand() {
        let trouble = |pem: &str| {
            key_trouble(&TlsSettings {
                key_pem: Some(pem.into()),
                ..TlsSettings::default()
            })
        };
        assert!(trouble(HALF_A_KEY).unwrap().contains("not taken"));
        let encrypted = HALF_A_KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert!(trouble(&encrypted).unwrap().contains("encrypted"));
        assert_eq!(trouble("nothing"), None);
    }

    #[test]
    fn files_that_do_not_serve_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pem");
        fs::write(&empty, "").unwrap();
        let place = |path: &Path| Some(path.display().to_string());
        let with_ca = |ca: &Path| TlsSettings {
            ca_location: place(ca),
            ..TlsSettings::default()
        };
        let ca_is_empty = with_ca(&empty);
        let half = TlsSettings {
            ca_location: None,
            ca_pem: Some(include_str!("ca_for_tests.pem").into()),
            key_pem: Some(HALF_A_KEY.into()),
            ..TlsSettings::default()
        };
        for (settings, part) in [
            (with_ca(Path::new("/no/such/file")), "/no/such/file"),
            (ca_is_empty, "no usable certificate"),
            (with_ca(dir.path()), "no usable certificate"),
            (half, "needs both"),
        ] {
            let fault = Tls::new(&settings).err().unwrap();
            assert_eq!(fault.kind, FaultKind::Misuse);
            assert!(fault.to_string().contains(part), "{fault}");
        }
    }

    #[test]
    fn a_directory_of_certificates_is_read() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("one.pem"), include_str!("ca_for_tests.pem")).unwrap();
        let settings = TlsSettings {
            ca_location: Some(dir.path().display().to_string()),
            ..TlsSettings::default()
        };
        assert_eq!(roots(&settings).unwrap().len(), 1);
        assert!(Tls::new(&settings).unwrap().session("localhost").is_ok());
        assert!(Tls::new(&settings).unwrap().session("::1").is_ok());
        assert!(Tls::new(&settings).unwrap().session("no name").is_err());
    }
}
