//! The promises of placement, by example and by property.

use proptest::prelude::*;

use super::*;

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn offers(names: &[(&str, &[(&str, &str)])]) -> BTreeMap<NodeName, Offer> {
    let labels =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    names.iter().map(|(name, pairs)| (node(name), Offer { labels: labels(pairs), ready: true })).collect()
}

fn demand(replicas: u32, require: &[(&str, &str)]) -> Demand {
    Demand { replicas, require: require.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect() }
}

fn one(demand: Demand) -> BTreeMap<ActorName, Demand> {
    [("a".parse().unwrap(), demand)].into()
}

fn counts(placed: &BTreeMap<ActorName, Placed>) -> Current {
    placed.iter().map(|(actor, placed)| (actor.clone(), placed.nodes.clone())).collect()
}

#[test]
fn six_replicas_on_three_nodes_are_two_each() {
    let placed = place(&one(demand(6, &[])), &offers(&[("x", &[]), ("y", &[]), ("z", &[])]), &Current::new());
    assert_eq!(placed["a"].nodes, [(node("x"), 2), (node("y"), 2), (node("z"), 2)].into());
}

#[test]
fn labels_decide_where_an_actor_may_be() {
    let offers = offers(&[("x", &[("tier", "cloud")]), ("y", &[("tier", "edge")])]);
    let placed = place(&one(demand(3, &[("tier", "edge")])), &offers, &Current::new());
    assert_eq!(placed["a"].nodes, [(node("y"), 3)].into());
    assert!(placed["a"].reason.contains("tier=edge"));
}

#[test]
fn what_cannot_be_placed_says_what_is_missing() {
    let cloud = offers(&[("x", &[("tier", "cloud")])]);
    let placed = place(&one(demand(1, &[("tier", "moon")])), &cloud, &Current::new());
    assert!(placed["a"].shortfall.as_deref().unwrap().contains("tier=moon"));
    let placed = place(&one(demand(1, &[])), &BTreeMap::new(), &Current::new());
    assert_eq!(placed["a"].shortfall.as_deref(), Some("no node is ready to take it"));
    let placed = place(&one(demand(0, &[])), &BTreeMap::new(), &Current::new());
    assert_eq!(placed["a"].shortfall, None);
}

#[test]
fn the_loss_of_a_node_moves_only_what_it_had() {
    let three = offers(&[("x", &[]), ("y", &[]), ("z", &[])]);
    let demands = one(demand(6, &[]));
    let before = counts(&place(&demands, &three, &Current::new()));
    let mut two = three;
    two.get_mut("z").unwrap().ready = false;
    let after = place(&demands, &two, &before);
    assert_eq!(after["a"].nodes, [(node("x"), 3), (node("y"), 3)].into());
}

#[test]
fn single_replicas_of_many_actors_are_spread_too() {
    let three = offers(&[("x", &[]), ("y", &[]), ("z", &[])]);
    let demands = (0..9).map(|n| (format!("a{n}").parse().unwrap(), demand(1, &[]))).collect();
    let placed = place(&demands, &three, &Current::new());
    for name in ["x", "y", "z"] {
        assert_eq!(placed.values().filter(|placed| placed.nodes.contains_key(name)).count(), 3, "{name}");
    }
}

/// Up to eight nodes with one of two tiers, ready or not.
fn any_offers() -> impl Strategy<Value = BTreeMap<NodeName, Offer>> {
    let offer = (any::<bool>(), prop::bool::weighted(0.8)).prop_map(|(edge, ready)| Offer {
        labels: [("tier".to_owned(), if edge { "edge" } else { "cloud" }.to_owned())].into(),
        ready,
    });
    prop::collection::btree_map("n[0-9]".prop_map(|name| name.parse().unwrap()), offer, 0..8)
}

fn any_demands() -> impl Strategy<Value = BTreeMap<ActorName, Demand>> {
    let demand = (0u32..20, prop::option::of(any::<bool>())).prop_map(|(replicas, edge)| {
        let tier = edge.map(|edge| ("tier".to_owned(), if edge { "edge" } else { "cloud" }.to_owned()));
        Demand { replicas, require: tier.into_iter().collect() }
    });
    prop::collection::btree_map("a[0-9]".prop_map(|name| name.parse().unwrap()), demand, 0..8)
}

fn any_current() -> impl Strategy<Value = Current> {
    let nodes = prop::collection::btree_map("n[0-9]".prop_map(|name| name.parse().unwrap()), 0u32..6, 0..6);
    prop::collection::btree_map("a[0-9]".prop_map(|name| name.parse().unwrap()), nodes, 0..6)
}

proptest! {
    #[test]
    fn applied_to_its_own_result_it_changes_nothing(
        demands in any_demands(), offers in any_offers(), current in any_current(),
    ) {
        let once = place(&demands, &offers, &current);
        let twice = place(&demands, &offers, &counts(&once));
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn counts_and_labels_are_right_and_spread_is_even(
        demands in any_demands(), offers in any_offers(), current in any_current(),
    ) {
        for (actor, placed) in place(&demands, &offers, &current) {
            let demand = &demands[&actor];
            let fits = |offer: &Offer| offer.ready && demand.require.iter().all(|(k, v)| offer.labels.get(k) == Some(v));
            let fitting: Vec<_> = offers.iter().filter(|(_, offer)| fits(offer)).map(|(name, _)| name).collect();
            let total: u32 = placed.nodes.values().sum();
            prop_assert_eq!(total, if fitting.is_empty() { 0 } else { demand.replicas });
            prop_assert_eq!(placed.shortfall.is_some(), total < demand.replicas);
            prop_assert!(placed.nodes.keys().all(|node| fitting.contains(&node)));
            prop_assert!(placed.nodes.values().all(|count| *count > 0));
            let counts = fitting.iter().map(|node| placed.nodes.get(*node).copied().unwrap_or(0));
            let (most, least) = (counts.clone().max().unwrap_or(0), counts.min().unwrap_or(0));
            prop_assert!(most <= least + 1, "{:?}", placed.nodes);
        }
    }

    #[test]
    fn losing_one_node_moves_only_what_it_had(demands in any_demands(), offers in any_offers(), lost in any::<usize>()) {
        let before = counts(&place(&demands, &offers, &Current::new()));
        let ready: Vec<_> = offers.iter().filter(|(_, offer)| offer.ready).map(|(name, _)| name.clone()).collect();
        prop_assume!(!ready.is_empty());
        let lost = &ready[lost % ready.len()];
        let mut fewer = offers.clone();
        fewer.remove(lost);
        for (actor, placed) in place(&demands, &fewer, &before) {
            if placed.shortfall.is_some() {
                continue;
            }
            for (node, count) in before[&actor].iter().filter(|(node, _)| *node != lost) {
                prop_assert!(placed.nodes.get(node) >= Some(count), "{actor} was moved off {node}");
            }
        }
    }
}
