import io
import json
import sys

import pytest

import chbackup
from chbackup._targets import load_targets, share

YAML = """
- url: http://10.0.0.1:7171
  username: backup
  password_env: PASSWORD_OF_ONE
  storage: s3/one
  labels: {app: shop}
- url: https://10.0.0.2:7171
  password_file: {file}
- url: http://10.0.0.3:7171
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setenv("PASSWORD_OF_ONE", "word-one")
    (tmp_path / "password").write_text("word-two\n")
    text = YAML.replace("{file}", str(tmp_path / "password"))
    (tmp_path / "targets.yaml").write_text(text)
    return tmp_path / "targets.yaml"


def test_a_file_of_yaml(written):
    one, two, three = load_targets(written)
    assert (one.url, one.username, one.password, one.storage) == (
        "http://10.0.0.1:7171",
        "backup",
        "word-one",
        "s3/one",
    )
    assert one.labels == {"app": "shop"}
    assert (two.username, two.password, two.storage, two.labels) == (None, "word-two", "", {})
    assert three == chbackup.Target("http://10.0.0.3:7171")


def test_json_needs_no_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "targets.json").write_text(json.dumps([{"url": "http://a:7171"}]))
    assert load_targets(tmp_path / "targets.json") == [chbackup.Target("http://a:7171")]


def test_yaml_without_the_extra_names_it(written, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(chbackup.InvalidInput, match=r"chbackup\[cli\]"):
        load_targets(written)


def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO('[{"url": "http://a:7171"}]'))
    assert len(load_targets("-")) == 1


async def test_a_fleet_from_a_file(written):
    async with chbackup.Fleet.from_file(written, limit=3, timeout=5) as fleet:
        assert fleet.targets[0].url == "http://10.0.0.1:7171"


def test_no_password_in_a_representation(written):
    assert "word-" not in repr(load_targets(written))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be a list"),
        ("{}", "must be a list"),
        ("[]", "there are none"),
        ("[: secret-word", "neither JSON nor YAML"),
        ("- http://a:7171", r"targets\[0\]: must be an object"),
        ("- {storage: s}", r"targets\[0\].url: missing"),
        ("- {url: 7}", r"targets\[0\].url: must be a text"),
        ("- {url: 'http://a', password: secret-word}", r"targets\[0\].password: name a password_env"),
        ("- {url: 'http://a', user: secret-word}", r"targets\[0\].user: unknown"),
        ("- {url: 'http://a', labels: [secret-word]}", r"targets\[0\].labels: must be an object"),
        ("- {url: 'http://a', password_env: NOT_SET}", r"targets\[0\].password_env: NOT_SET is not set"),
        ("- {url: 'http://a', password_file: /nowhere}", r"targets\[0\].password_file: cannot be read: No such file"),
        ("- {url: 'http://a', password_file: /nowhere, password_env: X}", "exclude each other"),
        ("- {url: 'http://a'}\n- {url: 'http://a/'}", r"targets\[1\].url: targets\[0\] has the same"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_shown(tmp_path, text, words):
    (tmp_path / "targets").write_text(text)
    with pytest.raises(chbackup.InvalidInput, match=words) as caught:
        load_targets(tmp_path / "targets")
    assert "secret-word" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(chbackup.InvalidInput, match="cannot be read: No such file"):
        load_targets(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(chbackup.InvalidInput, match="not UTF-8"):
        load_targets(tmp_path / "binary")


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_storage_falls_to_one_process(count):
    targets = [chbackup.Target(f"http://h{number}", storage=f"s{number // 3}") for number in range(60)]
    shares = [share(targets, (number, count)) for number in range(count)]
    assert sorted(target.url for part in shares for target in part) == sorted(target.url for target in targets)
    owners = [{target.storage for target in part} for part in shares]
    assert sum(map(len, owners)) == 20


def test_a_share_needs_the_names_of_all_storages():
    targets = [chbackup.Target("http://a", storage="s"), chbackup.Target("http://b")]
    with pytest.raises(chbackup.InvalidInput, match=r"targets\[1\].storage: needed"):
        share(targets, (0, 2))


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_a_share_that_nobody_has(shard):
    with pytest.raises(chbackup.InvalidInput, match="shard must be i/n"):
        share([chbackup.Target("http://a", storage="s")], shard)
