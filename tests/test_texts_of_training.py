"""Which text a model was last trained on, and how much of one text stands in another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from femto.checkpoint.history import History
from femto.errors import DataError
from femto.training import leaks
from femto.training.last_dataset import last_dataset, last_validation_dataset


def after_a_session(**details):
    history = History()
    history.start_session(training={}, **details)
    return history


def test_the_last_text_is_a_path_or_several_or_not_known(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    assert last_dataset(History()) is None and last_validation_dataset(History()) is None
    history = after_a_session(dataset={"name": "a.txt", "path": "a.txt"}, validation_dataset={"name": "b", "path": "b.txt"})
    assert last_dataset(history) == "a.txt" and last_validation_dataset(history) == "b.txt"
    assert last_dataset(after_a_session(dataset={"name": "both", "path": ["a.txt", "b.txt"]})) == ["a.txt", "b.txt"]
    assert last_dataset(after_a_session(dataset={"name": "a.txt", "path": None})) is None  # a text in memory of that name
    assert last_dataset(after_a_session(dataset={"name": "a.txt"})) == "a.txt"  # of an earlier femto
    for name in ("gone.txt", "a\0b", "-"):
        assert last_dataset(after_a_session(dataset={"name": name})) is None
    with pytest.raises(DataError, match=r"^gone\.txt: the model's last data set is not there; --dataset says"):
        last_dataset(after_a_session(dataset={"name": "both", "path": ["a.txt", "gone.txt"]}))
    with pytest.raises(DataError, match=r"^\\x1b\[2J\\x00: the model's last validation data set is not there"):
        last_validation_dataset(after_a_session(dataset={"name": ""}, validation_dataset={"name": "", "path": "\x1b[2J\0"}))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), block=st.integers(1, 300), start=st.integers(0, 968))
def test_a_passage_is_found_wherever_it_stands_and_nothing_else_is(seed, block, start):
    generator = np.random.default_rng(seed)
    training, other = (generator.integers(0, 50, 1000).astype(np.int32) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaks, "BLOCK", block)
        assert leaks.shared_passages(training[start : start + leaks.PASSAGE_TOKENS], training) == 1.0
        assert leaks.shared_passages(other, training) == 0.0
        assert leaks.shared_passages(training[start : start + leaks.PASSAGE_TOKENS - 1], training) == 0.0  # too short to tell


def test_of_a_long_text_the_beginning_and_the_end_are_searched(monkeypatch):
    monkeypatch.setattr(leaks, "SEARCHED_TOKENS", 2000)
    training = np.random.default_rng(1).integers(0, 50, 5000).astype(np.int32)
    assert leaks.shared_passages(training[:900], training) == leaks.shared_passages(training[-900:], training) == 1.0
    assert leaks.shared_passages(training[2000:2900], training) == 0.0
    half = leaks.shared_passages(np.concatenate([training[:500], training[::-1][:500]]), training)
    assert 0.4 < half < 0.6
