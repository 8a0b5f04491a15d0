import httpx
import pytest

import chbackup
from chbackup.versions import supports


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2.7.4", (2, 7, 4, "")),
        ("v2.7.4", (2, 7, 4, "")),
        ("2.8.0+fd469780", (2, 8, 0, "fd469780")),
    ],
)
def test_versions_are_read(text, expected):
    version = chbackup.parse_version(text)
    assert version is not None
    assert (version.major, version.minor, version.patch, version.build) == expected


@pytest.mark.parametrize("text", ["", "dev", "2.8", "unknown", "2.8.0.1", "2.8.0-rc1"])
def test_other_versions_are_unknown(text):
    assert chbackup.parse_version(text) is None


def test_versions_are_compared():
    versions = [chbackup.Version(2, 10, 0), chbackup.Version(2, 8, 0, "fd469780"), chbackup.Version(2, 8, 0)]
    assert sorted(versions) == versions[::-1]


@pytest.mark.parametrize(
    ("text", "answer"), [("2.8.1", True), ("2.8.0", False), ("2.8.0+fd469780", None), ("2.7.9+x", False), ("dev", None)]
)
def test_a_build_between_two_releases_may_have_the_next_ones_features(text, answer):
    assert supports(chbackup.parse_version(text), chbackup.Feature.DEPENDENTS_GUARD) is answer


def test_every_feature_names_its_release_and_source():
    features = list(chbackup.Feature)
    assert [feature.since for feature in features] == sorted(feature.since for feature in features)
    for feature in features:
        assert feature.what
        assert any(word in feature.source for word in ("ChangeLog", "issue", "pull request", "source of", "seen"))
        assert supports(chbackup.Version(*feature.since), feature) is True


def test_an_unknown_version_tells_nothing():
    assert {supports(None, feature) for feature in chbackup.Feature} == {None}


@pytest.mark.parametrize("body", ['{"version":""}', '{"version":7}', "Version: 2.7.4", "{}"])
async def test_an_answer_without_a_version_is_no_sidecars(body):
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text=body))
    async with httpx.AsyncClient(transport=transport) as http_client:
        with pytest.raises(chbackup.ServerError, match="not clickhouse-backup's"):
            await chbackup.Client("http://sidecar.fake", http_client=http_client).version()
