//! Envelopes survive the wire, and nothing that arrives there can do harm.

use proptest::prelude::*;

use std::time::Duration;

use super::*;
use crate::fault::{Fault, Ran, Rejection};
use crate::id::MessageId;
use crate::reminder::{MAX_REMINDERS, Reminder, Repeat};

fn call() -> Call {
    Call {
        id: MessageId::numbered(&Incarnation::generate(), 7),
        target: "cart/alice".parse().unwrap(),
        operation: "add".parse().unwrap(),
        payload: Bytes::from_static(b"{}"),
        content_type: ContentType::Protobuf,
        deadline_ms: 1_700_000_000_000,
        remaining: Duration::from_millis(4321),
        retry_budget: 3,
        chain: vec![Hop {
            actor: "storefront".parse().unwrap(),
            message: MessageId::numbered(&Incarnation::generate(), 1),
        }],
        trace: TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "a=b"),
        attempt: 2,
        caller: Some("storefront".parse().unwrap()),
        side: Side::Not(3),
        not_after_ms: Some(1_700_000_001_000),
        aim: Aim::Handle,
    }
}

#[test]
fn calls_round_trip() {
    let call = call();
    assert!(call.trace.is_some());
    assert_eq!(Call::decode(call.encode().to_bytes()), Ok(call));
}

#[test]
fn what_operators_want_of_a_key_survives_the_wire() {
    let reminder = Reminder {
        id: "expire".into(),
        generation: 0,
        due_ms: 9,
        repeat: Repeat::Every(1_000),
        operation: "expire".parse().unwrap(),
        payload: Bytes::from_static(b"{}"),
        content_type: ContentType::Json,
        armed: false,
    };
    let aims = [
        Aim::Look,
        Aim::Overwrite(Overwrite::default()),
        Aim::Overwrite(Overwrite { delete: true, if_revision: Some(0), reminders: None }),
        Aim::Overwrite(Overwrite {
            delete: false,
            if_revision: None,
            reminders: Some(vec![reminder.clone()]),
        }),
    ];
    for aim in aims {
        let call = Call { aim, ..call() };
        assert_eq!(Call::decode(call.encode().to_bytes()), Ok(call));
    }
    let too_many = Overwrite { reminders: Some(vec![reminder; MAX_REMINDERS + 1]), ..Overwrite::default() };
    let call = Call { aim: Aim::Overwrite(too_many), ..call() };
    assert!(matches!(
        Call::decode(call.encode().to_bytes()),
        Err(Malformed::Field { field: "reminders", .. })
    ));

    let seen = Seen { awake: true, messages: 3 };
    assert_eq!(Seen::decode(seen.encode()), Ok(seen));
    assert!(Seen::decode(Bytes::new()).is_err(), "a node that knows no such question answers something else");
}

#[test]
fn a_call_of_an_exported_function_survives_the_wire() {
    let link = Link {
        interface: "acme:shop/pricing@1.2.0".parse().unwrap(),
        fingerprint: crate::Digest::of(b"func(sku: string) -> u32"),
    };
    let call = Call { aim: Aim::Link(link), ..call() };
    assert_eq!(Call::decode(call.encode().to_bytes()), Ok(call.clone()));
    // A node that does not know the aim must not take it for a message to the handler.
    let mut unknown: wire::Call = decode(call.encode().to_bytes()).unwrap();
    unknown.aim = None;
    let read = Call::decode(unknown.encode_to_vec().into());
    assert!(matches!(&read, Err(Malformed::Field { field: "operation", .. })), "{read:?}");
    for (interface, fingerprint, field) in
        [("pricing", "", "interface"), ("a:b/c", "sha256:12", "fingerprint")]
    {
        let (interface, fingerprint) = (interface.to_owned(), fingerprint.to_owned());
        let wire = Some(wire::call::Aim::Link(wire::Link { interface, fingerprint }));
        let read = Aim::from_wire(wire);
        assert!(matches!(&read, Err(Malformed::Field { field: wrong, .. }) if *wrong == field), "{read:?}");
    }
}

#[test]
fn calls_and_replies_travel_together_and_keep_their_numbers() {
    let origin = Incarnation::generate();
    let calls = [call().encode(), vec![0xff].into(), call().encode()];
    let back = Calls::decode(Calls::encode(&origin, 7, &calls)).unwrap();
    assert_eq!(back.origin, origin);
    let read: Vec<(u64, bool)> = back.read().map(|(number, call)| (number, call.is_ok())).collect();
    assert_eq!(read, [(7, true), (8, false), (9, true)], "one broken call does not take the others along");

    let reply = Reply { number: 9, outcome: Ok(Bytes::from_static(b"1")), load: 2, kept: true };
    let frame = Replies::encode(&origin, &[reply.encode()]);
    let back: Vec<_> = Replies::decode(frame).unwrap().read().collect();
    assert_eq!(back, [Ok(reply)]);
}

#[test]
fn a_frame_holds_so_many_entries_and_no_more() {
    let origin = Incarnation::generate();
    let frame = |first, entries| Calls::encode(&origin, first, &vec![Entry::default(); entries]);
    assert!(Calls::decode(frame(1, MAX_TOGETHER)).is_ok());
    assert!(Calls::decode(frame(1, MAX_TOGETHER + 1)).is_err());
    assert!(Calls::decode(frame(u64::MAX, 0)).is_err());
    let frame = Cancel { origin: Incarnation::generate(), numbers: vec![1; MAX_TOGETHER + 1] };
    assert!(Cancel::decode(frame.encode()).is_err());
}

#[test]
fn every_fault_survives_the_wire_with_what_it_says_of_running() {
    let faults = [
        Fault::NoSuchActor("a".into()),
        Fault::NoSuchOperation("o".into()),
        Fault::NoReplica("a".into()),
        Fault::Overloaded("a".into()),
        Fault::NotHere { actor: "a".into(), revision: 9 },
        Fault::Deadline(Ran::No),
        Fault::Deadline(Ran::Maybe),
        Fault::Unknown("u".into()),
        Fault::Deadlock("d".into()),
        Fault::Denied("d".into()),
        Fault::Trapped("t".into()),
        Fault::Rejected(Rejection { code: "c".into(), message: "m".into(), details: Some("{}".into()) }),
        Fault::Rejected(Rejection { code: "c".into(), message: "m".into(), details: None }),
        Fault::Cancelled(Ran::Maybe),
        Fault::TooLarge { limit: 1, size: 2, ran: Ran::Yes },
        Fault::Malformed("m".into()),
    ];
    for fault in faults {
        let reply = Reply { number: 5, outcome: Err(fault.clone()), load: 3, kept: false };
        let back = Reply::decode(reply.encode().to_bytes()).unwrap();
        assert_eq!(back, reply);
        assert_eq!(back.outcome.unwrap_err().ran(), fault.ran());
    }
}

#[test]
fn a_fault_of_a_later_version_may_have_run() {
    let message = wire::Reply {
        number: 5,
        outcome: Some(wire::reply::Outcome::Fault(wire::Fault { kind: None })),
        load: 0,
        kept: false,
    };
    let reply = Reply::decode(message.encode_to_vec().into()).unwrap();
    assert_eq!(reply.outcome.unwrap_err().ran(), Ran::Maybe);
}

#[test]
fn a_version_that_is_not_understood_is_named() {
    let origin = Incarnation::generate();
    let calls = vec![call().encode().to_bytes()];
    let future = wire::Calls { version: VERSION + 1, origin: origin.clone().into(), first: 3, calls };
    let read = Calls::decode(future.encode_to_vec().into()).unwrap();
    assert_eq!(read.origin, origin, "whoever asked is told");
    assert_eq!(read.read().collect::<Vec<_>>(), [(3, Err(Malformed::Version(VERSION + 1)))]);
}

#[test]
fn invalid_names_are_refused_by_field() {
    let mut message: wire::Call = decode(call().encode().to_bytes()).unwrap();
    message.target = "Not A Name".into();
    match Call::decode(message.encode_to_vec().into()) {
        Err(Malformed::Field { field: "target", .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_leader_is_told_survives_the_wire() {
    let load = ActorLoad { replicas: 2, in_flight_milli: 1500, waiting_milli: 20, handled: 7 };
    let report = LoadReport {
        origin: Incarnation::generate(),
        window: Duration::from_millis(500),
        actors: vec![("greeter".parse().unwrap(), load)],
    };
    assert_eq!(LoadReport::decode(report.encode()).unwrap(), report);
    let wake = Wake { origin: Incarnation::generate(), actor: "greeter".parse().unwrap(), held: 3 };
    assert_eq!(Wake::decode(wake.encode()).unwrap(), wake);
}

#[test]
fn a_broken_trace_is_dropped_and_the_call_is_not() {
    let mut message: wire::Call = decode(call().encode().to_bytes()).unwrap();
    message.trace = Some(wire::TraceContext { traceparent: "nonsense".into(), tracestate: String::new() });
    assert_eq!(Call::decode(message.encode_to_vec().into()).unwrap().trace, None);
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Call::decode(bytes.clone().into());
        let _ = Reply::decode(bytes.clone().into());
        let _ = Calls::decode(bytes.clone().into()).map(|calls| calls.read().count());
        let _ = Replies::decode(bytes.clone().into()).map(|replies| replies.read().count());
        let _ = Cancel::decode(bytes.clone().into());
        let _ = LoadReport::decode(bytes.clone().into());
        let _ = Wake::decode(bytes.clone().into());
        let _ = Suspicion::decode(bytes.into());
    }

    #[test]
    fn damaged_calls_never_panic(at in 0usize..200, with in any::<u8>()) {
        let mut bytes = call().encode().to_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = with;
        let _ = Call::decode(bytes.into());
    }

    #[test]
    fn traceparents_never_panic(text in "\\PC{0,60}") {
        let _ = text.parse::<TraceParent>();
    }
}
