//! The cost of an operator's reads of pages, between two moments.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    Operator,
    fleets::address,
    usage::{OwnMetrics, Usage, within},
};

/// The series of pages that were read.
pub const SCRAPED: &str = "llm_autoscaler_scrapes_total{result=\"ok\"}";

/// The operator's counters and resource usage at one moment.
#[derive(Clone, Debug)]
pub struct Reads {
    at: Instant,
    cpu: f64,
    memory: f64,
    scrapes: f64,
    failed: f64,
    decisions: f64,
    /// The histogram of delays: (upper bound in seconds, cumulative number of scrapes).
    late: Vec<(f64, f64)>,
}

/// The difference between two moments.
#[derive(Clone, Debug)]
pub struct Spent {
    seconds: f64,
    cpu: f64,
    /// The resident memory at the end, in MiB.
    pub memory: f64,
    scrapes: f64,
    /// The reads that failed.
    pub failed: f64,
    decisions: f64,
    late: Vec<(f64, f64)>,
}

impl Reads {
    /// Reads the counters of an operator.
    ///
    /// # Errors
    /// It does not run, or does not answer.
    pub async fn of(operator: &Operator) -> Result<Self> {
        let usage = Usage::of(operator)?;
        let page = OwnMetrics::of(operator).await?;
        let all = page.sum("llm_autoscaler_scrapes_total");
        let scrapes = page.value(SCRAPED).unwrap_or(0.0);
        Ok(Self {
            at: Instant::now(),
            cpu: usage.cpu,
            memory: usage.memory,
            scrapes,
            failed: all - scrapes,
            decisions: page.sum("llm_autoscaler_decisions_total"),
            late: page.buckets("llm_autoscaler_scrape_lateness_seconds"),
        })
    }

    /// Returns the difference from an earlier moment.
    pub fn since(self, before: &Self) -> Spent {
        let buckets = self.late.iter().zip(&before.late);
        let late = buckets.map(|((le, now), (_, then))| (*le, now - then)).collect();
        Spent {
            seconds: (self.at - before.at).as_secs_f64(),
            cpu: self.cpu - before.cpu,
            memory: self.memory,
            scrapes: self.scrapes - before.scrapes,
            failed: self.failed - before.failed,
            decisions: self.decisions - before.decisions,
            late,
        }
    }
}

impl Spent {
    /// Returns the CPU time of a read with everything that follows from it, in microseconds.
    pub fn cpu_per_read(&self) -> f64 {
        1e6 * self.cpu / self.scrapes
    }

    /// Returns the figures as a line.
    pub fn text(&self) -> String {
        let Self { seconds, cpu, memory, scrapes, decisions, late, .. } = self;
        let within = |share: f64| format!("{:.0} ms", within(late, share) * 1000.0);
        format!(
            "{:.0} reads/s, {:.1} decisions/s, {:.1} % of a core, {memory:.0} MB, {:.0} µs of CPU a \
             read, late by at most {} (p50), {} (p99)",
            scrapes / seconds,
            decisions / seconds,
            100.0 * cpu / seconds,
            self.cpu_per_read(),
            within(0.5),
            within(0.99),
        )
    }
}

/// Returns the CPU time of a bare client that connects, sends a request, receives the page and
/// closes the connection, in microseconds: what a read costs at least that keeps no connection.
///
/// # Errors
/// The server at this port does not answer.
pub fn bare_read(port: u16) -> Result<f64> {
    const READS: u32 = 4000;
    let thread = std::thread::spawn(move || -> Result<f64> {
        let mut page = vec![0; 128 << 10];
        let before = thread_cpu()?;
        for index in 0..READS {
            read_once(address(index % 1000), port, &mut page)?;
        }
        Ok(1e6 * (thread_cpu()? - before) / f64::from(READS))
    });
    thread.join().ok().context("the bare client has panicked")?
}

fn read_once(ip: Ipv4Addr, port: u16, page: &mut [u8]) -> Result<()> {
    let mut stream = TcpStream::connect((ip, port))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: pod\r\nconnection: close\r\n\r\n")?;
    let (mut length, mut expected) = (0, usize::MAX);
    while length < expected {
        let read = stream.read(&mut page[length..])?;
        ensure!(read > 0, "the page ends after {length} bytes");
        length += read;
        if expected == usize::MAX {
            let head = String::from_utf8_lossy(&page[..length.min(1000)]).into_owned();
            let Some((head, _)) = head.split_once("\r\n\r\n") else { continue };
            let declared = head.split("Content-Length: ").nth(1).context("no Content-Length")?;
            let declared: usize = declared.lines().next().unwrap_or_default().parse()?;
            expected = head.len() + 4 + declared;
        }
    }
    Ok(())
}

/// Returns the CPU time of this thread in seconds, which the kernel counts in ticks of 10 ms.
fn thread_cpu() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/stat")?;
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    let both = ticks(11).zip(ticks(12)).map(|(user, system)| (user + system) / 100.0);
    both.context("no CPU time in /proc/thread-self/stat")
}
