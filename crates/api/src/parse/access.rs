//! Credentials and TLS of a source, by reference.

use std::collections::BTreeMap;

use crate::spec::{
    AuthorizationSpec, BasicAuthSpec, HeaderFrom, KeyRef, SecretOrConfigMap, TlsSpec,
};

/// Credentials by reference, and how certificates are checked. It is a part of the key of whatever
/// is fetched with it, so that one tenant's token never fetches for another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// Headers without secrets.
    pub headers: BTreeMap<String, String>,
    /// Headers from Secrets.
    pub headers_from: Vec<HeaderFrom>,
    /// The header Authorization, from a Secret.
    pub authorization: Option<Box<AuthorizationSpec>>,
    /// User name and password, from Secrets.
    pub basic_auth: Option<Box<BasicAuthSpec>>,
    /// The rules for checking certificates, and the client's own one; `None` is the default of the
    /// source.
    pub tls: Option<Box<TlsSpec>>,
}

/// A kind of object that values are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataKind {
    /// A Secret.
    Secret,
    /// A `ConfigMap`.
    ConfigMap,
}

/// A value that a source needs, and the object that contains it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueRef<'a> {
    /// The field of the source, such as `authorization.credentials`.
    pub field: &'static str,
    /// The kind of the object.
    pub kind: DataKind,
    /// The name of the object, and the key in it.
    pub key: &'a KeyRef,
}

impl DataKind {
    /// Returns the name of the kind.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

impl SecretOrConfigMap {
    /// Returns the kind of the object, its name and the key in it; `None` if nothing is set.
    pub fn reference(&self) -> Option<(DataKind, &KeyRef)> {
        let from_map = || Some((DataKind::ConfigMap, self.config_map.as_ref()?));
        self.secret.as_ref().map(|key| (DataKind::Secret, key)).or_else(from_map)
    }

    /// Returns the reference. The arguments are the names of the two fields.
    fn value_ref(&self, of_secret: &'static str, of_map: &'static str) -> Option<ValueRef<'_>> {
        let (kind, key) = self.reference()?;
        let field = if kind == DataKind::Secret { of_secret } else { of_map };
        Some(ValueRef { field, kind, key })
    }
}

impl Access {
    /// Returns whether no Secret and no ConfigMap has to be read.
    pub fn is_open(&self) -> bool {
        self.references().next().is_none()
    }

    /// Returns true if requests are made with a client certificate.
    pub fn has_client_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.cert.is_some())
    }

    /// Returns all references to Secrets and ConfigMaps.
    pub fn references(&self) -> impl Iterator<Item = ValueRef<'_>> {
        let tls = self.tls.iter().flat_map(|tls| {
            let ca = tls
                .ca
                .as_ref()
                .and_then(|ca| ca.value_ref("tlsConfig.ca.secret", "tlsConfig.ca.configMap"));
            let cert = tls.cert.as_ref().and_then(|cert| {
                cert.value_ref("tlsConfig.cert.secret", "tlsConfig.cert.configMap")
            });
            let key = tls.key_secret.as_ref().map(|key| secret("tlsConfig.keySecret", key));
            [ca, cert, key].into_iter().flatten()
        });
        let token = self.authorization.iter();
        let token = token.map(|from| secret("authorization.credentials", &from.credentials));
        let basic = self.basic_auth.iter().flat_map(|from| {
            let user = secret("basicAuth.username", &from.username);
            [user, secret("basicAuth.password", &from.password)]
        });
        let headers = self.headers_from.iter();
        let headers = headers.map(|from| secret("headersFrom", &from.secret_key_ref));
        tls.chain(token).chain(basic).chain(headers)
    }
}

fn secret<'a>(field: &'static str, key: &'a KeyRef) -> ValueRef<'a> {
    ValueRef { field, kind: DataKind::Secret, key }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_reference_is_listed_with_its_field() {
        let key = |name: &str| json!({"name": name, "key": "k"});
        let parse = |text| serde_json::from_value(text).unwrap();
        let access = Access {
            headers_from: vec![
                serde_json::from_value(json!({"name": "X-A", "secretKeyRef": key("h")})).unwrap(),
            ],
            tls: Some(parse(json!({
                "ca": {"configMap": key("ca")}, "cert": {"secret": key("c")},
                "keySecret": key("c"),
            }))),
            basic_auth: serde_json::from_value(json!({"username": key("u"), "password": key("p")}))
                .unwrap(),
            ..Access::default()
        };
        let found = access.references().map(|found| (found.field, found.kind, &*found.key.name));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                ("tlsConfig.ca.configMap", DataKind::ConfigMap, "ca"),
                ("tlsConfig.cert.secret", DataKind::Secret, "c"),
                ("tlsConfig.keySecret", DataKind::Secret, "c"),
                ("basicAuth.username", DataKind::Secret, "u"),
                ("basicAuth.password", DataKind::Secret, "p"),
                ("headersFrom", DataKind::Secret, "h"),
            ]
        );
        assert!(!access.is_open() && access.has_client_certificate());
        let rules = Access {
            headers: [("X-A".to_owned(), "b".to_owned())].into(),
            tls: Some(parse(json!({"serverName": "a"}))),
            ..Access::default()
        };
        assert!(rules.is_open() && !rules.has_client_certificate());
    }
}
