//! What tells one compile step's work from another's.

use sha2::{Digest, Sha256};

use crate::{Limits, Program, SourceFile, Step};

/// A cryptographic hash: who chooses the source must not be able to choose whose artifact it meets.
pub(super) type Key = [u8; 32];

/// None where nothing is compiled.
pub(super) fn of(program: &Program, compiler: &str, share: bool) -> Option<Key> {
    // Taken apart, so that whoever adds a member decides whether it belongs here.
    let Program { language, files, compile, run: _, collect: _, owner, reuse: _, name: _ } = program;
    let Step { command, env, limits } = compile.as_ref()?;
    let mut hash = Fields(Sha256::new());
    match share {
        true => hash.number(0),
        false => {
            hash.number(1);
            hash.text(owner.as_str());
        }
    }
    hash.text(compiler);
    hash.text(language);
    hash.number(files.len() as u128);
    for SourceFile { path, content } in files {
        hash.text(path);
        hash.bytes(content);
    }
    hash.number(command.len() as u128);
    command.iter().for_each(|argument| hash.text(argument));
    hash.number(env.len() as u128);
    for (name, value) in env {
        hash.text(name);
        hash.text(value);
    }
    // With less the step might have failed.
    let Limits {
        wall_time,
        cpu_time,
        memory_bytes,
        processes,
        output_bytes,
        file_bytes,
        files,
        open_files,
        stack_bytes,
        cpu_millis,
    } = limits;
    [wall_time, cpu_time].into_iter().for_each(|time| hash.number(time.as_nanos()));
    [memory_bytes, output_bytes, file_bytes, stack_bytes]
        .into_iter()
        .for_each(|limit| hash.number((*limit).into()));
    [processes, files, open_files, cpu_millis].into_iter().for_each(|limit| hash.number((*limit).into()));
    Some(hash.0.finalize().into())
}

/// Each with its length, so that nothing can pass from one into the next.
struct Fields(Sha256);

impl Fields {
    fn number(&mut self, number: u128) {
        self.0.update(number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u128);
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::of;
    use crate::{Limits, Owner, Program, Reuse, SourceFile, Step};

    fn program() -> Program {
        let step = |command: &str| Step {
            command: vec![command.into(), "-O2".into()],
            env: BTreeMap::from([("LEVEL".into(), "1".into())]),
            limits: Limits::COMPILE,
        };
        Program {
            language: "c".into(),
            files: vec![SourceFile::new("main.c", "int main;"), SourceFile::new("a.h", "")],
            compile: Some(step("cc")),
            run: step("./main"),
            collect: Vec::new(),
            owner: Owner::anonymous(),
            reuse: Reuse::Nothing,
            name: String::new(),
        }
    }

    #[test]
    fn whatever_the_compiler_meets_makes_another_key() {
        type Change = fn(&mut Program);
        let compile: [Change; 6] = [
            |program| program.compile.as_mut().unwrap().command[1] = "-O3".into(),
            |program| program.compile.as_mut().unwrap().command.push(String::new()),
            |program| program.compile.as_mut().unwrap().env.clear(),
            |program| program.compile.as_mut().unwrap().limits.memory_bytes -= 1,
            |program| program.compile.as_mut().unwrap().limits.files -= 1,
            |program| program.compile.as_mut().unwrap().limits.output_bytes -= 1,
        ];
        let rest: [Change; 7] = [
            |program| program.language = "c99".into(),
            |program| program.owner = Owner::new("alice").unwrap(),
            |program| program.files.swap(0, 1),
            |program| program.files[0].path = "main.cc".into(),
            |program| program.files[0].content = "int main2;".into(),
            |program| drop(program.files.pop()),
            // The same characters in the same order, elsewhere.
            |program| {
                program.files[0] = SourceFile::new("main.", "cint main;");
            },
        ];
        let mut keys = vec![of(&program(), "gcc", false), of(&program(), "gcc 2", false)];
        for change in compile.into_iter().chain(rest) {
            let mut changed = program();
            change(&mut changed);
            assert_ne!(changed, program());
            keys.push(of(&changed, "gcc", false));
        }
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }

    #[test]
    fn what_the_program_is_given_is_no_part_of_it() {
        let mut changed = program();
        changed.run = Step { limits: Limits::COMPILE, ..changed.run };
        changed.run.command.push("argument".into());
        changed.run.env.clear();
        changed.collect.push("main".into());
        assert_eq!(of(&changed, "gcc", false), of(&program(), "gcc", false));
    }

    #[test]
    fn owners_share_where_they_are_told_to() {
        let of_alice = Program { owner: Owner::new("alice").unwrap(), ..program() };
        assert_ne!(of(&of_alice, "gcc", false), of(&program(), "gcc", false));
        assert_eq!(of(&of_alice, "gcc", true), of(&program(), "gcc", true));
        assert_ne!(of(&program(), "gcc", true), of(&program(), "gcc", false));
    }

    #[test]
    fn what_is_not_compiled_has_none() {
        assert_eq!(of(&Program { compile: None, ..program() }, "gcc", false), None);
    }
}
