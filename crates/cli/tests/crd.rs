//! The CRD in `crds/` is the one that the binary prints.

use std::{path::PathBuf, process::Command};

#[test]
fn the_generated_crd_is_checked_in() {
    let printed = Command::new(env!("CARGO_BIN_EXE_llm-autoscaler")).arg("crd").output().unwrap();
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../crds/llmautoscaler.io_llmautoscalers.yaml");
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(kept == String::from_utf8(printed.stdout).unwrap(), "crds/ is out of date: run `make crds`");
}
