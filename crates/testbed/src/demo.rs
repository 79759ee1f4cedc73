//! x
use anyhow::Result;
use clap::Args;
/// x
#[derive(Debug, Args)]
pub(crate) struct Demo {}
impl Demo {
    pub(crate) async fn run(self) -> Result<()> {
        crate::interrupted().await
    }
}
