//! Manual pages and completions, as other programs take them.

use crate::harness::Program;

fn programs() -> [(&'static str, Program); 2] {
    [("ftserve", Program::ftserve()), ("ftget", Program::ftget())]
}

#[test]
fn manual_pages_are_set_without_a_warning_and_say_what_people_look_for() {
    for (name, program) in programs() {
        let page = program.arg("--man").run().expect_code(0);
        let set = Program::system("groff", "groff-base")
            .args(["-man", "-Tutf8", "-ww", "-P-c", "-P-b", "-P-u", "-"])
            .input(page.stdout)
            .run()
            .expect_code(0);
        assert_eq!(set.stderr, "", "{name}");
        let text = set.text();
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "EXAMPLES",
            "ENVIRONMENT",
            "FILES",
            "EXIT STATUS",
            "SEE ALSO",
        ] {
            assert!(
                text.lines().any(|line| line == section),
                "{name} has no {section}: {text}"
            );
        }
        assert!(
            text.contains("Verification failed, and nothing was put in place"),
            "{name}"
        );
    }
}

#[test]
fn what_cannot_be_shown_is_a_failure() {
    for args in [
        "--help",
        "--version",
        "--man",
        "--completions bash",
        "index --help",
        "--check-config",
    ] {
        let script = format!("exec \"$0\" {args} >/dev/full");
        let refused = Program::ftserve()
            .through(["sh", "-c", &script])
            .run()
            .expect_code(9);
        assert_eq!(
            refused.stderr,
            "ftserve: cannot write to standard output: No space left on device (os error 28)\n",
            "{args}"
        );
    }
}

#[test]
fn completions_are_what_bash_can_use() {
    for (name, program) in programs() {
        let script = program.args(["--completions", "bash"]).run().expect_code(0);
        let ask = format!(
            "source /dev/stdin; complete -p {name}; COMP_WORDS=({name} --ver); COMP_CWORD=1; \
             _{name} {name} --ver {name}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let completed = Program::system("bash", "bash")
            .args(["-c", &ask])
            .input(script.stdout)
            .run()
            .expect_code(0);
        assert!(
            completed.text().contains("--version"),
            "{}",
            completed.text()
        );
    }
    for shell in ["zsh", "fish"] {
        for (name, program) in programs() {
            let script = program
                .args(["--completions", shell])
                .run()
                .expect_code(0)
                .text();
            assert!(
                script.contains(name) && script.len() > 1000,
                "{shell}: {script}"
            );
        }
    }
}
