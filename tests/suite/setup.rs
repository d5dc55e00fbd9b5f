//! `setup.sh`, on machines that are made up: a `PATH` with nothing but some programs of the system and fakes. And
//! what cargo says by way of it, in `.cargo`.

use crate::harness::{Output, Program, Scratch};

#[test]
fn names_all_that_is_missing_at_once_and_runs_nothing() {
    let machine = Scratch::new();
    let output = on(&machine, "", "sh setup.sh --tests touch ran").expect_code(1);
    let [missing, skipped, reason, packages, rust] = &lines(&output)[..] else {
        panic!("{}", output.stderr);
    };
    assert!(missing.starts_with("setup.sh: missing: a C compiler, Rust 1."));
    for program in ["python3", "telnet", "nc", "curl", "openssl", "expect"] {
        assert!(missing.contains(program), "{missing}");
    }
    assert!(skipped.contains("tests are skipped: ") && skipped.contains("strace"));
    assert_eq!(reason, "setup.sh: cannot install: apt-get is missing");
    for package in ["gcc libc6-dev", "python3", "netcat-openbsd", "groff-base"] {
        assert!(packages.contains(package), "{packages}");
    }
    assert!(rust.starts_with("setup.sh: hint: this installs Rust: curl "));
    assert!(!machine.join("ran").exists());
}

#[test]
fn runs_the_command_and_asks_for_nothing_where_all_is_there() {
    let machine = Scratch::new();
    let script = "sh setup.sh --tests --lints touch ran";
    let output = on(&machine, &[APT, ALL].concat(), script).expect_code(0);
    assert_eq!(output.stderr, "");
    assert!(machine.join("ran").exists());
    assert!(!machine.join("log").exists());
    let output = on(&Scratch::new(), ALL, "sh setup.sh sh -c 'exit 42'");
    assert_eq!((output.code, &output.stderr[..]), (42, ""));
}

#[test]
fn a_build_needs_none_of_the_programs_of_the_tests() {
    let machine = Scratch::new();
    let output = on(&machine, BUILD, "sh setup.sh touch ran").expect_code(0);
    assert_eq!(output.stderr, "");
    let output = on(&Scratch::new(), BUILD, "sh setup.sh --tests true").expect_code(1);
    assert!(!output.stderr.contains("C compiler"), "{}", output.stderr);
}

#[test]
fn tests_run_where_only_optional_programs_are_missing() {
    let machine = Scratch::new();
    let some = &[ALL, "rm programs/strace programs/bindfs"].concat();
    let output = on(&machine, some, "sh setup.sh --tests touch ran").expect_code(0);
    assert!(output.stderr.contains("skipped: bindfs, strace\n"));
    assert!(machine.join("ran").exists());
    on(&Scratch::new(), some, "sh setup.sh --missing --tests").expect_code(0);
}

#[test]
fn installs_as_root_what_is_missing_and_then_runs_the_command() {
    for (user, prefix) in [("0", ""), ("1000", "sudo ")] {
        let machine = Scratch::new();
        let here = format!("{APT}{ALL}rm programs/cc programs/telnet\nfake id 'echo {user}'\n");
        let output = on(&machine, &here, "sh setup.sh --tests touch ran").expect_code(0);
        let packages = "gcc libc6-dev telnet ca-certificates";
        assert!(output.stderr.contains(packages), "{}", output.stderr);
        assert_eq!(output.stderr.contains("with sudo"), user != "0");
        let log = String::from_utf8(machine.read("log")).expect("a log");
        let words = ["update", "install gcc libc6-dev telnet ca-certificates"];
        assert_eq!(log, words.map(|word| format!("{prefix}{word}\n")).concat());
        assert!(machine.join("ran").exists());
    }
}

#[test]
fn names_all_and_runs_nothing_where_packages_cannot_be_installed() {
    let here = format!("{APT}{ALL}rm programs/cc programs/telnet\n");
    for (why, reason) in [
        (
            "fake apt-get 'exit 100'\nfake id 'echo 0'\n",
            "apt-get failed",
        ),
        ("fake id 'echo 7'\nfake sudo 'exit 1'\n", "apt-get failed"),
        (
            "fake id 'echo 7'\nrm programs/sudo\n",
            "this user is not root, and sudo is missing",
        ),
    ] {
        let machine = Scratch::new();
        let here = format!("{here}{why}");
        let output = on(&machine, &here, "sh setup.sh --tests touch ran").expect_code(1);
        let missing = "setup.sh: missing: a C compiler, telnet\n";
        assert!(output.stderr.starts_with(missing), "{}", output.stderr);
        let reason = format!("setup.sh: cannot install: {reason}\n");
        assert!(output.stderr.contains(&reason), "{}", output.stderr);
        assert!(!machine.join("ran").exists());
    }
}

#[test]
fn takes_rust_from_the_source_that_is_new_enough() {
    let old = "fake rustc 'echo rustc 1.63.0'\nfake id 'echo 0'\n";
    for (offered, taken) in [
        (
            "rustc=1.99.1+dfsg1-1 rustc-web=1.96.0",
            "install rustc cargo ca-certificates",
        ),
        (
            "rustc=1.85.1 rustc-web=1.96.0 rustup=1.27",
            "install rustc-web cargo-web ca-certificates",
        ),
        (
            "rustc=1.85.1 rustup=1.27.1",
            "install rustup ca-certificates",
        ),
    ] {
        let here = format!("{APT}{BUILD}{old}OFFERED='{offered}'; export OFFERED\n");
        let machine = Scratch::new();
        let output = on(&machine, &here, "sh setup.sh touch ran");
        let named = output.stderr.contains("or newer (here is 1.63.0)");
        assert!(named, "{}", output.stderr);
        let log = String::from_utf8(machine.read("log")).expect("a log");
        assert_eq!(log.lines().last(), Some(taken), "{offered}: {log}");
        assert_eq!(output.code, 0, "{offered}: {}", output.stderr);
    }
    // Where rustup is already, only a toolchain is added.
    let rustup = "fake rustup 'echo \"rustup $*\" >>log; printf \"#!/bin/sh\\necho rustc 1.99.0\" >programs/rustc'\n";
    let machine = Scratch::new();
    on(
        &machine,
        &format!("{BUILD}{old}{rustup}"),
        "sh setup.sh touch ran",
    )
    .expect_code(0);
    let log = String::from_utf8(machine.read("log")).expect("a log");
    assert_eq!(log, "rustup toolchain install stable --profile minimal\n");
}

#[test]
fn cargo_names_what_is_missing_before_it_compiles() {
    let machine = Scratch::new();
    let cargo = format!("'{}' test --offline || echo $?", env!("CARGO"));
    let linked = "for name in src bin tests benches; do ln -s \"$REPOSITORY/$name\"; done\n";
    let output = on(&machine, &[BUILD, linked].concat(), &cargo).expect_code(0);
    assert_eq!(output.text(), "101\n");
    for named in [
        "setup.sh: missing: bash, curl, ",
        "python3",
        "setup.sh --tests",
    ] {
        assert!(output.stderr.contains(named), "{}", output.stderr);
    }
    assert!(!machine.join("target").exists());
    // A build needs a C compiler, and says so before anything else.
    let cargo = cargo.replace(" test ", " build ");
    let no_compiler = [BUILD, linked, "rm programs/cc\n"].concat();
    let output = on(&Scratch::new(), &no_compiler, &cargo).expect_code(0);
    assert_eq!(output.text(), "101\n");
    let named = "setup.sh: missing: a C compiler\n";
    assert!(output.stderr.contains(named), "{}", output.stderr);
}

/// Runs a command on a machine that has what `here` makes, and the scripts of this repository.
fn on(machine: &Scratch, here: &str, command: &str) -> Output {
    let path = format!("PATH=$PWD/programs HOME=$PWD; export PATH HOME\n{command}\n");
    Program::system("sh", "dash")
        .args(["-euc", &[SYSTEM, here, "\n", &path].concat()])
        .env("REPOSITORY", env!("CARGO_MANIFEST_DIR"))
        .in_folder(machine.path())
        .run()
}

fn lines(output: &Output) -> Vec<String> {
    output.stderr.lines().map(str::to_owned).collect()
}

/// What every machine has.
const SYSTEM: &str = r#"
cp -r "$REPOSITORY/setup.sh" "$REPOSITORY/.cargo" "$REPOSITORY"/Cargo.* .
mkdir programs
for name in sh dirname env grep id sed tail touch tr; do ln -s "$(command -v $name)" programs; done
fake() { rm -f "programs/$1"; printf '#!/bin/sh\n%s\n' "$2" >"programs/$1"; chmod +x "programs/$1"; }
"#;
/// What a build needs.
const BUILD: &str = r#"
fake cc 'echo /dev/null'
fake rustc 'echo rustc 1.99.0'
fake cargo :
"#;
/// What a build and the tests need.
const ALL: &str = r#"
fake cc 'echo /dev/null'
fake rustc 'echo rustc 1.99.0'
fake cargo :
for pair in $(sed -n "/^test_programs=/,/'$/p; /^optional_programs=/,/'$/p" setup.sh | tr "'" ' '); do
    case $pair in *:*) [ -e "programs/${pair%%:*}" ] || fake "${pair%%:*}" 'echo -N' ;; esac
done
"#;
/// The programs that install: `log` says what they were asked for, and what they install is there afterwards.
const APT: &str = r##"
fake sudo 'printf "sudo " >>log; exec "$@"'
fake apt-cache 'for pair in ${OFFERED-}; do [ "${pair%%=*}" != "$3" ] || echo "Version: ${pair#*=}"; done'
fake apt-get '
while :; do case $1 in -*) [ "$1" != --simulate ] || simulate=yes; shift ;; *) break ;; esac; done
if [ "${simulate-}" ]; then case " ${OFFERED-}" in *" $2="*) exit 0 ;; esac; exit 1; fi
echo "$@" >>log
fake() { printf "#!/bin/sh\necho $2\n" >"programs/$1"; /bin/chmod +x "programs/$1"; }
for package in "$@"; do
    case $package in
    gcc) fake cc /dev/null ;;
    telnet) fake telnet ;;
    rustc | rustc-web) fake rustc "rustc 1.99.0" ;;
    rustup) fake rustup "rustup" && fake rustc "rustc 1.99.0" ;;
    esac
done'
"##;
