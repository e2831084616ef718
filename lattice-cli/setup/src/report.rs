//! What the set-up tells its caller while it works; never prints anything itself.

use std::fmt;

/// The caller's ear. It is called from the thread that does the work, between steps.
///
/// `&|notice| eprintln!("{notice}")` is a complete one.
pub type Report<'a> = &'a (dyn Fn(Notice) + Send + Sync);

/// One line about one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It was there already.
    Found(String),
    /// Something slow begins: a download, an installation, a build.
    Getting(String),
    /// What was begun is done.
    Done(String),
    /// The work goes on, but somebody should know.
    Warning(String),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Found(what) => write!(f, "found {what}"),
            Notice::Getting(what) => write!(f, "{what} …"),
            Notice::Done(what) => write!(f, "{what}"),
            Notice::Warning(what) => write!(f, "warning: {what}"),
        }
    }
}
