//! The addresses that samples may be fetched from.
//!
//! The author of a spec chooses URLs, and the operator calls them from its own pod. So the address
//! that is connected to is checked after its name was resolved: link-local addresses, which give
//! cloud credentials, and the API server are never called; loopback, which is the operator's own
//! pod, only where the operator's flag allows it; and other hosts than those of a list only if the
//! list is absent.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};

use crate::sampling::lookups::{self, Lookups};

/// The time that a lookup may take.
const LOOKUP_WITHIN: Duration = Duration::from_secs(5);

/// Metadata services with other than link-local addresses: AWS's by IPv6, and Alibaba Cloud's.
const METADATA: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

/// The rules for addresses of sources, as the operator's flags set them.
#[derive(Clone, Debug, Default)]
pub struct EgressRules {
    /// The hosts that URLs may name. Empty: all that the other rules allow.
    pub hosts: Vec<HostPattern>,
    /// True if loopback addresses may be called, such as a proxy beside the operator.
    pub loopback: bool,
    /// The addresses of the API server.
    pub api_server: Vec<SocketAddr>,
}

/// A pattern of the hosts in URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// Exactly this name, in lower case.
    Name(String),
    /// Every name that ends in this, which begins with a dot.
    Suffix(String),
    /// The addresses of a network. A name is allowed if it resolves to one of them.
    Network(IpNet),
}

/// A text that is no pattern of hosts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host (prom.example), a suffix (*.example) or a network (10.0.0.0/8)")]
pub struct HostPatternError(String);

/// The reason why an address is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// A link-local address, which only the node's own services have.
    #[error("the operator calls no link-local address")]
    LinkLocal,
    /// A metadata service of a cloud that is not link-local.
    #[error("the operator calls no metadata service of a cloud")]
    Metadata,
    /// The operator's own pod.
    #[error("the operator calls no loopback address, unless it runs with --allow-loopback")]
    Loopback,
    /// A multicast, broadcast or unspecified address.
    #[error("it is not the address of one host")]
    NoHost,
    /// The API server.
    #[error("the operator fetches no samples from the API server")]
    ApiServer,
    /// A host that the operator's list does not have.
    #[error("the operator's --allow-source-hosts does not have this host")]
    NotListed,
}

/// The checks of addresses. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Egress(Arc<Rules>);

#[derive(Debug, Default)]
struct Rules {
    given: EgressRules,
    /// The addresses of the API server that nothing else has.
    api_hosts: HashSet<IpAddr>,
    lookups: Lookups,
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = |name: &str| {
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_allowed)
        };
        let text = text.trim().to_ascii_lowercase();
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::Network(ip.into()));
        }
        match text.strip_prefix("*.") {
            Some(suffix) if is_name(suffix) => Ok(Self::Suffix(format!(".{suffix}"))),
            None if is_name(&text) => Ok(Self::Name(text)),
            _ => Err(HostPatternError(text)),
        }
    }
}

impl Egress {
    pub(crate) fn new(rules: EgressRules) -> Self {
        let hosts = rules.api_server.iter().map(SocketAddr::ip);
        let api_hosts = hosts.filter(|ip| !ip.is_loopback()).collect();
        Self(Arc::new(Rules { given: rules, api_hosts, ..Rules::default() }))
    }

    /// Checks the URL of a server before it is called. Of a name only the list of hosts is checked;
    /// its addresses are when it is resolved.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub(crate) fn check_url(&self, url: &Url) -> Result<(), Refusal> {
        let port = url.port_or_known_default().unwrap_or_default();
        let Some(host) = url.host_str() else { return Err(Refusal::NoHost) };
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(ip) => {
                self.check_address(SocketAddr::new(ip, port))?;
                self.check_listed(host, [ip])
            }
            // The addresses decide if the list has networks.
            Err(_) if self.has_networks() => Ok(()),
            Err(_) => self.check_listed(host, []),
        }
    }

    /// Checks the URL of a host that the operator has credentials for. The list has to name it: an
    /// empty one names no host, and a network none that is given by a name.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub(crate) fn check_named(&self, url: &Url) -> Result<(), Refusal> {
        self.check_url(url)?;
        let host = url.host_str().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            _ if self.0.given.hosts.is_empty() => Err(Refusal::NotListed),
            Ok(ip) => self.check_listed(host, [ip]),
            Err(_) => self.check_listed(host, []),
        }
    }

    /// Checks an address before it is connected to.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub(crate) fn check_address(&self, address: SocketAddr) -> Result<(), Refusal> {
        let ip = address.ip().to_canonical();
        let is_link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        if is_link_local {
            Err(Refusal::LinkLocal)
        } else if METADATA.contains(&ip) {
            Err(Refusal::Metadata)
        } else if ip.is_loopback() && !self.0.given.loopback {
            Err(Refusal::Loopback)
        } else if ip.is_unspecified() || ip.is_multicast() || is_broadcast {
            Err(Refusal::NoHost)
        } else if self.is_api_server(SocketAddr::new(ip, address.port())) {
            Err(Refusal::ApiServer)
        } else {
            Ok(())
        }
    }

    fn is_api_server(&self, address: SocketAddr) -> bool {
        self.0.api_hosts.contains(&address.ip()) || self.0.given.api_server.contains(&address)
    }

    fn has_networks(&self) -> bool {
        self.0.given.hosts.iter().any(|pattern| matches!(pattern, HostPattern::Network(_)))
    }

    /// Checks a host, which has these addresses, against the list of hosts.
    fn check_listed(
        &self,
        host: &str,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), Refusal> {
        let patterns = &self.0.given.hosts;
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let is_named = |pattern: &HostPattern| match pattern {
            HostPattern::Name(name) => host == *name,
            HostPattern::Suffix(suffix) => host.ends_with(suffix),
            HostPattern::Network(_) => false,
        };
        let is_within = |ip: IpAddr| {
            let within = |pattern: &HostPattern| matches!(pattern, HostPattern::Network(network) if network.contains(&ip.to_canonical()));
            patterns.iter().any(within)
        };
        if patterns.is_empty() || patterns.iter().any(is_named) {
            return Ok(());
        }
        let mut addresses = addresses.into_iter().peekable();
        let is_allowed = addresses.peek().is_some() && addresses.all(is_within);
        if is_allowed { Ok(()) } else { Err(Refusal::NotListed) }
    }

    /// Makes the look-ups of a request count for a namespace.
    pub(crate) async fn count_for<F: Future>(namespace: &str, request: F) -> F::Output {
        lookups::count_for(namespace, request).await
    }

    async fn resolve_name(
        &self,
        namespace: &str,
        host: &str,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let lookup = self.0.lookups.resolve(namespace, host);
        let found = tokio::time::timeout(LOOKUP_WITHIN, lookup).await;
        let found = found.map_err(|_| ResolveError::Timeout)??;
        self.check_listed(host, found.iter().map(SocketAddr::ip))?;
        // An address that is not to be called fails the whole name, so that no retry reaches it.
        for address in &found {
            self.check_address(*address)?;
        }
        Ok(found)
    }
}

/// The reason why a name has no address that may be called.
#[derive(Debug, thiserror::Error)]
enum ResolveError {
    #[error("the name could not be resolved within {} s", LOOKUP_WITHIN.as_secs())]
    Timeout,
    #[error("{0}")]
    System(#[from] std::io::Error),
    #[error("{0}")]
    Refused(#[from] Refusal),
}

impl Resolve for Egress {
    fn resolve(&self, name: Name) -> Resolving {
        let (egress, namespace) = (self.clone(), lookups::namespace());
        Box::pin(async move {
            let found = egress.resolve_name(&namespace, name.as_str()).await?;
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(hosts: &[&str], loopback: bool) -> Egress {
        let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let api_server = vec!["10.96.0.1:443".parse().unwrap(), "127.0.0.1:6443".parse().unwrap()];
        Egress::new(EgressRules { hosts, loopback, api_server })
    }

    fn check(egress: &Egress, url: &str) -> Option<Refusal> {
        egress.check_url(&Url::parse(url).unwrap()).err()
    }

    #[test]
    fn addresses_that_are_not_a_server_are_never_called() {
        use Refusal::{ApiServer, LinkLocal, Loopback, Metadata, NoHost};
        let table = [
            ("http://10.1.2.3:9090", None),
            ("http://[fd00::1]:9090", None),
            ("http://prom.example/x", None),
            ("http://169.254.169.254/latest", Some(LinkLocal)),
            // The same address in other spellings, as a client understands them.
            ("http://2852039166", Some(LinkLocal)),
            ("http://0xA9FEA9FE", Some(LinkLocal)),
            ("http://0251.0376.0251.0376", Some(LinkLocal)),
            ("http://[::ffff:169.254.169.254]", Some(LinkLocal)),
            ("http://[fe80::1]", Some(LinkLocal)),
            ("http://[fd00:ec2::254]/latest", Some(Metadata)),
            ("http://100.100.100.200/latest", Some(Metadata)),
            ("http://127.0.0.1:9090", Some(Loopback)),
            ("http://127.9.9.9:9090", Some(Loopback)),
            ("http://[::1]:9090", Some(Loopback)),
            ("http://0.0.0.0:9090", Some(NoHost)),
            ("http://[::]:9090", Some(NoHost)),
            ("http://224.0.0.1", Some(NoHost)),
            ("http://255.255.255.255", Some(NoHost)),
            ("https://10.96.0.1", Some(ApiServer)),
            ("http://10.96.0.1:8080", Some(ApiServer)),
        ];
        let default = egress(&[], false);
        for (url, expected) in table {
            assert_eq!(check(&default, url), expected, "{url}");
        }
        let loopback = egress(&[], true);
        assert_eq!(check(&loopback, "http://127.0.0.1:9090"), None);
        assert_eq!(check(&loopback, "https://127.0.0.1:6443"), Some(ApiServer));
        assert_eq!(check(&loopback, "http://169.254.169.254"), Some(LinkLocal));
    }

    #[test]
    fn only_listed_hosts_are_called() {
        let listed = egress(&["prom.example", "*.monitoring.svc"], false);
        for (url, is_allowed) in [
            ("http://prom.example:9090", true),
            ("http://PROM.example", true),
            ("http://prom.example.", true),
            ("http://vm.monitoring.svc", true),
            ("http://a.b.monitoring.svc", true),
            ("http://monitoring.svc", false),
            ("http://xmonitoring.svc", false),
            ("http://prom.example.evil", false),
            ("http://notprom.example", false),
            ("http://10.1.2.3", false),
        ] {
            assert_eq!(check(&listed, url).is_none(), is_allowed, "{url}");
        }
        let network = egress(&["10.0.0.0/8", "fd00::/8"], false);
        for (url, is_allowed) in [
            ("http://10.1.2.3", true),
            ("http://[fd00::1]", true),
            ("http://[::ffff:10.1.2.3]", true),
            ("http://11.1.2.3", false),
            // A name is checked when it is resolved.
            ("http://prom.example", true),
        ] {
            assert_eq!(check(&network, url).is_none(), is_allowed, "{url}");
        }
        for wrong in ["", "*.", "*", "a/b", "http://a", ".a", "10.0.0.0/33"] {
            assert!(wrong.parse::<HostPattern>().is_err(), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn a_name_is_checked_by_the_addresses_that_it_has() {
        let refused = egress(&[], false).resolve_name("ns", "localhost").await.unwrap_err();
        assert!(matches!(refused, ResolveError::Refused(Refusal::Loopback)), "{refused}");
        assert!(!egress(&[], true).resolve_name("ns", "localhost").await.unwrap().is_empty());
        let other =
            egress(&["10.0.0.0/8"], true).resolve_name("ns", "localhost").await.unwrap_err();
        assert!(matches!(other, ResolveError::Refused(Refusal::NotListed)), "{other}");
        let within = egress(&["127.0.0.0/8", "::1"], true).resolve_name("ns", "localhost").await;
        assert!(within.is_ok(), "{within:?}");
    }

    #[tokio::test]
    async fn a_name_is_looked_up_for_the_namespace_of_the_request() {
        let (egress, tls) = (egress(&[], false), llm_autoscaler_api::TlsSpec::default());
        let client = crate::sampling::http_client::client(
            &tls,
            &crate::sampling::tls::PemFiles::default(),
            &egress,
        )
        .unwrap();
        let request = client.get("http://localhost:1").send();
        let error = Egress::count_for("tenant", request).await.unwrap_err();
        assert!(error.is_connect(), "{error}");
        let expected = ("tenant".to_owned(), "localhost".to_owned());
        assert_eq!(egress.0.lookups.latest(), [expected]);
    }
}
