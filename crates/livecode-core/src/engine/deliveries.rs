//! What a host needs to tell others of an execution's end. What is sent, how, and how often it's tried is the host's to say.

use super::Engine;
use crate::{
    Delivery, DeliveryChange, DeliveryQuery, Error, ErrorKind, Execution, ExecutionId, Result, Timestamp,
};

impl Engine {
    /// Where the word of its end stands; none where nobody is to be told. Of an execution that the caller has been shown: whose it
    /// is isn't asked again.
    pub async fn delivery(&self, execution: &Execution) -> Result<Option<Delivery>> {
        self.parts.store.delivery(execution.id).await
    }

    /// What is to be delivered now, whosever it is: at most `limit`, those first that are due longest, after the place `after`.
    /// Several processes may ask, and get the same: [`Engine::change_delivery`] says who may begin.
    ///
    /// ```
    /// # use livecode_core::*;
    /// # use std::time::Duration;
    /// async fn deliver(engine: &Engine) -> Result<()> {
    ///     for delivery in engine.deliveries_due(None, 100).await? {
    ///         let begin = DeliveryChange::Begin { lease: Duration::from_secs(30) };
    ///         let Some(begun) = engine.change_delivery(&delivery, begin).await? else { continue };
    ///         // Tell begun.url, and count on it that it may be told again.
    ///         engine.change_delivery(&begun, DeliveryChange::Deliver).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) in the view of one owner.
    pub async fn deliveries_due(
        &self,
        after: Option<(Timestamp, ExecutionId)>,
        limit: usize,
    ) -> Result<Vec<Delivery>> {
        if let Some(owner) = &self.owner {
            return Err(Error::unsupported(format!(
                "the view of owner '{owner}' can't deliver, which is for all owners: call it on the engine itself"
            )));
        }
        let query = DeliveryQuery { due_until: self.parts.clock.now(), after, limit };
        self.parts.store.deliveries(&query).await
    }

    /// Makes a change to the delivery as it was read; gives it back as it is now, or none where somebody else changed it
    /// meanwhile or it was deleted: then it's theirs.
    ///
    /// Moments are this process's clock's: a lease has to be longer than what it's for by as much as the clocks of several
    /// processes differ.
    ///
    /// # Errors
    ///
    /// Those of [`Delivery::apply`].
    pub async fn change_delivery(
        &self,
        delivery: &Delivery,
        change: DeliveryChange,
    ) -> Result<Option<Delivery>> {
        let mut changed = delivery.clone();
        changed.apply(change, self.parts.clock.now())?;
        match self.parts.store.update_delivery(&changed).await {
            Ok(()) => Ok(Some(changed)),
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
