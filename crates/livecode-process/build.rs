//! Compiles `livecode-init`, alone and static, for the library to carry in itself.
//!
//! It has no dependency but std, so that one call of the compiler makes it: no second build of cargo's, no network, and
//! nothing but the two of us in the process that sits between a stranger's program and the host.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/init");
    println!("cargo::rerun-if-changed=src/layer.rs");
    println!("cargo::rerun-if-changed=src/protocol.rs");
    if env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Err("livecode-process is for Linux: leave out the feature `process` on other systems".into());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let library = out.join("livecode-warm.so");
    // std asks for the compiler's runtime as a library of its own. An interpreter loads faster what has it in itself.
    fs::write(out.join("libgcc_s.so"), "INPUT(-lgcc_eh -lgcc)")?;
    let search = format!("-Lnative={}", out.display());
    compile(&["--crate-type=cdylib", "--crate-name=livecode_warm", &search], "warm.rs", &library)?;
    let program = out.join("livecode-init");
    let fixed = ["--crate-type=bin", "--crate-name=livecode_init", "-Ctarget-feature=+crt-static"];
    compile(&[&fixed[..], &["-Crelocation-model=static"]].concat(), "main.rs", &program)?;
    println!("cargo::rustc-env=LIVECODE_WARM={}", library.display());
    println!("cargo::rustc-env=LIVECODE_INIT={}", program.display());
    Ok(())
}

fn compile(options: &[&str], source: &str, program: &Path) -> Result<(), Box<dyn Error>> {
    let mut compiler = Command::new(env::var("RUSTC")?);
    compiler
        .args(["--edition=2024", "--cap-lints=allow"])
        .args(["-Copt-level=2", "-Cpanic=abort", "-Cstrip=symbols", "-Clto=fat", "-Ccodegen-units=1"])
        .args(options)
        .arg(format!("--target={}", env::var("TARGET")?))
        .arg("-o")
        .arg(program)
        .arg(Path::new("src/init").join(source))
        // What the program carries of the library.
        .env("LIVECODE_WARM", program.with_file_name("livecode-warm.so"));
    if env::var_os("CARGO_FEATURE_LEAVE_OUT").is_some() {
        compiler.args(["--cfg", "feature=\"leave-out\""]);
    }
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        compiler.arg(format!("-Clinker={linker}"));
    }
    let status = compiler.status()?;
    if !status.success() {
        return Err(format!(
            "{source} did not compile ({status}): livecode-init is linked statically, which needs the C library's \
             archive (Debian: libc6-dev, Fedora: glibc-static) or a musl target"
        )
        .into());
    }
    Ok(())
}
