#!/bin/sh
# Installs what a command of this repository needs, on Debian or Ubuntu, and then runs the command:
#
#   sh setup.sh COMMAND...                   needs a C compiler and Rust
#   sh setup.sh --tests COMMAND...           needs the programs of the tests as well
#   sh setup.sh --tests --lints COMMAND...   needs rustfmt and clippy as well
#   sh setup.sh --missing [--tests]          for cargo, see .cargo: installs nothing, ends with 1 if a program is missing
#
# It prints what is missing and what it installs, and needs root only to install packages. Where it cannot install,
# it names all that is missing and runs nothing. It removes no package, and changes no default toolchain.
set -u

# PROGRAM:PACKAGE. Tests fail without these: most are peers that this project did not write.
test_programs='bash:bash curl:curl diff:diffutils expect:expect find:findutils groff:groff-base md5sum:coreutils
    nc:netcat-openbsd openssl:openssl ps:procps python3:python3 setpriv:util-linux tar:tar telnet:telnet'
# Tests are skipped without these, and say so.
optional_programs='bindfs:bindfs ip:iproute2 losetup:mount mke2fs:e2fsprogs mkfs.btrfs:btrfs-progs mkfs.exfat:exfatprogs
    mkfs.xfs:xfsprogs mkntfs:ntfs-3g mount.exfat-fuse:exfat-fuse setfacl:acl strace:strace'

say() { printf 'setup.sh: %s\n' "$*" >&2; }

has() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null; }

is_root() { [ "$(id -u)" = 0 ]; }

# Prints the last errors only if it fails: without a network, apt-get prints one for each file.
as_root() {
    is_root || set -- sudo "$@"
    errors=$("$@" 2>&1 </dev/null >/dev/null) || {
        printf '%s\n' "$errors" | tail -n 3 >&2
        return 1
    }
}

# Debian's gcc without libc6-dev compiles, but does not link.
has_c_compiler() {
    # Unquoted: CC may have arguments.
    set -- ${CC:-cc}
    has "$1" && { ! has apt-get || [ -e "$("$@" -print-file-name=crt1.o)" ]; }
}

# The traditional netcat has the same name, but no -N and no -U.
has_test_program() {
    has "$1" && { [ "$1" != nc ] || nc -h 2>&1 | grep -q -- -N; }
}

# Whether the version $1 is at least the rust-version of Cargo.toml.
is_new_enough() {
    major=${1%%.*} minor=${1#*.}
    minor=${minor%%[!0-9]*} needed=${rust_version#*.}
    [ "${major:-0}" -gt "${rust_version%%.*}" ] ||
        { [ "${major:-0}" -eq "${rust_version%%.*}" ] && [ "${minor:-0}" -ge "${needed%%.*}" ]; }
}

rust_works() {
    rustc=$(rustc --version 2>/dev/null) && rustc=${rustc#rustc } && rust_found=${rustc%% *} &&
        is_new_enough "$rust_found" && cargo --version >/dev/null 2>&1 &&
        { [ -z "$lints" ] || { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; }
}

# Looks in the PATH, where rustup puts it, and beside an older default of rustup.
has_rust() {
    rust_works && return
    PATH="${CARGO_HOME:-${HOME-}/.cargo}/bin:$PATH"
    rust_works && return
    RUSTUP_TOOLCHAIN=stable RUSTUP_AUTO_INSTALL=0 rust_works && export RUSTUP_TOOLCHAIN=stable
}

add_packages() {
    for package in "$@"; do
        case "$packages " in *" $package "*) ;; *) packages="$packages $package" ;; esac
    done
}

# lacks NAME PACKAGE...
lacks() {
    missing="$missing${missing:+, }$1"
    shift
    add_packages "$@"
}

look() {
    missing='' optional='' packages='' needs_rust='' rust_found=''
    has_c_compiler || lacks 'a C compiler' gcc libc6-dev
    if [ -z "$only_look" ] && ! has_rust; then
        needs_rust=yes
        lacks "Rust $rust_version or newer${lints:+ with rustfmt and clippy}${rust_found:+ (here is $rust_found)}"
    fi
    [ -n "$tests" ] || return 0
    for pair in $test_programs; do
        has_test_program "${pair%:*}" || lacks "${pair%:*}" "${pair#*:}"
    done
    for pair in $optional_programs; do
        has "${pair%:*}" || {
            optional="$optional${optional:+, }${pair%:*}"
            add_packages "${pair#*:}"
        }
    done
}

report() {
    [ -z "$missing" ] || say "missing: $missing"
    [ -z "$optional" ] || say "missing, so that some tests are skipped: $optional"
}

# Whether apt-get could install these packages, and the first is a Rust that is new enough.
offers_rust() {
    is_new_enough "$(apt-cache show --no-all-versions "$1" 2>/dev/null | sed -n 's/^Version: //p')" && offers "$@"
}

offers() { has apt-get && apt-get -qq --simulate --no-remove install "$@" >/dev/null 2>&1; }

# Chooses where Rust comes from: packages first, which are signed and serve all users. Debian keeps the packages `-web`
# new enough for its browsers.
plan_rust() {
    components=${lints:+ --component rustfmt --component clippy}
    rust_command="rustup toolchain install stable --profile minimal$components"
    if has rustup; then
        :
    elif offers_rust rustc cargo ${lints:+rustfmt rust-clippy}; then
        add_packages rustc cargo ${lints:+rustfmt rust-clippy}
        rust_command=''
    elif [ -z "$lints" ] && offers_rust rustc-web cargo-web; then
        add_packages rustc-web cargo-web
        rust_command=''
    elif offers rustup; then
        add_packages rustup
    else
        has curl || add_packages curl
        rust_command="curl -sSf https://sh.rustup.rs | sh -s -- -y --no-modify-path --profile minimal$components"
    fi
}

# Runs nothing if more is missing than what only skips tests.
cannot_install() {
    say "cannot install: $1"
    [ -z "$packages" ] || say "hint: these are the Debian packages:$packages"
    [ -z "$rust_command" ] || say "hint: this installs Rust: $rust_command"
    [ -z "$missing" ] || exit 1
}

install() {
    rust_command='' with_sudo=''
    is_root || with_sudo=' with sudo'
    if has apt-get && { is_root || has sudo; }; then
        say "reading the lists of packages$with_sudo"
        as_root apt-get -qq update
    fi
    [ -z "$needs_rust" ] || plan_rust
    if [ -n "$packages" ]; then
        has apt-get || { cannot_install 'apt-get is missing' && return; }
        is_root || has sudo || { cannot_install 'this user is not root, and sudo is missing' && return; }
        add_packages ca-certificates
        say "installing packages$with_sudo:$packages"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq --no-remove --no-install-recommends install $packages ||
            { cannot_install 'apt-get failed' && return; }
    fi
    if [ -n "$rust_command" ]; then
        say "installing Rust: $rust_command"
        sh -c "$rust_command" </dev/null >&2 || cannot_install 'Rust could not be fetched'
    fi
    look
    [ -z "$missing" ] || { report && cannot_install 'this is missing still'; }
}

tests='' lints='' only_look=''
while :; do
    case ${1-} in
    --tests) tests=yes ;;
    --lints) lints=yes ;;
    --missing) only_look=yes ;;
    *) break ;;
    esac
    shift
done
if [ $# = 0 ] && [ -z "$only_look" ]; then
    say 'usage: sh setup.sh [--tests] [--lints] COMMAND...'
    exit 2
fi
rust_version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/Cargo.toml")
look
if [ -n "$only_look" ]; then
    [ -n "$missing" ] || exit 0
    report
    say "hint: these are the Debian packages:$packages"
    say "hint: this installs them: sh setup.sh ${tests:+--tests }cargo..."
    exit 1
fi
if [ -n "$missing$optional" ]; then
    report
    install
fi
exec "$@"
