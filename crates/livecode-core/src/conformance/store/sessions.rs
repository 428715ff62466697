//! Sessions and their history.

use std::sync::Arc;

use bytes::Bytes;

use super::{AWKWARD, at, owner};
use crate::{
    ErrorKind, Owner, Revision, RevisionHead, Session, SessionId, SessionRevision, SessionStatus, Source,
    SourceFile, Store,
};

fn source(source_code: &str) -> Source {
    Source { language: "python".into(), source_code: source_code.into(), files: Vec::new() }
}

fn session() -> Session {
    Session::new(Owner::anonymous(), source("1"), at(0))
}

/// Saves so often that the last revision is `last`.
async fn saved_up_to(store: &dyn Store, last: u64) -> Session {
    let mut session = session();
    store.insert_session(&session).await.unwrap();
    for revision in 2..=last {
        session.save(source(&revision.to_string()), at(revision)).unwrap();
        store.update_session(&session).await.unwrap();
    }
    session
}

fn head(entry: &SessionRevision) -> RevisionHead {
    RevisionHead {
        revision: entry.revision,
        language: entry.source.language.clone(),
        saved_at: entry.saved_at,
    }
}

async fn numbers(store: &dyn Store, id: SessionId, before: Option<u64>, limit: usize) -> Vec<u64> {
    let revisions = store.revisions(id, before.map(Revision), limit).await.unwrap();
    revisions.iter().map(|revision| revision.revision.0).collect()
}

/// Every member comes back, whatever text and bytes are in it.
pub async fn a_session_comes_back_as_it_was_put_in(store: Arc<dyn Store>) {
    let awkward = Source {
        language: "é lang".into(),
        source_code: AWKWARD.into(),
        files: vec![
            SourceFile::new("b/é.bin", Bytes::from_iter(0..=u8::MAX)),
            SourceFile::new("a", Bytes::new()),
        ],
    };
    let mut session = Session::new(owner("tenant/é 'x'"), awkward.clone(), at(1));
    store.insert_session(&session).await.unwrap();
    assert_eq!(store.session(session.id).await.unwrap(), session);
    let first = SessionRevision { revision: Revision::FIRST, source: awkward, saved_at: at(1) };
    assert_eq!(store.revisions(session.id, None, 10).await.unwrap(), [head(&first)]);
    assert_eq!(store.revision(session.id, first.revision).await.unwrap(), first);

    session.save(source(""), at(2)).unwrap();
    store.update_session(&session).await.unwrap();
    assert_eq!(store.session(session.id).await.unwrap(), session);
    session.close(at(3));
    store.update_session(&session).await.unwrap();
    let stored = store.session(session.id).await.unwrap();
    assert_eq!(stored, session);
    assert_eq!(stored.status, SessionStatus::Inactive);
    let second = SessionRevision { revision: Revision(2), source: source(""), saved_at: at(2) };
    assert_eq!(store.revisions(session.id, None, 10).await.unwrap(), [head(&second), head(&first)]);
    for entry in [first, second] {
        assert_eq!(store.revision(session.id, entry.revision).await.unwrap(), entry);
    }
}

/// Nothing is known of a session that was never put in.
pub async fn an_unknown_session_is_not_found(store: Arc<dyn Store>) {
    let mut unknown = session();
    let error = store.session(unknown.id).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    unknown.save(source("2"), at(1)).unwrap();
    let error = store.update_session(&unknown).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(store.revisions(unknown.id, None, 10).await.unwrap(), []);
    let error = store.revision(unknown.id, Revision::FIRST).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

/// A revision that the session doesn't have isn't found, whatever its number.
pub async fn an_unknown_revision_is_not_found(store: Arc<dyn Store>) {
    let session = saved_up_to(&*store, 2).await;
    saved_up_to(&*store, 3).await;
    for revision in [0, 3, u64::from(u32::MAX), u64::MAX] {
        let error = store.revision(session.id, Revision(revision)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "revision {revision}");
    }
}

/// A second session by the same id is a conflict and leaves the first as it is.
pub async fn a_session_id_is_taken_once(store: Arc<dyn Store>) {
    let first = session();
    store.insert_session(&first).await.unwrap();
    let second = Session { id: first.id, ..Session::new(owner("somebody"), source("other"), at(1)) };
    let error = store.insert_session(&second).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(store.session(first.id).await.unwrap(), first);
    assert_eq!(numbers(&*store, first.id, None, 10).await, [1]);
}

/// A change to a version that isn't the stored one is a conflict, and nothing of it is kept.
pub async fn a_session_changes_only_from_the_version_before(store: Arc<dyn Store>) {
    let session = saved_up_to(&*store, 2).await;
    for version in [0, 1, 2, 4, u64::from(u32::MAX)] {
        let mut other = session.clone();
        other.save(source("other"), at(9)).unwrap();
        other.version = version;
        let error = store.update_session(&other).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "version {version}");
    }
    assert_eq!(store.session(session.id).await.unwrap(), session);
    assert_eq!(numbers(&*store, session.id, None, 10).await, [2, 1]);
}

/// Of changes to one version that come at the same time, one is made.
pub async fn of_concurrent_saves_one_wins(store: Arc<dyn Store>) {
    let session = saved_up_to(&*store, 1).await;
    let saves = (0..8).map(|n| {
        let (store, mut session) = (store.clone(), session.clone());
        tokio::spawn(async move {
            session.save(source(&format!("save {n}")), at(n)).unwrap();
            match store.update_session(&session).await {
                Ok(()) => Some(session),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Conflict);
                    None
                }
            }
        })
    });
    let saves = futures_util::future::join_all(saves).await;
    let winners: Vec<Session> = saves.into_iter().filter_map(|save| save.unwrap()).collect();
    assert_eq!(winners, [store.session(session.id).await.unwrap()]);
    assert_eq!(numbers(&*store, session.id, None, 10).await, [2, 1]);
}

/// Only a higher revision joins the history: closing doesn't.
pub async fn only_a_new_revision_joins_the_history(store: Arc<dyn Store>) {
    let mut session = saved_up_to(&*store, 2).await;
    session.close(at(9));
    store.update_session(&session).await.unwrap();
    assert_eq!(store.session(session.id).await.unwrap(), session);
    let history = store.revisions(session.id, None, 10).await.unwrap();
    let saved: Vec<_> = history.iter().map(|entry| (entry.revision.0, entry.saved_at)).collect();
    assert_eq!(saved, [(2, at(2)), (1, at(0))]);
}

/// The history is read newest first, below any revision, as much as is wanted.
pub async fn the_history_is_read_in_pages(store: Arc<dyn Store>) {
    let id = saved_up_to(&*store, 5).await.id;
    let other = saved_up_to(&*store, 2).await.id;
    assert_eq!(numbers(&*store, id, None, usize::MAX).await, [5, 4, 3, 2, 1]);
    assert_eq!(numbers(&*store, id, None, 2).await, [5, 4]);
    assert_eq!(numbers(&*store, id, Some(4), 2).await, [3, 2]);
    assert_eq!(numbers(&*store, id, Some(2), 2).await, [1]);
    assert!(numbers(&*store, id, Some(1), 2).await.is_empty());
    assert_eq!(numbers(&*store, id, Some(100), 1).await, [5]);
    assert!(numbers(&*store, id, None, 0).await.is_empty());
    assert_eq!(numbers(&*store, other, None, 10).await, [2, 1]);
}
