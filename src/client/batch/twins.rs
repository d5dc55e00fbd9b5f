//! Contents that are wanted under several names: none comes twice, if its digest is known before
//! it is asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::client::Download;
use crate::client::batch::jobs::JobId;
use crate::client::batch::placing::Placed;
use crate::store::FileName;
use crate::wire::Md5Digest;

/// A file of this batch that is here; it may have changed since.
pub(in crate::client) struct Twin {
    pub(in crate::client) download: Arc<Download>,
    /// The name it has, which may not be the one that was asked for.
    pub(in crate::client) name: FileName,
    pub(in crate::client) total_size: u64,
}

/// Which contents are here, and which are on their way.
#[derive(Default)]
pub(super) struct Twins {
    here: Recent<Arc<Twin>>,
    /// As many as there are jobs, at most.
    coming: HashMap<Md5Digest, Coming>,
}

struct Coming {
    fetcher: JobId,
    /// They want the same.
    held: Vec<JobId>,
}

/// How a job gets its content.
pub(super) enum Way {
    /// From its server.
    Ask,
    /// From this file, if the server says that it is the same.
    Copy(Arc<Twin>),
    /// Not before another job has ended that gets it.
    Hold,
}

impl Twins {
    /// How a job gets its content. One that has [`Way::Ask`] is to be told by [`Twins::ended`].
    pub(super) fn way(&mut self, id: JobId, download: &Download) -> Way {
        let listed_bytes = download.listed.map(|listed| listed.total_size);
        let is_worth_it = listed_bytes.is_none_or(|bytes| bytes >= TWIN_BYTES_MIN);
        let Some(md5) = download.wanted_md5().filter(|_| is_worth_it) else {
            return Way::Ask;
        };
        if let Some(twin) = self.here.get(md5) {
            let is_worth_it = twin.total_size >= TWIN_BYTES_MIN;
            return match is_worth_it && download.may_be(twin.total_size) {
                true => Way::Copy(Arc::clone(twin)),
                false => Way::Ask,
            };
        }
        let fetcher = id;
        let coming = self.coming.entry(md5).or_insert_with(|| Coming {
            fetcher,
            held: Vec::new(),
        });
        if coming.fetcher == id {
            return Way::Ask;
        }
        coming.held.push(id);
        Way::Hold
    }

    /// A job has ended, with this if it is here, or pauses. Returns those that waited for it.
    pub(super) fn ended(
        &mut self,
        id: JobId,
        download: &Arc<Download>,
        placed: Option<&Placed>,
    ) -> Vec<JobId> {
        let held = download.wanted_md5().map(|md5| self.release(id, md5));
        let held = held.unwrap_or_default();
        if let Some(placed) = placed
            && let Some(md5) = placed.md5
            // One that is wanted often is known even if it is too small to be of use.
            && (placed.total_size >= TWIN_BYTES_MIN || !held.is_empty())
        {
            let twin = Twin {
                download: Arc::clone(download),
                name: placed.name.clone(),
                total_size: placed.total_size,
            };
            self.here.insert(md5, Arc::new(twin));
        }
        held
    }

    /// This content is not where it was.
    pub(super) fn forget(&mut self, md5: Md5Digest) {
        self.here.remove(md5);
    }

    fn release(&mut self, id: JobId, md5: Md5Digest) -> Vec<JobId> {
        match self.coming.get(&md5) {
            Some(coming) if coming.fetcher == id => {
                let coming = self.coming.remove(&md5);
                coming.map(|coming| coming.held).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }
}

/// What is known of some contents: of those that were noted last.
pub(in crate::client) struct Recent<T> {
    by_digest: HashMap<Md5Digest, T>,
    /// In the order in which they came, perhaps with some that were removed.
    order: VecDeque<Md5Digest>,
}

impl<T> Recent<T> {
    pub(in crate::client) fn get(&self, md5: Md5Digest) -> Option<&T> {
        self.by_digest.get(&md5)
    }

    pub(in crate::client) fn insert(&mut self, md5: Md5Digest, known: T) {
        if self.by_digest.insert(md5, known).is_some() {
            return;
        }
        self.order.push_back(md5);
        if self.order.len() > RECENT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_digest.remove(&oldest);
        }
    }

    fn remove(&mut self, md5: Md5Digest) {
        self.by_digest.remove(&md5);
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Recent<T> {
        Recent {
            by_digest: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

/// From here on a copy is cheaper than to fetch the same once more. Over loopback, where nothing
/// is cheaper than to fetch, a copy of 16 KiB takes 20 µs longer: as 16 KiB do at 6 Gbit/s.
pub(in crate::client) const TWIN_BYTES_MIN: u64 = 16 * 1024;
/// Some 10 MB.
const RECENT_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::batch::jobs::{Job, Jobs, Task};
    use crate::client::{Action, ListedFile};
    use crate::digest::Md5Stream;
    use crate::net::Address;
    use crate::wire::ResourcePath;

    /// Jobs that want a content each.
    #[derive(Default)]
    struct Place {
        twins: Twins,
        jobs: Jobs,
    }

    impl Place {
        fn job(&mut self, content: u64, bytes: u64) -> (JobId, Arc<Download>) {
            let download = Download {
                listed: Some(ListedFile {
                    total_size: bytes,
                    md5: Some(md5(content)),
                    ..ListedFile::default()
                }),
                ..Download::new(
                    Address::Unix("/none".into()),
                    ResourcePath::parse(b"f").unwrap(),
                    "/".into(),
                    FileName::parse(b"f").unwrap(),
                )
            };
            let job = Job::new(0, download, Task::Fetch, [None, None], 0);
            let download = Arc::clone(&job.download);
            (self.jobs.add(job), download)
        }

        fn ends(&mut self, (id, download): &(JobId, Arc<Download>), content: u64) -> Vec<JobId> {
            let bytes = download.listed.unwrap().total_size;
            let placed = Placed {
                name: download.name.clone(),
                total_size: bytes,
                md5: Some(md5(content)),
                action: Action::Fetched,
            };
            self.twins.ended(*id, download, Some(&placed))
        }

        fn way(&mut self, (id, download): &(JobId, Arc<Download>)) -> &'static str {
            match self.twins.way(*id, download) {
                Way::Ask => "ask",
                Way::Copy(_) => "copy",
                Way::Hold => "hold",
            }
        }
    }

    fn md5(content: u64) -> Md5Digest {
        Md5Stream::digest(&content.to_le_bytes())
    }

    #[test]
    fn what_is_on_its_way_is_waited_for_and_copied() {
        let mut place = Place::default();
        let [first, second, third] = [(); 3].map(|()| place.job(1, TWIN_BYTES_MIN));
        let other = place.job(2, TWIN_BYTES_MIN);
        let ways = [&first, &second, &first, &other, &third].map(|job| place.way(job));
        assert_eq!(ways, ["ask", "hold", "ask", "ask", "hold"]);
        assert_eq!(place.ends(&other, 2), []);
        assert_eq!(place.ends(&first, 1), [second.0, third.0]);
        assert_eq!([&second, &third].map(|job| place.way(job)), ["copy"; 2]);
        place.twins.forget(md5(1));
        let ways = [&second, &third].map(|job| place.way(job));
        assert_eq!(ways, ["ask", "hold"]);
    }

    #[test]
    fn what_does_not_come_is_fetched_by_the_next() {
        let mut place = Place::default();
        let [first, second, third] = [(); 3].map(|()| place.job(1, TWIN_BYTES_MIN));
        let _ = [&first, &second, &third].map(|job| place.way(job));
        let (id, download) = &first;
        let held = place.twins.ended(*id, download, None);
        assert_eq!(held, [second.0, third.0]);
        assert_eq!(place.way(&second), "ask");
        assert_eq!(place.way(&third), "hold");
        // Nor does what is other content by now.
        assert_eq!(place.ends(&second, 7), [third.0]);
        assert_eq!(place.way(&third), "ask");
    }

    #[test]
    fn what_is_small_or_of_another_size_is_fetched() {
        let mut place = Place::default();
        let small = [(); 2].map(|()| place.job(1, TWIN_BYTES_MIN - 1));
        assert_eq!(small.each_ref().map(|job| place.way(job)), ["ask"; 2]);
        assert_eq!(place.ends(&small[0], 1), []);
        assert!(place.twins.here.get(md5(1)).is_none());
        let large = place.job(2, TWIN_BYTES_MIN);
        assert_eq!(place.ends(&large, 2), []);
        let larger = place.job(2, TWIN_BYTES_MIN + 1);
        assert_eq!(place.way(&larger), "ask");
    }

    #[test]
    fn so_many_contents_are_remembered_and_no_more() {
        let mut recent = Recent::default();
        let most = RECENT_MAX as u64;
        for content in 0..=most {
            recent.insert(md5(content), content);
        }
        recent.insert(md5(1), 1);
        assert_eq!(recent.get(md5(0)), None);
        assert_eq!(recent.get(md5(1)), Some(&1));
        assert_eq!(
            (recent.by_digest.len(), recent.order.len()),
            (RECENT_MAX, RECENT_MAX)
        );
        recent.remove(md5(most));
        for content in most..2 * most {
            recent.insert(md5(content), content);
        }
        assert!(recent.by_digest.len() <= RECENT_MAX && recent.order.len() <= RECENT_MAX);
        assert_eq!(recent.get(md5(2 * most - 1)), Some(&(2 * most - 1)));
    }
}
