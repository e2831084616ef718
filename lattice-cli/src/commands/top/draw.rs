//! Draws what is shown. At 80 columns nothing that matters is cut off; more room is given to names and trends.

use lattice_proto::admin::{ActorPicture, LogLine, NodePicture, Picture};
use lattice_proto::log::plain;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Sparkline, Table, TableState, Wrap};

use super::state::{Pane, Prompt, State, View};
use super::text::{bytes, clock, micros, rate, trend};

const HEAD: Style = Style::new().add_modifier(Modifier::BOLD);
const FAINT: Style = Style::new().fg(Color::DarkGray);
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(3), Constraint::Length(1)])
            .areas(frame.area());
    header(frame, head, state);
    match (&state.picture, &state.view) {
        (None, _) => {
            let text = match &state.away {
                Some(reason) => format!("{reason}; it is tried again"),
                None => "waiting for the first picture …".to_owned(),
            };
            frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), body);
        }
        (Some(_), View::Overview) => overview(frame, body, state),
        (Some(_), View::Actor(name)) => actor(frame, body, state, name),
        (Some(_), View::Logs(name)) => logs(frame, body, state, &format!("log of {name}")),
    }
    footer(frame, foot, state);
    if state.help {
        help(frame);
    }
}

fn header(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let Some(picture) = &state.picture else {
        return frame.render_widget(Paragraph::new(" lattice".bold()), area);
    };
    let Picture { lattice, nodes, actors, at_ms, .. } = picture;
    let ready = nodes.iter().filter(|node| node.state == "ready" && node.answers).count();
    let there = nodes.iter().filter(|node| node.state != "gone").count();
    let sum = |part: fn(&ActorPicture) -> Option<f64>| {
        let rates: Vec<f64> = actors.iter().filter_map(part).collect();
        (!rates.is_empty()).then(|| rates.iter().sum())
    };
    let mut spans = vec![
        Span::from(format!(" {lattice} ")).bold(),
        Span::from(format!(" {ready}/{there} nodes ")).style(if ready == there {
            Style::new()
        } else {
            Style::new().fg(Color::Yellow)
        }),
        Span::from(format!(" {} actors ", actors.len())),
        Span::from(format!(" {} calls/s ", rate(sum(|actor| actor.calls_per_second)))),
    ];
    let failures = sum(|actor| actor.failures_per_second);
    spans.push(Span::from(format!(" {} failures/s ", rate(failures))).style(alarm(failures)));
    let problem = state.away.as_ref().or(Some(&picture.problem)).filter(|problem| !problem.is_empty());
    match problem {
        Some(problem) => spans.push(Span::from(format!(" {problem}")).fg(Color::Red)),
        None => spans.push(Span::from(format!(" {} UTC", clock(*at_ms))).style(FAINT)),
    }
    frame.render_widget(Paragraph::new(Line::from(spans)).on_dark_gray(), area);
}

fn alarm(failures: Option<f64>) -> Style {
    if failures.is_some_and(|failures| failures > 0.0) { Style::new().fg(Color::Red) } else { Style::new() }
}

fn overview(frame: &mut Frame<'_>, area: Rect, state: &mut State) {
    let Some(picture) = &state.picture else { return };
    // Nodes get what they need, up to two fifths.
    let wanted = u16::try_from(picture.nodes.len()).unwrap_or(u16::MAX).saturating_add(2);
    let nodes = wanted.clamp(3, (area.height * 2 / 5).max(3));
    let [above, below] = Layout::vertical([Constraint::Length(nodes), Constraint::Min(3)]).areas(area);

    let title = |name: &str, pane: Pane| {
        let style = if state.pane == pane { HEAD } else { FAINT };
        Block::new().title(Span::from(format!(" {name} ")).style(style)).title_style(style)
    };
    let head = ["NODE", "STATE", "REPL", "KEYS", "CALLS/S", "MEMORY", "LEASE", "LAG", "NATS"];
    let widths = [
        Constraint::Min(14),
        Constraint::Length(9),
        Constraint::Length(5),
        Constraint::Length(6),
        Constraint::Length(8),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(7),
    ];
    let table = Table::new(picture.nodes.iter().map(node), widths)
        .header(Row::new(head).style(FAINT))
        .block(title("nodes", Pane::Nodes))
        .row_highlight_style(if state.pane == Pane::Nodes { CHOSEN } else { Style::new() });
    frame.render_stateful_widget(table, above, &mut TableState::new().with_selected(state.node));

    let head = ["ACTOR", "READY", "CALLS/S", "FAIL/S", "P50", "P99", "WAIT", "MEMORY", "TREND"];
    // What is left of the width, less what the other columns have.
    let room = usize::from(area.width.saturating_sub(72)).clamp(8, 40);
    let widths = [
        Constraint::Min(14),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Length(5),
        Constraint::Length(7),
        Constraint::Length(u16::try_from(room).unwrap_or(8)),
    ];
    let rows = picture.actors.iter().map(|actor| {
        let history = state.trends.get(&actor.actor).map(|trend| trend.calls.iter().copied());
        actor_row(actor, history.map(|history| trend(history, room)).unwrap_or_default())
    });
    let table = Table::new(rows, widths)
        .header(Row::new(head).style(FAINT))
        .block(title("actors", Pane::Actors))
        .row_highlight_style(if state.pane == Pane::Actors { CHOSEN } else { Style::new() });
    frame.render_stateful_widget(table, below, &mut TableState::new().with_selected(state.actor));
}

fn node(node: &NodePicture) -> Row<'_> {
    let state = match node.leader {
        true => format!("{}*", node.state),
        false => node.state.clone(),
    };
    let style = match node.state.as_str() {
        "ready" if node.answers => Style::new(),
        "gone" => FAINT,
        _ => Style::new().fg(Color::Yellow),
    };
    Row::new([
        node.name.clone(),
        state,
        node.replicas.to_string(),
        node.keys_awake.to_string(),
        rate(node.calls_per_second),
        bytes(node.memory_bytes),
        format!("{:.1}s", std::time::Duration::from_millis(node.lease_ms).as_secs_f64()),
        micros(node.lag_us),
        micros(node.round_trip_us),
    ])
    .style(style)
}

fn actor_row(actor: &ActorPicture, trend: String) -> Row<'_> {
    let ready = match actor.kind.as_str() {
        "keyed" => format!("{} keys", actor.keys_awake),
        _ => format!("{}/{}", actor.ready, actor.desired),
    };
    let failing = actor.failures_per_second.is_some_and(|failures| failures > 0.0);
    let style = match (failing, actor.problems.is_empty()) {
        (true, _) => Style::new().fg(Color::Red),
        (false, false) => Style::new().fg(Color::Yellow),
        (false, true) => Style::new(),
    };
    Row::new([
        actor.actor.clone(),
        ready,
        rate(actor.calls_per_second),
        rate(actor.failures_per_second),
        micros(actor.p50_us),
        micros(actor.p99_us),
        actor.waiting.to_string(),
        bytes(actor.memory_bytes),
        trend,
    ])
    .style(style)
}

fn actor(frame: &mut Frame<'_>, area: Rect, state: &State, name: &str) {
    let Some(actor) = state.selected_actor() else {
        let text = format!("`{name}` is not deployed in this lattice; Esc goes back");
        return frame.render_widget(Paragraph::new(text), area);
    };
    let nodes = u16::try_from(actor.nodes.len()).unwrap_or(u16::MAX).saturating_add(2).min(6);
    let facts = facts(actor);
    let lines = u16::try_from(facts.len()).unwrap_or(4).min(6);
    let [top, charts, table, log] = Layout::vertical([
        Constraint::Length(lines),
        Constraint::Length(5),
        Constraint::Length(nodes),
        Constraint::Min(3),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(facts).wrap(Wrap { trim: true }), top);

    let [calls, failures, latency] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1), Constraint::Fill(1)]).areas(charts);
    let history = state.trends.get(name);
    let chart =
        |frame: &mut Frame<'_>, area: Rect, title: String, values: Option<Vec<u64>>, colour: Color| {
            let block = Block::bordered().title(title).border_style(FAINT);
            // The latest are at the right.
            let width = usize::from(area.width.saturating_sub(2));
            let values: Vec<u64> = values.unwrap_or_default();
            let latest = values[values.len().saturating_sub(width)..].to_vec();
            frame.render_widget(Sparkline::default().block(block).data(latest).style(colour), area);
        };
    let scaled = |values: &std::collections::VecDeque<f64>| -> Vec<u64> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "thousandths, for a chart"
        )]
        values.iter().map(|value| (value * 1_000.0) as u64).collect()
    };
    let title = format!(" calls/s {} ", rate(actor.calls_per_second));
    chart(frame, calls, title, history.map(|trend| scaled(&trend.calls)), Color::Green);
    let title = format!(" failures/s {} ", rate(actor.failures_per_second));
    chart(frame, failures, title, history.map(|trend| scaled(&trend.failures)), Color::Red);
    let title = format!(" p99 {} ", micros(actor.p99_us));
    chart(frame, latency, title, history.map(|trend| scaled(&trend.p99_us)), Color::Cyan);

    let head = ["NODE", "REPLICAS", "IN FLIGHT", "MEMORY", "CALLS/S"];
    let widths = [
        Constraint::Min(14),
        Constraint::Length(9),
        Constraint::Length(10),
        Constraint::Length(8),
        Constraint::Length(8),
    ];
    let rows = actor.nodes.iter().map(|on| {
        Row::new([
            on.node.clone(),
            on.replicas.to_string(),
            on.in_flight.to_string(),
            bytes(on.memory_bytes),
            rate(on.calls_per_second),
        ])
    });
    frame.render_widget(Table::new(rows, widths).header(Row::new(head).style(FAINT)), table);
    logs(frame, log, state, "log");
}

fn facts(actor: &ActorPicture) -> Vec<Line<'static>> {
    let what = match actor.kind.as_str() {
        "keyed" => format!("keyed, {} keys awake", actor.keys_awake),
        _ => format!("{} of {} replicas ready", actor.ready, actor.desired),
    };
    let mut lines = vec![
        Line::from(vec![
            Span::from(format!(" {} ", actor.actor)).bold(),
            Span::from(format!(" app {} revision {}: {what}", actor.app, actor.revision)),
        ]),
        Line::from(format!(
            "  in flight {}   waiting {}   memory {}   processors {}   p50 {}   traps {}",
            actor.in_flight,
            actor.waiting,
            bytes(actor.memory_bytes),
            actor.cpus.map_or("-".to_owned(), |cpus| format!("{cpus:.2}")),
            micros(actor.p50_us),
            actor.traps,
        )),
    ];
    if !actor.faults_per_second.is_empty() {
        let mut faults: Vec<_> = actor.faults_per_second.iter().collect();
        faults.sort_by(|a, b| b.1.total_cmp(a.1));
        let faults: Vec<String> = faults
            .iter()
            .map(|(kind, per_second)| format!("{} {}/s", plain(kind), rate(Some(**per_second))))
            .collect();
        lines.push(Line::from(format!("  {}", faults.join("   "))).red());
    }
    lines.extend(actor.problems.iter().map(|problem| Line::from(format!("  {}", plain(problem))).yellow()));
    lines
}

fn logs(frame: &mut Frame<'_>, area: Rect, state: &State, title: &str) {
    let mut block = Block::new().title(Span::from(format!(" {title} ")).style(HEAD));
    if let Some(problem) = &state.lines_problem {
        block = block.title(Span::from(format!(" {problem} ")).fg(Color::Yellow));
    }
    let room = usize::from(area.height.saturating_sub(1));
    let end = state.lines.len().saturating_sub(state.scrolled);
    let shown: Vec<Line<'_>> = state.lines.iter().take(end).flat_map(log_line).collect();
    let shown = shown[shown.len().saturating_sub(room)..].to_vec();
    let text =
        if shown.is_empty() { vec![Line::from("  nothing was written yet").style(FAINT)] } else { shown };
    frame.render_widget(Paragraph::new(text).block(block), area);
}

fn log_line(line: &LogLine) -> Vec<Line<'static>> {
    let style = match line.level.as_str() {
        "error" => Style::new().fg(Color::Red),
        "warn" => Style::new().fg(Color::Yellow),
        "debug" | "trace" => FAINT,
        _ => Style::new(),
    };
    let key = if line.key.is_empty() { String::new() } else { format!("/{} ", plain(&line.key)) };
    let head = format!("{} {} {key}", clock(line.at_ms), plain(&line.node));
    // A tab moves the cursor, which would be drawn over.
    let text = plain(&line.text).replace('\t', "    ");
    let mut parts = text.split('\n');
    let first = format!("{head}{}", parts.next().unwrap_or_default());
    std::iter::once(first)
        .chain(parts.map(|part| format!("         {part}")))
        .map(|text| Line::from(text).style(style))
        .collect()
}

fn footer(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let line = match (&state.prompt, &state.told) {
        (Some(Prompt::Replicas(actor, digits)), _) => {
            Line::from(format!(" replicas of {actor}: {digits}_   Enter sets it, Esc leaves it")).yellow()
        }
        (Some(Prompt::Drain(node)), _) => {
            Line::from(format!(" move all that runs on {node} elsewhere? y does it, any other key does not"))
                .yellow()
        }
        (None, Some((true, text))) => Line::from(format!(" {text}")).green(),
        (None, Some((false, text))) => Line::from(format!(" {text}")).red(),
        (None, None) => Line::from(match (&state.view, state.pane) {
            (View::Overview, Pane::Actors) => {
                " ↑↓ choose  Enter open  s scale  l log  Tab nodes  ? help  q quit"
            }
            (View::Overview, Pane::Nodes) => " ↑↓ choose  d drain  Tab actors  ? help  q quit",
            (View::Actor(_), _) => " Esc back  s scale  l log alone  ↑↓ scroll  ? help  q quit",
            (View::Logs(_), _) => " Esc back  ↑↓ scroll  ? help  q quit",
        })
        .style(FAINT),
    };
    frame.render_widget(Paragraph::new(line), area);
}

fn help(frame: &mut Frame<'_>) {
    let lines = [
        "↑ ↓ PgUp PgDn   choose a row, or scroll the log",
        "Tab             nodes or actors",
        "Enter           open an actor; Esc goes back",
        "s               set the replicas of an actor",
        "d               empty a node (in the list of nodes)",
        "l               the log of an actor, alone",
        "q               quit",
        "",
        "* leads the lattice. WAIT: messages in mailboxes.",
        "LEASE: how long a node's lease still runs.",
        "LAG: how late its tasks run. NATS: a round trip.",
        "Rates are of the last second; FAIL/S has no rejections.",
    ];
    let area = frame.area();
    let (width, height) =
        (60.min(area.width), (u16::try_from(lines.len()).unwrap_or(12) + 2).min(area.height));
    let place = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let text: Vec<Line<'_>> = lines.iter().map(|line| Line::from(format!(" {line}"))).collect();
    frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" keys ")), place);
}
