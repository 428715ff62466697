//! Who looks at what while others look.

use std::sync::Arc;

use futures_util::future::{join, join_all};

use super::{at, change, execution, owner, spec};
use crate::{
    Captured, Change, Delivery, ErrorKind, Execution, Outcome, Output, Owner, Session, Source, Stdio, Store,
    Termination,
};

/// All that is told of one execution, and of a session beside it.
struct Whole {
    session: Session,
    execution: Execution,
    captured: Captured,
    delivery: Option<Delivery>,
}

/// With so many bytes in all that may have any, and a number that nothing else has.
async fn whole(store: &dyn Store, number: usize, bytes: usize) -> Whole {
    let text = |of: &str| format!("{number} {of} {}", "x".repeat(bytes));
    let source = Source { language: "python".into(), source_code: text("source"), files: Vec::new() };
    let mut session = Session::new(owner(&format!("owner {number}")), source.clone(), at(0));
    store.insert_session(&session).await.unwrap();
    session.save(Source { source_code: text("saved"), ..source }, at(1)).unwrap();
    store.update_session(&session).await.unwrap();
    let mut execution = execution();
    let spec = match number % 2 {
        0 => spec(),
        _ => spec().callback_url(format!("https://example.org/{number}")),
    };
    store.insert(&execution, &spec).await.unwrap();
    change(store, &mut execution, Change::Start, &[]).await;
    let (stdout, stderr) = (text("stdout"), text("stderr"));
    let chunks = [Output::new(Stdio::Stderr, stderr.clone()), Output::new(Stdio::Stdout, stdout.clone())];
    store.append(execution.id, 1, &chunks).await.unwrap();
    let outcome =
        Outcome { compile_output: Some(text("compiler")), ..Outcome::new(Termination::Exited { code: 0 }) };
    change(store, &mut execution, Change::Finish(outcome), &[]).await;
    let delivery = store.delivery(execution.id).await.unwrap();
    assert_eq!(delivery.is_some(), number % 2 == 1);
    Whole {
        session,
        execution,
        captured: Captured { stdout: stdout.into(), stderr: stderr.into() },
        delivery,
    }
}

/// Whoever looks while others do gets their own, small or large, and as it is by then; who asks for what isn't there, that.
pub async fn concurrent_looks_get_their_own(store: Arc<dyn Store>) {
    let mut all = Vec::new();
    for number in 0..12 {
        all.push(whole(&*store, number, [0, 1_000, 100_000][number % 3]).await);
    }
    // Each is looked at twice at a time.
    join_all(all.iter().chain(&all).map(|one| look(&*store, one))).await;
}

async fn look(store: &dyn Store, one: &Whole) {
    let id = one.execution.id;
    let session = async {
        assert_eq!(store.session(one.session.id).await.unwrap(), one.session);
        let unknown = Session::new(Owner::anonymous(), one.session.source.clone(), at(0)).id;
        assert_eq!(store.session(unknown).await.unwrap_err().kind(), ErrorKind::NotFound);
    };
    let unknown = execution().id;
    let record = async {
        assert_eq!(store.get(id).await.unwrap(), one.execution);
        assert_eq!(store.get(unknown).await.unwrap_err().kind(), ErrorKind::NotFound);
    };
    let output = async {
        assert_eq!(store.output(id).await.unwrap(), one.captured);
        assert_eq!(store.output(unknown).await.unwrap_err().kind(), ErrorKind::NotFound);
    };
    let delivery = async {
        assert_eq!(store.delivery(id).await.unwrap(), one.delivery);
        assert_eq!(store.delivery(unknown).await.unwrap(), None);
    };
    join(join(session, record), join(output, delivery)).await;
}
