//! The API server as a client: its certificate, and the user that it names.
//!
//! An API server that forwards requests to an aggregated API authenticates itself by a certificate
//! of the authority in the ConfigMap `extension-apiserver-authentication`, and passes the user on
//! in headers. Requests without such a certificate get no further than the TLS handshake.

use std::{collections::BTreeMap, sync::Arc};

use axum::http::HeaderMap;
use k8s_openapi::api::authentication::v1::UserInfo;
use rustls::{pki_types::CertificateDer, server::danger::ClientCertVerifier};

use crate::http::certificate;

/// The settings by which API servers of the cluster authenticate themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FrontProxy {
    /// The certificates of the authority, in PEM.
    authority: String,
    /// The names that a certificate may have; any if it is empty.
    names: Vec<String>,
    user: Vec<String>,
    uid: Vec<String>,
    groups: Vec<String>,
    extra: Vec<String>,
}

/// The reason why a request is not from the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// The certificate has another name than the API server's.
    OtherName,
    /// No user is named.
    NoUser,
}

impl FrontProxy {
    /// Reads the settings of the ConfigMap.
    ///
    /// # Errors
    /// They cannot be used, for this reason.
    pub(super) fn read(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let authority = data.get("requestheader-client-ca-file").ok_or(
            "requestheader-client-ca-file is missing: the API server has no certificate for \
             aggregated APIs; see its flag --requestheader-client-ca-file",
        )?;
        let list = |name: &str| {
            let text = data.get(name).map_or("[]", String::as_str);
            serde_json::from_str::<Vec<String>>(text)
                .map_err(|error| format!("{name} is no list of texts: {error}"))
        };
        let user = list("requestheader-username-headers")?;
        if user.is_empty() {
            return Err("requestheader-username-headers names no header".to_owned());
        }
        Ok(Self {
            authority: authority.clone(),
            names: list("requestheader-allowed-names")?,
            user,
            uid: list("requestheader-uid-headers")?,
            groups: list("requestheader-group-headers")?,
            extra: list("requestheader-extra-headers-prefix")?,
        })
    }

    /// Returns the verifier of the API server's certificate.
    ///
    /// # Errors
    /// The authority cannot be used, for this reason.
    pub(super) fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, String> {
        certificate::verifier(self.authority.as_bytes())
            .map_err(|error| format!("requestheader-client-ca-file: {error}"))
    }

    /// Returns the user that the API server names. The certificate has been verified.
    ///
    /// # Errors
    /// See [`Stranger`].
    pub(super) fn user(
        &self,
        certificate: &CertificateDer<'_>,
        headers: &HeaderMap,
    ) -> Result<UserInfo, Stranger> {
        let name = common_name(certificate).ok_or(Stranger::OtherName)?;
        if !self.names.is_empty() && !self.names.contains(&name) {
            return Err(Stranger::OtherName);
        }
        let username = first(headers, &self.user).ok_or(Stranger::NoUser)?;
        let groups = self.groups.iter().flat_map(|name| headers.get_all(name));
        let groups = groups.filter_map(|group| group.to_str().ok()).map(ToOwned::to_owned);
        Ok(UserInfo {
            username: Some(username),
            uid: first(headers, &self.uid),
            groups: Some(groups.collect()),
            extra: Some(self.extra(headers)),
        })
    }

    fn extra(&self, headers: &HeaderMap) -> BTreeMap<String, Vec<String>> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in headers {
            let key = self.extra.iter().find_map(|prefix| {
                let prefix = prefix.to_ascii_lowercase();
                name.as_str().strip_prefix(&*prefix).map(ToOwned::to_owned)
            });
            let Some((key, value)) = key.zip(value.to_str().ok()) else { continue };
            extra.entry(key).or_default().push(value.to_owned());
        }
        extra
    }
}

fn first(headers: &HeaderMap, names: &[String]) -> Option<String> {
    let values = names.iter().filter_map(|name| headers.get(name)?.to_str().ok());
    values.map(ToOwned::to_owned).find(|value| !value.is_empty())
}

fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn certificate(name: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn data(names: &str) -> BTreeMap<String, String> {
        let pem = rcgen::generate_simple_self_signed(vec!["ca".to_owned()]).unwrap().cert.pem();
        [
            ("requestheader-client-ca-file", pem.as_str()),
            ("requestheader-allowed-names", names),
            ("requestheader-username-headers", r#"["X-Remote-User"]"#),
            ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
            ("requestheader-extra-headers-prefix", r#"["X-Remote-Extra-"]"#),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    fn headers(user: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", user.parse().unwrap());
        for group in ["a", "b"] {
            headers.append("x-remote-group", group.parse().unwrap());
        }
        headers.insert("x-remote-extra-scopes", "view".parse().unwrap());
        // These are not in the settings, so that a client may have set them.
        headers.insert("x-other-user", "admin".parse().unwrap());
        headers.insert("x-remote-uid", "1".parse().unwrap());
        headers
    }

    #[test]
    fn a_user_is_named_by_a_certificate_with_one_of_the_names() {
        // the allowed names, the certificate's name, the user; the result
        let table = [
            (r#"["front-proxy-client"]"#, "front-proxy-client", "hpa", Ok("hpa")),
            ("[]", "anything", "hpa", Ok("hpa")),
            (r#"["front-proxy-client"]"#, "kubelet", "hpa", Err(Stranger::OtherName)),
            ("[]", "anything", "", Err(Stranger::NoUser)),
        ];
        for (names, name, user, expected) in table {
            let proxy = FrontProxy::read(&data(names)).unwrap();
            let found = proxy.user(&certificate(name), &headers(user));
            let found_name = found.as_ref().map(|user| user.username.as_deref().unwrap());
            assert_eq!(found_name.map_err(|it| *it), expected, "{names} {name} {user}");
            let Ok(user) = found else { continue };
            assert_eq!(user.groups.unwrap(), ["a", "b"]);
            assert_eq!(user.extra.unwrap()["scopes"], ["view"]);
            assert_eq!(user.uid, None);
        }
        assert!(FrontProxy::read(&data("[]")).unwrap().verifier().is_ok());
    }

    #[test]
    fn settings_that_trust_nobody_are_refused() {
        let mut without = data("[]");
        without.remove("requestheader-client-ca-file");
        assert!(FrontProxy::read(&without).unwrap_err().contains("--requestheader-client-ca-file"));
        assert!(FrontProxy::read(&data("front-proxy")).is_err(), "no JSON");
        let empty = [("requestheader-client-ca-file".to_owned(), "rubbish".to_owned())];
        let proxy = FrontProxy::read(&data("[]").into_iter().chain(empty).collect()).unwrap();
        assert!(proxy.verifier().is_err(), "no authority is none that trusts everybody");
    }
}
