//! One file per command.

pub mod apply;
mod artifacts;
pub mod bench;
pub mod build;
pub mod call;
pub mod completions;
pub mod dead_letters;
pub mod delete;
pub mod doctor;
pub mod events;
pub mod explain;
pub mod history;
pub mod inspect;
pub mod logs;
pub mod new;
pub mod node;
pub mod nodes;
mod operation;
pub mod ps;
pub mod scale;
pub mod send;
pub mod start;
pub mod state;
pub mod tap;
pub mod token;
pub mod top;
pub mod trial;
