//! `lattice top`: the lattice in the terminal, once a second.
//!
//! What is shown is decided in [`state`], which knows neither terminal nor network; [`draw`] draws it; and here pictures,
//! lines of logs and keys come together.

mod draw;
mod state;
mod text;

use std::io::IsTerminal;

use lattice_proto::admin::{
    LogLine, NodeRequest, Picture, ScaleRequest, WatchLatticeRequest, WatchLogsRequest,
};
use lattice_proto::{Fault, Ran};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::admin;
use crate::cli::Global;
use crate::commands::ps;
use crate::failure::Failure;
use crate::output::Format;
use state::{Action, State};

/// Lines of the log that are asked for at first.
const LINES: u32 = 200;

/// What may come in at once and is not shown yet. A terminal that is so slow is better off without the rest.
const QUEUE: usize = 1_024;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Begin with this actor; with `-o json`, only this one
    actor: Option<String>,
}

/// What comes in.
enum Input {
    Picture(Picture),
    /// What keeps pictures from coming.
    Away(String),
    Line(LogLine),
    /// Lines of the log come from the beginning.
    Anew,
    /// Lines of the log do not come any more, for this reason.
    NoLines(String),
    Key(Event),
    /// What came of an action.
    Done(Result<String, String>),
}

pub async fn run(args: Args, global: &Global) -> Result<(), Failure> {
    if global.output == Format::Json {
        return once(args.actor, global).await;
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "this needs a terminal; `lattice top -o json` prints one picture for programs".to_owned(),
        ));
    }
    // Mistakes in the address are told before the screen is taken.
    drop(admin::connect(global).await?);
    let (tell, mut inputs) = mpsc::channel(QUEUE);
    let pictures = tokio::spawn(follow(global.clone(), tell.clone()));
    keys(tell.clone());
    let mut terminal = ratatui::try_init()?;
    let mut state = State::new(args.actor);
    let mut lines = Following::default();
    if let Some(actor) = state.followed() {
        lines.follow(actor, global, &tell);
    }
    let outcome = loop {
        if let Err(error) = terminal.draw(|frame| draw::draw(frame, &mut state)) {
            break Err(error.into());
        }
        let Some(input) = inputs.recv().await else { break Ok(()) };
        let mut next = Some(input);
        let mut over = false;
        // Whatever is there already is taken in before it is drawn again.
        while let Some(input) = next.take() {
            if let Some(action) = take_in(&mut state, input) {
                over |= matches!(action, Action::Quit);
                act(action, global, &tell);
            }
            next = inputs.try_recv().ok();
        }
        if over {
            break Ok(());
        }
        match state.followed() {
            Some(actor) => lines.follow(actor, global, &tell),
            None => lines.end(),
        }
    };
    pictures.abort();
    lines.end();
    ratatui::restore();
    outcome
}

/// One picture, with rates, for programs; of one actor what is its own, and the calls that it makes and gets.
async fn once(actor: Option<String>, global: &Global) -> Result<(), Failure> {
    let mut client = admin::connect(global).await?;
    // The first one has no rates yet.
    let mut pictures = client.watch_lattice(WatchLatticeRequest { limit: 2 }).await?.into_inner();
    let mut last = None;
    while let Some(picture) = pictures.message().await? {
        last = Some(picture);
    }
    let mut picture = last.ok_or_else(|| Failure::new("unavailable", Ran::No, "the node sent no picture"))?;
    if let Some(wanted) = actor {
        picture.actors.retain(|actor| actor.actor == wanted);
        picture.calls.retain(|call| call.actor == wanted || call.caller == wanted);
        // A picture may be some seconds old, or without what could not be read.
        if picture.actors.is_empty() && !picture.problem.is_empty() {
            return Err(Failure::new("unavailable", Ran::No, picture.problem));
        }
        if picture.actors.is_empty() && ps::rows(global).await?.iter().any(|row| row.actor == wanted) {
            let message =
                format!("`{wanted}` was deployed a moment ago and is not in the picture yet; try again");
            return Err(Failure::new("unavailable", Ran::No, message));
        }
        if picture.actors.is_empty() {
            let fault = Fault::NoSuchActor(wanted);
            return Err(Failure::new(
                fault.kind(),
                Ran::No,
                format!("{fault}; `lattice ps` lists those there are"),
            ));
        }
    }
    global.output.print(&text::json(&picture), |_| String::new())
}

fn take_in(state: &mut State, input: Input) -> Option<Action> {
    match input {
        Input::Picture(picture) => state.picture(picture),
        Input::Away(reason) => state.away(reason),
        Input::Line(line) => state.line(line),
        Input::Anew => state.anew(),
        Input::NoLines(reason) => state.no_lines(reason),
        Input::Done(outcome) => state.done(outcome),
        Input::Key(Event::Key(key)) if key.kind != KeyEventKind::Release => return state.key(key),
        // It is drawn anew in any case.
        Input::Key(_) => {}
    }
    None
}

/// Does what the keys ask for, in the background.
fn act(action: Action, global: &Global, tell: &mpsc::Sender<Input>) {
    let (global, tell) = (global.clone(), tell.clone());
    tokio::spawn(async move {
        let outcome = match action {
            Action::Quit => return,
            Action::Scale(actor, replicas) => scale(&global, &actor, replicas).await,
            Action::Drain(node) => drain(&global, &node).await,
        };
        let _ = tell.send(Input::Done(outcome.map_err(|failure| failure.to_string()))).await;
    });
}

async fn scale(global: &Global, actor: &str, replicas: u32) -> Result<String, Failure> {
    let request = ScaleRequest { actor: actor.to_owned(), replicas, request_id: String::new() };
    let operation = admin::connect(global).await?.scale(request).await?.into_inner();
    Ok(format!(
        "{actor} is to have {replicas} replicas: revision {} of {}",
        operation.revision, operation.app
    ))
}

async fn drain(global: &Global, node: &str) -> Result<String, Failure> {
    admin::connect(global).await?.drain(NodeRequest { node: node.to_owned() }).await?;
    Ok(format!("{node} is being emptied; `lattice uncordon {node}` lets it take replicas again"))
}

/// Pictures for as long as somebody looks, also after the node was away.
async fn follow(global: Global, tell: mpsc::Sender<Input>) {
    loop {
        let watched = async {
            let mut client = admin::connect(&global).await?;
            let mut pictures = client.watch_lattice(WatchLatticeRequest::default()).await?.into_inner();
            while let Some(picture) = pictures.message().await? {
                if tell.send(Input::Picture(picture)).await.is_err() {
                    return Ok(());
                }
            }
            Err(Failure::stream_ended())
        };
        match watched.await {
            Ok(()) => return,
            Err(failure) => {
                let told = tell.send(Input::Away(failure.to_string())).await;
                if told.is_err() || !failure.passes() {
                    return;
                }
            }
        }
        tokio::time::sleep(admin::RETRY).await;
    }
}

/// Keys, from a thread of its own: reading them blocks.
fn keys(tell: mpsc::Sender<Input>) {
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if tell.blocking_send(Input::Key(event)).is_err() {
                return;
            }
        }
    });
}

/// The log that is followed.
#[derive(Default)]
struct Following(Option<(String, JoinHandle<()>)>);

impl Following {
    fn follow(&mut self, actor: &str, global: &Global, tell: &mpsc::Sender<Input>) {
        if self.0.as_ref().is_some_and(|(followed, _)| followed == actor) {
            return;
        }
        self.end();
        let task = tokio::spawn(lines(actor.to_owned(), global.clone(), tell.clone()));
        self.0 = Some((actor.to_owned(), task));
    }

    fn end(&mut self) {
        if let Some((_, task)) = self.0.take() {
            task.abort();
        }
    }
}

/// Lines of one actor for as long as somebody looks; what is on the screen stays while they do not come.
async fn lines(actor: String, global: Global, tell: mpsc::Sender<Input>) {
    let request = WatchLogsRequest { actor, last: LINES, follow: true, ..WatchLogsRequest::default() };
    loop {
        let followed = async {
            let mut client = admin::connect(&global).await?;
            let mut lines = client.watch_logs(request.clone()).await?.into_inner();
            // Those that are there come again.
            if tell.send(Input::Anew).await.is_err() {
                return Ok(());
            }
            while let Some(line) = lines.message().await? {
                if tell.send(Input::Line(line)).await.is_err() {
                    return Ok(());
                }
            }
            Err(Failure::stream_ended())
        };
        match followed.await {
            Ok(()) => return,
            Err(failure) => {
                let told = tell.send(Input::NoLines(failure.to_string())).await;
                if told.is_err() || !failure.passes() {
                    return;
                }
            }
        }
        tokio::time::sleep(admin::RETRY).await;
    }
}
