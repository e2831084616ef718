//! Whether a node fits an actor, and if not, why not.

use std::collections::BTreeMap;
use std::fmt;

use lattice_proto::ActorName;
use lattice_proto::manifest::{Bytes, EACH_NODE, Label, Placement};

/// Why an actor is not placed on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// A label is required.
    Lacks(Label),
    /// A label is forbidden.
    Has(Label),
    /// The label to spread over has no value here.
    NoValue(String),
    /// It is being emptied, or was lost.
    Closed,
    /// It takes nothing new.
    Kept,
    /// An actor runs there that this one must be apart from.
    Apart(ActorName),
    /// Too little memory is left.
    Memory {
        /// Bytes that one replica claims.
        claimed: u64,
        /// Bytes that are left.
        left: u64,
    },
    /// Too little of the processors is left.
    Cpu {
        /// Thousandths that one replica claims.
        claimed: u32,
        /// Thousandths that are left.
        left: u64,
    },
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::Lacks(label) => write!(f, "has not the label {label}"),
            Misfit::Has(label) => write!(f, "has the label {label}, which is forbidden"),
            Misfit::NoValue(key) => write!(f, "has no label `{key}` to spread over"),
            Misfit::Closed => write!(f, "is being emptied"),
            Misfit::Kept => write!(f, "takes nothing new"),
            Misfit::Apart(actor) => write!(f, "runs `{actor}`, which this actor must be apart from"),
            Misfit::Memory { claimed, left } => {
                write!(f, "has {} of memory left, and a replica claims {}", Bytes(*left), Bytes(*claimed))
            }
            Misfit::Cpu { claimed, left } => {
                let (left, claimed) = (cores(*left), cores(u64::from(*claimed)));
                write!(f, "has {left} of its processors left, and a replica claims {claimed}")
            }
        }
    }
}

fn cores(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// What the labels of a node say. They may be less than all, as long as every key is there that the actor names.
pub(super) fn labels(placement: &Placement, labels: &BTreeMap<String, String>) -> Result<(), Misfit> {
    let has = |label: &&Label| labels.get(&label.key) == Some(&label.value);
    if let Some(lacking) = placement.require.iter().find(|label| !has(label)) {
        return Err(Misfit::Lacks(lacking.clone()));
    }
    if let Some(forbidden) = placement.forbid.iter().find(has) {
        return Err(Misfit::Has(forbidden.clone()));
    }
    match placement.spread.as_deref() {
        Some(key) if key != EACH_NODE && !labels.contains_key(key) => Err(Misfit::NoValue(key.to_owned())),
        _ => Ok(()),
    }
}

/// How many preferred labels a node has not: fewer is better.
pub(super) fn rank(placement: &Placement, labels: &BTreeMap<String, String>) -> u32 {
    let lacking = placement.prefer.iter().filter(|label| labels.get(&label.key) != Some(&label.value));
    u32::try_from(lacking.count()).unwrap_or(u32::MAX)
}
