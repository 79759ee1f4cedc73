//! Tests of servers that demand a client certificate.

use std::{sync::Arc, time::Duration};

use llm_autoscaler_api::Access;

use crate::sampling::{
    error::{FetchError, FetchProblem},
    memory::MemoryBudget,
    mutual_tls::{Authority, ClientSecret, TlsServer},
    prometheus::{
        client::QueryClient, demand::ServerKey, dialect::Dialect, instant_query::InstantQuery,
    },
};

const ANSWER: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;

fn server_key(server: &TlsServer, access: Arc<Access>) -> ServerKey {
    ServerKey { access, ..ServerKey::of_tests(format!("https://127.0.0.1:{}", server.port)) }
}

#[tokio::test]
async fn a_server_that_demands_a_client_certificate_is_queried_with_it_and_after_its_rotation() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        // An authority with a new key often keeps its name.
        let (first, second) = (Arc::new(Authority::new("a")), Authority::new("a"));
        let server = TlsServer::start(&first, version, ANSWER).await;
        let secret = ClientSecret::new(&first).await;
        let client = QueryClient::new(secret.credentials.clone(), MemoryBudget::plenty());
        let timeout = Duration::from_secs(5);
        let query = InstantQuery {
            expression: "up".to_owned(),
            by_name: Vec::new(),
            lookback: None,
            timeout,
        };
        let query = async |with_certificate| {
            let key = server_key(&server, ClientSecret::access(with_certificate));
            client.query(&key, &query, &Dialect::default()).await.map(|_| ())
        };

        let error = query(false).await.unwrap_err().to_string();
        let hint = "the server demands a client certificate: set tlsConfig.cert and \
                    tlsConfig.keySecret of the source";
        assert!(error.ends_with(hint), "{version:?}: {error}");
        query(true).await.unwrap();

        // The Secret is rotated, and the server accepts only the new certificate.
        let (certificate, key) = second.client();
        secret.set(&first.pem, &certificate, &key);
        server.trust(&second);
        let error = query(true).await.unwrap_err();
        let FetchError::Request { problem: FetchProblem::CertificateRefused(_), .. } = error else {
            panic!("{version:?}: {error}")
        };
        query(true).await.unwrap();
    }
}
