//! What a worker counts, and the spans that it works in.

use std::sync::{Arc, Mutex};

use livecode_core::{Error, EventKind, ExecutionSpec, RunOptions, State, Trace, describe_metrics};
use metrics::set_default_local_recorder;
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::{
    stage::{Stage, exit},
    world::World,
};

/// What `metrics` has on the line that begins so.
#[track_caller]
fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    assert!(line.is_some(), "no {series} in {metrics}");
    line.unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_start_retry_loss_and_end_is_counted_once() {
    // Of this thread, which is the runtime's only one.
    let recorder = PrometheusBuilder::new().build_recorder();
    let _local = set_default_local_recorder(&recorder);
    describe_metrics();
    let world = World::new();
    // Lost, failed, ended; then failed three times.
    let stage = Arc::new(Stage::new(|scene| async move {
        match scene.nth {
            1 => {
                scene.print("void\n").await;
                scene.last().await
            }
            3 => exit(1),
            _ => Err(Error::unavailable("no memory for a sandbox")),
        }
    }));
    let lost = world.work(&stage);
    let id = world.queue("1").await;
    world.events_until(id, |event| matches!(event.kind, EventKind::Output { .. })).await;
    assert_eq!(value(&recorder.handle().render(), "livecode_programs_running"), 1.0);
    lost.kill().await;
    let worker = world.start(&world.worker(&stage).max_attempts(3));
    assert_eq!((world.end(id).await.state, stage.count()), (State::Failed, 3));
    let given_up = world.queue("2").await;
    assert_eq!(world.end(given_up).await.failures, 3);
    worker.stop().await;
    let delayed = world.queue_after("3", std::time::Duration::from_secs(60)).await;
    world.engine.cancel(delayed).await.unwrap();

    let metrics = recorder.handle().render();
    let python = "language=\"python\"";
    let failed = |error_type| format!("{{{python},status=\"FAILED\",error_type=\"{error_type}\"}}");
    for (series, times) in [
        (format!("livecode_executions_accepted_total{{{python}}}"), 3.0),
        ("livecode_attempts_started_total".into(), 6.0),
        ("livecode_attempts_lost_total".into(), 1.0),
        ("livecode_attempts_retried_total{reason=\"failure\"}".into(), 4.0),
        ("livecode_attempts_retried_total{reason=\"shutdown\"}".into(), 0.0),
        ("livecode_sandbox_errors_total{kind=\"unavailable\"}".into(), 4.0),
        ("livecode_executions_given_up_total".into(), 1.0),
        (format!("livecode_executions_ended_total{}", failed("RuntimeError")), 1.0),
        (format!("livecode_executions_ended_total{}", failed("InternalError")), 1.0),
        (
            format!(
                "livecode_executions_ended_total{{{python},status=\"CANCELLED\",error_type=\"Cancelled\"}}"
            ),
            1.0,
        ),
        (format!("livecode_execution_run_seconds_count{}", failed("RuntimeError")), 1.0),
        (format!("livecode_execution_wait_seconds_count{{{python}}}"), 6.0),
        ("livecode_programs_running".into(), 0.0),
    ] {
        assert_eq!(value(&metrics, &series), times, "{series} in {metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_host_gets_each_attempts_span_with_where_its_execution_comes_from() {
    let world = World::new();
    let stage = Arc::new(Stage::new(|scene| async move {
        if scene.nth == 1 { Err(Error::unavailable("no memory for a sandbox")) } else { exit(0) }
    }));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let worker = world.worker(&stage).join_traces({
        let seen = seen.clone();
        move |_, trace| seen.lock().unwrap().push(trace.clone())
    });
    let working = world.start(&worker);
    let trace = Trace {
        request_id: Some("r-1".into()),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
    };
    let spec = ExecutionSpec { trace: trace.clone(), ..ExecutionSpec::new("python", "1") };
    let accepted = world.engine.run(spec, RunOptions::default()).await.unwrap();
    world.end(accepted.execution.id).await;
    assert_eq!(*seen.lock().unwrap(), [trace.clone(), trace], "one for each attempt");
    working.stop().await;
}
