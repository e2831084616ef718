use super::*;

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn orders(parts: &[(&str, u64, u32)]) -> Orders {
    let mut orders = Orders::new();
    for (name, version, replicas) in parts {
        orders.entry(node(name)).or_default().insert(*version, *replicas);
    }
    orders
}

fn target(parts: &[(&str, u32)]) -> BTreeMap<NodeName, u32> {
    parts.iter().map(|(name, replicas)| (node(name), *replicas)).collect()
}

/// Steps until nothing changes, as if every replica were ready at once; returns what was ordered on the way.
fn roll(
    before: Orders,
    target: &BTreeMap<NodeName, u32>,
    update: &Update,
    observing: bool,
    condemned: &BTreeSet<u64>,
) -> Vec<Orders> {
    let wanted = target.values().sum();
    let mut steps = vec![before];
    loop {
        let now = steps.last().unwrap();
        let ready = |node: &NodeName, version| {
            now.get(node).and_then(|versions| versions.get(&version)).copied().unwrap_or(0)
        };
        let next = Standing {
            version: 2,
            wanted,
            each: false,
            target,
            before: now,
            alive: &|_| true,
            ready: &ready,
            update,
            observing,
            trial: None,
            condemned,
        }
        .step();
        if next == *now {
            return steps;
        }
        steps.push(next);
        assert!(steps.len() < 500, "{steps:#?}");
    }
}

fn total(orders: &Orders, which: impl Fn(u64) -> bool) -> u32 {
    let versions = orders.values().flatten();
    versions.filter(|(version, _)| which(**version)).map(|(_, replicas)| replicas).sum()
}

#[test]
fn an_update_never_has_fewer_than_wanted_nor_more_than_surge_above() {
    let update = Update::default();
    let target = target(&[("x", 4), ("y", 3), ("z", 3)]);
    let steps =
        roll(orders(&[("x", 1, 4), ("y", 1, 3), ("z", 1, 3)]), &target, &update, false, &BTreeSet::new());
    for step in &steps {
        assert!((10..=13).contains(&total(step, |_| true)), "{step:?}");
    }
    assert_eq!(*steps.last().unwrap(), orders(&[("x", 2, 4), ("y", 2, 3), ("z", 2, 3)]));
}

#[test]
fn without_surge_replicas_are_missing_as_far_as_allowed() {
    let update = Update {
        surge: lattice_proto::manifest::Share::Count(0),
        unavailable: lattice_proto::manifest::Share::Count(2),
        ..Update::default()
    };
    let target = target(&[("x", 6)]);
    let steps = roll(orders(&[("x", 1, 6)]), &target, &update, false, &BTreeSet::new());
    for step in &steps {
        assert!((4..=6).contains(&total(step, |_| true)), "{step:?}");
    }
    assert_eq!(*steps.last().unwrap(), orders(&[("x", 2, 6)]));
}

#[test]
fn the_first_replicas_are_observed_before_more_are_made() {
    let target = target(&[("x", 5), ("y", 5)]);
    let steps =
        roll(orders(&[("x", 1, 5), ("y", 1, 5)]), &target, &Update::default(), true, &BTreeSet::new());
    let last = steps.last().unwrap();
    assert_eq!((total(last, |version| version == 2), total(last, |version| version == 1)), (3, 7));
}

#[test]
fn a_condemned_version_is_given_up_at_once() {
    let target = target(&[("x", 3), ("y", 3)]);
    let before = orders(&[("x", 2, 2), ("y", 2, 2), ("x", 3, 1), ("y", 3, 1)]);
    let steps = roll(before, &target, &Update::default(), false, &[3].into());
    assert_eq!(total(&steps[1], |version| version == 3), 0);
    assert_eq!(*steps.last().unwrap(), orders(&[("x", 2, 3), ("y", 2, 3)]));
}

#[test]
fn what_does_not_answer_is_left_as_it_is_and_does_not_count() {
    let before = orders(&[("x", 1, 2), ("y", 1, 2)]);
    let target = target(&[("x", 2), ("y", 2)]);
    let standing = Standing {
        version: 2,
        wanted: 4,
        each: false,
        target: &target,
        before: &before,
        alive: &|name| *name == node("x"),
        ready: &|name, version| if *name == node("x") && version == 1 { 2 } else { 0 },
        update: &Update::default(),
        observing: false,
        trial: None,
        condemned: &BTreeSet::new(),
    };
    let next = standing.step();
    assert_eq!(next[&node("y")], [(1, 2)].into());
    assert_eq!(next[&node("x")], [(1, 2), (2, 2)].into(), "two are missing, so two may be made at once");
}

#[test]
fn replicas_move_only_when_others_are_there() {
    let (before, target) = (orders(&[("x", 2, 2)]), target(&[("y", 2)]));
    let standing = |ready: u32| {
        Standing {
            version: 2,
            wanted: 2,
            each: false,
            target: &target,
            before: &before,
            alive: &|_| true,
            ready: &|name, _| if *name == node("y") { ready } else { 2 },
            update: &Update::default(),
            observing: false,
            trial: None,
            condemned: &BTreeSet::new(),
        }
        .step()
    };
    assert_eq!(standing(1), orders(&[("x", 2, 2), ("y", 2, 2)]));
    assert_eq!(standing(2), orders(&[("y", 2, 2)]));
}

#[test]
fn few_failures_are_an_accident_and_many_are_not() {
    let health = |crashes, handled, failed| {
        std::iter::once(Health { ready: 1, crashes, handled, failed, ..Health::default() })
    };
    assert_eq!(broken(health(0, 1_000, 0), Percent(5)), None);
    assert_eq!(broken(health(2, 2, 2), Percent(5)), None, "twice may be chance");
    assert_eq!(broken(health(3, 1_000, 3), Percent(5)), None, "three of a thousand are within the bound");
    assert!(broken(health(3, 3, 3), Percent(5)).unwrap().contains("crashed 3 times"));
    assert!(broken(health(3, 0, 0), Percent(5)).is_some(), "it does not even start");
    assert_eq!(broken(health(1, 64, 64), Percent(5)), None, "one trap took all turns of an instance along");
    assert!(broken(health(3, 100, 6), Percent(5)).unwrap().contains("6 of 100"));
}

#[test]
fn a_condemned_version_that_is_still_wanted_gets_no_more_replicas() {
    let target = target(&[("x", 4)]);
    let steps = roll(orders(&[("x", 1, 3), ("x", 2, 1)]), &target, &Update::default(), false, &[2].into());
    assert_eq!(total(steps.last().unwrap(), |version| version == 2), 1);
}

#[test]
fn replicas_without_a_place_do_not_keep_the_old_ones_for_good() {
    let target = target(&[("x", 1), ("y", 1)]);
    let after = Standing {
        version: 2,
        wanted: 3,
        each: false,
        target: &target,
        before: &orders(&[("x", 1, 1), ("x", 2, 1), ("y", 2, 1)]),
        alive: &|_| true,
        ready: &|_, _| 1,
        update: &Update::default(),
        observing: false,
        trial: None,
        condemned: &BTreeSet::new(),
    }
    .step();
    assert_eq!(after, orders(&[("x", 2, 1), ("y", 2, 1)]));
}

#[test]
fn ten_thousand_replicas_are_replaced_without_holding_anybody_up() {
    let nodes: Vec<NodeName> = (0..10_000).map(|n| node(&format!("n{n}"))).collect();
    let target: BTreeMap<NodeName, u32> = nodes.iter().map(|node| (node.clone(), 1)).collect();
    let before: Orders = nodes.iter().map(|node| (node.clone(), [(1, 1)].into())).collect();
    let steps = roll(before, &target, &Update::default(), false, &BTreeSet::new());
    assert_eq!(total(steps.last().unwrap(), |version| version == 2), 10_000);
}

/// One step of a trial beside version 1, as if every replica that was ordered were ready.
fn step_of_trial(version: u64, replicas: u32, target: &BTreeMap<NodeName, u32>, before: &Orders) -> Orders {
    Standing {
        version,
        wanted: target.values().sum(),
        each: false,
        target,
        before,
        alive: &|_| true,
        ready: &|node, version| before[node].get(&version).copied().unwrap_or(0),
        update: &Update::default(),
        observing: false,
        trial: Some(Trial { beside: 1, replicas }),
        condemned: &BTreeSet::new(),
    }
    .step()
}

#[test]
fn a_version_on_trial_gets_its_few_replicas_and_the_others_keep_the_rest() {
    for (wanted, canary, old) in [(10, 1, 9), (10, 3, 7), (1, 1, 1), (2, 1, 1)] {
        let mut now = orders(&[("x", 1, wanted)]);
        for _ in 0..20 {
            now = step_of_trial(2, canary, &target(&[("x", wanted)]), &now);
            assert!(total(&now, |version| version == 1) >= old, "{now:?}");
            assert!(total(&now, |_| true) <= wanted + canary, "{now:?}");
        }
        assert_eq!(now, orders(&[("x", 1, old), ("x", 2, canary)]), "{wanted} with {canary}");
    }
}

#[test]
fn what_a_lost_node_had_of_a_trial_comes_back_elsewhere() {
    // The third node had three of the old ones and the only new one.
    let mut now = orders(&[("x", 1, 3), ("y", 1, 3)]);
    for _ in 0..5 {
        now = step_of_trial(2, 1, &target(&[("x", 5), ("y", 5)]), &now);
    }
    assert_eq!(now, orders(&[("x", 1, 4), ("x", 2, 1), ("y", 1, 5)]));
}

#[test]
fn a_trial_takes_the_place_of_an_earlier_trial() {
    let mut now = orders(&[("x", 1, 4), ("x", 2, 1), ("y", 1, 5)]);
    for _ in 0..5 {
        now = step_of_trial(3, 1, &target(&[("x", 5), ("y", 5)]), &now);
        assert!(total(&now, |version| version == 1) >= 9);
    }
    assert_eq!(now, orders(&[("x", 1, 4), ("x", 3, 1), ("y", 1, 5)]));
}
