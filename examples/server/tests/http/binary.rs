//! The binary's configuration: what it lists, and what it refuses.

use std::{process::Output, time::Duration};

use tokio::process::Command;

/// What it says before it ends. One that goes on and serves is killed, and the test fails.
async fn binary(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_livecode-server"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(120), output).await;
    output.unwrap_or_else(|_| panic!("{arguments:?} {environment:?} was accepted: it serves")).unwrap()
}

#[tokio::test]
async fn help_lists_every_variable_with_its_default() {
    let help = String::from_utf8(binary(&["--help"], &[]).await.stdout).unwrap();
    for (variable, default) in [
        ("LISTEN", "(default: 127.0.0.1:3000)"),
        ("PORT", ""),
        ("AUTH", "[default: none]"),
        ("JWT_ISSUER", "(default: any)"),
        ("JWT_AUDIENCE", "(default: any)"),
        ("CORS_ORIGINS", "(default: none but its own)"),
        ("ROLE", "[default: all]"),
        ("DATABASE_URL", "[default: sqlite://livecode.db]"),
        ("QUEUE_URL", "[default: database]"),
        ("SANDBOX", "[default: process]"),
        ("DOCKER_IMAGES", ""),
        ("DOCKER_RUNTIME", "(default: the engine's own)"),
        ("ISOLATION", "[default: strict]"),
        ("WARM", "(default: single-use for interpreters)"),
        ("COMPILE_CACHE_BYTES", "[default: 134217728]"),
        ("WORKERS", "(default: the number of cores)"),
        ("LIMIT_WALL_MS", "[default: 10000]"),
        ("LIMIT_CPU_MS", "[default: 10000]"),
        ("LIMIT_MEMORY_BYTES", "[default: 134217728]"),
        ("LIMIT_PROCESSES", "[default: 64]"),
        ("LIMIT_OUTPUT_BYTES", "[default: 1048576]"),
        ("LIMIT_FILE_BYTES", "[default: 67108864]"),
        ("LIMIT_CPUS", "[default: 1]"),
        ("MAX_SOURCE_CHARS", "[default: 65536]"),
        ("MAX_QUEUED", "[default: 100000]"),
        ("MAX_ATTEMPTS", "[default: 3]"),
        ("LEASE_MS", "[default: 15000]"),
        ("RETAIN_DAYS", "(default: forever)"),
        ("ALLOW_ANONYMOUS", ""),
        ("DEBUG_ROUTES", ""),
        ("LANGUAGES", ""),
        ("LOG_FORMAT", "[default: text]"),
    ] {
        let flag = format!("--{}", variable.to_lowercase().replace('_', "-"));
        let (_, about) = help
            .split_once(&format!("{flag} "))
            .or_else(|| help.split_once(&format!("{flag}\n")))
            .expect(&flag);
        let about = about.split("      --").next().unwrap();
        assert!(about.contains(&format!("[env: {variable}")), "{flag}: {about}");
        assert!(about.replace('\n', " ").contains(default), "{flag}: {about}");
    }
}

#[tokio::test]
async fn help_does_not_show_a_password() {
    let secret = [("DATABASE_URL", "postgres://u:hunter2@db/x"), ("QUEUE_URL", "redis://:hunter2@q")];
    let help = binary(&["--help"], &secret).await;
    assert!(!String::from_utf8(help.stdout).unwrap().contains("hunter2"));
}

#[tokio::test]
async fn what_cannot_be_right_is_refused_with_variable_reason_and_remedy() {
    for (environment, variable, remedy) in [
        (&[("LISTEN", "0.0.0.0:3000")][..], "LISTEN is 0.0.0.0:3000", "ALLOW_ANONYMOUS=1"),
        (&[("LISTEN", "everywhere")], "<ADDRESS:PORT>", "invalid socket address"),
        (
            &[("AUTH", "keys:/nowhere.json")],
            "/nowhere.json",
            "livecode-server keys --file /nowhere.json create OWNER",
        ),
        (&[("PORT", "70000")], "--port <PORT>", "0..=65535"),
        (
            &[("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x")],
            "the database can't be reached",
            "refused",
        ),
        (
            &[("DATABASE_URL", "mysql://u:hunter2@db/x")],
            "DATABASE_URL",
            "sqlite://FILE, postgres://HOST/DATABASE or memory:",
        ),
        (&[("DATABASE_URL", "sqlite://")], "DATABASE_URL", "sqlite://livecode.db"),
        (&[("DATABASE_URL", "sqlite::memory:")], "DATABASE_URL", "memory:"),
        (
            &[("DATABASE_URL", "memory:"), ("QUEUE_URL", "redis://:hunter2@127.0.0.1:1")],
            "Redis can't be reached",
            "refused",
        ),
        (
            &[("DATABASE_URL", "memory:"), ("QUEUE_URL", "redis://u:hunter2@q/x")],
            "the URL of Redis",
            "redis://USER:PASSWORD@HOST:PORT/DATABASE",
        ),
        (&[("QUEUE_URL", "rabbit")], "QUEUE_URL", "database, redis://HOST or memory:"),
        (&[("ROLE", "api"), ("DATABASE_URL", "memory:")], "ROLE", "ROLE=all"),
        (&[("ROLE", "worker"), ("QUEUE_URL", "memory:")], "ROLE", "ROLE=all"),
        (&[("ROLE", "boss")], "--role <ROLE>", "all, api, worker"),
        (&[("SANDBOX", "none")], "--sandbox <SANDBOX>", "process, docker"),
        (&[("SANDBOX", "docker")], "DOCKER_IMAGES is not set", "DOCKER_IMAGES=python=python:3.13-slim"),
        (
            &[
                ("SANDBOX", "docker"),
                ("DOCKER_IMAGES", "python=python"),
                ("DATABASE_URL", "memory:"),
                ("DOCKER_HOST", "unix:///nowhere/docker.sock"),
            ],
            "the container engine can't be reached",
            "DOCKER_HOST",
        ),
        (&[("ISOLATION", "off")], "--isolation <ISOLATION>", "strict, best-effort"),
        (&[("WARM", "hot")], "WARM has \"hot\"", "set off, single-use or fork"),
        (&[("WARM", "python=fork,cobol=off")], "WARM names a language", "LANGUAGES"),
        (&[("WORKERS", "0")], "--workers <WORKERS>", "1.."),
        (&[("LIMIT_WALL_MS", "0")], "--limit-wall-ms", "1.."),
        (&[("LIMIT_MEMORY_BYTES", "-1")], "--limit-memory-bytes", "invalid digit"),
        (&[("LIMIT_CPUS", "0")], "--limit-cpus", "such as 1 or 0.5"),
        (&[("LIMIT_CPUS", "1e3")], "--limit-cpus", "such as 1 or 0.5"),
        (&[("LEASE_MS", "1")], "--lease-ms", "1000.."),
        (&[("RETAIN_DAYS", "0")], "--retain-days", "1..=36500"),
        (&[("ALLOW_ANONYMOUS", "perhaps")], "--allow-anonymous", "boolean"),
        (&[("LOG_FORMAT", "xml")], "--log-format <LOG_FORMAT>", "text, json"),
        (&[("LANGUAGES", "/nowhere.toml")], "LANGUAGES", "/nowhere.toml"),
    ] {
        let refused = binary(&[], environment).await;
        assert!(!refused.status.success(), "{environment:?}");
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains(variable), "{environment:?}: {said}");
        assert!(said.contains(remedy), "{environment:?}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn the_log_is_json_where_that_is_asked_for_and_holds_no_password() {
    let environment = [("LOG_FORMAT", "json"), ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x")];
    let refused = binary(&[], &environment).await;
    let said = String::from_utf8(refused.stderr).unwrap();
    let line: serde_json::Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(line["message"].as_str().unwrap().contains("the database can't be reached"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}
