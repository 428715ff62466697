//! Whatever is said arrives as it was said.

use proptest::prelude::*;

use super::{Begin, Booted, Command, Counters, End, Hello, Kind, Limits, Message, Order, Report, Request};

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..40)
}

prop_compose! {
    fn limits()(numbers: [u64; 5], small: [u32; 4]) -> Limits {
        let [wall_ns, cpu_ns, memory_bytes, file_bytes, stack_bytes] = numbers;
        let [processes, files, open_files, cpu_millis] = small;
        Limits {
            wall_ns, cpu_ns, memory_bytes, processes, file_bytes, files, open_files, stack_bytes, cpu_millis,
        }
    }
}

prop_compose! {
    fn command()(
        path in bytes(),
        argv in prop::collection::vec(bytes(), 0..4),
        env in prop::collection::vec(bytes(), 0..4),
    ) -> Command {
        Command { path, argv, env }
    }
}

prop_compose! {
    fn request()(
        files in prop::collection::vec((".{0,20}", any::<u64>()), 0..4),
        begins: bool,
        keep: Option<u64>,
        collect in prop::collection::vec(".{0,20}", 0..4),
        collect_bytes: u64,
        steps in prop::collection::vec(command(), 0..3),
    ) -> Request {
        Request { files, begins, keep, collect, collect_bytes, steps }
    }
}

proptest! {
    #[test]
    fn a_request_arrives_as_it_was_sent(request in request()) {
        prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
    }

    #[test]
    fn an_order_arrives_as_it_was_sent(
        steps in prop::collection::vec(limits(), 0..3),
        collects: bool,
        kind: Option<u64>,
        id: u64,
        forks: bool,
    ) {
        let run = Order::Run(Begin { steps: steps.clone(), collects, kind });
        for order in [run, Order::Learn(Kind { id, forgets: kind, forks, steps }), Order::Tell] {
            prop_assert_eq!(Order::decode(&order.encode()), Ok(order));
        }
    }

    #[test]
    fn what_boots_arrives_as_it_was_sent(
        steps in prop::collection::vec(prop::option::of(command()), 0..3),
        files in prop::collection::vec((".{0,20}", bytes()), 0..4),
    ) {
        let booted = Booted { steps, files };
        prop_assert_eq!(Booted::decode(&booted.encode()), Ok(booted));
    }

    #[test]
    fn a_report_arrives_as_it_was_sent(
        status: i32,
        kind in 0..7usize,
        numbers: [u64; 4],
        step: u32,
        memory_peak_bytes: Option<u64>,
        files_full: bool,
        message in ".{0,40}",
    ) {
        let ends =
            [End::Status(status), End::WallTime, End::CpuTime, End::Killed, End::NotStarted, End::Failed, End::NoWorld];
        let [wall_ns, cpu_ns, oom_kills, fork_failures] = numbers;
        let end = ends[kind];
        let counters = Counters { waiting: cpu_ns, restarts: wall_ns, ..Counters::default() };
        let report = Report {
            end, step, wall_ns, cpu_ns, memory_peak_bytes, oom_kills, fork_failures, files_full, message, counters,
        };
        prop_assert_eq!(Report::decode(&report.encode()), Ok(report));
    }

    #[test]
    fn what_is_damaged_is_refused_and_nothing_more(request in request(), cut: prop::sample::Index, noise in bytes()) {
        let whole = request.encode();
        prop_assert!(Request::decode(&whole[..cut.index(whole.len())]).is_err());
        // Anything may come of these but a panic or an allocation beyond what was sent.
        Hello::decode(&noise).ok();
        Order::decode(&noise).ok();
        Booted::decode(&noise).ok();
        Report::decode(&noise).ok();
    }
}
