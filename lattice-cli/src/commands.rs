//! One file per command.

pub mod apply;
mod artifacts;
pub mod build;
pub mod call;
pub mod completions;
pub mod delete;
pub mod doctor;
pub mod events;
pub mod explain;
pub mod history;
pub mod new;
pub mod node;
pub mod nodes;
mod operation;
pub mod ps;
pub mod scale;
pub mod start;
pub mod token;
pub mod trial;
