//! The examples of docs/monitoring.md.

use anyhow::{Context, Result, ensure};
use llm_autoscaler_testbed::repository;

use crate::setting::Setting;

/// The API server accepts every object in the document.
pub(crate) async fn examples_of_the_docs_are_accepted(setting: &Setting) -> Result<()> {
    let text = std::fs::read_to_string(repository().join("docs/monitoring.md"))?;
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let objects: Vec<&str> = blocks.filter(|block| block.contains("apiVersion:")).collect();
    ensure!(objects.len() >= 5, "only {} objects were found in it", objects.len());
    for (index, object) in objects.iter().enumerate() {
        let file = setting.control_plane().dir().join(format!("example-{index}.yaml"));
        std::fs::write(&file, object)?;
        let file = file.to_string_lossy();
        let apply = ["-n", &setting.namespace, "apply", "--dry-run=server", "-f", &file];
        setting
            .control_plane()
            .kubectl(apply)
            .await
            .with_context(|| format!("in docs/monitoring.md:\n{object}"))?;
    }
    Ok(())
}
