//! A rule at work: its client, and its latest credentials.

use std::{path::PathBuf, sync::Arc, time::Duration};

use chrono::Utc;
use llm_autoscaler_api::TlsSpec;
use reqwest::{
    Client, Request, Url,
    header::{AUTHORIZATION, HeaderValue},
};

use super::{
    aws::{self, AwsCredentials},
    bearer_file, google,
    rules::{AwsRole, CheckedRule, Provider},
    signature,
    token::{Fetch, TokenCache},
};
use crate::{
    sampling::{access_error::AccessError, egress::Egress, http_client, tls::PemFiles},
    supervise::Supervisor,
};

/// The shortest time between two readings of a file after a server has rejected its token.
const READ_EVERY: Duration = Duration::from_secs(5);
/// The shortest time between two fetches after a server has rejected what came of the former one.
const FETCHED_EVERY: Duration = Duration::from_mins(1);

/// Credentials of the operator's owner, for the hosts and namespaces of a rule.
pub(crate) struct Grant {
    pub(super) rule: CheckedRule,
    /// The client for the hosts of the rule.
    client: Client,
    credentials: Credentials,
}

enum Credentials {
    Bearer(TokenCache<HeaderValue>),
    Aws(Arc<AwsRole>, TokenCache<AwsCredentials>),
}

impl Grant {
    /// Prepares the clients. `sources` has the rules for addresses of sources, `services` those for
    /// the services that give credentials.
    pub(super) fn new(
        rule: CheckedRule,
        sources: &Egress,
        services: &Egress,
        supervisor: &Supervisor,
    ) -> Result<Self, String> {
        let pem = PemFiles { ca: rule.ca.as_deref(), ..PemFiles::default() };
        let client = http_client::client(&TlsSpec::default(), &pem, sources)?;
        let name = rule.provider.name();
        let bearer = |every, fetch| {
            Credentials::Bearer(TokenCache::new(name, every, supervisor.clone(), fetch))
        };
        let credentials = match &rule.provider {
            Provider::BearerFile(path) => bearer(READ_EVERY, read_file(path.clone())),
            Provider::Google(url) => bearer(FETCHED_EVERY, ask_google(url.clone())?),
            Provider::Aws(given) => {
                let aws_role = Arc::new(given.clone());
                let service =
                    http_client::client(&TlsSpec::default(), &PemFiles::default(), services)?;
                let fetch = ask_aws(service, aws_role.clone());
                let cache = TokenCache::new(name, FETCHED_EVERY, supervisor.clone(), fetch);
                Credentials::Aws(aws_role, cache)
            }
        };
        Ok(Self { rule, client, credentials })
    }

    /// Returns the client for requests with these credentials. It checks certificates by the rule,
    /// never by a spec.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Adds the credentials to a request.
    ///
    /// # Errors
    /// There are none at the moment.
    pub(crate) async fn authorize(&self, request: &mut Request) -> Result<(), AccessError> {
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let provider = self.rule.provider.name();
        let failed =
            |problem: String| AccessError::Operator { host: host.clone(), provider, problem };
        if !self.rule.is_safe(request.url()) {
            return Err(failed(
                "they are sent by https only: begin the source's url with https://".to_owned(),
            ));
        }
        match &self.credentials {
            Credentials::Bearer(cache) => {
                let value = cache.get().await.map_err(|failure| failed(failure.told))?;
                request.headers_mut().insert(AUTHORIZATION, value);
                Ok(())
            }
            Credentials::Aws(role, cache) => {
                let keys = cache.get().await.map_err(|failure| failed(failure.told))?;
                let scope = (&*role.region, &*role.service);
                signature::apply(request, &keys, scope, Utc::now().into()).map_err(failed)
            }
        }
    }

    /// Has the credentials fetched again, because a server has rejected them.
    pub(crate) fn reject(&self) {
        match &self.credentials {
            Credentials::Bearer(cache) => cache.reject(),
            Credentials::Aws(_, cache) => cache.reject(),
        }
    }
}

fn read_file(path: PathBuf) -> Fetch<HeaderValue> {
    let path = Arc::new(path);
    Box::new(move || {
        let path = path.clone();
        // A file of a volume is in memory.
        Box::pin(async move { bearer_file::read(&path) })
    })
}

fn ask_google(url: Url) -> Result<Fetch<HeaderValue>, String> {
    let client = google::client()?;
    Ok(Box::new(move || {
        let (client, url) = (client.clone(), url.clone());
        Box::pin(async move { google::fetch(&client, &url).await })
    }))
}

fn ask_aws(client: Client, role: Arc<AwsRole>) -> Fetch<AwsCredentials> {
    Box::new(move || {
        let (client, role) = (client.clone(), role.clone());
        Box::pin(async move { aws::fetch(&client, &role).await })
    })
}
