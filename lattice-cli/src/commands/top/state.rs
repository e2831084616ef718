//! What is shown, and what the keys do. It knows neither terminal nor network.

use std::collections::{BTreeMap, VecDeque};

use lattice_proto::admin::{ActorPicture, LogLine, NodePicture, Picture};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Pictures that trends go back: two minutes.
const HISTORY: usize = 120;

/// Lines of the log that are kept.
const LINES: usize = 500;

/// What is to be done besides showing something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    /// Set an actor's number of replicas.
    Scale(String, u32),
    /// Empty a node.
    Drain(String),
}

/// What fills the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum View {
    /// Nodes and actors.
    Overview,
    /// One actor.
    Actor(String),
    /// Its log alone.
    Logs(String),
}

/// Which list the arrows move in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Nodes,
    Actors,
}

/// What is asked for at the bottom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Prompt {
    /// The number of replicas of an actor, as far as it is typed.
    Replicas(String, String),
    /// Whether a node is to be emptied.
    Drain(String),
}

/// Rates over time.
#[derive(Debug, Default)]
pub(super) struct Trend {
    pub calls: VecDeque<f64>,
    pub failures: VecDeque<f64>,
    pub p99_us: VecDeque<f64>,
}

/// All of it.
pub(super) struct State {
    pub picture: Option<Picture>,
    pub trends: BTreeMap<String, Trend>,
    pub view: View,
    pub pane: Pane,
    /// The selected rows.
    pub node: usize,
    pub actor: usize,
    pub prompt: Option<Prompt>,
    pub help: bool,
    pub lines: VecDeque<LogLine>,
    pub lines_problem: Option<String>,
    /// Lines that were scrolled up from the end.
    pub scrolled: usize,
    /// What keeps pictures from coming.
    pub away: Option<String>,
    /// What came of the last action, and whether it was done.
    pub told: Option<(bool, String)>,
}

impl State {
    /// Begins with an actor, or with everything.
    pub fn new(actor: Option<String>) -> Self {
        Self {
            picture: None,
            trends: BTreeMap::new(),
            view: actor.map_or(View::Overview, View::Actor),
            pane: Pane::Actors,
            node: 0,
            actor: 0,
            prompt: None,
            help: false,
            lines: VecDeque::new(),
            lines_problem: None,
            scrolled: 0,
            away: None,
            told: None,
        }
    }

    /// The actor whose log is to be followed.
    pub fn followed(&self) -> Option<&str> {
        match &self.view {
            View::Actor(actor) | View::Logs(actor) => Some(actor),
            View::Overview => None,
        }
    }

    /// The selected node.
    pub fn selected_node(&self) -> Option<&NodePicture> {
        self.picture.as_ref()?.nodes.get(self.node)
    }

    /// The selected actor; in its own view, that one.
    pub fn selected_actor(&self) -> Option<&ActorPicture> {
        let actors = &self.picture.as_ref()?.actors;
        match self.followed() {
            Some(name) => actors.iter().find(|actor| actor.actor == name),
            None => actors.get(self.actor),
        }
    }

    pub fn picture(&mut self, mut picture: Picture) {
        self.away = None;
        picture.nodes.sort_by(|a, b| a.name.cmp(&b.name));
        picture.actors.sort_by(|a, b| a.actor.cmp(&b.actor));
        // A selected row stays selected, whatever comes before it.
        let old = self.picture.take();
        let name = old.as_ref().and_then(|old| old.actors.get(self.actor)).map(|actor| actor.actor.clone());
        let at = name.and_then(|name| picture.actors.iter().position(|actor| actor.actor == name));
        self.actor = at.unwrap_or(self.actor).min(picture.actors.len().saturating_sub(1));
        let name = old.as_ref().and_then(|old| old.nodes.get(self.node)).map(|node| node.name.clone());
        let at = name.and_then(|name| picture.nodes.iter().position(|node| node.name == name));
        self.node = at.unwrap_or(self.node).min(picture.nodes.len().saturating_sub(1));
        self.trends.retain(|name, _| picture.actors.iter().any(|actor| actor.actor == *name));
        for actor in &picture.actors {
            let trend = self.trends.entry(actor.actor.clone()).or_default();
            let mut push = |values: fn(&mut Trend) -> &mut VecDeque<f64>, value: Option<f64>| {
                if let Some(value) = value {
                    let values = values(trend);
                    values.push_back(value);
                    if values.len() > HISTORY {
                        values.pop_front();
                    }
                }
            };
            push(|trend| &mut trend.calls, actor.calls_per_second);
            push(|trend| &mut trend.failures, actor.failures_per_second);
            push(|trend| &mut trend.p99_us, actor.calls_per_second.map(|_| actor.p99_us.unwrap_or(0.0)));
        }
        self.picture = Some(picture);
    }

    pub fn away(&mut self, reason: String) {
        self.away = Some(reason);
    }

    pub fn line(&mut self, line: LogLine) {
        // One that was on its way when another actor was chosen.
        if self.followed() != Some(&line.actor) {
            return;
        }
        self.lines_problem = None;
        self.lines.push_back(line);
        if self.lines.len() > LINES {
            self.lines.pop_front();
        }
        if self.scrolled > 0 {
            self.scrolled = (self.scrolled + 1).min(self.lines.len());
        }
    }

    /// The log comes from the beginning.
    pub fn anew(&mut self) {
        self.lines.clear();
        self.lines_problem = None;
    }

    pub fn no_lines(&mut self, reason: String) {
        self.lines_problem = Some(reason);
    }

    pub fn done(&mut self, outcome: Result<String, String>) {
        self.told = Some(match outcome {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        });
    }

    /// A key was pressed.
    pub fn key(&mut self, key: KeyEvent) -> Option<Action> {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Some(Action::Quit);
        }
        if self.help {
            self.help = false;
            return None;
        }
        if let Some(prompt) = self.prompt.take() {
            return self.answer(prompt, key.code);
        }
        self.told = None;
        match key.code {
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Char('?' | 'h') => self.help = true,
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left => self.back(),
            KeyCode::Tab | KeyCode::BackTab if self.view == View::Overview => {
                self.pane = if self.pane == Pane::Nodes { Pane::Actors } else { Pane::Nodes };
            }
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-10),
            KeyCode::PageDown => self.step(10),
            KeyCode::Enter | KeyCode::Right => self.open(),
            KeyCode::Char('l') => {
                if let Some(actor) = self.selected_actor().map(|actor| actor.actor.clone()) {
                    self.show(View::Logs(actor));
                }
            }
            KeyCode::Char('s') => {
                // Keys have no number of replicas.
                let actor = self.selected_actor().filter(|actor| actor.kind != "keyed");
                self.prompt = actor.map(|actor| Prompt::Replicas(actor.actor.clone(), String::new()));
            }
            KeyCode::Char('d') if self.view == View::Overview && self.pane == Pane::Nodes => {
                self.prompt = self.selected_node().map(|node| Prompt::Drain(node.name.clone()));
            }
            _ => {}
        }
        None
    }

    fn answer(&mut self, prompt: Prompt, key: KeyCode) -> Option<Action> {
        match (prompt, key) {
            (_, KeyCode::Esc) => None,
            (Prompt::Replicas(actor, digits), KeyCode::Enter) => {
                digits.parse().ok().map(|replicas| Action::Scale(actor, replicas))
            }
            (Prompt::Replicas(actor, mut digits), KeyCode::Char(c))
                if c.is_ascii_digit() && digits.len() < 5 =>
            {
                digits.push(c);
                self.prompt = Some(Prompt::Replicas(actor, digits));
                None
            }
            (Prompt::Replicas(actor, mut digits), KeyCode::Backspace) => {
                digits.pop();
                self.prompt = Some(Prompt::Replicas(actor, digits));
                None
            }
            (Prompt::Drain(node), KeyCode::Char('y')) => Some(Action::Drain(node)),
            // Anything else is no.
            (Prompt::Drain(_), _) => None,
            (prompt, _) => {
                self.prompt = Some(prompt);
                None
            }
        }
    }

    fn back(&mut self) {
        match self.view.clone() {
            View::Logs(actor) => self.show(View::Actor(actor)),
            View::Actor(_) | View::Overview => self.show(View::Overview),
        }
    }

    fn open(&mut self) {
        if self.view == View::Overview
            && self.pane == Pane::Actors
            && let Some(actor) = self.selected_actor().map(|actor| actor.actor.clone())
        {
            self.show(View::Actor(actor));
        }
    }

    fn show(&mut self, view: View) {
        let before = self.followed().map(str::to_owned);
        self.view = view;
        self.scrolled = 0;
        if self.followed() != before.as_deref() {
            self.lines.clear();
            self.lines_problem = None;
        }
    }

    fn step(&mut self, by: isize) {
        let picture = self.picture.as_ref();
        let moved = |at: usize, count: usize| at.saturating_add_signed(by).min(count.saturating_sub(1));
        match (&self.view, self.pane) {
            (View::Overview, Pane::Nodes) => {
                self.node = moved(self.node, picture.map_or(0, |picture| picture.nodes.len()));
            }
            (View::Overview, Pane::Actors) => {
                self.actor = moved(self.actor, picture.map_or(0, |picture| picture.actors.len()));
            }
            // Up is back in time.
            _ => self.scrolled = self.scrolled.saturating_add_signed(-by).min(self.lines.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(actors: &[&str]) -> Picture {
        let actor = |name: &&str| ActorPicture {
            actor: (*name).to_owned(),
            kind: "replicated".into(),
            calls_per_second: Some(1.0),
            ..ActorPicture::default()
        };
        let nodes = vec![NodePicture { name: "n1".into(), ..NodePicture::default() }];
        Picture { actors: actors.iter().map(actor).collect(), nodes, ..Picture::default() }
    }

    fn press(state: &mut State, keys: &[KeyCode]) -> Option<Action> {
        keys.iter().filter_map(|key| state.key(KeyEvent::from(*key))).last()
    }

    #[test]
    fn a_selected_actor_stays_selected_when_others_come_and_go() {
        let mut state = State::new(None);
        state.picture(picture(&["b", "c"]));
        press(&mut state, &[KeyCode::Down]);
        assert_eq!(state.selected_actor().unwrap().actor, "c");
        state.picture(picture(&["a", "b", "c"]));
        assert_eq!(state.selected_actor().unwrap().actor, "c");
        state.picture(picture(&["a"]));
        assert_eq!(state.selected_actor().unwrap().actor, "a");
        state.picture(picture(&[]));
        assert!(state.selected_actor().is_none());
        press(&mut state, &[KeyCode::Up, KeyCode::Enter, KeyCode::Char('s'), KeyCode::Char('l')]);
        assert_eq!((&state.view, &state.prompt), (&View::Overview, &None), "there is nothing to open");
    }

    #[test]
    fn scaling_asks_for_a_number_and_draining_for_a_yes() {
        let mut state = State::new(None);
        state.picture(picture(&["a"]));
        let digits =
            [KeyCode::Char('s'), KeyCode::Char('1'), KeyCode::Char('x'), KeyCode::Char('2'), KeyCode::Enter];
        assert_eq!(press(&mut state, &digits), Some(Action::Scale("a".into(), 12)));
        assert_eq!(press(&mut state, &[KeyCode::Char('s'), KeyCode::Esc, KeyCode::Enter]), None);
        press(&mut state, &[KeyCode::Esc, KeyCode::Tab]);
        assert_eq!(press(&mut state, &[KeyCode::Char('d'), KeyCode::Char('n')]), None);
        let drain = press(&mut state, &[KeyCode::Char('d'), KeyCode::Char('y')]);
        assert_eq!(drain, Some(Action::Drain("n1".into())));
        assert_eq!(press(&mut state, &[KeyCode::Char('q')]), Some(Action::Quit));
    }

    #[test]
    fn lines_of_another_actor_are_not_shown() {
        let mut state = State::new(Some("a".into()));
        state.picture(picture(&["a", "b"]));
        let line = |actor: &str| LogLine { actor: actor.into(), ..LogLine::default() };
        state.line(line("a"));
        state.line(line("b"));
        assert_eq!(state.lines.len(), 1);
        press(&mut state, &[KeyCode::Char('l')]);
        assert_eq!((&state.view, state.lines.len()), (&View::Logs("a".into()), 1), "the same log goes on");
        press(&mut state, &[KeyCode::Esc, KeyCode::Esc]);
        assert_eq!((&state.view, state.lines.len()), (&View::Overview, 0));
    }
}
