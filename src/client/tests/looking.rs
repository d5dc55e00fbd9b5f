use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::scripted::{at_some_pace, config};
use crate::client::{
    Batch, ClientConfig, ClientError, Comparison, Download, Outlook, Tree, compare, preview,
};
use crate::net::Address;
use crate::store::FileName;
use crate::wire::ResourcePath;

/// Servers that take connections and never say a word.
fn silent_servers<const N: usize>() -> [(TcpListener, Address); N] {
    [(); N].map(|()| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let host = "127.0.0.1".to_owned();
        (listener, Address::Tcp { host, port })
    })
}

fn file(address: &Address, folder: &std::path::Path) -> Download {
    let path = ResourcePath::parse(b"f").unwrap();
    let name = FileName::parse(b"f").unwrap();
    Download::new(address.clone(), path, folder.to_owned(), name)
}

/// Collects what failed.
type Look<'l> = Box<dyn FnMut(&mut Vec<ClientError>) -> Outlook + 'l>;

#[test]
fn several_sources_have_together_the_time_that_there_is_for_all() {
    at_some_pace(|factor| {
        let limit = Duration::from_millis(400) * factor;
        let config = ClientConfig {
            whole_timeout: Some(limit),
            ..config()
        };
        let temp = tempfile::tempdir().unwrap();
        let servers = silent_servers::<6>();
        let batch = |as_trees: bool| {
            let batch = Batch::new();
            servers.iter().fold(batch, |batch, (_, address)| {
                let folder = temp.path().to_owned();
                match as_trees {
                    true => batch.tree(Tree::all(address.clone(), ResourcePath::root(), folder)),
                    false => batch.file(file(address, &folder)),
                }
            })
        };
        for as_trees in [true, false] {
            let mut looks: [Look<'_>; 2] = [
                Box::new(|errors| {
                    compare(batch(as_trees), &config, &mut |_, outcome| {
                        errors.extend(outcome.err());
                    })
                    .unwrap()
                }),
                Box::new(|errors| {
                    preview(batch(as_trees), &config, &mut |_, outcome| {
                        errors.extend(outcome.err());
                    })
                    .unwrap()
                }),
            ];
            for look in &mut looks {
                let (begun, mut errors) = (Instant::now(), Vec::new());
                look(&mut errors);
                // Each for itself would have had all of it.
                assert!(begun.elapsed() < 3 * limit, "{:?}", begun.elapsed());
                let is_out_of_time = |error: &ClientError| matches!(error, ClientError::OutOfTime);
                assert!(errors.iter().any(is_out_of_time), "{errors:?}");
            }
        }
    });
}

#[test]
fn a_comparison_that_broke_off_is_none() {
    let entries = std::iter::repeat_with(|| -> Download { panic!("no more of the list") });
    let mut compared = 0;
    let broken = catch_unwind(AssertUnwindSafe(|| {
        compare(
            Batch::new().files(entries.take(1)),
            &config(),
            &mut |_, outcome| {
                assert_ne!(outcome.unwrap(), Comparison::Same);
                compared += 1;
            },
        )
    }));
    assert!(broken.is_err() && compared == 0);
}
