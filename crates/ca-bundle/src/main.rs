//! Prints the certificates of the authorities that Mozilla trusts, as PEM.
//!
//! The image has no system, so this is its `/etc/ssl/certs/ca-certificates.crt`. The certificates
//! are those of a package that `Cargo.lock` pins, so that two builds have the same ones.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// The length of a line of PEM (RFC 7468).
const LINE: usize = 64;

fn main() -> ExitCode {
    match io::stdout().lock().write_all(bundle(TLS_SERVER_ROOT_CERTS).as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = "writing the certificates to standard output";
            let _ = writeln!(io::stderr(), "llm-autoscaler-ca-bundle: {text}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the certificates, in DER, as one text of PEM.
fn bundle(certificates: &[impl AsRef<[u8]>]) -> String {
    let mut bundle = String::new();
    for certificate in certificates {
        bundle.push_str("-----BEGIN CERTIFICATE-----\n");
        for (index, digit) in BASE64.encode(certificate).chars().enumerate() {
            if index > 0 && index % LINE == 0 {
                bundle.push('\n');
            }
            bundle.push(digit);
        }
        bundle.push_str("\n-----END CERTIFICATE-----\n");
    }
    bundle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_pem_have_64_digits() {
        let pem = bundle(&[[0_u8; 48].as_slice(), &[255; 49]]);
        let [zeros, ones] = ["A".repeat(64), "/".repeat(64)];
        let expected = format!(
            "-----BEGIN CERTIFICATE-----\n{zeros}\n-----END CERTIFICATE-----\n\
             -----BEGIN CERTIFICATE-----\n{ones}\n/w==\n-----END CERTIFICATE-----\n"
        );
        assert_eq!(pem, expected);
    }

    #[test]
    fn the_bundle_has_every_authority_of_the_package() {
        let bundle = bundle(TLS_SERVER_ROOT_CERTS);
        assert!(TLS_SERVER_ROOT_CERTS.len() > 100);
        assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), TLS_SERVER_ROOT_CERTS.len());
    }
}
