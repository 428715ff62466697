//! An image that the engine doesn't have is pulled for its first run: from a registry of the test's own.

#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

mod engine;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use async_trait::async_trait;
use engine::Engine;
use livecode_core::{ExecutionSpec, Result, Runner};
use livecode_docker::{DockerSandbox, ImageSource, PullProgress};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What is at a path: its type and content.
type Files = HashMap<String, (&'static str, Vec<u8>)>;

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    format!("sha256:{}", hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// The test's image, as a registry has it by the name `python` and the tag `test`.
fn files(engine: &Engine) -> Files {
    let directory = tempfile::tempdir().unwrap();
    let saved = directory.path().join("saved.tar");
    engine.docker(&["save", "--output", saved.to_str().unwrap(), "livecode-test/python"]);
    let unpacked =
        Command::new("tar").arg("-C").arg(directory.path()).arg("-xf").arg(&saved).status().unwrap();
    assert!(unpacked.success());
    let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
    let index: Value = serde_json::from_slice(&read("manifest.json")).unwrap();
    let mut files = Files::new();
    let mut blob = |kind: &'static str, bytes: Vec<u8>| {
        let described = json!({"mediaType": kind, "size": bytes.len(), "digest": digest(&bytes)});
        files.insert(format!("/v2/python/blobs/{}", digest(&bytes)), (kind, bytes));
        described
    };
    let config = blob(CONFIG, read(index[0]["Config"].as_str().unwrap()));
    let layers = index[0]["Layers"].as_array().unwrap().iter();
    let layers: Vec<Value> = layers
        .map(|layer| {
            let packed = Command::new("gzip")
                .args(["-1", "-c"])
                .arg(directory.path().join(layer.as_str().unwrap()))
                .output();
            blob(LAYER, packed.unwrap().stdout)
        })
        .collect();
    let manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}).to_string();
    let by_digest = format!("/v2/python/manifests/{}", digest(manifest.as_bytes()));
    for path in [by_digest, "/v2/python/manifests/test".into()] {
        files.insert(path, (MANIFEST, manifest.clone().into_bytes()));
    }
    files.insert("/v2/".into(), ("application/json", b"{}".to_vec()));
    files
}

/// Serves them; gives back where.
fn serve(files: Files) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let files = Arc::new(files);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let files = files.clone();
            // Who goes away has heard enough.
            thread::spawn(move || answer(stream.unwrap(), &files).ok());
        }
    });
    address
}

fn answer(mut stream: TcpStream, files: &Files) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap()?;
    while !lines.next().unwrap()?.is_empty() {}
    let [method, path] = [0, 1].map(|place| request.split(' ').nth(place).unwrap());
    let nothing = ("text/plain", Vec::new());
    let (status, (kind, body)) = files.get(path).map_or(("404 Not Found", &nothing), |file| ("200 OK", file));
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {}\r\n\
         Docker-Distribution-API-Version: registry/2.0\r\nConnection: close\r\n\r\n",
        body.len(),
        digest(body)
    )?;
    if method == "GET" { stream.write_all(body) } else { Ok(()) }
}

/// Names one image for everything, and keeps what it hears of it.
#[derive(Debug)]
struct Listening {
    image: String,
    heard: Arc<Mutex<Vec<PullProgress>>>,
}

#[async_trait]
impl ImageSource for Listening {
    async fn image(&self, _language: &str) -> Result<String> {
        Ok(self.image.clone())
    }

    fn pulling(&self, progress: &PullProgress) {
        self.heard.lock().unwrap().push(progress.clone());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_there_is_pulled_and_tells_how_it_gets_on() {
    let from = Engine::shared();
    let image = format!("{}/python:test", serve(files(from)));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let source = Listening { image: image.clone(), heard: heard.clone() };
    // Without the image that this one is made of.
    let engine = Engine::with_network();
    let sandbox = DockerSandbox::builder().host(engine.host()).images(source).build().await.unwrap();
    let runner = Runner::new(sandbox.clone());
    for _ in 0..2 {
        let run = runner.run(&ExecutionSpec::new("python", "print('pulled')")).await.unwrap();
        assert_eq!(run.captured.stdout, "pulled\n");
    }
    sandbox.drain().await.unwrap();
    let heard = heard.lock().unwrap();
    assert!(heard.iter().all(|progress| progress.image == image), "{heard:?}");
    let downloading = heard.iter().find(|progress| progress.status == "Downloading").unwrap();
    assert!(!downloading.layer.is_empty() && downloading.total > Some(0), "{downloading:?}");
    let pulled = heard.iter().filter(|progress| progress.status.starts_with("Status: Downloaded")).count();
    assert_eq!(pulled, 1, "once for both: {heard:?}");
}
