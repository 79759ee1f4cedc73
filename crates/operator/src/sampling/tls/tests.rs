//! Files that are wrong, and what the errors say about them.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

use super::*;

/// An RSA key as PKCS#1, and its certificate.
const RSA: &str = include_str!("rsa.pem");

fn client_of(certificate: &str, key: &str) -> Result<ClientConfig, String> {
    let client = ClientPem { certificate: certificate.as_bytes(), key: key.as_bytes() };
    let unchecked = TlsSpec { insecure_skip_verify: true, ..TlsSpec::default() };
    config(&unchecked, &PemFiles { ca: None, client: Some(client) })
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

/// Returns a certificate and its key.
fn certificate_of(key: &KeyPair) -> (String, String) {
    let params = CertificateParams::new(vec!["client.example".to_owned()]).unwrap();
    (params.self_signed(key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn keys_of_the_usual_formats_are_accepted() {
    let p256 = KeyPair::generate().unwrap();
    let (certificate, pkcs8) = certificate_of(&p256);
    // RFC 5208 and RFC 5915: after 29 bytes the PKCS#8 key contains the SEC1 key.
    let sec1 = pem("EC PRIVATE KEY", &p256.serialize_der()[29..]);
    let p384 = certificate_of(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
    let ed25519 = certificate_of(&KeyPair::generate_for(&PKCS_ED25519).unwrap());
    for (name, certificate, key) in [
        ("P-256, PKCS#8", &certificate, &pkcs8),
        ("P-256, SEC1", &certificate, &sec1),
        ("with its chain", &format!("{certificate}{}", p384.0), &pkcs8),
        ("P-384, PKCS#8", &p384.0, &p384.1),
        ("Ed25519, PKCS#8", &ed25519.0, &ed25519.1),
        ("RSA, PKCS#1, with text and in one file", &RSA.to_owned(), &RSA.to_owned()),
    ] {
        let config = client_of(certificate, key);
        assert!(config.is_ok_and(|config| config.client_auth_cert_resolver.has_certs()), "{name}");
    }
    let none = config(&TlsSpec::default(), &PemFiles::default()).unwrap();
    assert!(!none.client_auth_cert_resolver.has_certs());
}

#[test]
fn an_error_about_a_pem_file_has_nothing_of_it() {
    let (certificate, key) = certificate_of(&KeyPair::generate().unwrap());
    let (_, other_key) = certificate_of(&KeyPair::generate().unwrap());
    let junk = pem("CERTIFICATE", b"SECRET");
    let bad_key = pem("PRIVATE KEY", b"SECRET");
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    // Each of these makes the reader of PEM quote a line of it.
    let broken = ["-----BEGIN SECRET", "-----BEGIN SECRET-----\nU0VDUkVU\n", "\u{e4}SECRET"];
    let in_base64 = "-----BEGIN CERTIFICATE-----\nSECRET!!\n-----END CERTIFICATE-----\n";
    let no_end = "-----BEGIN PRIVATE KEY-----\nSECRET\n";
    let mut errors = Vec::new();
    for (certificate, key, expected) in [
        (&*certificate, &*other_key, "the key of keySecret is not that of cert"),
        ("", &*key, "cert contains no PEM certificate"),
        (&*key, &*key, "cert contains no PEM certificate"),
        (&*junk, &*key, "the first certificate of cert is not valid"),
        (broken[0], &*key, "cert "),
        (broken[1], &*key, "cert "),
        (broken[2], &*key, "cert "),
        (in_base64, &*key, "cert is not valid PEM"),
        (&*certificate, "", "keySecret contains no private key as PEM"),
        (&*certificate, &*certificate, "keySecret contains no private key as PEM"),
        (&*certificate, &*encrypted, "not encrypted"),
        (&*certificate, broken[0], "keySecret contains no private key as PEM"),
        (&*certificate, broken[1], "keySecret contains no private key as PEM"),
        (&*certificate, no_end, "keySecret contains no private key as PEM"),
        (&*certificate, &*bad_key, "the key of keySecret cannot be used"),
    ] {
        let error = client_of(certificate, key).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
        errors.push(error);
    }
    for (ca, expected) in [
        (&*key, "ca contains no PEM certificate"),
        (&*junk, "ca contains a certificate that is not valid"),
        (in_base64, "ca is not valid PEM"),
        (broken[0], "ca "),
        (broken[1], "ca "),
    ] {
        let files = PemFiles { ca: Some(ca.as_bytes()), client: None };
        let error = config(&TlsSpec::default(), &files).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
        errors.push(error);
    }
    for error in errors {
        let quotes = ["SECRET", "U0VDUkVU", "-----"].iter().any(|text| error.contains(text));
        assert!(!quotes, "{error}");
    }
}
