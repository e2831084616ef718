//! K3, K6, K7 over thousands of letters: the money of all accounts stays the same, every transfer is made once, and every
//! dead letter is one that had to be, whatever is killed, frozen and cut off meanwhile.
//!
//! `LATTICE_BANK_TRANSFERS` says how many; in every run there are a few hundred, and in the soak 50,000.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use lattice_proto::admin::SendRequest;
use lattice_tests::lattice::AdminClient;
use lattice_tests::{Lattice, manifests, number, say, wait_for};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const ACCOUNTS: usize = 100;
const DEPOSIT: u64 = 1_000_000;
const LATEST: Duration = Duration::from_secs(300);

/// Senders at once.
const SENDERS: usize = 32;

/// A fault comes so often.
const FAULTS: Duration = Duration::from_secs(2);

/// There are so many of them at least, also where all is sent before.
const FEWEST: u32 = 4;

/// One of so many transfers asks for more than there is: of each account one in its time.
const TOO_MUCH: usize = 503;

/// A transfer that is asked for.
#[derive(Debug, Clone, Copy)]
struct Transfer {
    from: usize,
    to: usize,
    amount: u64,
}

impl Transfer {
    fn number(number: usize) -> Self {
        let (from, step) = (number % ACCOUNTS, 1 + number * 7 % (ACCOUNTS - 1));
        let amount = if number % TOO_MUCH == TOO_MUCH - 1 { u64::MAX } else { 1 + number as u64 % 5 };
        Self { from, to: (from + step) % ACCOUNTS, amount }
    }

    fn is_possible(self) -> bool {
        self.amount < DEPOSIT
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_money_is_lost_or_made_and_every_dead_letter_is_accounted_for() {
    let usual = if std::env::var_os("LATTICE_SOAK").is_some() { 50_000 } else { 1_000 };
    let transfers = usize::try_from(number("LATTICE_BANK_TRANSFERS").unwrap_or(usual)).unwrap();
    let mut rng = Rng::with_seed(number("LATTICE_CHAOS_SEED").unwrap_or(1));
    let mut lattice = Lattice::builder(3).apart(1).apart(2).start().await;
    lattice.apply(&manifests::bank_with("")).await;
    for account in 0..ACCOUNTS {
        lattice.call(0, &name(account), "deposit", json!(DEPOSIT)).await.unwrap();
    }
    let (next, mut senders) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for _ in 0..SENDERS {
        let (next, client) = (next.clone(), lattice.admin(0));
        senders.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= transfers {
                    return;
                }
                surely_send(client.clone(), number).await;
            }
        });
    }
    let (began, mut faults) = (Instant::now(), 0);
    while !senders.is_empty() || faults < FEWEST {
        let until = tokio::time::Instant::now() + FAULTS;
        while let Ok(Some(ended)) = tokio::time::timeout_at(until, senders.join_next()).await {
            ended.unwrap();
        }
        inflict(&mut lattice, &mut rng).await;
        faults += 1;
    }
    let sent = began.elapsed();

    let mut expected = vec![DEPOSIT; ACCOUNTS];
    let mut impossible = BTreeSet::new();
    for number in 0..transfers {
        let transfer = Transfer::number(number);
        if transfer.is_possible() {
            expected[transfer.from] -= transfer.amount;
            expected[transfer.to] += transfer.amount;
        } else {
            impossible.insert(id(number));
        }
    }
    let balances = async || {
        let asked = (0..ACCOUNTS).map(async |account| {
            let balance = lattice.call_within(0, &name(account), "balance", Value::Null, LATEST).await;
            balance.unwrap().as_u64().unwrap()
        });
        futures::future::join_all(asked).await
    };
    let found = wait_for("every transfer has arrived", LATEST, balances, |found| *found == expected).await;
    assert_eq!(found.iter().sum::<u64>(), ACCOUNTS as u64 * DEPOSIT);
    let dead = wait_for(
        "what is impossible was given up",
        LATEST,
        async || lattice.dead_letters(0).await.unwrap(),
        |dead| dead.len() >= impossible.len(),
    )
    .await;
    let given_up: BTreeSet<String> = dead.iter().map(|letter| letter.id.clone()).collect();
    assert_eq!(given_up, impossible);
    assert!(dead.iter().all(|letter| letter.reason.contains("there is only")), "{dead:?}");
    // What was given up must not have had an effect after all.
    assert_eq!(balances().await, expected);
    say(&format!(
        "measured: {transfers} transfers between {ACCOUNTS} accounts, sent in {sent:.1?}, with {faults} faults: all arrived once \
         after {:.1?}, {} dead letters, all of them impossible",
        began.elapsed(),
        dead.len()
    ));
}

fn name(account: usize) -> String {
    format!("account/a{account}")
}

fn id(number: usize) -> String {
    format!("transfer-{number}")
}

/// Sends until it is surely stored, as a program would that has an id for what it sends.
async fn surely_send(mut client: AdminClient, number: usize) {
    let Transfer { from, to, amount } = Transfer::number(number);
    let payload = json!({ "to": format!("a{to}"), "amount": amount, "id": id(number) });
    let request = SendRequest {
        target: name(from),
        operation: "transfer".to_owned(),
        payload: payload.to_string().into(),
        request_id: id(number),
        ..SendRequest::default()
    };
    let began = Instant::now();
    while let Err(status) = client.send(request.clone()).await {
        assert!(began.elapsed() < LATEST, "transfer {number} cannot be sent: {status}");
        // As a client does that must not keep a server from getting well.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn inflict(lattice: &mut Lattice, rng: &mut Rng) {
    let node = rng.usize(1..3);
    // How long a fault lasts is part of what is tried, so here time itself is meant.
    let lasting = Duration::from_millis(rng.u64(100..2_500));
    match rng.u32(0..4) {
        0 => {
            lattice.nodes[node].kill();
            tokio::time::sleep(lasting).await;
            lattice.restart_node(node).await;
        }
        1 => {
            lattice.nodes[node].pause();
            tokio::time::sleep(lasting).await;
            lattice.nodes[node].resume();
        }
        2 => {
            lattice.cut(node);
            tokio::time::sleep(lasting).await;
            lattice.mend(node).await;
        }
        _ => {
            lattice.nats.kill();
            tokio::time::sleep(lasting).await;
            lattice.nats.restart().await;
        }
    }
}
