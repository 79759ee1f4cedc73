//! The CPU time of the programs that share the machine, so that it is seen whose time a figure is.

use std::fmt;

use llm_autoscaler_e2e::{Operator, Stage};

/// The CPU time of each in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTimes {
    operators: f64,
    apiserver: f64,
    etcd: f64,
    /// This program, which serves the pages.
    bench: f64,
}

impl CpuTimes {
    /// Reads the times of a control plane, of operators and of this program.
    pub(crate) fn of(stage: &Stage, operators: &[&Operator]) -> Self {
        let dir = stage.control_plane().dir().display().to_string();
        let operators = operators.iter().filter_map(|operator| operator.pid());
        let mut times = Self {
            operators: operators.map(cpu_time).sum(),
            bench: cpu_time(std::process::id()),
            ..Self::default()
        };
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = process.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.contains(&format!("--cert-dir={dir}/certs")) {
                times.apiserver += cpu_time(pid);
            } else if line.contains(&format!("--data-dir={dir}/etcd")) {
                times.etcd += cpu_time(pid);
            }
        }
        times
    }

    /// Returns the times since an earlier moment.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            operators: self.operators - before.operators,
            apiserver: self.apiserver - before.apiserver,
            etcd: self.etcd - before.etcd,
            bench: self.bench - before.bench,
        }
    }
}

impl fmt::Display for CpuTimes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operators, apiserver, etcd, bench } = self;
        write!(
            formatter,
            "operator {operators:.1} s, API server {apiserver:.1} s, etcd {etcd:.1} s, this bench \
             with its pages {bench:.1} s"
        )
    }
}

/// Returns the CPU time of a process in seconds; 0 once it is gone.
fn cpu_time(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
    // After the name come a space and the state; the kernel counts in ticks of 1/100 s.
    ticks(12).zip(ticks(13)).map_or(0.0, |(user, system)| (user + system) / 100.0)
}
