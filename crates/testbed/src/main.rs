//! The `testbed` program: a cluster to experiment with, and the demo.

#![allow(clippy::disallowed_methods, reason = "the testbed plays a cluster in real time")]

mod demo;
mod up;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// A real control plane with hollow nodes, on loopback.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a control plane and hollow nodes until Ctrl-C
    Up(up::Up),
    /// Watch the operator scale a StatefulSet from 1 replica to 3 under load
    Demo(demo::Demo),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Up(up) => up.run().await,
        Command::Demo(demo) => demo.run().await,
    }
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupted() -> Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result?,
        _ = terminated.recv() => {}
    }
    Ok(())
}
