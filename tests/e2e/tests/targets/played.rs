//! Small stand-ins for controllers that follow the controllers' sources; each is a task of the
//! test.

pub mod dynamo;
pub mod grove;
mod world;
