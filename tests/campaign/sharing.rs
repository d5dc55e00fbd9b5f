//! One index for two servers and three programs that fill it, one of which is killed at any
//! moment: nobody is ever told a wrong digest, and the index stays an index.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::Options;
use crate::harness::{Program, Random, Scratch, TestServer, md5_hex, noise};

pub(crate) fn run(options: &Options) -> String {
    let place = Scratch::new();
    let index = place.join("index");
    let (mut killed, mut answers) = ([0; 2], 0);
    for (round, mut random) in options.rounds() {
        let root = Scratch::new();
        let files: Vec<(String, Vec<u8>)> = (0..40)
            .map(|number| {
                let size = random.pick(&[0, 5_000, 70_000, 300_000]);
                (
                    format!("{number}"),
                    noise(u64::from(round) << 8 | number, size),
                )
            })
            .collect();
        for (name, bytes) in &files {
            root.write(name, bytes);
        }
        let serve = || {
            let args = ["--index".as_ref(), index.as_os_str()];
            TestServer::builder(root.path()).args(args).start()
        };
        let mut servers = [serve(), serve()];
        let mut fillers: Vec<_> = (0..3)
            .map(|_| {
                let filler = Program::ftserve().arg("index").arg("--index").arg(&index);
                filler.arg("-q").arg(root.path()).start()
            })
            .collect();
        let victim = random.within(0..=4);
        let wait = random.wait(Duration::from_millis(300));
        answers += ask_all(&servers, &files, &mut random);
        match victim {
            0 | 1 => {
                std::thread::sleep(wait);
                servers[victim].kill();
                servers[victim] = serve();
                killed[0] += 1;
            }
            _ => {
                let filler = fillers.remove(victim - 2);
                if !filler.ends_within(wait) {
                    filler.signal(Signal::KILL);
                    killed[1] += 1;
                }
            }
        }
        answers += ask_all(&servers, &files, &mut random);
        for filler in fillers {
            filler.wait().expect_code(0);
        }
        for server in &mut servers {
            server.terminate();
            let said = server.stderr().text();
            assert!(!said.contains("warning"), "round {round}: {said}");
        }
    }
    let names = place.names();
    let is_set_aside = |name: &std::ffi::OsString| name.to_string_lossy().contains("damaged");
    assert!(!names.iter().any(is_set_aside), "{names:?}");
    format!(
        "{} servers and {} fillers killed, {answers} answers, none wrong, no index lost",
        killed[0], killed[1]
    )
}

fn ask_all(servers: &[TestServer; 2], files: &[(String, Vec<u8>)], random: &mut Random) -> usize {
    let mut peers = [servers[0].connect(), servers[1].connect()];
    for (name, bytes) in files {
        let answer = peers[random.within(0..=1)].ask(json!({"filename": name}).to_string());
        assert_eq!(answer.code(), None, "{}", answer.text);
        assert_eq!(answer.str("md5"), md5_hex(bytes), "{name}");
    }
    files.len()
}
