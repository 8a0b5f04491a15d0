"""The pytest plugin, as a project of its own would use it."""

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

BOTH_LOOPS = """
import looptime, pytest, trio.testing

@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    if request.param == "asyncio":
        return "asyncio", {"loop_factory": looptime.new_event_loop}
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
"""
TESTS = """
import sys

import pytest

def test_nothing_is_imported_before_a_fixture_is_used():
    assert not {"chbackup", "cozydrivers"} & set(sys.modules)

@pytest.mark.anyio
async def test_a_sidecar_in_virtual_time(fake_sidecar):
    fake_sidecar.tables.add_table("shop.orders", 100)
    fake_sidecar.duration.upload = 3600
    async with fake_sidecar.client() as sidecar:
        operation = await sidecar.create_remote("monday")
        await operation.wait(timeout=7200)
        assert [archive.name for archive in await sidecar.list_remote()] == ["monday"]

def test_a_fleet_on_one_store(fake_fleet):
    one, two = fake_fleet(2, shared=True, version="newest")
    one.add_remote("a")
    assert list(two.remote) == ["a"]

def test_a_fleet_on_many_stores(fake_fleet):
    one, two = fake_fleet(2, path="app/{shard}")
    one.add_remote("a")
    assert list(two.remote) == []
    assert (one.path, two.path) == ("app/0", "app/1")

def test_a_sidecar_needs_no_cluster():
    assert "cozydrivers" not in sys.modules

@pytest.mark.anyio
async def test_a_cluster(fake_cluster):
    from cozydrivers.api.core import Namespace

    assert (await fake_cluster.kube().get(Namespace, "default")).metadata.name == "default"
"""


@pytest.fixture
def run(pytester):
    """Run a test file in a process of its own, with the plugin."""

    def run(source, conftest):
        pytester.makeconftest(conftest)
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-p", "pytest_chbackup", "-p", "no:looptime_plugin", "-W", "error")

    return run


def test_the_fixtures_under_both_loops(run):
    run(TESTS, BOTH_LOOPS).assert_outcomes(passed=8)


def test_a_missing_extra_is_named(run):
    result = run("def test_cluster(fake_cluster): pass", "import sys; sys.modules['kubernetes_asyncio'] = None")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*pip install 'chbackup[[]cozydrivers,testing[]]'*"])


def test_the_module_imports_none_of_the_packages():
    script = "import sys, pytest_chbackup; print(*{'chbackup', 'cozydrivers', 'httpx'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "\n"
