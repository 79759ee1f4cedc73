//! A real Mimir.

use anyhow::Result;

use super::Backend;
use crate::server;

/// Starts a Mimir with all of its parts in one process, and with tenants. Its URL is without the
/// prefix `/prometheus` of the query API; Prometheus servers write to `/api/v1/push`.
///
/// # Errors
/// Fails if it cannot be built or does not become ready; the error ends with the tail of its log.
pub async fn mimir() -> Result<Backend> {
    Backend::start("mimir", "/ready", |dir, port| {
        let grpc = server::free_port()?;
        let folder = |name: &str| dir.path().join(name).display().to_string();
        let mut args = vec![
            "-target=all".to_owned(),
            "-server.http-listen-address=127.0.0.1".to_owned(),
            format!("-server.http-listen-port={port}"),
            "-server.grpc-listen-address=127.0.0.1".to_owned(),
            format!("-server.grpc-listen-port={grpc}"),
            "-common.storage.backend=filesystem".to_owned(),
            format!("-common.storage.filesystem.dir={}", folder("common")),
            "-blocks-storage.storage-prefix=blocks".to_owned(),
            format!("-blocks-storage.tsdb.dir={}", folder("tsdb")),
            format!("-blocks-storage.bucket-store.sync-dir={}", folder("sync")),
            format!("-compactor.data-dir={}", folder("compactor")),
            format!("-ruler.rule-path={}", folder("ruler")),
            format!("-alertmanager.storage.path={}", folder("alertmanager")),
            format!("-activity-tracker.filepath={}", folder("activity")),
            "-ingester.ring.replication-factor=1".to_owned(),
            "-ingester.ring.min-ready-duration=0s".to_owned(),
            "-query-frontend.instance-addr=127.0.0.1".to_owned(),
            "-memberlist.bind-addr=127.0.0.1".to_owned(),
            "-memberlist.bind-port=0".to_owned(),
            "-usage-stats.enabled=false".to_owned(),
        ];
        for ring in RINGS {
            args.push(format!("-{ring}.store=inmemory"));
            args.push(format!("-{ring}.instance-addr=127.0.0.1"));
        }
        Ok(args)
    })
    .await
}

/// The rings of its parts. Each would look for other members, and for an address in the network.
const RINGS: [&str; 7] = [
    "compactor.ring",
    "distributor.ring",
    "ingester.ring",
    "querier.ring",
    "query-scheduler.ring",
    "ruler.ring",
    "store-gateway.sharding-ring",
];
