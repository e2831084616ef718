//! Who leads: whoever holds the leader's lease. It is taken when it has ended, or when its holder is surely gone.

use std::time::{Duration, Instant};

use lattice_proto::Incarnation;
use lattice_proto::record::{self, Term};
use lattice_proto::subject::Control;

use super::Context;
use crate::bus::{Error, LEASE};
use crate::clock::wall_ms;
use crate::membership::{Keeper, LEADER, is_gone};

/// A leader that was not heard of for this long, which is more than one renewal, is asked for. So is one that did not get
/// what this node sent it, however short ago it was heard of.
const SILENT: Duration = Duration::from_millis(700);

/// How often a candidate looks.
const LOOK: Duration = Duration::from_millis(100);

/// The office, won.
pub(super) struct Elected {
    pub keeper: Keeper,
    pub term: u64,
    /// The revision of the term's key: the guard of everything that this leader writes.
    pub term_revision: u64,
    /// The leader that was found to be gone, which is one node less to find out about.
    pub deposed: Option<Deposed>,
}

/// A leader that did not answer, and lost its office for that.
pub(super) struct Deposed {
    pub incarnation: Incarnation,
    /// When it was asked.
    pub asked: Instant,
    /// The revision of the leases at which its office was taken.
    pub revision: u64,
}

/// Returns when this node holds office.
pub(super) async fn win(context: &Context) -> Elected {
    loop {
        // Jitter, so that the candidates do not all run for it in the same moment.
        let look = tokio::time::sleep(LOOK + Duration::from_millis(fastrand::u64(0..50)));
        let doubted = tokio::select! {
            () = look => false,
            () = context.doubts.notified() => true,
        };
        match run_for_office(context, doubted).await {
            Ok(Some(elected)) => return elected,
            Ok(None) | Err(Error::Conflict) => {}
            Err(error) => tracing::debug!(%error, "cannot run for office"),
        }
    }
}

async fn run_for_office(context: &Context, doubted: bool) -> Result<Option<Elected>, Error> {
    if !context.bus.control.is_up() {
        return Ok(None);
    }
    let leader = context.leader.borrow().clone();
    let asked = Instant::now();
    let (over, deposed) = match leader {
        // Heard of a moment ago, and by all that is known it is there.
        Some(leader) if !doubted && Instant::now().duration_since(leader.seen) < SILENT => return Ok(None),
        // Far too long ago: the end of the lease was not seen, so the lease itself is asked.
        Some(leader) if Instant::now().duration_since(leader.seen) > LEASE * 2 => {
            let entry = context.bus.leases.get(LEADER).await?;
            match entry {
                Some(entry) if entry.value.is_some() && entry.revision > leader.revision => return Ok(None),
                Some(entry)
                    if entry.value.is_some()
                        && !is_gone(&context.bus, &context.subjects, &leader.lease.incarnation).await =>
                {
                    return Ok(None);
                }
                // It was asked for; where its lease had ended, nobody did.
                Some(entry) if entry.value.is_some() => (entry.revision, Some(leader.lease.incarnation)),
                entry => (entry.map_or(0, |entry| entry.revision), None),
            }
        }
        Some(leader) => {
            let holder = leader.lease.incarnation;
            if !is_gone(&context.bus, &context.subjects, &holder).await {
                return Ok(None);
            }
            tracing::warn!(%holder, "the leader is gone");
            (leader.revision, Some(holder))
        }
        None => {
            let entry = context.bus.leases.get(LEADER).await?;
            match entry {
                Some(entry) if entry.value.is_some() => return Ok(None),
                entry => (entry.map_or(0, |entry| entry.revision), None),
            }
        }
    };
    let mut keeper = Keeper::new(context.bus.leases.clone(), LEADER.to_owned(), &context.me);
    keeper.take(over).await?;
    let deposed = deposed.map(|incarnation| Deposed { incarnation, asked, revision: keeper.revision() });
    let (term, term_revision) = begin_term(context).await?;
    Ok(Some(Elected { keeper, term, term_revision, deposed }))
}

/// Writes the next term, from which moment no earlier leader can write anything.
async fn begin_term(context: &Context) -> Result<(u64, u64), Error> {
    let key = context.subjects.control(&Control::Term);
    let entry = context.bus.decisions.get(&key).await?;
    let before = entry
        .as_ref()
        .and_then(|entry| entry.value.as_deref())
        .and_then(|bytes| record::decode::<Term>(bytes).ok());
    // A term is the time at least. Should JetStream lose its data, or an operator bring back an earlier copy of it, the
    // nodes that run on know later terms, and would refuse what a leader says that counts on from what is stored.
    let before = before.map_or(0, |before| before.term);
    let now = u64::try_from(wall_ms()).unwrap_or(0);
    let term = Term { term: now.max(before + 1), leader: context.me.incarnation.clone() };
    let over = entry.map_or(0, |entry| entry.revision);
    let revision = context.bus.decisions.put_if(&key, record::encode(&term), over).await?;
    Ok((term.term, revision))
}
