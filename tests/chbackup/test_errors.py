import pickle

import pytest

import chbackup
from chbackup import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, chbackup.ChbackupError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_prints_one_sentence_and_survives_pickling(kind):
    row = chbackup.Action(command="create b1", status="error")
    error = kind("it did not work", operation="create", status_code=500, words="no", rows=[row])
    again = pickle.loads(pickle.dumps(error))
    assert str(error) == str(again) == error.message == "it did not work"
    assert (again.operation, again.status_code, again.words, again.rows) == ("create", 500, "no", (row,))


def test_the_tree_of_the_docstring_is_the_real_one():
    drawn = {line.split("── ")[1].split()[0] for line in errors.__doc__.splitlines() if "── " in line} - {"while"}
    assert drawn | {"ChbackupError"} == {kind.__name__ for kind in KINDS}


def test_builtin_kinds_are_caught_too():
    assert issubclass(chbackup.InvalidInput, ValueError)
    assert issubclass(chbackup.WaitTimeout, TimeoutError)
    assert issubclass(chbackup.RequiredByOthers, chbackup.Refused)


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(500, True), (503, True), (429, True), (409, True), (301, False), (200, False), (None, False)],
)
def test_a_server_error_says_whether_it_may_pass(status, retryable):
    assert chbackup.ServerError("words", status_code=status).retryable is retryable
    assert not chbackup.NotFound("words", status_code=500).retryable
