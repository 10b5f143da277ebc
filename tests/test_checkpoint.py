"""The checkpoint: round trips, reproducible bytes, and one clear line for every way a file can be wrong."""

import json
import stat
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from femto import checkpoint, tokenizers
from femto.checkpoint import container, storage
from femto.config import BLOCKS, INITIALIZERS, POSITIONAL_ENCODINGS, ModelConfig, TrainConfig
from femto.errors import CheckpointError
from femto.model import ParameterLayout, layout_size


def small(steps=2, **shape):
    tokenizer = tokenizers.build("char", "abc")
    made = checkpoint.create(
        ModelConfig(4, **{"num_tokens": 3, "embedding_degree": 2, "num_layers": 1, "num_heads": 1, **shape}),
        tokenizer,
        TrainConfig(seed=3),
    )
    if steps:
        optimizer = made.ready_optimizer()
        optimizer.m[...] = np.arange(made.model.layout.size)
        optimizer.v[...] = 2.0
        optimizer.step = steps
        made.history.start_session(dataset={"name": "d", "sha256": "", "bytes": 1}, dropout=0.1)
        for step in range(steps):
            made.history.add_step(1.5 + step, 10.0)
    return made


@pytest.fixture
def path(tmp_path):
    target = tmp_path / "model.dat"
    checkpoint.save(small(), target)
    return target


shapes = st.fixed_dictionaries(
    {
        "num_tokens": st.integers(1, 9),
        "num_layers": st.integers(1, 3),
        "num_heads": st.integers(1, 3),
        "block": st.sampled_from(BLOCKS),
        "positional_encoding": st.sampled_from(POSITIONAL_ENCODINGS),
        "initializer": st.sampled_from(INITIALIZERS),
    }
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=shapes, head_size=st.integers(1, 9), steps=st.integers(0, 3))
def test_what_is_loaded_is_what_was_saved_and_saves_to_the_same_bytes(tmp_path, shape, head_size, steps):
    made = small(steps, **shape, embedding_degree=head_size * shape["num_heads"])
    first, second = tmp_path / "first.dat", tmp_path / "second.dat"
    checkpoint.save(made, first)
    loaded = checkpoint.load(first)
    assert loaded.model.config == made.model.config
    assert loaded.training == made.training
    assert loaded.tokenizer == made.tokenizer
    assert loaded.history.entries == made.history.entries
    assert loaded.history.losses.tolist() == made.history.losses.tolist()
    assert loaded.model.parameters_sha256 == made.model.parameters_sha256
    assert loaded.optimizer_sha256 == made.optimizer_sha256
    checkpoint.save(loaded, second)
    assert first.read_bytes() == second.read_bytes()
    assert layout_size(made.model.config) == ParameterLayout(made.model.config).size


def test_the_file_is_laid_out_as_documented(path):
    """Reads docs/checkpoint-format.md's layout by hand, without femto's reader."""
    blob = path.read_bytes()
    assert blob[:8] == b"\x89FEMTO\r\n"
    version, count, size = struct.unpack_from("<IIQ", blob, 8)
    assert (version, size) == (1, len(blob))
    assert struct.unpack_from("<I", blob, 60)[0] == zlib.crc32(blob[:60] + blob[64 : 64 + 64 * count])
    sections = {}
    for index in range(count):
        name, _, crc, offset, length = struct.unpack_from("<24sIIQQ", blob, 64 + 64 * index)
        assert offset % 64 == 0
        sections[name.rstrip(b"\0").decode()] = blob[offset : offset + length]
        assert zlib.crc32(blob[offset : offset + length]) == crc
    model = json.loads(sections["model"])
    flat = np.frombuffer(sections["parameters"], "<f4")
    loaded = checkpoint.load(path).model
    for tensor in model["tensors"]:
        assert tensor["offset"] % 16 == 0
        part = flat[tensor["offset"] : tensor["offset"] + int(np.prod(tensor["shape"]))].reshape(tensor["shape"])
        if tensor["name"] in loaded.tensors:
            assert (part == loaded.tensors[tensor["name"]]).all()
        else:
            assert tensor["name"] == "heads_0_qkv"
            assert (part[:, 2:4] == loaded.tensors["head_0_0_k"]).all()
    assert np.frombuffer(sections["losses"], "<f4").tolist() == [1.5, 2.5]


def refused(path, match=None):
    with pytest.raises(CheckpointError, match=match) as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def rewritten(path, **changes):
    """The file again with sections replaced (None: left out) and every checksum right: a hostile file, not a damaged one."""
    with open(path, "rb") as file:
        reader = container.Reader(file, path)
        sections = {name: reader.read(name) for name in reader._sections}
    sections = {name: blob for name, blob in {**sections, **changes}.items() if blob is not None}
    container.write(path, sections)


def changed(path, section, change):
    with open(path, "rb") as file:
        document = json.loads(container.Reader(file, path).read(section))
    change(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("section", "change", "match"),
    [
        ("model", lambda d: d["config"].update(num_layers=4000), "parameters have"),
        ("model", lambda d: d["config"].update(embedding_degree=2**62), "embedding_degree must be"),
        ("model", lambda d: d["config"].update(num_heads="2"), "num_heads must be"),
        ("model", lambda d: d["config"].update(rope_base=1), "no field 'rope_base'"),
        ("model", lambda d: d["config"].pop("block"), "lacks the field 'block'"),
        ("model", lambda d: d["tensors"].reverse(), "list of tensors"),
        ("model", lambda d: d["config"].update(vocab_size=5), "tokenizer has 4 tokens"),
        ("training", lambda d: d.update(optimizer_step=-1), "step and state"),
        ("training", lambda d: d.update(optimizer_step=None), "step and state"),
        ("training", lambda d: d["config"].update(dropout=float("nan")), "NaN is no number of JSON"),
        ("history", lambda d: d[1].update(steps=3), "do not add up"),
        ("history", lambda d: d[1].pop("steps"), "entry 1 of the history"),
        ("history", lambda d: d.append(7), "entry 2 of the history"),
        ("history", lambda d: d[1].update(dataset="text"), "entry 1 of the history"),
        ("history", lambda d: d[1].update(first_step=1), "do not add up"),
        ("history", lambda d: d[1].update(dropout="\ud800"), "not UTF-8"),
        ("training", lambda d: d["config"].update(learning_rate=10**400), "learning_rate must be"),
        ("training", lambda d: d.update(optimizer_step=2**70), "step and state"),
        ("tokenizer", lambda d: d["tokens"].append("a"), "repeats"),
    ],
)
def test_sections_that_contradict_each_other_are_refused(path, section, change, match):
    rewritten(path, **{section: changed(path, section, change)})
    refused(path, match)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"parameters": None}, "section parameters is missing"),
        ({"optimizer": b"1234"}, "does not fit"),
        ({"losses": b"123"}, "not float32"),
        ({"model": b"[" * 100_000}, "not JSON"),
        ({"model": b"\xff"}, "not JSON"),
        ({"model": b"[]"}, "expected a JSON object"),
        ({"quantised": b""}, "section quantised is not known"),
    ],
)
def test_sections_missing_unknown_or_of_the_wrong_size_are_refused(path, changes, match):
    rewritten(path, **changes)
    refused(path, match)


def test_newer_foreign_and_missing_files_each_get_their_own_message(path, tmp_path):
    blob = bytearray(path.read_bytes())
    blob[8] = 2
    newer = tmp_path / "newer.dat"
    newer.write_bytes(blob)
    refused(newer, "a newer femto wrote it")
    foreign = tmp_path / "foreign.dat"
    foreign.write_bytes(b"PK\x03\x04 not ours" * 50)
    refused(foreign, "not a femto model")
    refused(tmp_path / "missing.dat", "femto init")
    refused(tmp_path, "not a regular file")


def test_what_could_not_be_loaded_is_not_saved(path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr(storage, "MAX_JSON_BYTES", 300)
    with pytest.raises(CheckpointError, match="section model would be larger"):
        checkpoint.save(small(), path)
    assert path.read_bytes() == before


def test_saving_keeps_permissions_and_symbolic_links(path, tmp_path):
    path.chmod(0o640)
    link = tmp_path / "link.dat"
    link.symlink_to(path)
    checkpoint.save(small(steps=1), link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert checkpoint.load(path).history.num_steps == 1


def test_a_model_loads_without_its_optimiser_state(path):
    loaded = checkpoint.load(path, optimizer=False)
    assert loaded.optimizer is None
    assert loaded.model.parameters_sha256 == checkpoint.load(path).model.parameters_sha256


def test_identifiers_are_never_the_same_twice():
    entries = [entry["id"] for _ in range(20) for entry in small().history.entries]
    assert len(set(entries)) == len(entries)


@pytest.mark.parametrize(
    "validations", [1, "12", {}, [1], [[1]], [[1, 2.0, 3]], [["1", 2.0]], [[1, "2"]], [[True, 2.0]], [[3, 1.0]], [[-1, 1.0]],
                    [[2, 1.0], [1, 1.0]], [[1, None]], [[1, 10**400]], [[1, -(10**400)]], [[1, 1.0]] * 513],
)  # fmt: skip
def test_validations_that_are_none_are_refused(tmp_path, validations):
    made = small(2)
    made.history.entries[-1]["validations"] = validations
    checkpoint.save(made, tmp_path / "model.dat")
    with pytest.raises(CheckpointError, match="entry 1 of the history is not complete"):
        checkpoint.load(tmp_path / "model.dat")
    made.history.entries[-1]["validations"] = [[1, 2.5], [2, 2]]
    checkpoint.save(made, tmp_path / "model.dat")
    assert checkpoint.load(tmp_path / "model.dat").history.validations() == [(1, 2.5), (2, 2)]


@pytest.mark.parametrize("path", [1, [], {}, [1], ["a", None], True])
@pytest.mark.parametrize("which", ["dataset", "validation_dataset"])
def test_paths_of_data_sets_that_are_none_are_refused(tmp_path, which, path):
    made = small(2)
    made.history.entries[-1][which] = {"name": "a", "path": path}
    checkpoint.save(made, tmp_path / "model.dat")
    with pytest.raises(CheckpointError, match="entry 1 of the history is not complete"):
        checkpoint.load(tmp_path / "model.dat")
    made.history.entries[-1][which] = {"name": "a", "path": ["a", "b"]}
    checkpoint.save(made, tmp_path / "model.dat")
    assert checkpoint.load(tmp_path / "model.dat").history.sessions()[0][which]["path"] == ["a", "b"]
