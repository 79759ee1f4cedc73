//! The key pair that signs the tokens of service accounts, and the certificate by which the API
//! server authenticates itself to aggregated APIs.

use anyhow::{Context, Result, anyhow};
use pem::Pem;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

/// The bytes that precede the 65 bytes of an uncompressed P-256 point in a `SubjectPublicKeyInfo`
/// (RFC 5480).
const P256_PUBLIC_KEY_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Generates a key pair. Returns the private and the public key in PEM.
pub(super) fn service_account_keys() -> Result<(String, String)> {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let private = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
        .map_err(|_| anyhow!("generating the key of the service accounts failed"))?;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref(), &random)
        .map_err(|error| anyhow!("reading back the key of the service accounts: {error}"))?;
    let public = [&P256_PUBLIC_KEY_HEAD, pair.public_key().as_ref()].concat();
    Ok((
        pem::encode(&Pem::new("PRIVATE KEY", private.as_ref())),
        pem::encode(&Pem::new("PUBLIC KEY", public)),
    ))
}

/// The identity of the API server as a client of aggregated APIs, in PEM.
pub(super) struct FrontProxy {
    /// The certificate of the authority.
    pub(super) authority: String,
    /// The API server's certificate.
    pub(super) certificate: String,
    /// Its key.
    pub(super) key: String,
}

impl FrontProxy {
    /// Generates an authority, and a certificate with the name that kubeadm gives.
    pub(super) fn new() -> Result<Self> {
        let generate = || rcgen::KeyPair::generate().context("generating a key of the front proxy");
        let (authority_key, key) = (generate()?, generate()?);
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "front-proxy-ca");
        let authority = params.self_signed(&authority_key)?.pem();
        let issuer = Issuer::new(params, authority_key);
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, "front-proxy-client");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer)?.pem();
        Ok(Self { authority, certificate, key: key.serialize_pem() })
    }
}
