//! Accounts that pay each other. Whatever fails and whenever, the money of all of them together stays the same.
//!
//! 1. A transfer takes the money off here and sends it there, in one commit: neither is without the other.
//! 2. What was sent arrives, at least once. The account there knows each transfer by its id and takes it once.
//! 3. Whoever asks for a transfer may ask again with the same id, when no answer came: it is made once.

mod recent;

use lattice_actor::{ActorError, Context, Rejection, Result, Turn, keyed};
use serde::{Deserialize, Serialize};

use recent::Recent;

/// One account.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Account {
    balance: u64,
    /// The transfers that went out.
    #[serde(default)]
    paid: Recent,
    /// The transfers that came in.
    #[serde(default)]
    received: Recent,
}

/// Why no money moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ActorError)]
pub enum AccountError {
    /// There is less in the account than was asked for.
    TooLittle {
        /// What there is.
        balance: u64,
    },
    /// There would be more in the account than can be counted.
    TooMuch,
    /// A transfer to the same account.
    ToItself,
}

impl std::fmt::Display for AccountError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AccountError::TooLittle { balance } => write!(out, "there is only {balance} in the account"),
            AccountError::TooMuch => write!(out, "an account cannot hold so much"),
            AccountError::ToItself => write!(out, "a transfer goes to another account"),
        }
    }
}

#[keyed]
impl Account {
    /// Brings money in from outside, and gives the new balance.
    async fn deposit(&mut self, _ctx: &Context, amount: u64) -> Result<u64, AccountError> {
        self.add(amount)
    }

    /// How much there is.
    #[idempotent]
    async fn balance(&self, _ctx: &Context) -> Result<u64> {
        Ok(self.balance)
    }

    /// Pays another account, which is named by its key or its ID. The id of a transfer is the payer's to choose; one that
    /// was made is not made again.
    #[idempotent]
    async fn transfer(&mut self, ctx: &Turn, to: String, amount: u64, id: String) -> Result<()> {
        if self.paid.has(&id) {
            return Ok(());
        }
        let payee = account(ctx, &to)?;
        if payee == ctx.self_id() {
            return Err(AccountError::ToItself.into());
        }
        let balance = self.balance;
        self.balance = balance.checked_sub(amount).ok_or(AccountError::TooLittle { balance })?;
        // Two payers may choose the same id.
        let transfer = format!("{}:{id}", ctx.key());
        self.paid.add(id);
        ctx.send(ctx.actor::<Self>(payee).credit(amount, transfer))
    }

    /// Takes in what another account sent.
    #[idempotent]
    async fn credit(&mut self, _ctx: &Context, amount: u64, transfer: String) -> Result<u64, AccountError> {
        if self.received.has(&transfer) {
            return Ok(self.balance);
        }
        self.received.add(transfer);
        self.add(amount)
    }
}

impl Account {
    fn add(&mut self, amount: u64) -> Result<u64, AccountError> {
        self.balance = self.balance.checked_add(amount).ok_or(AccountError::TooMuch)?;
        Ok(self.balance)
    }
}

/// The ID of an account, which is an actor of the same name as this one.
fn account(ctx: &Context, to: &str) -> Result<String> {
    let own = ctx.self_id();
    let name = own.split_once('/').map_or(own, |(name, _)| name);
    let key = to.strip_prefix(name).and_then(|rest| rest.strip_prefix('/')).unwrap_or(to);
    if key.is_empty() {
        return Err(Rejection::new("no-account", "name the account that the money goes to").into());
    }
    Ok(format!("{name}/{key}"))
}

#[cfg(test)]
mod tests {
    use lattice_actor::testing::{Mesh, block_on};

    use super::*;

    fn bank() -> Mesh {
        let bank = Mesh::new().keyed::<Account>("account");
        let ctx = bank.context();
        for key in ["alice", "bob", "carol"] {
            let id = format!("account/{key}");
            assert_eq!(block_on(ctx.actor::<Account>(id).deposit(100)), Ok(100));
        }
        bank
    }

    fn balances(bank: &Mesh) -> [u64; 3] {
        ["account/alice", "account/bob", "account/carol"].map(|id| {
            block_on(bank.context().actor::<Account>(id).balance()).expect("an account knows its balance")
        })
    }

    #[test]
    fn money_moves_and_its_sum_stays() {
        let bank = bank();
        let alice = bank.context().actor::<Account>("account/alice");
        assert_eq!(block_on(alice.transfer("bob", 30, "1")), Ok(()));
        assert_eq!(block_on(alice.transfer("account/carol", 20, "2")), Ok(()));
        assert_eq!(balances(&bank), [50, 100, 100], "what was sent is on its way");
        assert_eq!(bank.deliver(), []);
        assert_eq!(balances(&bank), [50, 130, 120]);
    }

    #[test]
    fn a_transfer_is_made_once_however_often_it_is_asked_for() {
        let bank = bank();
        let alice = bank.context().actor::<Account>("account/alice");
        for _ in 0..3 {
            assert_eq!(block_on(alice.transfer("bob", 30, "1")), Ok(()));
            bank.key("account/alice").restart();
        }
        assert_eq!(bank.sent().len(), 1);
        assert_eq!(bank.deliver(), []);
        assert_eq!(balances(&bank), [70, 130, 100]);
    }

    #[test]
    fn a_transfer_is_taken_once_however_often_it_arrives() {
        let bank = bank();
        let bob = bank.context().actor::<Account>("account/bob");
        for _ in 0..3 {
            assert_eq!(block_on(bob.credit(30, "alice:1")), Ok(130));
            bank.key("account/bob").restart();
        }
        // Carol may call hers the same.
        assert_eq!(block_on(bob.credit(30, "carol:1")), Ok(160));
    }

    #[test]
    fn the_sum_stays_whatever_is_paid_asked_again_or_restarted() {
        const KEYS: [&str; 3] = ["alice", "bob", "carol"];
        let bank = bank();
        let ctx = bank.context();
        // A generator by the book, so that each run is the same.
        let mut random = 7_u32;
        let mut next = |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 16) % below
        };
        for id in 0..500 {
            let (payer, payee) = (KEYS[next(3) as usize], KEYS[next(3) as usize]);
            let account = ctx.actor::<Account>(format!("account/{payer}"));
            let (amount, id) = (u64::from(next(60)), id.to_string());
            let first = block_on(account.transfer(payee, amount, &id));
            if next(4) == 0 {
                bank.key(&format!("account/{payer}")).restart();
                assert_eq!(block_on(account.transfer(payee, amount, &id)).is_ok(), first.is_ok());
            }
            if next(8) == 0 {
                assert_eq!(bank.deliver(), []);
                assert_eq!(balances(&bank).iter().sum::<u64>(), 300);
            }
        }
        assert_eq!(bank.deliver(), []);
        assert_eq!(balances(&bank).iter().sum::<u64>(), 300);
        assert!(bank.sent().len() > 100, "{}", bank.sent().len());
    }

    #[test]
    fn what_cannot_be_paid_leaves_all_as_it_was() {
        let bank = bank();
        let alice = bank.context().actor::<Account>("account/alice");
        let error = block_on(alice.transfer("bob", 101, "1")).expect_err("there is too little");
        assert_eq!(error.rejected_as(), Some(AccountError::TooLittle { balance: 100 }));
        for itself in ["alice", "account/alice"] {
            let error = block_on(alice.transfer(itself, 1, "1")).expect_err("it is the same");
            assert_eq!(error.rejected_as(), Some(AccountError::ToItself));
        }
        assert!(block_on(alice.transfer("", 1, "1")).is_err());
        let error = block_on(alice.deposit(u64::MAX)).expect_err("it is too much");
        assert_eq!(error.rejected_as(), Some(AccountError::TooMuch));
        assert_eq!((balances(&bank), bank.sent()), ([100, 100, 100], vec![]));
        // The id was not used up by what failed.
        assert_eq!(block_on(alice.transfer("bob", 1, "1")), Ok(()));
    }
}
