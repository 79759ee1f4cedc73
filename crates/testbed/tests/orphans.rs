//! Nothing outlives the process that started it, even if that is killed without a chance to clean
//! up.

#![allow(clippy::disallowed_methods, reason = "a test waits in real time")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Returns the running processes that have this folder in their command line.
fn processes_of(folder: &str) -> Vec<String> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let command_lines = processes.flatten().map(|process| {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).into_owned()
    });
    command_lines.filter(|line| line.contains(folder)).collect()
}

#[test]
fn a_killed_testbed_leaves_no_process_and_no_folder() {
    let mut testbed = Command::new(env!("CARGO_BIN_EXE_testbed"))
        .arg("up")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(testbed.stdout.take().unwrap()).lines();
    let kubeconfig = lines
        .map_while(Result::ok)
        .find_map(|line| line.trim().strip_prefix("export KUBECONFIG=").map(str::to_owned))
        .unwrap();
    let folder = Path::new(&kubeconfig).parent().unwrap().to_owned();
    let name = folder.to_str().unwrap();
    assert!(processes_of(name).len() >= 3, "{:?}", processes_of(name));

    testbed.kill().unwrap();
    testbed.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while folder.exists() || !processes_of(name).is_empty() {
        assert!(Instant::now() < deadline, "still there: {:?}", processes_of(name));
        std::thread::sleep(Duration::from_millis(20));
    }
}
