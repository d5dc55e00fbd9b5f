use serde_json::json;

use super::*;
use crate::digest::Pools;
use crate::server::transfer::fair_queue::FairQueue;
use crate::server::transfer::tests::talk::{Served, Talk, serve};
use crate::server::transfer::{Outcome, TransferLimits};
use crate::store::{MemoryFile, MemoryStore};

type Ends = (PendingBody<MemoryFile>, BodyProducer<MemoryFile>);

fn served() -> Served<MemoryStore> {
    serve(MemoryStore::new(), TransferLimits::default())
}

fn begin(talk: &Talk<MemoryStore>, progress: bool) -> Ends {
    PendingBody::begin(Work::Page, progress, talk.waker())
}

/// A moment so long ago.
fn ago(time: Duration) -> Instant {
    Instant::now().checked_sub(time).unwrap()
}

/// Lets the connection wait for this.
fn wait_for(talk: &mut Talk<MemoryStore>, pending: PendingBody<MemoryFile>) {
    talk.state.task = Task::Make {
        info: RequestInfo::nothing(Instant::now()),
        pending: Box::new(pending),
    };
}

/// What the connection waits for.
fn waits_for(talk: &Talk<MemoryStore>) -> &PendingBody<MemoryFile> {
    match &talk.state.task {
        Task::Make { pending, .. } => pending.as_ref(),
        _ => panic!("nothing is waited for"),
    }
}

#[test]
fn each_end_learns_that_the_other_is_gone() {
    let mut talk = served().talk();
    let (pending, producer) = begin(&talk, false);
    assert!(!producer.is_cancelled());
    drop(pending);
    assert!(producer.is_cancelled());

    while talk.woken.try_recv().is_ok() {}
    let (pending, producer) = begin(&talk, false);
    drop(producer);
    assert!(talk.woken.try_recv().is_ok(), "the connection is woken");
    wait_for(&mut talk, pending);
    talk.rest();
    let (header, _) = talk.answers().remove(0);
    assert_eq!(header["error"]["code"], "internal");
}

#[test]
fn keeps_the_run_and_the_time_of_the_next_progress() {
    let talk = served().talk();
    let (mut pending, _producer) = begin(&talk, false);
    assert!(pending.next_progress.is_none() && pending.run.is_none());
    pending.follow_run(Arc::default());
    assert!(pending.run.is_some());

    let before = Instant::now();
    let (pending, _producer) = begin(&talk, true);
    assert!(pending.next_progress.unwrap() >= before + PROGRESS_INTERVAL);
}

#[test]
fn progress_of_a_page_measures_nothing_and_comes_at_its_time() {
    let mut talk = served().talk();
    let (mut pending, _producer) = begin(&talk, true);
    let later = Instant::now() + Duration::from_secs(3_600);
    pending.next_progress = Some(later);
    wait_for(&mut talk, pending);
    talk.rest();
    assert!(talk.received().is_empty());
    assert_eq!(waits_for(&talk).next_progress, Some(later));

    let (mut pending, _producer) = begin(&talk, true);
    pending.next_progress = Some(Instant::now());
    wait_for(&mut talk, pending);
    let before = Instant::now();
    assert_eq!(talk.rest().until.wait, Wait::Page);
    let (header, _) = talk.answers().remove(0);
    let said = ["status", "total_size", "done"].map(|key| header[key].clone());
    assert_eq!(said, [json!("hashing"), json!(0), json!(0)]);
    let next = waits_for(&talk).next_progress.unwrap();
    assert!(next >= before + PROGRESS_INTERVAL);
}

#[test]
fn a_page_is_queued_for_a_minute_and_no_longer() {
    let queue = FairQueue::new(&Arc::new(Pools::start(1).unwrap()));
    let (release, released) = bounded::<()>(1);
    let _first = queue.push(1, move || {
        let _ = released.recv();
    });
    for (since, is_refused) in [(Duration::ZERO, false), (QUEUE_TIMEOUT, true)] {
        let served = served();
        let mut talk = served.talk();
        let (mut pending, _producer) = begin(&talk, false);
        assert_eq!(pending.queued_for(Instant::now()), None);
        pending.set_ticket(queue.push(1, || {}));
        let (_, stood) = pending.ticket.as_mut().unwrap();
        *stood = ago(since);
        let now = *stood + Duration::from_secs(7);
        assert_eq!(pending.queued_for(now), Some(Duration::from_secs(7)));
        wait_for(&mut talk, pending);
        talk.rest();
        let busy = ("", Outcome::Refused(ErrorCode::Busy));
        let expected = if is_refused { vec![busy] } else { vec![] };
        assert_eq!(served.reported(), expected);
    }
    drop(release);
}
