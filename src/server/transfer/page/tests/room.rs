//! Where a page ends, and what it holds while nobody works on it.

use super::*;
use crate::store::MemoryStore;

fn root() -> ListRequest {
    ListRequest {
        recursive: true,
        ..ListRequest::first(ResourcePath::root())
    }
}

fn in_memory(store: &MemoryStore) -> Arc<Catalog<MemoryStore>> {
    let pools = Arc::new(Pools::start(2).unwrap());
    let index = Arc::new(MemoryIndex::new());
    let limits = CatalogLimits::for_cores(2);
    Arc::new(Catalog::new(store.clone(), index, pools, limits))
}

fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let is_empty = name.ends_with("empty");
        fs::write(path, if is_empty { "" } else { "more than one byte" }).unwrap();
    }
    folder
}

fn large() -> ListingCache {
    ListingCache::with_bytes_max(1 << 30)
}

/// An entry that is to be written.
fn pending(name: &str) -> PendingEntry {
    let listed = Listed {
        path: ResourcePath::parse(name.as_bytes()).unwrap(),
        kind: ObjectKind::Symlink,
        meta: None,
        target: Some(b"target".to_vec()),
        error: None,
    };
    PendingEntry {
        listed,
        hidden: 0,
        md5: None,
        refusal: None,
    }
}

fn entries<O>(state: &PageState<O>) -> (Vec<ListEntry<'static>>, bool) {
    let PageState::Made { body, has_more, .. } = state else {
        panic!("the page is not made");
    };
    let lines = body.bytes().split_inclusive(|byte| *byte == b'\n');
    let entries = lines.map(|line| ListEntry::parse(line.strip_suffix(b"\n").unwrap()).unwrap());
    (entries.collect(), *has_more)
}

#[test]
fn a_page_ends_when_its_time_is_over() {
    let store = MemoryStore::new();
    for (files, is_late, expected, has_more) in [
        (1, true, 1, true),
        (1, false, 1, false),
        (300, true, 256, true),
        (300, false, 300, false),
    ] {
        for file in 0..files {
            store.insert(&format!("{file:03}"), "x").unwrap();
        }
        let mut page = Page::new(root(), None, None);
        let late = Instant::now().checked_sub(Duration::from_secs(3_600));
        // An hour is not over yet where it begins now.
        page.started = if is_late {
            late
        } else {
            Some(Instant::now() + Duration::from_secs(3_600))
        };
        let state = page.advance(&in_memory(&store), &large(), || true);
        let (entries, more) = entries(&state);
        assert_eq!((entries.len(), more), (expected, has_more), "{files}");
    }
}

#[test]
fn few_entries_are_looked_at_before_any_is_written() {
    let store = MemoryStore::new();
    for file in 0..300 {
        store.insert(&format!("{file:03}"), "x").unwrap();
    }
    let catalog = in_memory(&store);
    let mut listing = catalog.list(&ResourcePath::root(), true, None).unwrap();
    let mut page = Page::new(root(), None, None);
    for left in [0, 255, 256] {
        page.pending.truncate(left);
        assert!(page.gather(&mut *listing, &catalog).unwrap());
        assert_eq!(page.pending.len(), GATHERED_MAX);
    }
}

#[test]
fn a_page_is_as_long_as_it_may_be_and_never_empty() {
    let catalog = in_memory(&MemoryStore::new());
    let mut line = Vec::new();
    pending("f").encode(&mut line);
    let fits = LIST_PAGE_BYTES_MAX - line.len();
    for (bytes, entries, is_written) in [
        (fits, 0, true),
        (fits + 1, 0, true),
        (fits, 1, true),
        (fits + 1, 1, false),
        (fits + 2, 1, false),
    ] {
        let mut page = Page::new(root(), None, None);
        page.bytes = vec![b'\n'; bytes];
        page.entries = entries;
        page.pending.push_back(pending("f"));
        let pause = page.write(&catalog);
        assert_eq!(matches!(pause, Some(Pause::Full)), !is_written, "{bytes}");
        assert_eq!(page.entries, entries + usize::from(is_written));
        let written = if is_written { line.len() } else { 0 };
        assert_eq!(page.bytes.len(), bytes + written);
    }
}

#[test]
fn counts_hidden_names_before_missing_entries_and_at_the_end() {
    let folder = folder(&[".hidden", "gone", "kept_empty"]);
    let catalog = catalog(folder.path());
    let request = ListRequest {
        digest: true,
        ..root()
    };
    let mut page = Page::new(request, None, None);
    let state = page.advance(&catalog, &large(), || true);
    assert!(matches!(state, PageState::Awaits(..)));
    fs::remove_file(folder.path().join("gone")).unwrap();
    let state = page.advance(&catalog, &large(), || true);
    assert_eq!(entries(&state).0.len(), 1);
    assert_eq!(page.hidden(), Some(1));

    fs::remove_file(folder.path().join("kept_empty")).unwrap();
    let mut page = Page::new(root(), None, None);
    let state = page.advance(&catalog, &large(), || true);
    assert!(entries(&state).0.is_empty());
    assert_eq!(page.hidden(), Some(1));
}

#[test]
fn has_a_count_only_where_names_may_be_hidden() {
    for (hides_names, hidden, expected) in [
        (false, 0, None),
        (false, 1, Some(1)),
        (true, 0, Some(0)),
        (true, 2, Some(2)),
    ] {
        let mut page = Page::new(root(), None, None);
        (page.hides_names, page.hidden) = (hides_names, hidden);
        assert_eq!(page.hidden(), expected);
    }
}

#[test]
fn a_waiting_page_keeps_its_names_or_only_its_bytes() {
    let folder = folder(&["a_empty", "b", "c"]);
    let request = ListRequest {
        digest: true,
        ..root()
    };
    let mut page = Page::new(request, None, None);
    let state = page.advance(&catalog(folder.path()), &large(), || true);
    assert!(matches!(state, PageState::Awaits(..)));
    assert_eq!((page.entries, page.pending.len()), (1, 2));
    let names = page
        .pending
        .iter()
        .map(PendingEntry::held_bytes)
        .sum::<usize>();
    let listing = page.listing.as_ref().unwrap();
    let (of_listing, descriptors) = (listing.held_bytes(), listing.held_descriptors());
    let bytes = of_listing + names + page.bytes.capacity();

    page.cache_share = None;
    let cache = ListingCache::with_bytes_max(bytes);
    assert!(page.take_cache_share(&cache) && page.listing.is_some());
    assert_eq!(cache.taken(), (bytes, descriptors));

    page.cache_share = None;
    let cache = ListingCache::with_bytes_max(bytes - 1);
    assert!(page.take_cache_share(&cache) && page.listing.is_none());
    assert_eq!(page.pending.len(), 1);
    assert_eq!(cache.taken(), (page.bytes.len(), 0));

    page.cache_share = None;
    assert!(!page.take_cache_share(&ListingCache::with_bytes_max(0)));
    page.bytes = Vec::new();
    assert!(page.take_cache_share(&ListingCache::with_bytes_max(0)));
}

#[test]
fn an_entry_holds_its_name_and_its_target() {
    let mut entry = pending("four");
    assert_eq!(entry.held_bytes(), size_of::<PendingEntry>() + 4 + 6);
    entry.listed.target = None;
    assert_eq!(entry.held_bytes(), size_of::<PendingEntry>() + 4);
    let mut line = Vec::new();
    entry.encode(&mut line);
    let entry = ListEntry::parse(line.strip_suffix(b"\n").unwrap()).unwrap();
    assert_eq!(entry.total_size, 0);
}

#[test]
fn a_digest_that_is_busy_fails_the_whole_page() {
    for (code, is_of_page) in [
        (ErrorCode::Busy, true),
        (ErrorCode::ShuttingDown, true),
        (ErrorCode::Changed, false),
        (ErrorCode::Internal, false),
    ] {
        let refusal = Refusal::new(code, "no digest");
        let mut page = Box::new(Page::new(root(), None, None));
        page.pending.push_back(pending("f"));
        let taken = page.set_failure(refusal.clone());
        assert_eq!(taken.is_err(), is_of_page, "{code:?}");
        if let Ok(page) = taken {
            assert_eq!(page.pending[0].refusal, Some(refusal.clone()));
        }
        let nothing_waits = Box::new(Page::new(root(), None, None));
        assert!(nothing_waits.set_failure(refusal).is_err());
    }
}

#[test]
fn known_and_quick_digests_are_not_waited_for() {
    let store = MemoryStore::new();
    store.insert("f", "content").unwrap();
    store.advance(Duration::from_secs(100));
    let catalog = in_memory(&store);
    let listed = |digest| {
        let request = ListRequest { digest, ..root() };
        let state = Page::new(request, None, None).advance(&catalog, &large(), || true);
        entries(&state).0[0].md5
    };
    assert_eq!(listed(false), None, "nobody has made it");
    let made = listed(true);
    assert_eq!(made, Some(Md5Stream::digest(b"content")));
    assert_eq!(listed(false), made);
}

#[test]
fn a_listing_goes_on_only_with_its_own_next_page() {
    let store = MemoryStore::new();
    for name in ["d/a", "d/b"] {
        store.insert(name, "x").unwrap();
    }
    let folder = ResourcePath::parse(b"d").unwrap();
    let first = |path: &ResourcePath| ListRequest {
        limit: 1,
        ..ListRequest::first(path.clone())
    };
    let mut page = Page::new(first(&folder), None, None);
    let state = page.advance(&in_memory(&store), &large(), || true);
    assert!(entries(&state).1);
    let after = page.last.clone();
    let open = page.into_open().unwrap();
    let same = first(&folder);
    assert!(open.continues(&same, after.as_ref()));
    assert!(!open.continues(&same, None));
    assert!(!open.continues(&same, Some(&folder)));
    let recursive = ListRequest {
        recursive: true,
        ..first(&folder)
    };
    let digest = ListRequest {
        digest: true,
        ..first(&folder)
    };
    for other in [recursive, digest, first(&ResourcePath::root())] {
        assert!(!open.continues(&other, after.as_ref()), "{other:?}");
    }
}
