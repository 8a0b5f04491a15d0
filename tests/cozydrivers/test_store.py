import pytest

from cozydrivers.api.base import Metadata
from cozydrivers.api.core import ConfigMap, Namespace
from cozydrivers.runtime import Key, Store

KEY = Key("one", "a")


def obj(version: int | str, name: str = "a", namespace: str = "one", **data: str) -> ConfigMap:
    return ConfigMap(metadata=Metadata(name=name, namespace=namespace, resource_version=str(version)), data=data)


class Told(list[tuple[str | None, str | None]]):
    """The versions that a listener was told, before and after."""

    def __call__(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        self.append((old.metadata.resource_version if old else None, new.metadata.resource_version if new else None))


def versions(store: Store[ConfigMap]) -> set[tuple[str, str]]:
    return {(item.metadata.name, item.metadata.resource_version) for item in store}


def test_objects_by_key_and_by_namespace():
    store = Store[ConfigMap](Told())
    a, b, c = obj(1), obj(2, "b"), obj(3, "a", "two")
    for item in (a, b, c):
        store.put(item)
    assert store.get(KEY) is a
    assert store.get(Key("one", "nope")) is None
    assert store.get(Key("nope", "a")) is None
    assert store.list("one") == [a, b]
    assert store.list("nope") == []
    assert store.list() == list(store) == [a, b, c]


def test_keys():
    assert Key.of(obj(1)) == KEY
    assert str(KEY) == "one/a"
    assert str(Key.of(Namespace(metadata=Metadata(name="tenant-a")))) == "tenant-a"


def test_an_older_version_never_replaces_a_newer_one():
    store = Store[ConfigMap](told := Told())
    for version in (9, 10, 9, 10, 11):
        store.put(obj(version))
    assert told == [(None, "9"), ("9", "10"), ("10", "11")]


def test_versions_that_are_no_numbers_are_taken_as_they_come():
    store = Store[ConfigMap](told := Told())
    for version in ("b", "a", "1"):
        store.put(obj(version))
    assert told == [(None, "b"), ("b", "a"), ("a", "1")]


def test_our_own_write_is_told_once_whether_its_answer_or_the_watch_comes_first():
    store = Store[ConfigMap](told := Told())
    store.replace([obj(5)], "7")
    store.put(obj(8))
    store.put(obj(8))
    assert told == [(None, "5"), ("5", "8")]


def test_an_answer_that_comes_after_the_deletion_does_not_bring_the_object_back():
    store = Store[ConfigMap](told := Told())
    store.replace([obj(5)], "7")
    store.remove(obj(9))
    store.version = "9"
    store.put(obj(8))
    assert store.list() == []
    assert told[1:] == [("5", None)]


def test_a_deletion_seen_late_does_not_remove_the_object_that_was_created_anew():
    store = Store[ConfigMap](Told())
    store.put(obj(5))
    store.put(obj(10))
    store.remove(obj(9))
    assert versions(store) == {("a", "10")}
    store.remove(obj(11))
    assert versions(store) == set()


def test_a_list_replaces_what_is_known_and_tells_the_differences_only():
    store = Store[ConfigMap](told := Told())
    store.replace([obj(1), obj(2, "b"), obj(3, "c")], "4")
    told.clear()
    store.replace([obj(1), obj(6, "b"), obj(7, "d")], "8")
    assert versions(store) == {("a", "1"), ("b", "6"), ("d", "7")}
    assert sorted(told, key=str) == sorted([("3", None), ("2", "6"), (None, "7")], key=str)
    assert store.version == "8"


def test_a_list_that_was_made_before_our_own_writes_does_not_undo_them():
    store = Store[ConfigMap](told := Told())
    store.replace([obj(1), obj(2, "b")], "4")
    store.put(obj(9))
    store.put(obj(10, "new"))
    store.replace([obj(1), obj(2, "b")], "8")
    assert versions(store) == {("a", "9"), ("b", "2"), ("new", "10")}
    assert len(told) == 4


def test_a_listener_may_read_and_change_the_store():
    kept = Store[ConfigMap](lambda old, new: None)

    def listen(old: ConfigMap | None, new: ConfigMap | None) -> None:
        assert store.get(KEY) is new
        for item in store:
            kept.put(item)

    store = Store[ConfigMap](listen)
    store.put(obj(1))
    store.remove(obj(2))
    assert len(list(kept)) == 1


@pytest.mark.parametrize("version", ["", "x"])
def test_without_comparable_versions_a_list_is_the_truth(version):
    store = Store[ConfigMap](Told())
    store.replace([obj("a"), obj("b", "b")], version)
    assert len(store.list()) == 2


def labelled(version: int, *labels: str, name: str = "a") -> ConfigMap:
    return ConfigMap(
        metadata=Metadata(name=name, namespace="one", resource_version=str(version), labels=dict.fromkeys(labels, ""))
    )


def test_an_index_finds_an_object_under_each_of_its_values_as_it_is_now():
    store = Store[ConfigMap](Told(), {"label": lambda item: item.metadata.labels})
    store.put(labelled(1, "x", "y"))
    store.put(labelled(2, "y", name="b"))
    assert [[item.metadata.name for item in store.by("label", value)] for value in "xyz"] == [["a"], ["a", "b"], []]
    store.put(changed := labelled(3, "z"))
    assert [store.by("label", value) for value in "xz"] == [[], [changed]]
    store.remove(labelled(9, "z"))
    assert [len(store.by("label", value)) for value in "xyz"] == [0, 1, 0]


def test_an_index_forgets_what_a_list_no_longer_holds():
    store = Store[ConfigMap](Told(), {"label": lambda item: item.metadata.labels})
    store.replace([labelled(1, "x"), labelled(2, "x", name="b")], "3")
    store.replace([labelled(2, "x", name="b")], "4")
    assert [item.metadata.name for item in store.by("label", "x")] == ["b"]


def test_an_older_version_does_not_come_back_into_an_index():
    store = Store[ConfigMap](Told(), {"label": lambda item: item.metadata.labels})
    store.put(labelled(5, "y"))
    store.put(labelled(4, "x"))
    assert (len(store.by("label", "x")), len(store.by("label", "y"))) == (0, 1)
