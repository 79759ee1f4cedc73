//! Small stand-ins for controllers of which only the sources were read: a task of the test plays each.

pub mod dynamo;
pub mod grove;
mod world;
