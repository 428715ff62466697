//! Who an attempt runs beside: other attempts, or nobody.
//!
//! A program that kills its worker takes along what runs beside it, as often as they meet. So an execution's last attempt is
//! made without company: whoever is given up because workers were lost was the only one there when the last of them was.

use tokio::{
    select,
    sync::{RwLockReadGuard, RwLockWriteGuard},
};

use super::{
    Shift,
    leases::{Held, Parting},
};

/// What holds for as long as this lives.
pub(super) enum Company<'a> {
    /// Others may run as well.
    Others(#[expect(dead_code, reason = "it's held")] RwLockReadGuard<'a, ()>),
    /// Nobody else does.
    Nobody(#[expect(dead_code, reason = "it's held")] RwLockWriteGuard<'a, ()>),
}

impl Shift {
    /// Waits for its turn; says how to part where the lease is lost meanwhile, or nothing more is begun.
    pub(super) async fn company(&self, held: &Held) -> Result<Company<'_>, Parting> {
        let max_attempts = self.worker.max_attempts;
        // Nothing failed more often than it was started. Where the first attempt is the last one, all would wait for each other.
        let may_be_last = held.lease.attempt >= max_attempts && max_attempts > 1;
        let company = async {
            if may_be_last {
                Company::Nobody(self.company.write().await)
            } else {
                Company::Others(self.company.read().await)
            }
        };
        select! {
            biased;
            () = held.stop.cancelled() => Err(Parting::Lapse),
            company = company => Ok(company),
            () = self.shutdown.cancelled() => Err(Parting::Release),
        }
    }
}
