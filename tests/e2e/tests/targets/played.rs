//! Small stand-ins for controllers that follow the controllers' sources; each is a task of the
//! test.

pub(crate) mod dynamo;
pub(crate) mod grove;
mod world;
