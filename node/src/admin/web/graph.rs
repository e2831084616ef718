//! Who calls whom, drawn: callers at the left of those that they call, an arrow the thicker the more calls, red where some fail.

use std::collections::BTreeMap;

use lattice_proto::admin::{CallPicture, Picture};
use maud::{Markup, html};

use super::number::rate;

/// Calls that are drawn: those between the busiest pairs. More lines than that say nothing.
const MOST: usize = 60;

/// How many actors one behind the other are told apart.
const LAYERS: usize = 8;

/// How many stand one above the other.
const ROWS: usize = 10;

const WIDTH: usize = 150;
const HEIGHT: usize = 40;
const ACROSS: usize = 230;
const DOWN: usize = 56;

/// What stands for callers that are no actors.
const OUTSIDE: &str = "";

pub(super) fn draw(picture: &Picture) -> Markup {
    let mut calls: Vec<&CallPicture> =
        picture.calls.iter().filter(|call| call.calls_per_second > 0.0).collect();
    calls.sort_by(|a, b| {
        (b.failures_per_second > 0.0, b.calls_per_second)
            .partial_cmp(&(a.failures_per_second > 0.0, a.calls_per_second))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let left_out = calls.len().saturating_sub(MOST);
    calls.truncate(MOST);
    if calls.is_empty() {
        return html! { p .note { "Nobody has called anybody within the last second." } };
    }
    let places = places(&calls);
    let rows = places.values().map(|(_, row)| row + 1).max().unwrap_or(1);
    let columns = places.values().map(|(column, _)| column + 1).max().unwrap_or(1);
    let (width, height) = (columns * ACROSS, rows * DOWN + 16);
    let at = |name: &str| {
        let (column, row) = places.get(name).copied().unwrap_or_default();
        (column * ACROSS + 16, row * DOWN + 12)
    };
    let handled = |name: &str| picture.actors.iter().find(|actor| actor.actor == name);
    html! {
        div .graph tabindex="0" role="region" aria-labelledby="calls" {
            svg width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } role="group" aria-label=(told(&calls)) {
                defs {
                    marker #to viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse"
                        orient="auto" { path .head d="M0 0 L8 4 L0 8 Z" {} }
                }
                @for call in &calls {
                    @let ((from, above), (to, below)) = (at(&call.caller), at(&call.actor));
                    path .bad[call.failures_per_second > 0.0] marker-end="url(#to)" d=(line((from, above), (to, below)))
                        stroke-width=(format!("{:.1}", thickness(call.calls_per_second))) {
                        title { (name(&call.caller)) " calls " (call.actor) ": " (rate(Some(call.calls_per_second))) " in a second, "
                            (rate(Some(call.failures_per_second))) " fail" }
                    }
                }
                @for (actor, _) in &places {
                    @let (x, y) = at(actor);
                    @if actor.is_empty() {
                        rect x=(x) y=(y) width=(WIDTH) height=(HEIGHT) rx="20" {}
                        text x=(x + 14) y=(y + 25) { "outside" }
                    } @else {
                        a href={ "/actors/" (actor) } id={ "graph-" (actor) } {
                            rect x=(x) y=(y) width=(WIDTH) height=(HEIGHT) rx="6" {}
                            text x=(x + 10) y=(y + 17) { (short(actor)) title { (actor) } }
                            text .faint x=(x + 10) y=(y + 32) {
                                (rate(handled(actor).and_then(|actor| actor.calls_per_second))) " calls/s"
                            }
                        }
                    }
                }
            }
        }
        @if left_out > 0 { p .note { (left_out) " more pairs call each other less, and are not drawn." } }
    }
}

/// Column and row of everybody. Callers stand before those that they call; where they call each other in a ring, somebody
/// has to come first.
fn places<'a>(calls: &[&'a CallPicture]) -> BTreeMap<&'a str, (usize, usize)> {
    let mut columns: BTreeMap<&str, usize> = BTreeMap::new();
    for call in calls {
        columns.entry(&call.caller).or_insert(0);
        columns.entry(&call.actor).or_insert(1);
    }
    for _ in 0..LAYERS {
        for call in calls {
            let after = columns.get(call.caller.as_str()).copied().unwrap_or(0) + 1;
            if call.caller != call.actor
                && after < LAYERS
                && let Some(column) = columns.get_mut(call.actor.as_str())
            {
                *column = (*column).max(after);
            }
        }
    }
    let mut members: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (name, column) in columns {
        members.entry(column).or_default().push(name);
    }
    // Those that have no room one above the other stand in as many columns as it takes.
    let (mut places, mut first) = (BTreeMap::new(), 0);
    for names in members.into_values() {
        let place = |at: usize| (first + at / ROWS, at % ROWS);
        places.extend(names.iter().enumerate().map(|(at, name)| (*name, place(at))));
        first += names.len().div_ceil(ROWS);
    }
    places
}

/// A curve from the right of one to the left of the other; around the outside where that goes back.
fn line((from, above): (usize, usize), (to, below): (usize, usize)) -> String {
    let (x1, y1, x2, y2) = (from + WIDTH, above + HEIGHT / 2, to, below + HEIGHT / 2);
    if to > from {
        let middle = usize::midpoint(x1, x2);
        format!("M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}")
    } else {
        let (out, low) = (x1 + 40, y1.max(y2) + DOWN / 2);
        format!(
            "M{x1} {y1} C{out} {y1} {out} {low} {} {low} S{} {y2} {x2} {y2}",
            usize::midpoint(x1, x2),
            x2.saturating_sub(16)
        )
    }
}

fn thickness(calls_per_second: f64) -> f64 {
    1.0 + (1.0 + calls_per_second).log10() * 1.5
}

fn name(caller: &str) -> &str {
    if caller == OUTSIDE { "outside" } else { caller }
}

/// A name that fits.
fn short(actor: &str) -> String {
    match actor.char_indices().nth(18) {
        Some((at, _)) => format!("{}…", &actor[..at]),
        None => actor.to_owned(),
    }
}

/// The picture for whoever cannot see it.
fn told(calls: &[&CallPicture]) -> String {
    let all: Vec<String> = calls
        .iter()
        .map(|call| {
            format!(
                "{} calls {} {} times in a second",
                name(&call.caller),
                call.actor,
                rate(Some(call.calls_per_second))
            )
        })
        .collect();
    all.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(caller: &str, actor: &str) -> CallPicture {
        CallPicture {
            caller: caller.into(),
            actor: actor.into(),
            calls_per_second: 5.0,
            failures_per_second: 0.0,
        }
    }

    #[test]
    fn callers_stand_before_those_that_they_call() {
        let calls =
            [call("", "front"), call("front", "stock"), call("front", "price"), call("price", "stock")];
        let places = places(&calls.iter().collect::<Vec<_>>());
        let column = |name: &str| places[name].0;
        assert_eq!((column(""), column("front"), column("price"), column("stock")), (0, 1, 2, 3));
    }

    #[test]
    fn a_ring_of_calls_is_drawn_as_well() {
        let calls = [call("a", "b"), call("b", "a"), call("c", "c")];
        let picture = Picture { calls: calls.to_vec(), ..Picture::default() };
        let drawn = draw(&picture).into_string();
        assert!(drawn.contains("graph-a") && drawn.contains("graph-c"), "{drawn}");
    }

    #[test]
    fn no_more_is_drawn_than_can_be_told_apart() {
        let calls = (0..500).map(|number| call("", &format!("a{number}"))).collect();
        let drawn = draw(&Picture { calls, ..Picture::default() }).into_string();
        assert_eq!(drawn.matches("<path").count(), MOST + 1);
        assert!(drawn.contains("440 more pairs"), "{drawn}");
    }
}
