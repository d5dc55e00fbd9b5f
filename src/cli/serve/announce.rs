//! The lines that a server prints at its start.

use crate::cli::digests::IndexChoice;
use crate::cli::serve::args::Setup;
use crate::cli::serve::running::RunningServer;
use crate::cli::terminal::{counted, print_line, shown, size};
use crate::cli::visible;
use crate::net::Address;
use crate::server::{Listen, ServerConfig};

/// Prints the addresses, the root, the limits, and a command to try.
pub(super) fn announce(setup: &Setup, running: &RunningServer) {
    let handle = &running.handle;
    let mut text = String::new();
    for address in handle.local_addresses() {
        text += &format!("listening on {address}\n");
    }
    for address in handle.absent_addresses() {
        text += &format!("not listening on {address}: this machine has no such address\n");
    }
    let wants_both = setup
        .server
        .listen
        .iter()
        .any(|place| matches!(place, Listen::Everywhere { .. }));
    let has_ipv6 = |address: &Address| matches!(address, Address::Tcp { host, .. } if host == "::");
    if wants_both && !handle.local_addresses().iter().any(has_ipv6) {
        text += "IPv4 only: this machine has no IPv6\n";
    }
    for note in &setup.notes {
        text += &format!("{note}\n");
    }
    let root = shown(&setup.root);
    let connections = handle.connections_max();
    text += &format!(
        "serving {root}, read-only and unencrypted, over at most {}",
        counted(connections as u64, "connection")
    );
    for (rate, whose) in [
        (setup.limits.rate, "in total"),
        (setup.limits.rate_per_connection, "for each"),
    ] {
        if let Some(rate) = rate {
            text += &format!(", at {}/s {whose}", size(rate));
        }
    }
    text.push('\n');
    let wanted = setup.server.connections_max;
    if connections < wanted && wanted != ServerConfig::default().connections_max {
        text += &format!(
            "warning: --max-connections {wanted} needs a higher limit of open files (ulimit -n)\n"
        );
    }
    if running.has_index() {
        text += &format!("digests are remembered in {}\n", setup.index);
    } else if matches!(setup.index, IndexChoice::MemoryInstead(_)) {
        text += &format!("digests are kept in {}\n", setup.index);
    }
    if !setup.publish.is_empty() {
        let names = setup.publish.iter().filter_map(|text| text.split_once('='));
        let names: Vec<String> = names.map(|(name, _)| format!("@{name}")).collect();
        text += &format!("commands: {}\n", names.join(" "));
    }
    if let Some(address) = handle.local_addresses().first() {
        let separator = if matches!(address, Address::Unix(_)) {
            ':'
        } else {
            '/'
        };
        let name = if setup.root.is_file() {
            setup.root.file_name()
        } else {
            None
        };
        let name = name.map_or("NAME".into(), |name| visible(name.as_encoded_bytes()));
        text += &format!("try: ftget {}{separator}{name}\n", reachable(address));
    }
    // One write: a script that waits for one of the lines gets them all. A server without a
    // standard error still serves.
    print_line(text.trim_end());
}

/// An address as a client on this machine uses it.
pub(super) fn reachable(address: &Address) -> String {
    match address {
        Address::Tcp { host, port } if host == "0.0.0.0" => format!("127.0.0.1:{port}"),
        Address::Tcp { host, port } if host == "::" => format!("[::1]:{port}"),
        address => address.to_string(),
    }
}
