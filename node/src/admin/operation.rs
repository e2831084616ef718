//! Operations: a declaration on its way to coming true, under an ID from which any node can go on watching it.

use std::time::{Duration, Instant};

use lattice_proto::AppName;
use lattice_proto::admin::{ActorProgress, Operation};

use crate::controller::{Declared, Following, Observer, Progress};

/// A declaration that something stands in the way of, and that has made no progress for this long, is reported as not
/// reached. It stays declared, and comes true when the obstacle goes.
const STUCK: Duration = Duration::from_secs(5);

/// One without any word of why is given longer: a large artifact takes its time on many nodes.
const SLOW: Duration = Duration::from_secs(120);

/// What an operation's ID holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id {
    pub kind: Kind,
    pub app: AppName,
    pub revision: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Apply,
    Delete,
    Scale,
    Promote,
    Abort,
    Rollback,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Apply => "apply",
            Kind::Delete => "delete",
            Kind::Scale => "scale",
            Kind::Promote => "promote",
            Kind::Abort => "abort",
            Kind::Rollback => "rollback",
        }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.kind.as_str(), self.app, self.revision)
    }
}

impl std::str::FromStr for Id {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "an operation's id looks like `apply/<app>/<revision>`";
        let mut parts = text.split('/');
        let kind = match parts.next() {
            Some("apply") => Kind::Apply,
            Some("delete") => Kind::Delete,
            Some("scale") => Kind::Scale,
            Some("promote") => Kind::Promote,
            Some("abort") => Kind::Abort,
            Some("rollback") => Kind::Rollback,
            _ => return Err(WRONG),
        };
        let app = parts.next().and_then(|app| app.parse().ok()).ok_or(WRONG)?;
        let revision = parts.next().and_then(|revision| revision.parse().ok()).ok_or(WRONG)?;
        if parts.next().is_some() { Err(WRONG) } else { Ok(Self { kind, app, revision }) }
    }
}

/// The operation at its very beginning.
pub(super) fn begun(kind: Kind, declared: &Declared, dry_run: bool) -> Operation {
    let id = Id { kind, app: declared.app.clone(), revision: declared.revision };
    Operation {
        id: if dry_run { String::new() } else { id.to_string() },
        kind: kind.as_str().to_owned(),
        app: declared.app.to_string(),
        revision: declared.revision,
        done: dry_run,
        error: String::new(),
        actors: Vec::new(),
        changes: declared.changes.clone(),
        ..Operation::default()
    }
}

/// One operation being watched.
pub(super) struct Watched {
    id: Id,
    following: Following,
    last: Option<Progress>,
    moved: Instant,
}

impl Watched {
    /// None when there never was such a declaration.
    pub(super) async fn start(observer: &Observer, id: Id) -> Result<Option<Self>, crate::bus::Error> {
        let following = observer.follow(&id.app, id.revision).await?;
        Ok(following.map(|following| Self { id, following, last: None, moved: Instant::now() }))
    }

    /// Waits for a change, and tells how far it is.
    pub(super) async fn next(&mut self) -> Result<Operation, crate::bus::Error> {
        loop {
            let progress = self.following.next().await?;
            let changed = self.last.as_ref() != Some(&progress);
            if changed && self.last.is_some() {
                self.moved = Instant::now();
            }
            let operation = self.describe(&progress);
            self.last = Some(progress);
            if changed || operation.done {
                return Ok(operation);
            }
        }
    }

    /// How far it is now.
    pub(super) async fn now(&mut self) -> Result<Operation, crate::bus::Error> {
        let progress = self.following.next().await?;
        Ok(self.describe(&progress))
    }

    fn describe(&self, progress: &Progress) -> Operation {
        let actors: Vec<ActorProgress> = progress
            .actors
            .iter()
            .map(|status| ActorProgress {
                actor: status.actor.to_string(),
                desired: status.desired,
                ready: status.ready,
                problem: status.problems.join("; "),
            })
            .collect();
        let problem = actors.iter().find(|actor| !actor.problem.is_empty());
        let still = self.moved.elapsed();
        let later = progress.superseded.as_ref();
        let error = if let Some((later, reason)) =
            later.and_then(|later| Some((later, later.taken_back.as_ref()?)))
        {
            Some(format!(
                "revision {} of `{}` failed; {reason} (now revision {})",
                self.id.revision, self.id.app, later.by
            ))
        } else if progress.reached {
            None
        } else if let Some(later) = later.filter(|later| !later.same) {
            Some(format!(
                "revision {} of `{}` took the place of revision {} before that had come true",
                later.by, self.id.app, self.id.revision
            ))
        } else if let Some(problem) = problem.filter(|_| still > STUCK) {
            Some(format!(
                "`{}` has {} of {} replicas: {}. The declaration stands and comes true as soon as it can",
                problem.actor, problem.ready, problem.desired, problem.problem
            ))
        } else if still > SLOW {
            Some(format!("no progress for {} seconds; `lattice ps` shows how far it is", SLOW.as_secs()))
        } else {
            None
        };
        Operation {
            id: self.id.to_string(),
            kind: self.id.kind.as_str().to_owned(),
            app: self.id.app.to_string(),
            revision: self.id.revision,
            done: progress.reached || error.is_some(),
            error: error.unwrap_or_default(),
            actors,
            ..Operation::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_garbage_is_refused() {
        let id = Id { kind: Kind::Scale, app: "shop".parse().unwrap(), revision: 7 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in
            ["", "apply", "apply/shop", "apply/shop/x", "apply/shop/1/2", "explode/shop/1", "apply/No/1"]
        {
            assert!(bad.parse::<Id>().is_err(), "{bad}");
        }
    }
}
