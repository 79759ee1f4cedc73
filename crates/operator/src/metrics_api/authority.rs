//! The certificate authority of the metrics API: made, kept in a Secret, and replaced in time.
//!
//! All copies of the operator issue their serving certificates by one authority, so that the API
//! server trusts each of them by one caBundle. The next authority is in the bundle for a day before
//! it issues anything, and the former one for as long as it is valid: whichever of them a copy
//! still uses is trusted.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use time::OffsetDateTime;

/// The validity of an authority.
const AUTHORITY: TimeDelta = TimeDelta::days(365);
/// The rest of the validity at which the next authority is made.
const NEXT_AT: TimeDelta = TimeDelta::days(90);
/// The time for which the next authority is published before it issues certificates.
const PUBLISHED_FOR: TimeDelta = TimeDelta::days(1);
/// The validity of a serving certificate.
const SERVING: TimeDelta = TimeDelta::days(30);
/// The rest of the validity at which a serving certificate is replaced.
const REPLACED_AT: TimeDelta = TimeDelta::days(10);
/// Certificates are valid from a moment before they are made, since clocks differ.
const EARLIER: TimeDelta = TimeDelta::hours(1);

/// The keys of the Secret.
const CURRENT: [&str; 2] = ["ca.crt", "ca.key"];
const NEXT: [&str; 2] = ["next-ca.crt", "next-ca.key"];
const FORMER: &str = "former-ca.crt";

/// The authority as the Secret has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    current: Pair,
    next: Option<Pair>,
    /// The certificate of the one before.
    former: Option<String>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
struct Pair {
    certificate: String,
    key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// A serving certificate.
pub(super) struct Serving {
    /// The certificate.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// The time at which it is to be replaced.
    pub until: DateTime<Utc>,
}

impl Authority {
    /// Reads a Secret; `None` if it has no usable authority.
    pub(super) fn read(data: &BTreeMap<String, ByteString>) -> Option<Self> {
        let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
        let pair = |[certificate, key]: [&str; 2]| {
            let pair = Pair { certificate: text(certificate)?, key: text(key)? };
            pair.validity()?;
            KeyPair::from_pem(&pair.key).is_ok().then_some(pair)
        };
        let former = text(FORMER).filter(|text| validity(text).is_some());
        Some(Self { current: pair(CURRENT)?, next: pair(NEXT), former })
    }

    /// Returns what the Secret is to contain. Keys that are not needed any more are null.
    pub(super) fn data(&self) -> BTreeMap<&'static str, Option<ByteString>> {
        let bytes = |text: &String| ByteString(text.clone().into_bytes());
        let next = self.next.as_ref();
        [
            (CURRENT[0], Some(bytes(&self.current.certificate))),
            (CURRENT[1], Some(bytes(&self.current.key))),
            (NEXT[0], next.map(|pair| bytes(&pair.certificate))),
            (NEXT[1], next.map(|pair| bytes(&pair.key))),
            (FORMER, self.former.as_ref().map(bytes)),
        ]
        .into()
    }

    /// Returns the authority that replaces what the Secret has; `None` if it can stay.
    ///
    /// # Errors
    /// No certificate can be made.
    pub(super) fn replacement(
        known: Option<&Self>,
        now: DateTime<Utc>,
    ) -> Result<Option<Self>, rcgen::Error> {
        let Some(known) = known else {
            return Ok(Some(Self { current: Pair::new(now)?, next: None, former: None }));
        };
        let mut authority = known.clone();
        let is_over = |text: &String| validity(text).is_none_or(|(_, until)| until <= now);
        if authority.former.as_ref().is_some_and(is_over) {
            authority.former = None;
        }
        let left = authority.current.validity().map_or(TimeDelta::zero(), |(_, end)| end - now);
        let is_published = |pair: &Pair| {
            pair.validity().is_some_and(|(from, _)| now - (from + EARLIER) >= PUBLISHED_FOR)
        };
        match authority.next.take() {
            Some(next) if is_published(&next) || left <= TimeDelta::zero() => {
                let former = std::mem::replace(&mut authority.current, next);
                authority.former = (left > TimeDelta::zero()).then_some(former.certificate);
            }
            // Nothing is trusted any more, so nothing has to be published before.
            None if left <= TimeDelta::zero() => authority.current = Pair::new(now)?,
            None if left <= NEXT_AT => authority.next = Some(Pair::new(now)?),
            next => authority.next = next,
        }
        Ok((authority != *known).then_some(authority))
    }

    /// Returns the certificates that are to be trusted, in PEM.
    pub(super) fn bundle(&self) -> String {
        let next = self.next.iter().map(|pair| &pair.certificate);
        [&self.current.certificate].into_iter().chain(next).chain(&self.former).cloned().collect()
    }

    /// Returns the certificate that issues at present, in PEM.
    pub(super) fn certificate(&self) -> &str {
        &self.current.certificate
    }

    /// Issues a serving certificate for a name.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn issue(&self, name: &str, now: DateTime<Utc>) -> Result<Serving, rcgen::Error> {
        let authority = KeyPair::from_pem(&self.current.key)?;
        let issuer = Issuer::from_ca_cert_pem(&self.current.certificate, authority)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name = called(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        // It is not valid for longer than its authority.
        let end = self.current.validity().map_or(now, |(_, end)| end).min(now + SERVING);
        (params.not_before, params.not_after) = (moment(now - EARLIER), moment(end));
        let certificate = params.signed_by(&key, &issuer)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok(Serving { certificate, key, until: end - REPLACED_AT })
    }
}

impl Pair {
    /// Makes an authority that is valid from now on.
    fn new(now: DateTime<Utc>) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        // Each one has a name of its own, by which the issuer of a certificate is found.
        let number = fastrand::u32(..);
        params.distinguished_name = called(&format!("llm-autoscaler metrics API {number:08x}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let (from, end) = (now - EARLIER, now + AUTHORITY);
        (params.not_before, params.not_after) = (moment(from), moment(end));
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, key: key.serialize_pem() })
    }

    fn validity(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        validity(&self.certificate)
    }
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

/// Returns the times between which a certificate is valid.
fn validity(pem: &str) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
    let at = |time: x509_parser::time::ASN1Time| DateTime::from_timestamp(time.timestamp(), 0);
    Some((at(parsed.validity().not_before)?, at(parsed.validity().not_after)?))
}

fn moment(at: DateTime<Utc>) -> OffsetDateTime {
    // Times of the next millennia are in range.
    OffsetDateTime::from_unix_timestamp(at.timestamp()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::days(day)
    }

    fn advanced(known: &Authority, day: i64) -> Option<Authority> {
        Authority::replacement(Some(known), at(day)).unwrap()
    }

    #[test]
    fn an_authority_is_replaced_in_time_and_trusted_before_and_after() {
        let first = Authority::replacement(None, at(0)).unwrap().unwrap();
        let count = |authority: &Authority| authority.bundle().matches("BEGIN CERT").count();
        assert_eq!(count(&first), 1);
        assert_eq!(advanced(&first, 270), None);
        let second = advanced(&first, 276).unwrap();
        assert_eq!((count(&second), second.certificate()), (2, first.certificate()));
        assert_eq!(advanced(&second, 276), None, "it is to be published first");
        let third = advanced(&second, 278).unwrap();
        assert_ne!(third.certificate(), first.certificate());
        assert!(third.bundle().contains(first.certificate()), "copies may still use it");
        assert_eq!(advanced(&third, 300), None);
        let fourth = advanced(&third, 366).unwrap();
        assert_eq!(count(&fourth), 1);
        // The operator was away for years, with and without a next one.
        let later = advanced(&first, 2000).unwrap();
        assert_eq!((count(&later), advanced(&later, 2001)), (1, None));
        assert!(advanced(&second, 370).unwrap().former.is_none());
    }

    #[test]
    fn a_secret_has_what_was_written_or_nothing() {
        let first = Authority::replacement(None, at(0)).unwrap().unwrap();
        let authority = advanced(&first, 276).unwrap();
        let written = authority.data().into_iter();
        let mut data: BTreeMap<String, ByteString> =
            written.filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
        assert_eq!(Authority::read(&data), Some(authority.clone()));
        assert!(!format!("{authority:?}").contains("PRIVATE"));
        data.insert("ca.key".to_owned(), ByteString(b"rubbish".to_vec()));
        assert_eq!(Authority::read(&data), None);
        assert_eq!(Authority::read(&BTreeMap::new()), None);
    }

    #[test]
    fn a_serving_certificate_is_issued_for_the_service_and_replaced_in_time() {
        let authority = Authority::replacement(None, at(0)).unwrap().unwrap();
        let serving = authority.issue("metrics.system.svc", at(0)).unwrap();
        assert_eq!(serving.until, at(20));
        let (_, parsed) = x509_parser::parse_x509_certificate(&serving.certificate).unwrap();
        let names = parsed.subject_alternative_name().unwrap().unwrap();
        assert!(format!("{names:?}").contains("metrics.system.svc"));
        // At the end of its authority it is shorter.
        assert_eq!(authority.issue("a", at(350)).unwrap().until, at(355));
    }
}
