//! The key pair that signs the tokens of service accounts.

use anyhow::{Result, anyhow};
use pem::Pem;
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
