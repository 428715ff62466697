//! Compiles the runner, alone and static, for the library to carry in itself.
//!
//! It has dependencies, which keep it free of unsafe code, so that cargo makes it: in a package of its own that is written here, from
//! the versions that are on this machine because this crate has the same. No network is used.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What both `src/runner` and `Cargo.toml` of this crate name.
const DEPENDENCIES: &str = r#"
landlock = "0.4"
rustix = { version = "1.1", default-features = false, features = ["std", "event", "fs", "process", "stdio"] }
serde = { version = "1", features = ["derive"] }
serde_json = "1"
"#;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/runner");
    println!("cargo::rerun-if-changed=src/protocol.rs");
    println!("cargo::rerun-if-changed=build.rs");
    let source = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("src/runner/main.rs");
    let package = PathBuf::from(env::var("OUT_DIR")?).join("runner");
    fs::create_dir_all(&package)?;
    let manifest = format!(
        "[package]\nname = \"livecode-container-runner\"\nedition = \"2024\"\n[workspace]\n[[bin]]\nname = \"livecode-container-runner\"\npath = {source:?}\n\
         [dependencies]{DEPENDENCIES}\
         [profile.release]\npanic = \"abort\"\nstrip = true\nlto = true\ncodegen-units = 1\nopt-level = \"s\"\n"
    );
    fs::write(package.join("Cargo.toml"), manifest)?;
    let target = env::var("TARGET")?;
    compile(&package, &target)?;
    let runner = package.join("target").join(&target).join("release/livecode-container-runner");
    println!("cargo::rustc-env=LIVECODE_RUNNER={}", runner.display());
    Ok(())
}

fn compile(package: &Path, target: &str) -> Result<(), Box<dyn Error>> {
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo
        .args(["build", "--quiet", "--release", "--offline", "--target", target])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(package.join("target"));
    // What is meant for this build isn't for that one.
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PROFILE")
            || name_text.starts_with("CARGO_ENCODED")
            || name_text == "RUSTC_WORKSPACE_WRAPPER"
        {
            cargo.env_remove(name);
        }
    }
    cargo.env("RUSTFLAGS", "-Ctarget-feature=+crt-static -Crelocation-model=static");
    if !cargo.status()?.success() {
        return Err("livecode-container-runner did not compile: it is linked statically, which needs the C library's archive (Debian: \
                    libc6-dev, Fedora: glibc-static) or a musl target"
            .into());
    }
    Ok(())
}
