use crate::wire::ResourcePath;

fn path(name: &str) -> ResourcePath {
    ResourcePath::parse(name.as_bytes()).unwrap()
}

#[test]
fn a_path_has_parts_a_parent_and_a_name() {
    for (name, parts, above) in [
        ("a", vec!["a"], ""),
        ("abc/d", vec!["abc", "d"], "abc"),
        ("a/b/cd", vec!["a", "b", "cd"], "a/b"),
    ] {
        let file = path(name);
        assert!(!file.is_root());
        assert!(file.parts().eq(parts.iter().map(|part| part.as_bytes())));
        assert_eq!(file.file_name(), parts.last().map(|part| part.as_bytes()));
        assert_eq!(file.parent(), Some(path(above)));
        assert_eq!(format!("{file:?}"), format!("ResourcePath({name:?})"));
    }
    let root = path("");
    assert!(root.is_root() && root == ResourcePath::root());
    assert_eq!(root.parts().count(), 0);
    assert_eq!((root.file_name(), root.parent()), (None, None));
}

/// Compares each pair of paths as their parts compare.
#[test]
fn a_path_lies_below_every_prefix_of_its_parts() {
    let names = ["", "a", "aa", "a/b", "a/bb", "a/b/c", "aa/b", "b", "b/a"];
    for (one, other) in names.iter().flat_map(|a| names.iter().map(move |b| (a, b))) {
        let (inner, outer) = (path(one), path(other));
        let [inside, above] = [&inner, &outer].map(|path| path.parts().collect::<Vec<_>>());
        let is_below = inside.starts_with(&above) && inside.len() > above.len();
        assert_eq!(inner.is_below(&outer), is_below, "{one} below {other}");
        let is_child = is_below && inside.len() == above.len() + 1;
        assert_eq!(inner.is_child_of(&outer), is_child, "{one} in {other}");
        assert_eq!(inner.cmp(&outer), inside.cmp(&above));
    }
}
