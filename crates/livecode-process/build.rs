//! Compiles `livecode-init`, alone and static, for the library to carry in itself.
//!
//! It has no dependency but std, so that one call of the compiler makes it: no second build of cargo's, no network, and
//! nothing but the two of us in the process that sits between a stranger's program and the host.

use std::{env, error::Error, path::PathBuf, process::Command};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/init");
    println!("cargo::rerun-if-changed=src/layer.rs");
    println!("cargo::rerun-if-changed=src/protocol.rs");
    if env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Err("livecode-process is for Linux: leave out the feature `process` on other systems".into());
    }
    let program = PathBuf::from(env::var("OUT_DIR")?).join("livecode-init");
    let mut compiler = Command::new(env::var("RUSTC")?);
    compiler
        .args(["--edition=2024", "--crate-type=bin", "--crate-name=livecode_init", "--cap-lints=allow"])
        .args(["-Copt-level=2", "-Cpanic=abort", "-Cstrip=symbols", "-Clto=fat", "-Ccodegen-units=1"])
        .args(["-Ctarget-feature=+crt-static", "-Crelocation-model=static"])
        .arg(format!("--target={}", env::var("TARGET")?))
        .arg("-o")
        .arg(&program)
        .arg("src/init/main.rs");
    if env::var_os("CARGO_FEATURE_LEAVE_OUT").is_some() {
        compiler.args(["--cfg", "feature=\"leave-out\""]);
    }
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        compiler.arg(format!("-Clinker={linker}"));
    }
    let status = compiler.status()?;
    if !status.success() {
        return Err(format!(
            "livecode-init did not compile ({status}): it's linked statically, which needs the C library's archive \
             (Debian: libc6-dev, Fedora: glibc-static) or a musl target"
        )
        .into());
    }
    println!("cargo::rustc-env=LIVECODE_INIT={}", program.display());
    Ok(())
}
