//! Whatever is said arrives as it was said, however it's cut on its way.

use proptest::prelude::*;

use super::{Damaged, HEADER, Kind, MAX_FRAME, Ready, Report, Request, first, header};

fn frames() -> impl Strategy<Value = Vec<(Kind, Vec<u8>)>> {
    let kind = prop::sample::select(Kind::ALL.as_slice());
    prop::collection::vec((kind, prop::collection::vec(any::<u8>(), 0..300)), 0..8)
}

proptest! {
    #[test]
    fn frames_arrive_as_they_were_sent_however_they_are_cut(frames in frames(), cuts in prop::collection::vec(1..40usize, 1..9)) {
        let sent: Vec<u8> =
            frames.iter().flat_map(|(kind, what)| [header(*kind, what.len()).as_slice(), what].concat()).collect();
        let (mut heard, mut got, mut rest) = (Vec::new(), Vec::new(), sent.as_slice());
        for piece in cuts.iter().cycle() {
            while let Some((kind, length)) = first(&heard).unwrap() {
                got.push((kind, heard[HEADER..HEADER + length].to_vec()));
                heard.drain(..HEADER + length);
            }
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            heard.extend_from_slice(now);
            rest = later;
        }
        prop_assert_eq!(got, frames);
        prop_assert!(heard.is_empty());
    }

    #[test]
    fn what_is_no_frame_is_refused_and_never_more_than_a_frame_is_waited_for(noise in prop::collection::vec(any::<u8>(), 0..40)) {
        match first(&noise) {
            Ok(Some((_, length))) => prop_assert!(HEADER + length <= noise.len()),
            Ok(None) => {
                let length = noise.get(1..HEADER).map_or(0, |length| u32::from_le_bytes(length.try_into().unwrap()));
                prop_assert!(length as usize <= MAX_FRAME);
            }
            Err(Damaged) => prop_assert!(noise.len() >= HEADER),
        }
        // Anything may come of these but a panic.
        serde_json::from_slice::<Ready>(&noise).ok();
        serde_json::from_slice::<Request>(&noise).ok();
        serde_json::from_slice::<Report>(&noise).ok();
    }
}
