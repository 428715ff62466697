use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use super::{Surroundings, Tool, Toolchains};

/// A small host: a directory that can be shown, which those beneath /tmp can't.
struct Host {
    _directory: tempfile::TempDir,
    root: PathBuf,
    surroundings: Surroundings,
}

impl Host {
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let root = directory.path().canonicalize().unwrap();
        let surroundings = Surroundings {
            path: vec![root.join("path"), "/usr/bin".into(), "/bin".into()],
            home: Some(root.join("home")),
            store: root.join("store"),
        };
        Self { _directory: directory, root, surroundings }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn directory(&self, path: &str) {
        fs::create_dir_all(self.at(path)).unwrap();
    }

    fn file(&self, path: &str, content: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), content).unwrap();
        fs::set_permissions(self.at(path), PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// A script of /bin/sh; `@` stands for the root. Another process writes it: while this one has it open, and a fork of
    /// another test's has inherited that, it can't be executed.
    fn script(&self, path: &str, text: &str) {
        let text = format!("#!/bin/sh\n{}\n", text.replace('@', self.root.to_str().unwrap()));
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        let write = r#"printf %s "$1" > "$0" && chmod 755 "$0""#;
        let written = Command::new("sh").args(["-c", write]).arg(self.at(path)).arg(text).status().unwrap();
        assert!(written.success());
    }

    /// An installation of its own: `bin/NAME` and `lib`.
    fn installed(&self, prefix: &str, name: &str) {
        self.file(&format!("{prefix}/bin/{name}"), "\x7fELF");
        self.directory(&format!("{prefix}/lib"));
    }

    fn link(&self, path: &str, target: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        symlink(target, self.at(path)).unwrap();
    }

    fn search(&mut self, directories: &[&str]) {
        let first = directories.iter().map(|directory| self.root.join(directory));
        self.surroundings.path = first.chain(["/usr/bin".into(), "/bin".into()]).collect();
    }

    #[track_caller]
    fn found(&self, command: &str, path: &str, prefixes: &[&str]) {
        let tool = self.surroundings.find(command).unwrap();
        let prefixes = prefixes.iter().map(|prefix| self.at(prefix)).collect();
        assert_eq!(tool, Tool { path: self.at(path), prefixes });
    }

    fn refused(&self, command: &str) -> String {
        self.surroundings.find(command).unwrap_err().to_string()
    }
}

#[test]
fn a_system_command_needs_nothing_shown() {
    let tool = Toolchains::default().find("sh").unwrap();
    assert!(tool.path.is_absolute() && tool.prefixes.is_empty(), "{tool:?}");
}

#[test]
fn a_command_in_the_work_directory_is_left_alone() {
    let tool = Host::new().surroundings.find("./main").unwrap();
    assert_eq!(tool, Tool { path: "./main".into(), prefixes: Vec::new() });
}

#[test]
fn what_is_not_there_is_refused_by_name_and_looked_for_again() {
    let host = Host::new();
    for command in ["no-such-command", "/no/such/command", "/etc/passwd"] {
        assert!(host.refused(command).contains(command));
    }
    assert!(host.refused("late").contains(host.at("path").to_str().unwrap()), "says where it looked");
    let (known, late) = (Toolchains::default(), host.at("path/late"));
    let late = late.to_str().unwrap();
    known.find(late).unwrap_err();
    host.file("path/late", "");
    known.find(late).unwrap();
    fs::remove_file(late).unwrap();
    assert_eq!(known.find(late).unwrap().path, Path::new(late), "what was found is known");
    assert!(known.known(&[late]).is_some() && known.known(&[late, "sh"]).is_none());
}

#[test]
fn an_installation_of_its_own_is_shown_whole() {
    let host = Host::new();
    host.installed("lang-1.0", "lang");
    host.found(host.at("lang-1.0/bin/lang").to_str().unwrap(), "lang-1.0/bin/lang", &["lang-1.0"]);
}

#[test]
fn a_link_is_followed_and_keeps_its_name() {
    let host = Host::new();
    host.installed("lang-1.0", "lang");
    // A multi-call binary goes by the name; a virtual environment by the place.
    host.link("path/lang++", "../current/bin/lang");
    host.link("current", "lang-1.0");
    host.found("lang++", "path/lang++", &["path/lang++", "lang-1.0"]);
}

#[test]
fn a_link_that_goes_round_is_refused() {
    let host = Host::new();
    host.link("path/a", "b");
    host.link("path/b", "a");
    assert!(host.refused("a").contains("not installed"));
}

#[test]
fn a_virtual_environment_is_shown_with_the_installation_behind_it() {
    let mut host = Host::new();
    host.installed("python-3.12", "python3.12");
    host.link("venv/bin/python3", "../../python-3.12/bin/python3.12");
    host.directory("venv/lib");
    host.search(&["venv/bin"]);
    host.found("python3", "venv/bin/python3", &["venv", "python-3.12"]);
}

#[test]
fn a_home_directory_or_one_that_is_shared_is_never_shown_whole() {
    let mut host = Host::new();
    for prefix in ["home", "home/.local", ""] {
        let bin = format!("{prefix}/bin").trim_start_matches('/').to_owned();
        host.file(&format!("{bin}/lang"), "");
        host.directory(format!("{prefix}/lib").trim_start_matches('/'));
        host.search(&[&bin]);
        if prefix.is_empty() {
            // Above the home directory, too.
            host.surroundings.home = Some(host.at("deeper/home"));
        }
        host.found("lang", &format!("{bin}/lang"), &[&format!("{bin}/lang")]);
    }
    for shared in ["/", "/opt", "/root", "/home/somebody", "/srv", "/home/somebody/.local"] {
        assert!(super::prefix::is_shared(Path::new(shared), &host.surroundings), "{shared}");
    }
    for own in ["/opt/node", "/home/somebody/.nvm/versions/node/v20.1.0", "/root/.cargo"] {
        assert!(!super::prefix::is_shared(Path::new(own), &host.surroundings), "{own}");
    }
}

#[test]
fn what_stands_where_a_program_has_its_own_files_is_refused_with_the_remedy() {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let path = directory.path().join("lang");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let mut host = Host::new();
    host.link("path/lang", path.to_str().unwrap());
    let error = host.refused("lang");
    for part in ["lang is /tmp/", "beneath /tmp", "install it elsewhere"] {
        assert!(error.contains(part), "{error}");
    }
    // Nor is the next one on PATH taken in its place, in silence.
    host.file("other/lang", "");
    host.search(&["path", "other"]);
    host.refused("lang");
}

#[test]
fn a_pyenv_shim_is_seen_through() {
    // So do rbenv, nodenv, goenv, phpenv, plenv and jenv.
    for (manager, root, shim) in [
        // Where its repository was cloned.
        ("pyenv/libexec/pyenv", "pyenv", r#"exec "@/pyenv/libexec/pyenv" exec "$program" "$@""#),
        // Installed by a package manager, its versions elsewhere.
        ("brew/rbenv", "home/.rbenv", r#"exec "@/brew/rbenv" exec "$program" "$@""#),
        ("nodenv/bin/nodenv", "nodenv", r#"exec "$(command -v nodenv)" exec "$program" "$@""#),
    ] {
        let mut host = Host::new();
        let version = format!("{root}/versions/3.0");
        host.installed(&version, "lang");
        host.script(&format!("{root}/shims/lang"), shim);
        let name = manager.rsplit('/').next().unwrap().to_uppercase();
        host.script(
            manager,
            &format!(r#"[ "$1 $2 ${name}_ROOT" = "which lang @/{root}" ] && echo "@/{version}/bin/lang""#),
        );
        host.search(&[&format!("{root}/shims")]);
        host.found("lang", &format!("{version}/bin/lang"), &[&version]);
    }
}

#[test]
fn an_asdf_shim_is_seen_through() {
    // Old ones name it, new ones leave it to PATH, where it need not be.
    for exec in [
        "exec @/home/.asdf/bin/asdf exec \"go\" \"$@\" # asdf_allow: ' asdf '",
        "exec asdf exec \"go\" \"$@\"",
    ] {
        for on_path in [true, false] {
            let mut host = Host::new();
            host.installed("home/.asdf/installs/golang/1.22/go", "go");
            host.script("home/.asdf/shims/go", &format!("# asdf-plugin: golang 1.22\n{exec}"));
            let text = r#"[ "$1 $2 $ASDF_DATA_DIR" = "which go @/home/.asdf" ] || exit 1
                echo @/home/.asdf/installs/golang/1.22/go/bin/go"#;
            host.script("home/.asdf/bin/asdf", text);
            if on_path {
                host.script("path/asdf", text);
            }
            host.search(&["home/.asdf/shims", "path"]);
            let prefix = "home/.asdf/installs/golang/1.22/go";
            host.found("go", &format!("{prefix}/bin/go"), &[prefix]);
        }
    }
}

#[test]
fn a_manager_that_its_stand_ins_link_to_is_asked() {
    for (shim, program, manager, prefix) in [
        ("data/mise/shims/node", "data/bin/mise", "data/bin/mise", "data/mise/installs/node/20"),
        (".cargo/bin/node", ".cargo/bin/rustup", ".cargo/bin/rustup", ".rustup/toolchains/stable"),
        (".volta/bin/node", ".volta/bin/volta-shim", ".volta/bin/volta", ".volta/tools/image/node/20"),
    ] {
        for hard in [false, true] {
            let mut host = Host::new();
            host.installed(prefix, "node");
            if program != manager {
                host.file(program, "");
            }
            host.script(manager, &format!(r#"[ "$1 $2" = "which node" ] && echo @/{prefix}/bin/node"#));
            let directory = shim.strip_suffix("/node").unwrap();
            host.directory(directory);
            if !hard {
                host.link(shim, host.at(program).to_str().unwrap());
            } else if program.starts_with(directory) {
                fs::hard_link(host.at(program), host.at(shim)).unwrap();
            } else {
                continue;
            }
            host.search(&[directory]);
            host.found("node", &format!("{prefix}/bin/node"), &[prefix]);
        }
    }
}

#[test]
fn a_manager_that_has_no_version_is_quoted() {
    let mut host = Host::new();
    host.script("asdf/shims/go", "exec asdf exec go");
    host.script("asdf/bin/asdf", "echo 'No version is set for command go' >&2; exit 126");
    host.file("other/go", "");
    host.search(&["asdf/shims", "other"]);
    let error = host.refused("go");
    for part in ["asdf/shims/go", "asdf/bin/asdf", "No version is set for command go", "choose one there"] {
        assert!(error.contains(part), "{error}");
    }
    host.script("unknown/shims/go", "start go");
    host.search(&["unknown/shims"]);
    assert!(host.refused("go").contains("put the real one on PATH"));
}

#[test]
fn a_manager_that_the_system_refuses_something_is_asked_again() {
    let mut host = Host::new();
    host.search(&["pyenv/shims"]);
    host.file("pyenv/shims/python3", "#!/bin/sh\nexec \"pyenv\" exec python3\n");
    host.script("pyenv/bin/pyenv", "echo 'fork: retry: Resource temporarily unavailable' >&2; exit 254");
    let error = host.surroundings.find("python3").unwrap_err();
    assert!(error.is_temporary(), "{error}");
}

/// The limit on files is a process's, and others of this one need some.
#[test]
fn nobody_takes_a_want_of_files_for_an_answer() {
    let own = std::env::current_exe().unwrap();
    let alone = ["--exact", "toolchain::tests::a_process_without_files", "--ignored", "--nocapture"];
    let output = Command::new(own).args(alone).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "started by the test above, in a process of its own"]
fn a_process_without_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let mut host = Host::new();
    host.search(&["pyenv/shims"]);
    host.file("pyenv/shims/python3", "#!/bin/sh\nexec \"pyenv\" exec python3\n");
    host.script("pyenv/bin/pyenv", "echo /usr/bin/env");
    host.file("bin/script", "#!/usr/bin/env sh\n");
    let script = host.at("bin/script");
    let all = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), maximum: all.maximum }).unwrap();
    let short = [host.surroundings.find("python3"), host.surroundings.find(script.to_str().unwrap())];
    setrlimit(Resource::Nofile, all).unwrap();
    for answer in short {
        let error = answer.unwrap_err();
        assert!(error.is_temporary(), "{error}");
    }
    assert_eq!(host.surroundings.find("python3").unwrap().path, Path::new("/usr/bin/env"));
}

#[test]
fn a_script_is_shown_with_its_interpreter() {
    let mut host = Host::new();
    // As nvm has it.
    let version = "home/.nvm/versions/node/v20.1.0";
    host.installed(version, "node");
    host.file(&format!("{version}/lib/node_modules/typescript/bin/tsc"), "#!/usr/bin/env node\n");
    host.link(&format!("{version}/bin/tsc"), "../lib/node_modules/typescript/bin/tsc");
    host.search(&[&format!("{version}/bin")]);
    host.found("tsc", &format!("{version}/bin/tsc"), &[version]);
    // And where the script is elsewhere: among others, and in a package's directory.
    host.file("home/.local/lib/node_modules/tool/bin/tool.js", "#!/usr/bin/env -S node --no-warnings\n");
    host.link("home/.local/bin/tool", "../lib/node_modules/tool/bin/tool.js");
    host.search(&["home/.local/bin", &format!("{version}/bin")]);
    let own = ["home/.local/bin/tool", "home/.local/lib/node_modules/tool/bin/tool.js", version];
    host.found("tool", own[0], &own);
    let node = host.at(&format!("{version}/bin/node"));
    host.file("path/direct", &format!("#! {} -x\n", node.display()));
    host.search(&["path"]);
    host.found("direct", "path/direct", &["path/direct", version]);
}

#[test]
fn a_script_without_its_interpreter_is_refused() {
    let host = Host::new();
    host.file("path/tsc", "#!/usr/bin/env no-such-node\n");
    let error = host.refused("tsc");
    assert!(error.contains("tsc is a script for no-such-node: no-such-node is not installed"), "{error}");
    let round = host.at("path/round");
    host.file("path/round", &format!("#!{}\n", round.display()));
    assert!(host.refused("round").contains("interpreters have no end"));
}

#[test]
fn sdkman_keeps_its_versions_apart() {
    let mut host = Host::new();
    host.installed("home/.sdkman/candidates/java/21.0.1-tem", "java");
    host.link("home/.sdkman/candidates/java/current", "21.0.1-tem");
    host.search(&["home/.sdkman/candidates/java/current/bin"]);
    let prefix = "home/.sdkman/candidates/java/21.0.1-tem";
    host.found("java", &format!("{prefix}/bin/java"), &[prefix]);
}

#[test]
fn homebrew_is_shown_whole() {
    let mut host = Host::new();
    host.installed("linuxbrew/.linuxbrew/Cellar/ruby/3.3.0", "ruby");
    host.link("linuxbrew/.linuxbrew/bin/ruby", "../Cellar/ruby/3.3.0/bin/ruby");
    host.link("linuxbrew/.linuxbrew/opt/ruby", "../Cellar/ruby/3.3.0");
    host.directory("linuxbrew/.linuxbrew/lib");
    host.search(&["linuxbrew/.linuxbrew/bin"]);
    host.found("ruby", "linuxbrew/.linuxbrew/bin/ruby", &["linuxbrew/.linuxbrew"]);
    host.search(&["linuxbrew/.linuxbrew/opt/ruby/bin"]);
    host.found("ruby", "linuxbrew/.linuxbrew/Cellar/ruby/3.3.0/bin/ruby", &["linuxbrew/.linuxbrew"]);
}

#[test]
fn what_nix_installed_is_shown_with_all_it_refers_to() {
    let mut host = Host::new();
    host.installed("store/aaa-python-3.12", "python3");
    host.link("store/bbb-profile/bin/python3", "../../aaa-python-3.12/bin/python3");
    host.link("home/.nix-profile", host.at("store/bbb-profile").to_str().unwrap());
    host.search(&["home/.nix-profile/bin"]);
    host.found("python3", "store/bbb-profile/bin/python3", &["store"]);
    host.script(
        "path/nix-store",
        r#"[ "$1" = -qR ] || exit 1
           case $2 in */aaa-*) echo @/store/ccc-glibc; echo "$2";; *) echo "$2"; echo @/store/aaa-python-3.12;; esac"#,
    );
    host.search(&["home/.nix-profile/bin", "path"]);
    let closure = ["store/bbb-profile", "store/aaa-python-3.12", "store/ccc-glibc"];
    host.found("python3", "store/bbb-profile/bin/python3", &closure);
}

#[test]
fn a_snap_is_refused() {
    let host = Host::new();
    host.file("usr/bin/snap", "");
    host.link("path/node", host.at("usr/bin/snap").to_str().unwrap());
    assert!(host.refused("node").contains("snap"));
}
