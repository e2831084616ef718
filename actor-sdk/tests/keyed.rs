//! Keyed actors in the test kit: what is saved and when, what leaves with it, and what a failure leaves behind.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use lattice_actor::serde_json::{self, Value, json};
use lattice_actor::testing::{Mesh, Sent, block_on};
use lattice_actor::{
    CallError, Cause, Context, Keyed, Operation, Rejection, Result, Schedule, Turn, interface, join, keyed,
};
use serde::{Deserialize, Serialize};

const HOUR: Duration = Duration::from_secs(3600);

#[interface]
trait Notes {
    async fn write(&mut self, text: String) -> Result<usize>;
    async fn all() -> Result<Vec<String>>;
}

#[derive(Default, Serialize, Deserialize)]
struct Book {
    notes: Vec<String>,
    #[serde(default)]
    seen: BTreeMap<String, String>,
    /// Not saved.
    #[serde(skip)]
    title: String,
}

#[keyed(implements(Notes), version = 3, migrate = older)]
impl Book {
    #[woken]
    fn woken(&mut self, key: &str) {
        self.title = format!("the book of {key}");
    }

    /// Changes nothing, but could.
    async fn touch(&mut self, _ctx: &Context) -> Result<String> {
        Ok(self.title.clone())
    }

    /// Says what it was told, then fails as it was told.
    async fn fail(&mut self, ctx: &Turn, how: String) -> Result<u32> {
        self.notes.push("lost".into());
        self.title.clear();
        ctx.send(ctx.actor::<dyn Notes>("book/other").write("lost"))?;
        ctx.remind("lost", Schedule::after(HOUR), ctx.myself::<Self>().tick())?;
        match how.as_str() {
            "call" => ctx.call("nobody", "nothing", &Value::Null).await,
            "deadlock" => ctx.call(ctx.self_id(), "touch", &Value::Null).await,
            "stranger" => {
                ctx.remind("x", Schedule::after(HOUR), ctx.actor::<Book>("book/other").tick())?;
                Ok(0)
            }
            _ => Err(Rejection::new("as-told", how).into()),
        }
    }

    /// Is told after so many milliseconds, once or again and again, or not any more.
    async fn time(&mut self, ctx: &Turn, id: String, ms: u64, repeats: bool) -> Result<()> {
        let after = Duration::from_millis(ms);
        match (ms, repeats) {
            (0, _) => ctx.cancel_timer(id),
            (_, true) => ctx.timer_every(id, after, ctx.myself::<Self>().tick())?,
            (_, false) => ctx.timer(id, after, ctx.myself::<Self>().tick())?,
        }
        Ok(())
    }

    /// Writes down why it was called.
    async fn tick(&mut self, ctx: &Turn) -> Result<()> {
        let cause = match ctx.cause() {
            Cause::Call => "call".to_owned(),
            Cause::Send => "send".to_owned(),
            Cause::Reminder(occurrence) => {
                let due = occurrence.due.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                assert_eq!(occurrence.due, ctx.now());
                format!("{} at {}", occurrence.id, due.as_secs())
            }
            Cause::Timer(id) => format!("the timer {id}"),
        };
        self.seen.insert(ctx.message_id().to_owned(), format!("{cause} by {:?}", ctx.caller()));
        Ok(())
    }

    async fn remind(
        &mut self,
        ctx: &Turn,
        id: String,
        every: Option<u64>,
        cron: Option<String>,
    ) -> Result<()> {
        let schedule = match (every, cron) {
            (_, Some(pattern)) => Schedule::cron(pattern),
            (Some(seconds), None) => Schedule::every(Duration::from_secs(seconds)),
            (None, None) => Schedule::at(ctx.now() + HOUR + Duration::from_millis(1)),
        };
        ctx.remind(id, schedule, ctx.myself::<Self>().tick())
    }

    async fn forget(&mut self, ctx: &Turn, id: String) -> Result<()> {
        ctx.cancel_reminder(id);
        Ok(())
    }

    async fn pass_on(&mut self, ctx: &Turn, to: String, count: u32) -> Result<()> {
        for number in 0..count {
            ctx.send(ctx.actor::<dyn Notes>(to.as_str()).write(format!("{number} from {}", ctx.key())))?;
        }
        ctx.send(ctx.myself::<Self>().tick())
    }

    /// What its title is, and what it is asked by.
    #[idempotent]
    async fn about(&self, ctx: &Context) -> Result<(String, Option<String>)> {
        Ok((self.title.clone(), ctx.key().map(str::to_owned)))
    }
}

impl Notes for Book {
    async fn write(&mut self, _ctx: &Turn, text: String) -> Result<usize> {
        self.notes.push(text);
        Ok(self.notes.len())
    }

    async fn all(&self, _ctx: &Context) -> Result<Vec<String>> {
        Ok(self.notes.clone())
    }
}

fn older(from: u32, state: Value) -> Result<Value> {
    match from {
        1 => Ok(json!({ "notes": [state] })),
        2 => Ok(json!({ "notes": "no list" })),
        _ => Err(Rejection::new("too-new", format!("version {from}")).into()),
    }
}

fn mesh() -> Mesh {
    Mesh::new().keyed::<Book>("book")
}

fn code(error: &CallError) -> &str {
    match error {
        CallError::Rejected(rejection) => &rejection.code,
        other => other.kind(),
    }
}

#[test]
fn state_is_saved_when_it_changed_and_only_then() {
    let mesh = mesh();
    let ctx = mesh.context();
    let (notes, book, kept) =
        (ctx.actor::<dyn Notes>("book/a"), ctx.actor::<Book>("book/a"), mesh.key("book/a"));
    assert_eq!(block_on(notes.all()), Ok(vec![]));
    assert_eq!(block_on(book.touch()).as_deref(), Ok("the book of a"));
    assert_eq!((kept.commits(), kept.state()), (0, None));
    assert_eq!(block_on(notes.write("one")), Ok(1));
    assert_eq!(kept.state(), Some(json!({ "notes": ["one"], "seen": {} })));
    assert_eq!(block_on(notes.write("two")), Ok(2));
    assert!(block_on(join_both(&notes)).is_ok());
    assert_eq!(block_on(book.about()), Ok(("the book of a".into(), Some("a".into()))));
    assert_eq!(kept.commits(), 2);
    // Every key has a state of its own.
    assert_eq!(block_on(ctx.actor::<dyn Notes>("book/b/c").all()), Ok(vec![]));
}

async fn join_both(notes: &NotesClient) -> Result<()> {
    let (one, other) = join!(notes.all(), notes.all());
    one.and(other).map(drop)
}

#[test]
fn an_operation_that_fails_leaves_nothing_behind() {
    let mesh = mesh();
    let ctx = mesh.context();
    let (notes, book, kept) =
        (ctx.actor::<dyn Notes>("book/a"), ctx.actor::<Book>("book/a"), mesh.key("book/a"));
    assert_eq!(block_on(notes.write("one")), Ok(1));
    for (how, expected) in [
        ("as told", "as-told"),
        ("call", "no-such-actor"),
        ("deadlock", "deadlock"),
        ("stranger", "bad-reminder"),
    ] {
        let error = block_on(book.fail(how)).expect_err(how);
        assert_eq!(code(&error), expected);
    }
    let unreadable: Result<usize> = block_on(ctx.call("book/a", "write", &json!({ "txt": 1 })));
    assert!(matches!(unreadable, Err(CallError::Malformed(_))));
    let unknown: Result<()> = block_on(ctx.call("book/a", "burn", &Value::Null));
    assert_eq!(unknown, Err(CallError::NoSuchOperation("burn".into())));
    assert_eq!(block_on(notes.all()), Ok(vec!["one".into()]));
    // What is not saved is made anew.
    assert_eq!(block_on(book.touch()).as_deref(), Ok("the book of a"));
    assert_eq!((kept.commits(), kept.reminders(), mesh.sent()), (1, vec![], vec![]));
}

#[test]
fn an_actor_wakes_with_what_was_saved() {
    let mesh = mesh();
    let ctx = mesh.context();
    let notes = ctx.actor::<dyn Notes>("book/a");
    assert_eq!(block_on(notes.write("one")), Ok(1));
    mesh.key("book/a").restart();
    assert_eq!(block_on(notes.write("two")), Ok(2));
    assert_eq!(block_on(ctx.actor::<Book>("book/a").touch()).as_deref(), Ok("the book of a"));
}

#[test]
fn states_of_other_versions_are_migrated_or_refused() {
    let mesh = mesh();
    let ctx = mesh.context();
    let (notes, kept) = (ctx.actor::<dyn Notes>("book/a"), mesh.key("book/a"));
    kept.save(1, "old");
    assert_eq!(block_on(notes.all()), Ok(vec!["old".into()]));
    assert_eq!(kept.state(), Some(json!("old")), "a read saves nothing");
    assert_eq!(block_on(notes.write("new")), Ok(2));
    assert_eq!(kept.state(), Some(json!({ "notes": ["old", "new"], "seen": {} })));
    for (version, expected) in [(2, "unreadable-state"), (3, "unreadable-state"), (4, "too-new")] {
        kept.save(version, &json!([]));
        let error = block_on(notes.write("lost")).expect_err("it cannot wake");
        assert_eq!(code(&error), expected, "{error}");
        assert_eq!(kept.state(), Some(json!([])), "what cannot be read stays as it is");
    }
}

#[test]
fn without_a_migration_another_version_is_refused_by_name() {
    #[derive(Default, Serialize, Deserialize)]
    struct Plain {}

    #[keyed]
    impl Plain {
        async fn nothing(&self, _ctx: &Context) -> Result<()> {
            Ok(())
        }
    }

    let mesh = Mesh::new().keyed::<Plain>("plain");
    mesh.key("plain/a").save(7, &json!({}));
    let error = block_on(mesh.context().actor::<Plain>("plain/a").nothing()).expect_err("it cannot wake");
    assert_eq!(code(&error), "unknown-state-version");
    assert!(error.to_string().contains("version 7"), "{error}");
}

#[test]
fn what_is_sent_leaves_with_the_commit_and_arrives_in_order() {
    let mesh = mesh();
    let ctx = mesh.context();
    assert_eq!(block_on(ctx.actor::<Book>("book/a").pass_on("book/b", 2)), Ok(()));
    assert_eq!(mesh.sent().len(), 3);
    assert_eq!(
        mesh.sent()[1],
        Sent {
            from: "book/a".into(),
            to: "book/b".into(),
            operation: "write".into(),
            arguments: json!({ "text": "1 from a" }),
        }
    );
    assert_eq!(block_on(ctx.actor::<dyn Notes>("book/b").all()), Ok(vec![]), "not delivered yet");
    assert_eq!(mesh.deliver(), []);
    assert_eq!(
        block_on(ctx.actor::<dyn Notes>("book/b").all()),
        Ok(vec!["0 from a".into(), "1 from a".into()])
    );
    let seen = &mesh.key("book/a").state().expect("it was saved")["seen"];
    assert_eq!(seen, &json!({ "send-3": r#"send by Some("book/a")"# }));
}

#[test]
fn what_cannot_be_delivered_is_told() {
    let mesh = mesh();
    assert_eq!(block_on(mesh.context().actor::<Book>("book/a").pass_on("nobody", 1)), Ok(()));
    let failed = mesh.deliver();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].0.to.as_str(), failed[0].1.kind()), ("nobody", "no-such-actor"));
}

#[test]
fn reminders_come_when_they_are_due_and_say_which_they_are() {
    let mesh = mesh();
    let start = mesh.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let ctx = mesh.context();
    let (book, kept) = (ctx.actor::<Book>("book/a"), mesh.key("book/a"));
    assert_eq!(block_on(book.remind("once", None, None)), Ok(()));
    assert_eq!(block_on(book.remind("often", Some(2400), None)), Ok(()));
    let due: Vec<_> = kept.reminders().into_iter().map(|reminder| (reminder.id, reminder.due)).collect();
    // The lattice counts in seconds and is never early.
    let once = mesh.now() + HOUR + Duration::from_secs(1);
    let often = mesh.now() + Duration::from_secs(2400);
    assert_eq!(due, [("often".to_owned(), often), ("once".to_owned(), once)]);
    // They survive a restart, as they are no part of the activation.
    kept.restart();
    assert_eq!(mesh.advance(HOUR), []);
    assert_eq!(mesh.advance(HOUR), []);
    let seen = kept.state().expect("it was saved")["seen"].take();
    let expected: BTreeMap<String, String> =
        [("often", 2400), ("once", 3601), ("often", 4800), ("often", 7200)]
            .into_iter()
            .map(|(id, after)| {
                let at = start + after;
                (format!("book/a:{id}:{at}000"), format!(r#"{id} at {at} by Some("book/a")"#))
            })
            .collect();
    assert_eq!(serde_json::from_value::<BTreeMap<_, _>>(seen).ok(), Some(expected));
    assert_eq!(kept.reminders().len(), 1, "one that comes once is gone");
}

#[test]
fn a_reminder_is_replaced_and_taken_back_by_its_id() {
    let mesh = mesh();
    let ctx = mesh.context();
    let (book, kept) = (ctx.actor::<Book>("book/a"), mesh.key("book/a"));
    assert_eq!(block_on(book.remind("a", Some(10), None)), Ok(()));
    assert_eq!(block_on(book.remind("a", None, Some("0 12 * * *".into()))), Ok(()));
    // The clock of a test begins at midnight.
    assert_eq!(kept.reminders().len(), 1);
    assert_eq!(kept.reminders()[0].due, mesh.now() + 12 * HOUR);
    assert_eq!(block_on(book.forget("nothing")), Ok(()));
    assert_eq!(block_on(book.forget("a")), Ok(()));
    assert_eq!(mesh.advance(24 * HOUR), []);
    assert_eq!(kept.state(), None);
    let error = block_on(book.remind("a", None, Some("noon".into()))).expect_err("it is no pattern");
    assert_eq!(code(&error), "bad-reminder");
}

#[test]
fn calls_to_one_key_wait_for_each_other() {
    let mesh = mesh();
    let ctx = mesh.context();
    let notes = ctx.actor::<dyn Notes>("book/a");
    let (one, other) = block_on(async { join!(notes.write("one"), notes.write("two")) });
    assert_eq!((one, other), (Ok(1), Ok(2)));
}

#[test]
fn an_actor_tells_which_operations_only_read() {
    let [own, interface] = Book::OPERATIONS else { panic!("one group for each block") };
    let reads = |operations: &[Operation]| -> Vec<_> {
        operations.iter().map(|operation| (operation.name, operation.read)).collect()
    };
    assert_eq!(reads(interface), [("write", false), ("all", true)]);
    let all: BTreeMap<_, _> = reads(own).into_iter().collect();
    assert!(all["about"]);
    assert!(!all["touch"]);
    assert!(!all.contains_key("woken"));
}

#[test]
fn timers_come_while_the_key_is_awake_and_end_with_it() {
    let mesh = mesh();
    let book = mesh.context().actor::<Book>("book/a");
    let key = mesh.key("book/a");
    let ticks = || key.state().map_or(0, |state| state["seen"].as_object().map_or(0, |seen| seen.len()));
    assert_eq!(block_on(book.time("once", 500, false)), Ok(()));
    assert_eq!(block_on(book.time("again", 200, true)), Ok(()));
    assert_eq!((key.commits(), key.timers()), (0, vec!["again".to_owned(), "once".to_owned()]));
    assert_eq!(mesh.advance(Duration::from_secs(1)), []);
    assert_eq!((ticks(), key.timers()), (6, vec!["again".to_owned()]));
    assert_eq!(block_on(book.time("again", 0, false)), Ok(()));
    assert_eq!(mesh.advance(HOUR), []);
    assert_eq!(ticks(), 6);
    assert_eq!(block_on(book.time("again", 200, true)), Ok(()));
    key.restart();
    assert_eq!(mesh.advance(HOUR), []);
    assert_eq!((ticks(), key.timers()), (6, Vec::<String>::new()));
    assert_eq!(block_on(book.time("soon", 1, false)), Ok(()));
    let started = mesh.now();
    assert_eq!(mesh.advance(Duration::from_millis(9)), []);
    assert_eq!(ticks(), 6, "10 ms is the least");
    assert_eq!(mesh.advance(Duration::from_millis(1)), []);
    assert_eq!((ticks(), mesh.now()), (7, started + Duration::from_millis(10)));
    let error = block_on(book.time("", 5, true)).expect_err("it has no id");
    assert_eq!(code(&error), "bad-reminder");
}
