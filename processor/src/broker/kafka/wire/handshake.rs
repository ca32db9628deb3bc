//! What is said on a new connection before it takes requests: the versions the broker knows, and who we are.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;

use super::call::{Api, Call, encode};
use super::reader::{Malformed, Reader};
use crate::broker::fault::Result;

type Read<T> = std::result::Result<T, Malformed>;

/// Which requests the broker takes. A broker that does not know the version of this very request answers as if it were
/// version 0, with error 35 (KIP-511).
pub(super) struct ApiVersions;

#[derive(Debug, Default)]
pub(super) struct ApiVersionsAnswer {
    pub(super) error: i16,
    pub(super) versions: Versions,
}

/// The range of versions for each request.
#[derive(Debug, Default)]
pub(super) struct Versions(Vec<(i16, i16, i16)>);

impl Versions {
    /// Oldest and newest version the broker takes.
    pub(super) fn range(&self, key: i16) -> Option<(i16, i16)> {
        let (_, oldest, newest) = self.0.iter().find(|(known, ..)| *known == key)?;
        Some((*oldest, *newest))
    }

    /// The newest version that both sides know.
    pub(super) fn common(&self, api: &Api) -> Option<i16> {
        let (oldest, newest) = self.range(api.key)?;
        let version = newest.min(api.newest);
        (version >= oldest.max(api.oldest)).then_some(version)
    }
}

/// UNSUPPORTED_VERSION.
pub(super) const UNSUPPORTED_VERSION: i16 = 35;

impl Call for ApiVersions {
    const API: &Api = &Api {
        name: "ApiVersions",
        key: 18,
        oldest: 0,
        newest: 4,
        flexible: 3,
        throttles: false,
    };

    type Answer = ApiVersionsAnswer;

    fn write(&self, version: i16, out: &mut BytesMut) -> Result<()> {
        let mut request = ApiVersionsRequest::default();
        if version >= 3 {
            request.client_software_name = StrBytes::from_static_str("millstream");
            request.client_software_version = StrBytes::from_static_str(env!("CARGO_PKG_VERSION"));
        }
        encode(&request, Self::API, version, out)
    }

    fn read(_version: i16, body: &mut Reader) -> Read<Self::Answer> {
        let error = body.i16()?;
        let versions = body.array(|api| {
            let range = (api.i16()?, api.i16()?, api.i16()?);
            api.skip_tags()?;
            Ok(range)
        })?;
        // What follows (throttling, features) says nothing that is needed here.
        Ok(ApiVersionsAnswer {
            error,
            versions: Versions(versions),
        })
    }
}

/// Chooses how to authenticate.
pub(super) struct SaslHandshake(pub(super) &'static str);

#[derive(Debug)]
pub(super) struct SaslHandshakeAnswer {
    pub(super) error: i16,
    /// What the broker would take.
    pub(super) mechanisms: Vec<StrBytes>,
}

impl Call for SaslHandshake {
    const API: &Api = &Api {
        name: "SaslHandshake",
        key: 17,
        oldest: 1,
        newest: 1,
        flexible: i16::MAX,
        throttles: false,
    };

    type Answer = SaslHandshakeAnswer;

    fn write(&self, version: i16, out: &mut BytesMut) -> Result<()> {
        let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(self.0));
        encode(&request, Self::API, version, out)
    }

    fn read(_version: i16, body: &mut Reader) -> Read<Self::Answer> {
        Ok(SaslHandshakeAnswer {
            error: body.i16()?,
            mechanisms: body.array(Reader::string)?,
        })
    }
}

/// One message of the proof.
pub(super) struct SaslAuthenticate(pub(super) Vec<u8>);

#[derive(Debug)]
pub(super) struct SaslAuthenticateAnswer {
    pub(super) error: i16,
    pub(super) message: Option<StrBytes>,
    pub(super) bytes: Bytes,
    /// How long the proof is good for; 0 is for ever (KIP-368).
    pub(super) lifetime_ms: i64,
}

impl Call for SaslAuthenticate {
    const API: &Api = &Api {
        name: "SaslAuthenticate",
        key: 36,
        oldest: 0,
        newest: 2,
        flexible: 2,
        throttles: false,
    };

    type Answer = SaslAuthenticateAnswer;

    fn write(&self, version: i16, out: &mut BytesMut) -> Result<()> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(self.0.clone().into());
        encode(&request, Self::API, version, out)
    }

    fn read(version: i16, body: &mut Reader) -> Read<Self::Answer> {
        Ok(SaslAuthenticateAnswer {
            error: body.i16()?,
            message: body.nullable_string()?,
            bytes: body.nullable_bytes()?.unwrap_or_default(),
            lifetime_ms: if version >= 1 { body.i64()? } else { 0 },
        })
    }
}
