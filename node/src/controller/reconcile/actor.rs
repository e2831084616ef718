//! What follows for one actor from what is known: orders for nodes, its route, and whether an update fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lattice_proto::manifest::{Ingress, Replicas, Share};
use lattice_proto::record::{Assigned, Canary, Health, NodeState, Route, Running, Target};
use lattice_proto::{ActorName, AppName, NodeName};

use super::{Plan, Reconciler, State, Update, is_alive};
use crate::controller::rollout::{self, Orders, Standing, Trial};
use crate::placement::Placed;

/// Problems that are told of one actor.
const PROBLEMS: usize = 10;

/// How soon an update that fails and was not taken back is looked at again.
const AGAIN: Duration = Duration::from_secs(1);

impl Reconciler {
    /// Plans one actor, whether it is declared or not any more.
    pub(super) fn plan_actor(&mut self, name: &ActorName, now: Instant, plan: &mut Plan) {
        let Some(mut state) = self.actors.remove(name) else { return self.plan_removed(name, plan) };
        let placed = self.planner.placed(name).unwrap_or_default();
        let target: BTreeMap<NodeName, u32> =
            placed.nodes.iter().map(|(node, seat)| (node.clone(), seat.replicas)).collect();
        let before = self.orders_of(name, &state.app);
        let version = state.spec.version;
        let failing = self.observe(name, &mut state, &before, now);
        if let Some(reason) = &failing {
            // Told again for as long as it is so: whoever takes it back may not succeed at the first try.
            let reason = format!("`{name}`: {reason}");
            plan.failed.entry(state.app.clone()).or_insert((state.revision, reason));
            self.wake(name, now + AGAIN);
        }
        let update = &state.spec.settings.update;
        let observe = Duration::from_millis(update.observe.0);
        // An update to nothing has nothing to wait for.
        let observed = self.observed(name, &state.app, version);
        // What a node says of the time goes with its counts. By the leader's own clock alone, counts that are late would
        // pass for a version that does well.
        let short = |observed: &Duration| *observed < observe;
        let observing = !target.is_empty()
            && state.update.is_some_and(|update| {
                update.first_ready.is_none_or(|first| now.duration_since(first) < observe)
                    || (!observed.is_empty() && observed.iter().all(short))
            });
        if let Some(Update { first_ready: Some(first) }) = state.update
            && observing
        {
            self.wake(name, first + observe);
        }
        let canary = canary(&state, &placed);
        let after = Standing {
            version,
            wanted: placed.wanted,
            each: matches!(state.spec.settings.replicas, Replicas::Each(_)),
            target: &target,
            before: &before,
            alive: &|node| self.is_alive(node),
            ready: &|node, version| self.ready(node, name, &state.app, version),
            update,
            observing,
            trial: canary
                .zip(state.spec.beside)
                .map(|(canary, beside)| Trial { beside, replicas: canary.replicas }),
            condemned: &state.condemned,
        }
        .step();
        let in_place = after.len() == target.len()
            && after
                .iter()
                .all(|(node, versions)| versions.len() == 1 && versions.get(&version) == target.get(node));
        if in_place && !observing && !observed.iter().any(short) {
            state.update = None;
        }
        let updating = state.update.is_some();
        let reason = |node: &NodeName, before: Option<&Assigned>| match placed.nodes.get(node) {
            Some(seat) => seat.why.to_string(),
            None => before.map(|before| before.reason.clone()).unwrap_or_default(),
        };
        let ordered = self.ordered.get(name).into_iter().flatten();
        let nodes: BTreeSet<NodeName> = ordered.chain(after.keys()).cloned().collect();
        let observed = std::mem::replace(&mut state.observed, updating);
        let measured = matches!(state.spec.settings.replicas, Replicas::Range(_));
        for node in nodes {
            let known = self.orders.get(&node).and_then(|orders| orders.get(name));
            let placed_here = target.get(&node).copied().unwrap_or(0);
            let is_known = known.is_some_and(|known| {
                known.app == state.app
                    && known.placed == placed_here
                    && known.measured == measured
                    && known.canary == canary
            });
            if is_known && observed == updating && before.get(&node) == after.get(&node) {
                continue;
            }
            let order = after.get(&node).map(|versions| {
                let (app, versions) = (state.app.clone(), versions.clone());
                let reason = reason(&node, known);
                Assigned { app, versions, placed: placed_here, observed: updating, measured, canary, reason }
            });
            self.order(&node, name, order);
        }
        let route = self.route(name, &state, &placed, canary, failing);
        let (ready, stale) = route
            .targets
            .iter()
            .fold((0, 0), |(ready, stale), target| (ready + target.ready, stale + target.stale));
        // What is on trial is not what was declared yet, also while it sleeps.
        let trial = state.spec.beside.is_some();
        state.met = !trial
            && in_place
            && !updating
            && ready == placed.wanted
            && stale == 0
            && placed.shortfall.is_none();
        let stuck = placed.shortfall.is_some() || !route.problems.is_empty();
        // A version on trial stays so until somebody decides, and nothing else has to wait for that.
        let on_trial = match canary {
            Some(canary) => ready >= canary.replicas && ready.saturating_add(stale) >= placed.wanted,
            None => trial && in_place,
        };
        match state.met || stuck || on_trial {
            true => self.moving.remove(name),
            false => self.moving.insert(name.clone()),
        };
        if self.routes.get(name) != Some(&route) {
            self.routes.insert(name.clone(), route.clone());
            plan.routes.insert(name.clone(), Some(route));
        }
        let (app, met) = (state.app.clone(), state.met);
        self.actors.insert(name.clone(), state);
        if met {
            self.look_at_app(&app, plan);
        }
    }

    /// An actor is looked at again at this time, or before.
    fn wake(&mut self, actor: &ActorName, at: Instant) {
        let known = self.waking.entry(actor.clone()).or_insert(at);
        *known = at.min(*known);
    }

    /// Keeps the record of the update that goes on, and tells why it fails, if it does.
    fn observe(&self, name: &ActorName, state: &mut State, before: &Orders, now: Instant) -> Option<String> {
        let version = state.spec.version;
        let others = before.values().flat_map(BTreeMap::keys).any(|other| *other != version);
        if others && state.update.is_none() {
            state.update = Some(Update { first_ready: None });
        }
        let update = state.update.as_mut()?;
        let there = self.running.get(name).into_iter().flatten();
        let (mut health, mut says) = (Vec::<Health>::new(), None);
        for (node, running) in there.filter_map(|node| Some((node, self.running_on(node, name, &state.app)?)))
        {
            let Some(one) = running.versions.get(&version) else { continue };
            health.push(*one);
            if one.crashes > 0 && says.is_none() {
                says = running.problem.as_ref().map(|problem| format!("; {node} says: {problem}"));
            }
        }
        if update.first_ready.is_none() && health.iter().any(|health| health.ready > 0) {
            update.first_ready = Some(now);
        }
        let reason = rollout::broken(health.into_iter(), state.spec.settings.update.failures)?;
        state.condemned.insert(version);
        Some(reason + says.as_deref().unwrap_or_default())
    }

    /// An actor that is declared no more keeps its route, with nothing wanted, until the last node has let go of it.
    fn plan_removed(&mut self, name: &ActorName, plan: &mut Plan) {
        self.moving.remove(name);
        self.waking.remove(name);
        for node in self.ordered.remove(name).unwrap_or_default() {
            self.order(&node, name, None);
        }
        let there = |node: &NodeName| self.nodes.get(node).is_some_and(|seen| seen.state != NodeState::Gone);
        let runs = self.running.get(name).is_some_and(|nodes| nodes.iter().any(there));
        let Some(known) = self.routes.get(name) else { return };
        let route = runs.then(|| Route {
            desired: 0,
            placed: 0,
            targets: Vec::new(),
            problems: Vec::new(),
            updating: false,
            ..known.clone()
        });
        if route.as_ref() == Some(known) {
            return;
        }
        match &route {
            Some(route) => self.routes.insert(name.clone(), route.clone()),
            None => self.routes.remove(name),
        };
        plan.routes.insert(name.clone(), route);
    }

    fn order(&mut self, node: &NodeName, actor: &ActorName, order: Option<Assigned>) {
        let orders = self.orders.entry(node.clone()).or_default();
        let ordered = self.ordered.entry(actor.clone()).or_default();
        let changed = match order {
            Some(order) => {
                ordered.insert(node.clone());
                orders.insert(actor.clone(), order.clone()).as_ref() != Some(&order)
            }
            None => {
                ordered.remove(node);
                orders.remove(actor).is_some()
            }
        };
        if changed {
            self.dirty_nodes.insert(node.clone());
        }
    }

    fn look_at_app(&mut self, app: &AppName, plan: &mut Plan) {
        let Some(declared) = self.apps.get(app) else { return };
        let all = declared.actors.keys().all(|actor| self.actors.get(actor).is_some_and(|state| state.met));
        if all && self.met.get(app) != Some(&declared.revision) {
            self.met.insert(app.clone(), declared.revision);
            plan.met.insert(app.clone(), declared.revision);
        }
    }

    /// What nodes were told to run of it, for this app: versions of another one only look like its own.
    fn orders_of(&self, actor: &ActorName, app: &AppName) -> Orders {
        let nodes = self.ordered.get(actor).into_iter().flatten();
        let order = |node: &NodeName| {
            let assigned = self.orders.get(node)?.get(actor)?;
            // What a lost node had is not there any more.
            let known = self.nodes.get(node).is_some_and(|seen| seen.state != NodeState::Gone);
            (known && assigned.app == *app).then(|| (node.clone(), assigned.versions.clone()))
        };
        nodes.filter_map(order).collect()
    }

    fn running_on(&self, node: &NodeName, actor: &ActorName, app: &AppName) -> Option<&Running> {
        let running = self.nodes.get(node)?.record.actors.get(actor)?;
        // A node of an earlier version does not say.
        running.app.as_ref().is_none_or(|of| of == app).then_some(running)
    }

    fn ready(&self, node: &NodeName, actor: &ActorName, app: &AppName, version: u64) -> u32 {
        self.running_on(node, actor, app)
            .and_then(|running| running.versions.get(&version))
            .map_or(0, |health| health.ready)
    }

    /// For how long each node that has replicas of a version says to have observed it.
    fn observed(&self, name: &ActorName, app: &AppName, version: u64) -> Vec<Duration> {
        let nodes = self.running.get(name).into_iter().flatten().filter(|node| self.is_alive(node));
        let health = nodes.filter_map(|node| self.running_on(node, name, app)?.versions.get(&version));
        let ready = health.filter(|health| health.ready > 0);
        ready.filter_map(|health| health.observed_ms.map(Duration::from_millis)).collect()
    }

    fn is_alive(&self, node: &NodeName) -> bool {
        self.nodes.get(node).is_some_and(is_alive)
    }

    fn route(
        &self,
        name: &ActorName,
        state: &State,
        placed: &Placed,
        canary: Option<Canary>,
        failing: Option<String>,
    ) -> Route {
        let version = state.spec.version;
        let mut targets = Vec::new();
        let mut problems: BTreeSet<String> = placed.shortfall.iter().cloned().collect();
        problems.extend(failing.map(|reason| format!("the update fails: {reason}")));
        for node in self.running.get(name).into_iter().flatten() {
            let Some(seen) = self.nodes.get(node).filter(|seen| is_alive(seen)) else { continue };
            let Some(running) = self.running_on(node, name, &state.app) else { continue };
            problems.extend(running.problem.as_ref().map(|problem| format!("on {node}: {problem}")));
            let all = running.ready();
            let ready = running.versions.get(&version).map_or(0, |health| health.ready);
            if all > 0 {
                targets.push(Target {
                    node: node.clone(),
                    incarnation: seen.record.incarnation.clone(),
                    zone: seen.record.labels.get("zone").cloned(),
                    ready,
                    stale: all - ready,
                });
            }
        }
        Route {
            app: state.app.clone(),
            revision: state.revision,
            version,
            desired: placed.wanted,
            placed: placed.nodes.values().map(|seat| seat.replicas).sum(),
            targets,
            idempotent: state.spec.idempotent.clone(),
            nats: state.spec.settings.ingress.contains(&Ingress::Nats),
            http: state.spec.settings.ingress.contains(&Ingress::Http),
            keyed: state.spec.settings.kind.keyed().is_some(),
            updating: state.update.is_some(),
            canary,
            on_demand: matches!(state.spec.settings.replicas, Replicas::Range(range) if range.min == 0),
            problems: few(problems),
        }
    }
}

/// The first of them, and how many more there are: what goes wrong on every node of a large lattice is the same mostly, and
/// a route is a record that must stay small.
fn few(problems: BTreeSet<String>) -> Vec<String> {
    let more = problems.len().saturating_sub(PROBLEMS);
    let first = problems.into_iter().take(PROBLEMS);
    first.chain((more > 0).then(|| format!("and {more} more of the kind"))).collect()
}

/// The trial that goes on, unless the new version was found to be broken.
fn canary(state: &State, placed: &Placed) -> Option<Canary> {
    let version = state.spec.version;
    let there: u32 = placed.nodes.values().map(|seat| seat.replicas).sum();
    state.spec.beside.filter(|_| there > 0 && !state.condemned.contains(&version))?;
    let share = state.spec.settings.update.canary?;
    Some(Canary { version, share, replicas: Share::Part(share).of(there).max(1) })
}
