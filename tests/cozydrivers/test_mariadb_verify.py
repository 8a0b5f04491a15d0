"""What the content of a dump proves, from its beginning and from all of it."""

import bz2
import gzip
import random
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cozydrivers.stage import FIXTURES

from cozydrivers.drivers.mariadb.dumps import parse
from cozydrivers.drivers.mariadb.settings import Compression
from cozydrivers.drivers.mariadb.verify import OUTPUT, Reading, head_problem

BEGIN = b"/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB\n--\n"
END = b"/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;\n\n-- Dump completed on 2026-08-21 10:00:03\n"
ROWS = b"".join(b"INSERT INTO `t` VALUES (%d,'-- Dump completed on');\n" % row for row in range(200))
DUMP = BEGIN + ROWS + END
NOISE = random.Random(7).randbytes(4000)
PACK: dict[Compression, Callable[[bytes], bytes]] = {"none": bytes, "gzip": gzip.compress, "bzip2": bz2.compress}
COMPRESSED: list[Compression] = ["gzip", "bzip2"]


def read(content, compression, chunk=1 << 20):
    """The verdict on a whole object, and how often it was worked at."""
    reading, calls = Reading(compression), 0
    for start in range(0, len(content), chunk):
        reading.feed(content[start : start + chunk])
        calls += 1
        while reading.pending:
            reading.feed()
            calls += 1
    return reading.finish(), calls


@pytest.mark.parametrize("compression", PACK)
@pytest.mark.parametrize("first", ["-- MariaDB dump 10.19", "/*M!999999\\- enable", "-- MySQL dump 10.13"])
def test_a_whole_dump(compression, first):
    content = PACK[compression](first.encode() + b"\n" + ROWS + END)
    assert head_problem(content, compression) == ""
    assert read(content, compression)[0] == ""


REAL = {
    "shop.sql": ("", ""),
    "shop.sql.gz": ("", ""),
    "shop.sql.bz2": ("", ""),
    "empty-database.sql": ("", ""),
    "cut-short.sql": ("", "last line"),
    "cut-short.sql.gz": ("", "cut short"),
    "cut-short.sql.bz2": ("cut short", "cut short"),
    "failed.sql": ("", "last line"),
    "failed.sql.gz": ("", "last line"),
    "failed.sql.bz2": ("", "last line"),
    "twice.sql.gz": ("compressed twice", "compressed twice"),
    "twice.sql.bz2": ("compressed twice", "compressed twice"),
    "empty.sql": ("it is empty", "it is empty"),
    "empty.sql.gz": ("empty under its gzip", "empty under its gzip"),
    "empty.sql.bz2": ("empty under its bzip2", "empty under its bzip2"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_dumps(name):
    """What the beginning shows, and what all of it shows."""
    content = (FIXTURES / "mariadb-dumps" / name).read_bytes()
    its = parse(f"backup.2026-08-21T10:00:00Z{name[name.index('.') :]}")
    assert its is not None
    for words, problem in zip(
        REAL[name], [head_problem(content, its.compression), read(content, its.compression)[0]], strict=True
    ):
        assert words in problem
        assert bool(words) == bool(problem)


@pytest.mark.parametrize(
    ("name", "compression"), [("shop.sql", "gzip"), ("shop.sql.gz", "none"), ("shop.sql.gz", "bzip2")]
)
def test_a_real_dump_of_another_compression_than_asked_for(name, compression):
    assert head_problem((FIXTURES / "mariadb-dumps" / name).read_bytes(), compression)


HEADS: dict[Compression, list[tuple[bytes, str]]] = {
    "none": [
        (b"", "it is empty"),
        (gzip.compress(DUMP), "compressed with gzip, though no compression was asked for"),
        (bz2.compress(DUMP), "compressed with bzip2, though no compression was asked for"),
        (NOISE, "does not begin as a dump does"),
        (BEGIN[:5], "does not begin as a dump does"),
        (b"CREATE TABLE `t` (\n", "does not begin as a dump does"),
    ],
    "gzip": [
        (b"", "it is empty"),
        (DUMP, "not compressed, though gzip was asked for"),
        (bz2.compress(DUMP), "compressed with bzip2, not with gzip"),
        (gzip.compress(gzip.compress(DUMP)), "compressed twice: its gzip data holds gzip data"),
        (gzip.compress(bz2.compress(DUMP)), "compressed twice: its gzip data holds bzip2 data"),
        (gzip.compress(b""), "empty under its gzip"),
        (gzip.compress(NOISE), "does not begin as a dump does"),
        (gzip.compress(DUMP)[:12], "gzip data is cut short"),
        (gzip.compress(DUMP)[:11] + NOISE, "gzip data is broken"),
        (NOISE, "no gzip data"),
    ],
    "bzip2": [
        (b"", "it is empty"),
        (DUMP, "not compressed, though bzip2 was asked for"),
        (gzip.compress(DUMP), "compressed with gzip, not with bzip2"),
        (bz2.compress(bz2.compress(DUMP)), "compressed twice: its bzip2 data holds bzip2 data"),
        (bz2.compress(gzip.compress(DUMP)), "compressed twice: its bzip2 data holds gzip data"),
        (bz2.compress(b""), "empty under its bzip2"),
        (bz2.compress(NOISE), "does not begin as a dump does"),
        (bz2.compress(DUMP)[:12], "bzip2 data is cut short"),
        (bz2.compress(DUMP)[:14] + NOISE, "bzip2 data is broken"),
        (NOISE, "no bzip2 data"),
    ],
}


@pytest.mark.parametrize(
    ("compression", "number"),
    [(compression, number) for compression, cases in HEADS.items() for number in range(len(cases))],
)
def test_what_a_beginning_shows(compression, number):
    content, words = HEADS[compression][number]
    assert words in head_problem(content, compression)
    assert words in read(content, compression)[0]


@pytest.mark.parametrize("compression", PACK)
def test_a_dump_that_broke_off_has_no_last_line(compression):
    for cut in (BEGIN, DUMP[: -len(END)], DUMP[:-40], DUMP[: len(BEGIN) + 60]):
        content = PACK[compression](cut)
        assert head_problem(content, compression) == ""
        assert "last line does not begin with '-- Dump completed'" in read(content, compression)[0]


@pytest.mark.parametrize("compression", COMPRESSED)
def test_an_upload_that_broke_off_is_cut_short(compression):
    content = PACK[compression](DUMP)
    for missing in (1, 8, 100):
        assert "cut short" in read(content[:-missing], compression)[0]


def test_a_bit_that_turned_shows():
    content = bytearray(gzip.compress(DUMP))
    content[-6] ^= 1
    assert "gzip data is broken" in read(bytes(content), "gzip")[0]
    content = bytearray(bz2.compress(DUMP))
    content[len(content) // 2] ^= 1
    assert "bzip2 data is broken" in read(bytes(content), "bzip2")[0]


@pytest.mark.parametrize("compression", COMPRESSED)
def test_several_members_are_one_dump(compression):
    pack = PACK[compression]
    parts = pack(BEGIN + ROWS[:50]) + pack(b"") + pack(ROWS[50:] + END)
    assert read(parts, compression)[0] == ""
    assert "last line" in read(parts + pack(b"-- more\n"), compression)[0]
    assert "cut short" in read(parts + pack(b"\n")[:12], compression)[0]


@pytest.mark.parametrize("compression", COMPRESSED)
@pytest.mark.parametrize("garbage", [b"\0" * 512, NOISE, DUMP, b"\n"], ids=["zeros", "noise", "dump", "line"])
def test_nothing_may_follow_the_compressed_data(compression, garbage):
    problem, _ = read(PACK[compression](DUMP) + garbage, compression)
    assert "something else" in problem or "cut short" in problem


def test_nothing_may_follow_a_plain_dump_but_empty_lines():
    assert read(DUMP + b"\n\n", "none")[0] == ""
    for garbage in (b"\0" * 512, NOISE, b"x", ROWS):
        assert read(DUMP + garbage, "none")[0]


def test_the_words_count_on_a_line_of_their_own_only():
    words = b"-- Dump completed"
    assert read(BEGIN + words, "none")[0] == ""
    for after in range(4060, 4100):
        assert read(BEGIN + b"x" * 5000 + words + b"y" * (after - len(words)), "none")[0]


@settings(max_examples=30)
@given(st.sampled_from([*PACK]), st.integers(1, 400), st.integers(0, 600))
def test_the_chunks_do_not_matter(compression, chunk, missing):
    content = PACK[compression](DUMP)
    content = content[: max(0, len(content) - missing)]
    assert bool(read(content, compression, chunk)[0]) == bool(read(content, compression)[0])


BOMB = 30 * OUTPUT


@pytest.mark.parametrize("compression", COMPRESSED)
def test_a_call_decompresses_no_more_than_so_much(compression):
    """Whatever a chunk expands to: the work of a call and what is held stay small."""
    reading = Reading(compression)
    reading.feed(PACK[compression](BEGIN + b"\n" * BOMB + END))
    produced = [reading.produced]
    while reading.pending:
        reading.feed()
        produced.append(reading.produced)
    assert max(after - before for before, after in zip([0, *produced], produced, strict=False)) <= OUTPUT
    assert len(produced) >= BOMB // OUTPUT
    assert reading.finish() == ""


def test_a_bomb_of_members_without_content_ends():
    assert "something else" in read(gzip.compress(b"") * 300 + b"x" * 20, "gzip")[0]


def test_an_output_of_just_so_much_is_read_to_its_end():
    for size in (OUTPUT - 1, OUTPUT, OUTPUT + 1, 2 * OUTPUT):
        content = BEGIN + b"x" * (size - len(BEGIN) - len(END) - 1) + b"\n" + END
        for compression in COMPRESSED:
            assert read(PACK[compression](content), compression)[0] == ""
        stored = zlib.compressobj(0, wbits=31)
        assert read(stored.compress(content) + stored.flush(), "gzip")[0] == ""


@pytest.mark.parametrize("compression", PACK)
def test_no_sentence_quotes_a_dump(compression):
    secret = b"hunter2" * 3
    for content in (secret, PACK[compression](secret), PACK[compression](BEGIN + secret)):
        assert "hunter2" not in head_problem(content, compression) + read(content, compression)[0]
