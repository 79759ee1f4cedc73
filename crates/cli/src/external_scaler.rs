//! The options of the external scaler for KEDA.

use std::{net::SocketAddr, path::PathBuf};

use llm_autoscaler_operator::{CertificateFiles, ExternalScalerConfig};

/// KEDA's external scaler. It is served if there is a certificate, or plain HTTP/2 is chosen.
#[derive(Debug, clap::Args)]
pub(crate) struct ExternalScaler {
    /// The address that serves KEDA's external scaler, by gRPC.
    #[arg(
        id = "external_scaler_address",
        long = "external-scaler-address",
        env = "EXTERNAL_SCALER_ADDRESS",
        default_value = "[::]:9444"
    )]
    address: SocketAddr,
    /// The file of its certificate, in PEM. It is read again when it changes, and may come later.
    #[arg(
        id = "external_scaler_tls_cert_file",
        long = "external-scaler-tls-cert-file",
        env = "EXTERNAL_SCALER_TLS_CERT_FILE",
        requires = "external_scaler_tls_key_file"
    )]
    certificate_file: Option<PathBuf>,
    /// The file of the certificate's private key, in PEM.
    #[arg(
        id = "external_scaler_tls_key_file",
        long = "external-scaler-tls-key-file",
        env = "EXTERNAL_SCALER_TLS_KEY_FILE",
        requires = "external_scaler_tls_cert_file"
    )]
    key_file: Option<PathBuf>,
    /// The file of the authorities, in PEM, of which clients need a certificate. By default none is
    /// demanded, and every pod that reaches the address may ask.
    #[arg(
        id = "external_scaler_client_ca_file",
        long = "external-scaler-client-ca-file",
        env = "EXTERNAL_SCALER_CLIENT_CA_FILE",
        requires = "external_scaler_tls_cert_file"
    )]
    client_ca_file: Option<PathBuf>,
    /// Serve it without TLS: every pod that reaches the address may ask.
    #[arg(
        id = "external_scaler_plain_http",
        long = "external-scaler-plain-http",
        env = "EXTERNAL_SCALER_PLAIN_HTTP",
        conflicts_with = "external_scaler_tls_cert_file"
    )]
    plain_http: bool,
}

impl ExternalScaler {
    /// Returns the configuration; `None` if it is not served.
    pub(crate) fn config(self) -> Option<ExternalScalerConfig> {
        let files = self.certificate_file.zip(self.key_file);
        let certificate = files.map(|(certificate, key)| CertificateFiles { certificate, key });
        let is_served = certificate.is_some() || self.plain_http;
        let (address, client_authorities) = (self.address, self.client_ca_file);
        is_served.then_some(ExternalScalerConfig { address, certificate, client_authorities })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Args {
        #[command(flatten)]
        scaler: ExternalScaler,
    }

    #[test]
    fn it_is_served_with_a_certificate_or_by_choice() {
        let parse = |flags: &[&str]| {
            let args = Args::try_parse_from(["operator"].iter().chain(flags)).map_err(drop);
            args.map(|args| args.scaler.config())
        };
        let files = ["--external-scaler-tls-cert-file=c", "--external-scaler-tls-key-file=k"];
        assert_eq!(parse(&[]), Ok(None));
        let plain = parse(&["--external-scaler-plain-http"]).unwrap().unwrap();
        assert_eq!((plain.certificate, plain.client_authorities), (None, None));
        let ca = "--external-scaler-client-ca-file=ca";
        let tls = parse(&[files[0], files[1], ca]).unwrap().unwrap();
        let expected = CertificateFiles { certificate: "c".into(), key: "k".into() };
        assert_eq!((tls.certificate, tls.client_authorities), (Some(expected), Some("ca".into())));
        // Clients cannot be verified without TLS, and a choice of both is none.
        assert_eq!(parse(&["--external-scaler-plain-http", ca]), Err(()));
        assert_eq!(parse(&[files[0], files[1], "--external-scaler-plain-http"]), Err(()));
    }
}
