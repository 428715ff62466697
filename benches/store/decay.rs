//! Part `decay`: a short queue that turns over fast, which leaves dead rows where the next claim reads.

use std::{sync::Arc, time::Duration};

use crate::{
    Result,
    cycles::rate,
    figures::{at_least, setting},
    place::{PostgresServer, Work},
};

const STEP: Duration = Duration::from_secs(5);
const IN_FLIGHT: usize = 64;

pub(crate) async fn decay(server: &PostgresServer) -> Result<()> {
    let seconds = setting("DECAY", 60)?;
    println!("PostgreSQL, push, claim and acknowledge, {IN_FLIGHT} in flight for {seconds} s");
    let (place, _) = server.open("decay").await?;
    let place = Arc::new(place);
    let mut rates = Vec::new();
    for _ in 0..seconds.div_ceil(STEP.as_secs() as usize).max(2) {
        rates.push(rate(&place, Work::Job, IN_FLIGHT, STEP).await?);
        println!("    {:3} s: {:.0} a second", rates.len() as u64 * STEP.as_secs(), rates[rates.len() - 1]);
    }
    let ratio = rates[rates.len() - 1] / rates[0];
    println!("  last 5 s to first: {ratio:.2} ({})", at_least(ratio, 0.9));
    Ok(())
}
