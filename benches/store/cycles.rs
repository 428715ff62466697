//! How many life cycles a second, by how many are in flight.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;

use crate::{
    Result, SLICE,
    figures::median,
    load::Places,
    place::{Place, Work},
    slices,
};

/// Not measured: connections are opened, statements are prepared.
const WARM_UP: Duration = Duration::from_millis(500);

pub(crate) async fn cycles(places: &Places) -> Result<()> {
    let slices = slices()?;
    println!("  life cycles, n = {slices} slices of {} s each", SLICE.as_secs());
    for in_flight in [1, 8, 64] {
        let mut rates = [const { Vec::new() }; 3];
        for (place, _) in places.each() {
            rate(place, Work::LifeCycle, in_flight, WARM_UP).await?;
        }
        // Each round begins with another one, so that nobody always has the same one's remains to bear.
        for round in 0..slices {
            for turn in 0..rates.len() {
                let index = (round + turn) % rates.len();
                let (place, _) = places.each()[index];
                rates[index].push(rate(place, Work::LifeCycle, in_flight, SLICE).await?);
            }
        }
        let empty = rates[0].clone();
        for ((_, like), mut rates) in places.each().into_iter().zip(rates) {
            let mut ratios: Vec<f64> = rates.iter().zip(&empty).map(|(rate, empty)| rate / empty).collect();
            let (rate, ratio) = (median(&mut rates), median(&mut ratios));
            println!("    {in_flight} in flight, {like}: {rate:.0} a second, {ratio:.2} of empty");
        }
    }
    Ok(())
}

/// How many a second where so many are in flight all the while: whoever has ended one begins the next.
pub(crate) async fn rate(place: &Arc<Place>, work: Work, in_flight: usize, time: Duration) -> Result<f64> {
    let began = Instant::now();
    let until = began + time;
    let workers = (0..in_flight).map(|_| {
        let place = place.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while Instant::now() < until {
                place.work(work).await?;
                done += 1;
            }
            Ok::<usize, livecode::Error>(done)
        })
    });
    let done: usize = try_join_all(workers).await?.into_iter().sum::<livecode::Result<_>>()?;
    Ok(done as f64 / began.elapsed().as_secs_f64())
}
