//! The peers' servers, in the foreground, with all they write in a folder that vanishes.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::geteuid;

use crate::harness::{DEADLINE, Program, Running, Scratch};

/// A running peer.
pub(crate) struct PeerServer {
    port: u16,
    _running: Running,
    _folder: Scratch,
}

impl PeerServer {
    /// nginx as its manual sets it up for static files, without an access log.
    pub(crate) fn nginx(root: &Path) -> PeerServer {
        // Its workers must not become another user, who could not enter the temporary folder.
        let user = if geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let root = root.display();
        PeerServer::start("nginx", "nginx-light", |folder, port| {
            let at = folder.path().display();
            let config = folder.write(
                "nginx.conf",
                format!(
                    "daemon off; {user} worker_processes auto; pid {at}/pid;\n\
                     events {{ worker_connections 4096; }}\n\
                     http {{\n\
                     access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;\n\
                     client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
                     fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi;\n\
                     scgi_temp_path {at}/scgi;\n\
                     server {{ listen 127.0.0.1:{port} backlog=1024; root {root}; }}\n\
                     }}\n"
                ),
            );
            format!("-p {at}/ -e {at}/errors -c {}", config.display())
        })
    }

    /// The rsync daemon with one read-only module, `root`.
    pub(crate) fn rsync(root: &Path) -> PeerServer {
        let user = if geteuid().is_root() {
            "uid = root\ngid = root\n"
        } else {
            ""
        };
        let root = root.display();
        PeerServer::start("rsync", "rsync", |folder, port| {
            let at = folder.path().display();
            let config = folder.write(
                "rsyncd.conf",
                format!(
                    "use chroot = false\n{user}log file = {at}/log\n\
                     [root]\npath = {root}\nread only = true\n"
                ),
            );
            let config = config.display();
            format!("--daemon --no-detach --address=127.0.0.1 --port={port} --config={config}")
        })
    }

    /// The port of 127.0.0.1 it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Starts it with the arguments that `configure` returns, as words between spaces.
    fn start(
        name: &str,
        package: &str,
        configure: impl FnOnce(&Scratch, u16) -> String,
    ) -> PeerServer {
        let folder = Scratch::new();
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let args = configure(&folder, port);
        let running = Program::system(name, package).args(args.split(' ')).start();
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = running.ends_within(Duration::from_millis(10));
            assert!(
                !ended && Instant::now() < deadline,
                "{name} does not listen: {}",
                running.stderr().text()
            );
        }
        PeerServer {
            port,
            _running: running,
            _folder: folder,
        }
    }
}
