"""Models of the original program: files that it wrote, round trips with a writer of that format, and files that lie."""

import json
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import femto
from femto.checkpoint import original_program
from femto.checkpoint.original_program import load_original_model
from femto.commands import main
from femto.config import PRESETS, ModelConfig
from femto.errors import CheckpointError
from femto.model import Graph, Model
from femto.model.linear import Pass

REFERENCE = Path(__file__).parent / "reference"
TRAINED = REFERENCE / "original_program.dat"  # 201 steps
INSERTED = REFERENCE / "original_program_inserted.dat"  # the same with a layer inserted at 1

# The last ten losses as it printed them.
LAST_LOSSES = (
    "3.3921852",
    "3.346543",
    "3.339154",
    "3.2315388",
    "3.238948",
    "3.3367047",
    "3.244428",
    "3.2759092",
    "3.2531726",
    "3.3321738",
)
INIT, SESSION, STEP, INSERT_LAYER, RESET_OPTIMIZER = range(5)


# A writer of the format.


def u64(*values):
    return struct.pack(f"<{len(values)}Q", *values)


def counted(blob):
    return u64(len(blob)) + blob


def tensor(name, values):
    return b"".join(
        [counted(name), u64(values.size), values.astype("<f4").tobytes(), u64(values.ndim, *values.shape)],
    )


def entry(fields):
    kind, identity, *values = fields
    blob = struct.pack("<I", kind)
    if kind == SESSION:
        blob += struct.pack("<f", values[0]) + counted(values[1]) + counted(values[2])
    elif kind == STEP:
        blob += struct.pack("<fQB", *values)
    else:
        blob += u64(*values)
    return blob + counted(identity)


def written(log):
    """The bytes of a model; maps are lists of pairs, so that they can repeat a key."""
    return b"".join(
        [
            struct.pack("<IBQ", log["unit"], log["case_sensitive"], log["unk"]),
            u64(len(log["tokens"])),
            *(u64(index) + counted(token) for index, token in log["tokens"]),
            struct.pack("<I", log["encoding"]),
            u64(*log["shape"]),
            u64(len(log["tensors"])),
            *(tensor(*pair) for pair in log["tensors"]),
            u64(log["step"], len(log["state"])),
            *(tensor(*pair) for pair in log["state"]),
            u64(len(log["entries"])),
            *map(entry, log["entries"]),
        ]
    )


def identity(number):
    return b"%032x" % number


def made(encoding=0, t=1, layers=1, heads=1, head_size=1, vocab=2, trained=True, seed=0):
    """What `written` takes: a model with random bits for numbers, NaN among them."""
    rng = np.random.default_rng(seed)
    d = heads * head_size
    shapes = {name: view.shape for name, view in Model(ModelConfig(vocab, t, d, layers, heads)).tensors.items()}

    def numbers(suffix=""):
        bits = {name: rng.integers(0, 2**32, shape, np.uint32) for name, shape in shapes.items()}
        pairs = [(f"{name}{suffix}".encode(), values.view(np.float32)) for name, values in bits.items()]
        return [pairs[index] for index in rng.permutation(len(pairs))]

    shape = (t, vocab, d, layers, heads, head_size)
    entries = [(INIT, identity(0), *shape)]
    if trained:
        entries += [(SESSION, identity(1), 0.1, "täxt.txt".encode(), b"0123456789abcdef0123")]
        entries += [(STEP, identity(2), 1.5, 20, 0), (STEP, identity(3), float("nan"), 2**64 - 1, 1)]
    unknown = int(rng.integers(vocab))
    return {
        "unit": 0,
        "case_sensitive": 1,
        "unk": unknown,
        "tokens": [(int(index), b"<unk>" if index == unknown else b"t%d" % index) for index in rng.permutation(vocab)],
        "encoding": encoding,
        "shape": shape,
        "tensors": numbers(),
        "step": 2 if trained else 0,
        "state": numbers("_m") + numbers("_v") if trained else [],
        "entries": entries,
    }


def bits(values):
    return np.ascontiguousarray(values).view(np.uint32)


def moments(checkpoint):
    layout = checkpoint.model.layout
    first = {f"{name}_m": view for name, view in layout.views(checkpoint.optimizer.m).items()}
    return {**first, **{f"{name}_v": view for name, view in layout.views(checkpoint.optimizer.v).items()}}


def run(*arguments, status=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == status, result.output
    return result


def refused(path, match=None):
    with pytest.raises(CheckpointError, match=match) as caught:
        load_original_model(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def accepted_or_refused(path):
    try:
        load_original_model(path)
    except CheckpointError as error:
        message = str(error)
    else:
        return
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


# What the program wrote.


@pytest.fixture(scope="module")
def figures():
    with np.load(REFERENCE / "original_program.npz", allow_pickle=False) as archive:
        return dict(archive)


def test_a_trained_model_of_the_program_is_read_to_the_bit(figures):
    loaded = load_original_model(TRAINED)
    assert loaded.model.config == ModelConfig(101, 16, 32, 2, 2, **PRESETS["reference"].model)
    assert loaded.training == PRESETS["reference"].training
    assert loaded.optimizer.step == 201
    for name, values in loaded.model.tensors.items():
        assert (bits(values) == bits(figures[f"trained.param.{name}"])).all(), name
    for name, values in moments(loaded).items():
        assert (bits(values) == bits(figures[f"trained.opt.{name}"])).all(), name
    history = loaded.history
    assert [str(loss) for loss in history.losses[-10:]] == list(LAST_LOSSES)
    assert history.milliseconds[:3].tolist() == [319, 233, 201]
    first, session = history.entries
    assert (first["kind"], first["preset"], first["seed"]) == ("init", "reference", None)
    assert first["id"] == "8291a4311947fb7fa06b0e1c589b3f4c"
    assert session["dataset"] == {"name": "text.txt", "file_hash": "0080b42491975ee841cc"}
    assert (session["id"], session["first_step"], session["steps"]) == ("1a8b0d808625e54c93480ce4bcc0348b", 0, 201)
    assert first["imported"] == str(TRAINED)
    assert loaded.tokenizer.tokens[0] == b"6"
    assert loaded.tokenizer.unk_id == 72


def test_the_next_step_is_the_programs_next_step(figures, tmp_path):
    femto.save(load_original_model(TRAINED), tmp_path / "new.dat")
    loaded = femto.load(tmp_path / "new.dat")
    model, optimizer = loaded.model, loaded.optimizer
    tokens = figures["tokens"].astype(np.int32)
    graph = Graph(model, 1, 16, training=True)
    loss = graph.accumulate_gradients(tokens[None, :-1], tokens[None, 1:], Pass(16), 1.0 / 16) / 16
    assert loss == pytest.approx(3.5957851, rel=1e-6)
    optimizer.update(model.parameters, graph.gradients, 0.001, loaded.training, 1.0)
    assert optimizer.step == 202
    for name, values in {**model.tensors, **moments(loaded)}.items():
        key = f"adamw_trained.param.{name}" if name in model.tensors else f"adamw_trained.opt.{name}"
        scale = np.abs(figures[key]).max()
        assert np.abs(values - figures[key].reshape(values.shape)).max() <= 1e-4 * scale + 1e-12, name


def test_an_inserted_layer_and_the_reset_that_follows_are_in_the_history():
    loaded = load_original_model(INSERTED)
    assert loaded.model.config.num_layers == 3
    assert loaded.optimizer is None
    entries = loaded.history.entries
    assert [e["kind"] for e in entries] == ["init", "session", "insert-layer", "reset-optimizer"]
    assert entries[0]["config"]["num_layers"] == 2
    assert entries[2]["index"] == 1


# What the writer wrote.


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    options=st.fixed_dictionaries(
        {
            "encoding": st.integers(0, 1),
            "t": st.integers(1, 70),
            "layers": st.integers(1, 3),
            "heads": st.integers(1, 4),
            "head_size": st.integers(1, 5),
            "vocab": st.integers(1, 20),
            "trained": st.booleans(),
            "seed": st.integers(0, 2**32),
        }
    ),
    unit=st.integers(0, 1),
    case_sensitive=st.integers(0, 1),
    data=st.data(),
)
def test_what_is_written_is_read(tmp_path, options, unit, case_sensitive, data):
    log = {**made(**options), "unit": unit, "case_sensitive": case_sensitive}
    loss = st.floats(width=32, allow_nan=False)
    for _ in range(data.draw(st.integers(0, 3))):
        add = log["entries"].append
        kind = data.draw(st.sampled_from([SESSION, INSERT_LAYER, RESET_OPTIMIZER]))
        number = len(log["entries"])
        if kind == SESSION:
            name = data.draw(st.text(st.characters(codec="utf-8"), max_size=9)).encode()
            add((SESSION, identity(number), data.draw(st.floats(0, 1, width=32)), name, b"%020x" % number))
            for step in range(data.draw(st.integers(0, 3))):
                add((STEP, identity(1000 + number + step), data.draw(loss), data.draw(st.integers(0, 2**64 - 1)), 0))
        else:
            add((kind, identity(number), *([3] if kind == INSERT_LAYER else [])))
    (tmp_path / "old.dat").write_bytes(written(log))
    femto.save(load_original_model(tmp_path / "old.dat"), tmp_path / "new.dat")
    loaded = femto.load(tmp_path / "new.dat")

    t, vocab, d, layers, heads, _ = log["shape"]
    reference = {**PRESETS["reference"].model, "positional_encoding": ("none", "absolute")[log["encoding"]]}
    assert loaded.model.config == ModelConfig(vocab, t, d, layers, heads, **reference)
    assert dict(enumerate(loaded.tokenizer.tokens)) == dict(log["tokens"])
    assert (loaded.tokenizer.kind, loaded.tokenizer.case_sensitive) == ("bpe", bool(case_sensitive))
    found = {**loaded.model.tensors, **(moments(loaded) if loaded.optimizer else {})}
    for name, values in log["tensors"] + log["state"]:
        assert (bits(found.pop(name.decode())) == bits(values)).all()
    assert not found
    assert (loaded.optimizer.step if loaded.optimizer else 0) == log["step"]
    steps = [fields for fields in log["entries"] if fields[0] == STEP]
    assert bits(loaded.history.losses).tolist() == bits(np.array([s[2] for s in steps], np.float32)).tolist()
    assert loaded.history.milliseconds.tolist() == np.array([s[3] for s in steps], np.float32).tolist()
    others = [fields for fields in log["entries"] if fields[0] != STEP]
    names = {INIT: "init", SESSION: "session", INSERT_LAYER: "insert-layer", RESET_OPTIMIZER: "reset-optimizer"}
    expected = [(names[kind], number.decode()) for kind, number, *_ in others]
    assert [(e["kind"], e["id"]) for e in loaded.history.entries] == expected
    for (kind, _, *values), shown in zip(others, loaded.history.entries, strict=False):
        if kind == SESSION:
            assert np.float32(shown["dropout"]) == np.float32(values[0])
            assert shown["dataset"] == {"name": values[1].decode(), "file_hash": values[2].decode()}


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.dat"
    path.write_bytes(written(made()))
    load_original_model(path)
    return path


def test_a_file_cut_at_any_byte_or_longer_is_refused(tiny):
    blob = tiny.read_bytes()
    for length in range(len(blob)):
        tiny.write_bytes(blob[:length])
        refused(tiny)
    tiny.write_bytes(blob + b"abc")
    refused(tiny, "3 bytes beyond the end")


def test_a_flipped_bit_gives_a_model_or_one_clear_line(tiny):
    blob = tiny.read_bytes()
    places = [(byte, bit) for byte in range(200) for bit in range(8)]
    for byte, bit in places + [(byte, byte % 8) for byte in range(200, len(blob))]:
        damaged = bytearray(blob)
        damaged[byte] ^= 1 << bit
        tiny.write_bytes(damaged)
        accepted_or_refused(tiny)


def replaced(pairs, index, name=None, values=None):
    old_name, old_values = pairs[index]
    pairs[index] = (old_name if name is None else name, old_values if values is None else values)


def index_of(pairs, name):
    return [key for key, _ in pairs].index(name)


STEP_ENTRY = (STEP, identity(9), 1.0, 1, 0)
SESSION_ENTRY = (SESSION, identity(9), 0.0, b"text", b"0" * 20)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda d: d.update(unit=2), "tokenizer's unit is 2, not 0 to 1"),
        (lambda d: d.update(case_sensitive=2), "case_sensitive is 2, not 0 or 1"),
        (lambda d: d.update(unk=2**64 - 1), "unk is 18446744073709551615, but token"),
        (lambda d: d.update(tokens=[]), "has 0 tokens"),
        (lambda d: d.update(tokens=[(0, b"a"), (2, b"<unk>")]), "token id 2 is out of range; the 2 ids must be 0 to 1"),
        (lambda d: d.update(tokens=[(0, b"a"), (0, b"<unk>")]), "token id 0 is there twice"),
        (lambda d: d.update(tokens=[(0, b"a"), (1, b"")]), "token 1 has 0 bytes"),
        (lambda d: d.update(tokens=[(0, b"a"), (1, b"b" * 1025)]), "token 1 claims 1025 bytes"),
        (lambda d: d.update(tokens=[(i, b"%d" % i) for i in range(65_537)]), "has 65537 tokens"),
        (lambda d: d["tokens"].append((2, b"more")), "tokenizer has 3 tokens, the model 2"),
        (lambda d: d.update(encoding=2), "positional encoding is 2"),
        (lambda d: d.update(shape=(0, 2, 1, 1, 1, 1)), "the model: num_tokens must be a whole number"),
        (lambda d: d.update(shape=(1, 2, 2**63, 1, 1, 1)), "embedding_degree must be a whole number"),
        (lambda d: d.update(shape=(1, 2, 1, 1, 0, 1)), "num_heads must be a whole number"),
        (lambda d: d.update(shape=(1, 2, 1, 1, 1, 2)), "head_size 2 times num_heads 1 are not embedding_degree 1"),
        (lambda d: d.update(shape=(1, 2, 3, 1, 2, 1)), "must be a multiple of the number of heads"),
        (lambda d: d.update(shape=(1, 2, 65_536, 4096, 1, 65_536)), "a model of this shape needs"),
        (lambda d: d.update(shape=(1, 2, 1, 2, 1, 1)), "tensor norm_1_coeff is missing"),
        (lambda d: d["tensors"].pop(index_of(d["tensors"], b"head_0_0_v")), "tensor head_0_0_v is missing"),
        (lambda d: d["tensors"].append(d["tensors"][0]), "is there twice"),
        (lambda d: replaced(d["tensors"], 0, b"stray\n"), r"tensor 'stray\\n' is not one of a model of this shape"),
        (lambda d: replaced(d["tensors"], 0, b"\xff"), "the name of a tensor is not UTF-8"),
        (lambda d: replaced(d["tensors"], 0, b"n" * 5000), "claims 5000 bytes"),
        (lambda d: replaced(d["tensors"], 0, None, np.zeros(99)), "has 99 numbers, its shape"),
        (
            lambda d: replaced(d["tensors"], index_of(d["tensors"], b"token_embedding"), None, np.zeros((1, 2))),
            r"'token_embedding' has the shape \[1, 2\], not \[2, 1\]",
        ),
        (
            lambda d: replaced(d["tensors"], index_of(d["tensors"], b"token_embedding"), None, np.zeros(2)),
            "has 1 dimensions, not 2",
        ),
        (lambda d: d.update(step=0), "has done 0 steps and has 36 tensors"),
        (lambda d: d.update(step=2**32), "has done 4,294,967,296 steps"),
        (lambda d: d.update(state=[]), "has done 2 steps and has 0 tensors"),
        (lambda d: d["state"].pop(index_of(d["state"], b"proj_0_bias_v")), "optimiser proj_0_bias_v is missing"),
        (lambda d: d["state"].append(d["state"][0]), "is there twice"),
        (lambda d: d.update(state=d["state"][:1]), "is missing"),
        (lambda d: replaced(d["state"], 0, b"proj_0_bias"), "optimiser 'proj_0_bias' is not one of"),
        (lambda d: d["entries"].pop(0), "does not begin with the model's creation"),
        (lambda d: d["entries"].pop(1), "entry 1 of the history is a step outside a training session"),
        (lambda d: d["entries"].extend([(INSERT_LAYER, identity(8), 1), STEP_ENTRY]), "step outside"),
        (lambda d: d["entries"].append(d["entries"][1]), "entry 4 of the history has the id of an earlier one"),
        (lambda d: d["entries"].append((5, identity(9))), "kind of entry 4 of the history is 5, not 0 to 4"),
        (lambda d: d["entries"].append((INIT, identity(9), 1, 2, 1, 1, 1, 7)), "entry 4 of the history: head_size 7"),
        (lambda d: d["entries"].append((STEP, identity(9), 1.0, 1, 2)), "is_gpu of entry 4 of the history is 2"),
        (lambda d: d["entries"].append((STEP, b"A" * 32, 1.0, 1, 0)), "id of entry 4 of the history is 'AAA"),
        (lambda d: d["entries"].append((SESSION, identity(9), float("nan"), b"", b"0" * 20)), "dropout of entry 4"),
        (lambda d: d["entries"].append((SESSION, identity(9), 1.5, b"", b"0" * 20)), "is 1.5, not 0 to 1"),
        (lambda d: d["entries"].append((SESSION, identity(9), 0.0, b"\xc3", b"0" * 20)), "data set of entry 4 .* UTF-8"),
        (lambda d: d["entries"].append((SESSION, identity(9), 0.0, b"", b"0")), "hash of entry 4 .* is '0', not hexadecimal"),
    ],
)
def test_files_that_contradict_themselves_are_refused(tiny, change, match):
    log = made()
    change(log)
    tiny.write_bytes(written(log))
    refused(tiny, match)


def test_sessions_without_steps_and_resets_within_sessions_are_kept(tiny):
    log = made()
    log["entries"] += [SESSION_ENTRY, (RESET_OPTIMIZER, identity(10)), (STEP, identity(11), 2.0, 1, 0)]
    log["entries"] += [(SESSION, identity(12), 0.0, b"other", b"0" * 20)]
    tiny.write_bytes(written(log))
    sessions = load_original_model(tiny).history.sessions()
    assert [(s["first_step"], s["steps"]) for s in sessions] == [(0, 2), (2, 1), (3, 0)]


@pytest.mark.parametrize("claim", [2**64 - 1, 10**9])
def test_no_count_is_believed(tiny, claim):
    blob = tiny.read_bytes()
    tracemalloc.start()
    for place in [*range(300), *range(len(blob) - 400, len(blob) - 8)]:
        tiny.write_bytes(blob[:place] + u64(claim) + blob[place + 8 :])
        accepted_or_refused(tiny)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_many_entries_that_are_no_steps_are_refused(tiny, monkeypatch):
    monkeypatch.setattr(original_program, "MAX_ENTRIES", 2)
    log = made()
    tiny.write_bytes(written(log))
    load_original_model(tiny)
    log["entries"].append(SESSION_ENTRY)
    tiny.write_bytes(written(log))
    refused(tiny, "more than 2 entries that are not steps")


def test_other_files_are_refused(tiny, tmp_path):
    femto.save(load_original_model(tiny), tmp_path / "new.dat")
    refused(tmp_path / "new.dat", "a femto model already")
    refused(tmp_path / "none.dat", "cannot read the journal's model: No such file")
    refused(tmp_path, "not a regular file")
    for content, begins in (
        (b"To be, or not to be" * 99, r"it begins with b'To be, or not to"),
        (b"\x89PNG\r\n\x1a\n", r"it begins with b'\\x89PNG"),
        (b"{}", "it begins with b'{}'"),
        (b"", "it is empty"),
    ):
        tiny.write_bytes(content)
        refused(tiny, rf"not a model \(\.dat\) of the original program: {begins}")


# The command.


def test_an_imported_model_is_shown_and_trains_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dataset.txt").write_text("to be or not to be, that is the question;\n" * 40)
    shown = run("import", TRAINED, "new.dat").stdout
    assert shown == f"new.dat: 31,845 parameters, 101 tokens, 201 steps; imported from {TRAINED}\n"
    assert run("loss", "--model", "new.dat").stdout.split() == list(LAST_LOSSES)
    info = run("info", "--model", "new.dat").stdout
    assert "session on text.txt (0080b424), steps 1 to 201, dropout 0.0, loss 4.6154 to 3.2991" in info
    assert f"init, preset reference, imported from {TRAINED}\n" in info
    run("train", "--model", "new.dat", "--steps", 2, "--quiet")
    after = json.loads(run("info", "--model", "new.dat", "--json").stdout)
    assert (after["num_steps"], after["optimizer_step"]) == (203, 203)
    assert [e["kind"] for e in after["history"]] == ["init", "session", "session"]
    assert after["history"][-1]["first_step"] == 201

    assert "new.dat exists" in run("import", INSERTED, "new.dat", status=1).stderr
    report = json.loads(run("import", INSERTED, "new.dat", "--force", "--json").stdout)
    assert (report["num_steps"], report["optimizer_step"], report["config"]["num_layers"]) == (201, None, 3)
    assert "insert-layer before layer 1" in run("info", "--model", "new.dat").stdout
    run("train", "--model", "new.dat", "--steps", 1, "--quiet")
    Path("cut.dat").write_bytes(TRAINED.read_bytes()[:1000])
    failed = run("import", "cut.dat", "other.dat", status=1).stderr
    assert failed.startswith("Error: cut.dat: truncated or damaged at byte ")
    assert failed.count("\n") == 1
    assert not Path("other.dat").exists()


def test_models_imported_apart_are_relatives_and_compare_as_in_the_log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("import", TRAINED, "a.dat")
    run("import", INSERTED, "a.inserted.dat")
    lines = run("compare", "a.dat", "a.inserted.dat", "--limit", 1000).stdout.splitlines()
    assert lines[:3] == [
        "a.dat is parent of a.inserted.dat.",
        "a.inserted.dat is 0-steps further trained version of a.dat",
        "a.inserted.dat has also gone through: insert-layer before layer 1; reset-optimizer.",
    ]
    assert all(line.endswith("cosine: 1.000000") for line in lines[3:-1])
    assert lines[-1].startswith("Only in a.inserted.dat: norm_1_coeff, ")
    shown = run("cluster-tokens", "--model", "a.dat").stdout.splitlines()
    assert shown[0] == "---- Head 0 ----"
    pairs = [line.split(": 0.") for line in shown[1:4]]
    assert [pair[0] for pair in pairs] == CLOSEST[0]
    np.testing.assert_allclose([float(f"0.{pair[1]}") for pair in pairs], CLOSEST[1], atol=1e-6)


CLOSEST = (['"h" <-> "v"', '"I" <-> "E"', '"i" <-> "a"'], [0.9382901838177061, 0.9220494353403628, 0.9153594431278778])
