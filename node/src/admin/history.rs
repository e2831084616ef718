//! Revisions as the API shows them.

use lattice_proto::admin::Revision;
use lattice_proto::record::{App, Head, Origin};

/// One revision of an app.
pub(super) fn describe(app: &App, head: &Head) -> Revision {
    let (origin, note) = match &app.origin {
        Origin::Apply => ("apply", String::new()),
        Origin::Scale => ("scale", String::new()),
        Origin::Delete => ("delete", String::new()),
        Origin::Promote => ("promote", String::new()),
        Origin::Abort => ("abort", String::new()),
        Origin::Rollback { from, to, reason } => {
            let why = reason.as_ref().map(|reason| format!(", which failed: {reason}")).unwrap_or_default();
            ("rollback", format!("to what revision {to} says, from revision {from}{why}"))
        }
    };
    let actor = |(name, actor): (&lattice_proto::ActorName, &lattice_proto::record::Actor)| {
        lattice_proto::admin::RevisionActor {
            actor: name.to_string(),
            replicas: actor.settings.replicas.to_string(),
            artifact: actor.digest.to_string(),
            from: actor.from.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    };
    Revision {
        revision: app.revision,
        origin: origin.to_owned(),
        note,
        declared_ms: app.declared_ms,
        current: app.revision == head.revision,
        good: head.good_ones().any(|good| good == app.revision),
        trial: app.is_on_trial(),
        actors: app.actors.iter().map(actor).collect(),
    }
}
