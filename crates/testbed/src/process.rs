//! Runs programs that never outlive their owner.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

const SUPERVISOR: &str = include_str!("supervise.sh");

/// The command line of a program, and the way to stop it.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The name in messages.
    pub name: String,
    /// The path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables in addition to the owner's environment.
    pub env: Vec<(String, OsString)>,
    /// The file that receives standard output and standard error.
    pub log: PathBuf,
    /// The time between SIGTERM and SIGKILL, in whole seconds; zero kills at once.
    pub grace: Duration,
    /// A folder to remove if the owner dies without stopping the program.
    pub remove: Option<PathBuf>,
}

impl Spec {
    /// Creates the spec of a program without arguments that is stopped by SIGKILL.
    pub fn new(name: &str, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            log: log.into(),
            grace: Duration::ZERO,
            remove: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Stops the program by SIGTERM first, and by SIGKILL after this time.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

/// A running program with all of its children, in a process group of its own.
///
/// Dropping it stops the whole group. So does the death of this process, by any signal: a small
/// shell beside the program holds the other end of a pipe and sees it close.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    supervisor: Child,
    group: Pid,
}

impl Process {
    /// Starts the program.
    ///
    /// # Errors
    /// Fails if its log cannot be written or `sh` cannot be started. A program that does not exist
    /// shows in [`Process::exited`] and in the log.
    pub fn start(spec: Spec) -> Result<Self> {
        let log = File::create(&spec.log).with_context(|| {
            format!("creating {}, the log of {}", spec.log.display(), spec.name)
        })?;
        let supervisor = std::process::Command::new("sh")
            .args(["-c", SUPERVISOR, "supervise"])
            .arg(spec.grace.as_secs().to_string())
            .arg(spec.remove.as_deref().unwrap_or(Path::new("")))
            .arg(&spec.program)
            .args(&spec.args)
            .envs(spec.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting a shell for {}", spec.name))?;
        let group = Pid::from_child(&supervisor);
        Ok(Self { spec, supervisor, group })
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Returns the PID of the program itself, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let shell = self.supervisor.id();
        let children =
            std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).ok()?;
        // The other children are the watcher and its own children.
        let is_program = |pid: &&str| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            name.trim() != "sh"
        };
        children.split_whitespace().find(is_program)?.parse().ok()
    }

    /// Stops the program, and starts it again with the same command line and an empty log.
    ///
    /// # Errors
    /// Same as [`Process::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop();
        *self = Self::start(self.spec.clone())?;
        Ok(())
    }

    /// Lets the program end by itself: sends SIGTERM.
    ///
    /// # Errors
    /// It does not run.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Kills the program: sends SIGKILL.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)
    }

    /// Pauses the program: sends SIGSTOP.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused program go on: sends SIGCONT.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let pid = pid.with_context(|| format!("{} does not run", self.spec.name))?;
        kill_process(pid, signal).with_context(|| format!("a signal to {}", self.spec.name))
    }

    /// Returns the path of the log file.
    pub fn log(&self) -> &Path {
        &self.spec.log
    }

    /// Returns the exit status if the program has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.supervisor.try_wait().ok().flatten()
    }

    /// Returns the last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = std::fs::read(&self.spec.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<_> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Stops the program and its children, and returns when none of them is left. Blocks up to the
    /// grace time.
    pub fn stop(&mut self) {
        let was_open = self.supervisor.stdin.take().is_some();
        if !was_open {
            return; // it was stopped before
        }
        let deadline = Instant::now() + self.spec.grace + Duration::from_secs(5);
        while !self.is_gone() {
            if Instant::now() > deadline {
                let _ = kill_process_group(self.group, Signal::KILL);
            }
            sleep(Duration::from_millis(5));
        }
    }

    fn is_gone(&mut self) -> bool {
        self.exited().is_some() && !is_alive(self.group)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Returns true if the group has a running member. Testing by a signal would count processes that
/// are dead and not yet reaped by `init`, which may take seconds.
fn is_alive(group: Pid) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return false;
    };
    processes.flatten().any(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        // The format is "pid (name) state parent group ...", where the name may contain any
        // character.
        let mut fields = stat.rsplit_once(')').unwrap_or_default().1.split_whitespace();
        let (state, group_of_it) = (fields.next(), fields.nth(1));
        state.is_some_and(|state| state != "Z" && state != "X")
            && group_of_it.and_then(|id| id.parse().ok()) == Some(group.as_raw_nonzero().get())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Process {
        let spec = Spec::new("test", "/bin/sh", folder.join("log")).args(["-c", script]);
        Process::start(spec.grace(Duration::from_secs(5))).unwrap()
    }

    fn wait_for(mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain");
            sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn the_exit_status_and_the_log_are_the_programs() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = shell("echo one; echo two; exit 7", folder.path());
        wait_for(|| process.exited().is_some());
        assert_eq!(process.exited().unwrap().code(), Some(7));
        assert_eq!(process.log_tail(1), "two");
    }

    #[test]
    fn stopping_ends_grandchildren_and_allows_a_graceful_exit() {
        let folder = tempfile::tempdir().unwrap();
        let script =
            "sleep 1000 & trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
        let mut process = shell(script, folder.path());
        wait_for(|| process.log_tail(1) == "up");
        assert!(is_alive(process.group));
        process.stop();
        assert_eq!(process.log_tail(1), "bye");
        assert!(!is_alive(process.group));
    }
}
