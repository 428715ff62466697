//! How long a claim takes, by what is there.

use std::time::Instant;

use crate::{
    Result,
    figures::{at_most, median, milliseconds, setting},
    load::Places,
    place::Place,
};

pub(crate) async fn claims(places: &Places, promise: Option<f64>) -> Result<()> {
    const WARM_UP: usize = 20;
    let rounds = setting("ROUNDS", 500)?;
    println!("  a claim of one, n = {rounds} each");
    let mut times = [const { Vec::new() }; 3];
    for round in 0..rounds + WARM_UP {
        for turn in 0..times.len() {
            let index = (round + turn) % times.len();
            let time = claim(places.each()[index].0).await?;
            if round >= WARM_UP {
                times[index].push(time);
            }
        }
    }
    let [empty, others @ ..] = places.each().map(|(_, like)| like);
    let [mut times_of_empty, times_of_others @ ..] = times;
    let p50_of_empty = median(&mut times_of_empty);
    println!("    {empty}: p50 {p50_of_empty:.4} ms");
    for (like, mut times) in others.into_iter().zip(times_of_others) {
        let p50 = median(&mut times);
        let ratio = p50 / p50_of_empty;
        let promise = promise.map_or_else(String::new, |most| format!(" ({})", at_most(ratio, most)));
        println!("    {like}: p50 {p50:.4} ms, {ratio:.2} of empty{promise}");
    }
    Ok(())
}

/// In milliseconds.
async fn claim(place: &Place) -> Result<f64> {
    place.push(1).await?;
    let began = Instant::now();
    let leases = place.claim().await?;
    let time = milliseconds(began.elapsed());
    place.ack(&leases).await?;
    Ok(time)
}
