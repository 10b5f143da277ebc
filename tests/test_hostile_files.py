"""Files that come from strangers: a value, or one clear FemtoError, in bounded memory and time; nothing written, nothing run.

Covers every reader of tests/fuzz/targets.py; tests/test_original_program.py has more of the original program's models.
"""

import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from femto import checkpoint, generation, tokenizers
from femto.checkpoint.original_program import load_original_model
from femto.config import ModelConfig
from femto.errors import CheckpointError, DataError, FemtoError, RecipeError, TokenizerError
from femto.experiments import reading
from femto.model import layout_size
from femto.system import strict_json
from femto.system.text import brief
from femto.tokenizers import longest_match

from .fuzz import targets
from .fuzz.targets import CORPUS, TARGETS, packed, repaired, require_clear, unpacked

CHECKPOINT = (CORPUS / "checkpoint" / "valid").read_bytes()
SECTIONS = unpacked(CHECKPOINT)
JSON_SECTIONS = targets.SECTIONS
TOKENIZER = (CORPUS / "tokenizer" / "char-True").read_bytes()
RUN = (CORPUS / "run" / "valid").read_bytes()
RECIPE = (CORPUS / "recipe" / "valid").read_text()
CORPUS_FILES = sorted(path for path in CORPUS.glob("*/*"))


def refused(target, content, folder, match=None):
    path = folder / TARGETS[target].file
    path.write_bytes(content)
    with pytest.raises(FemtoError, match=match) as caught:
        TARGETS[target].read(path)
    require_clear(caught.value, path)


def read_or_refused(target, content, folder):
    """As the fuzzer does, but without its repairs of the file."""
    return targets.run(targets.Target(TARGETS[target].file, TARGETS[target].read, TARGETS[target].check), content, folder)


# Damage at every place.


@pytest.mark.parametrize("path", CORPUS_FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_every_input_of_the_fuzzer_gives_a_good_value_or_one_clear_line(path, tmp_path):
    targets.run(TARGETS[path.parent.name], path.read_bytes(), tmp_path)


@pytest.mark.parametrize(("target", "content"), [("checkpoint", CHECKPOINT), ("tokenizer", TOKENIZER), ("run", RUN)])
def test_a_file_cut_at_any_byte_is_refused(target, content, tmp_path):
    for length in range(len(content.rstrip(b"\n"))):
        refused(target, content[:length], tmp_path)


def test_a_checkpoint_longer_than_it_says_is_refused(tmp_path):
    refused("checkpoint", CHECKPOINT + b"\0", tmp_path, "longer than it says")


@pytest.mark.parametrize(
    ("target", "content"), [("checkpoint", repaired), ("recipe", RECIPE.encode()), ("data", "aé한".encode())]
)
def test_a_file_cut_at_any_byte_that_looks_whole_is_read_or_refused(target, content, tmp_path):
    cuts = (repaired(CHECKPOINT[:n]) for n in range(0, len(CHECKPOINT), 3)) if content is repaired else None
    read = [read_or_refused(target, cut, tmp_path) for cut in cuts or (content[:n] for n in range(len(content)))]
    assert not all(read)


def test_every_flipped_bit_of_a_checkpoint_is_noticed(tmp_path):
    table = 64 + 64 * len(SECTIONS)
    for place in [*range(table), *range(table, len(CHECKPOINT), 5)]:
        for bit in range(8) if place < table else (place % 8,):
            damaged = bytearray(CHECKPOINT)
            damaged[place] ^= 1 << bit
            refused("checkpoint", damaged, tmp_path)


ODD = b'"[{}],:-9e\\ \0\xff\x80nt'


@pytest.mark.parametrize("name", JSON_SECTIONS)
def test_any_byte_of_a_sections_json_changed_gives_a_model_or_one_clear_line(name, tmp_path):
    for place in range(len(SECTIONS[name])):
        changed = bytearray(SECTIONS[name])
        changed[place] = ODD[place % len(ODD)] if place % 2 else changed[place] ^ 1
        read_or_refused("checkpoint", packed({**SECTIONS, name: bytes(changed)}), tmp_path)


@pytest.mark.parametrize(("target", "content"), [("tokenizer", TOKENIZER), ("run", RUN), ("recipe", RECIPE.encode())])
def test_any_byte_of_a_text_changed_gives_a_value_or_one_clear_line(target, content, tmp_path):
    for place in range(len(content)):
        byte = ODD[place % len(ODD)] if place % 2 else content[place] ^ 1
        read_or_refused(target, content[:place] + bytes([byte]) + content[place + 1 :], tmp_path)


NUMBERS = [0, 1, 63, 65, *(2**n + more for n in (31, 32, 63, 64) for more in (-64, -1, 0, 1) if 2**n + more < 2**64)]


@pytest.mark.parametrize("field", ["offset", "length"])
def test_sections_that_overlap_leave_holes_or_end_elsewhere_are_refused(field, tmp_path):
    for index in range(len(SECTIONS)):
        place = 64 + 64 * index + (32 if field == "offset" else 40)
        (good,) = struct.unpack_from("<Q", CHECKPOINT, place)
        before = struct.unpack_from("<Q", CHECKPOINT, place - 64)[0] if index else 0
        for number in {*NUMBERS, good + 1, good - 1, good + 64, good - 64, before} - {good}:
            if 0 <= number < 2**64:
                blob = bytearray(CHECKPOINT)
                blob[place : place + 8] = struct.pack("<Q", number)
                refused("checkpoint", repaired(blob), tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        b"",
        b"model",
        b"../../x",
        b"/etc/passwd",
        b"a/b",
        b"a\\b",
        b"C:x",
        b"x\0y",
        b"\x1b[31m",
        b"a\nb",
        b"\xff",
        b"a b",
        b"other",
    ],
)
def test_sections_with_names_twice_odd_or_unknown_are_refused(name, tmp_path):
    index = list(SECTIONS).index("history")
    blob = bytearray(CHECKPOINT)
    blob[64 + 64 * index : 88 + 64 * index] = name.ljust(24, b"\0")
    refused("checkpoint", repaired(blob), tmp_path)
    assert os.listdir(tmp_path) == ["model.dat"]


# Values that no femto writes.


def with_value(text, literal):
    """JSON in which the first of the numbers has become `literal`."""
    return re.sub(rb"(?<=: )-?\d+|(?<=:)-?\d+", lambda match: literal, text, count=1)


LITERALS = {
    "ten to the 5000": b"1" + b"0" * 5000,
    "ten to the 400": b"1" + b"0" * 400,
    "a float beyond float64": b"1e999",
    "NaN": b"NaN",
    "Infinity": b"-Infinity",
    "a lone surrogate": b'"\\ud800"',
    "a field twice": b'{"a": 1, "a": 1}',
    "a nest": b"[" * 100 + b"]" * 100,
}


@pytest.mark.parametrize("literal", LITERALS.values(), ids=LITERALS)
def test_values_that_json_or_utf_8_cannot_hold_are_refused_wherever_they_are(literal, tmp_path):
    refused("tokenizer", with_value(TOKENIZER, literal), tmp_path)
    refused("run", with_value(RUN, literal), tmp_path)
    in_history = json.dumps([{**json.loads(SECTIONS["history"])[0], "more": 7}, *json.loads(SECTIONS["history"])[1:]])
    for name in JSON_SECTIONS:
        text = in_history.replace('"more": 7', f'"more":{literal.decode()}').encode() if name == "history" else None
        if name != "history" or literal != LITERALS["ten to the 400"]:  # a number of JSON, and nothing depends on it
            refused("checkpoint", packed({**SECTIONS, name: text or with_value(SECTIONS[name], literal)}), tmp_path)


def variants(document):
    """The document with each of its parts, in turn, replaced by values of every type."""
    odd = [None, True, -1, 2**70, 1.5, "", "x\n\x1b[31m" * 99, [], {}, [[]], {"a": 1}, [None]]
    yield from odd
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for key, part in list(items)[:12]:
        for other in variants(part):
            changed = document.copy()
            changed[key] = other
            yield changed
        without = document.copy()
        del without[key]
        yield without


@pytest.mark.parametrize("name", [*JSON_SECTIONS, "tokenizer file", "run"])
def test_values_of_the_wrong_type_anywhere_give_a_value_or_one_clear_line(name, tmp_path):
    good = {"tokenizer file": TOKENIZER, "run": RUN}.get(name) or SECTIONS[name]
    target = {"tokenizer file": "tokenizer", "run": "run"}.get(name, "checkpoint")
    read = []
    for document in variants(json.loads(good)):
        text = json.dumps(document).encode()
        read.append(read_or_refused(target, packed({**SECTIONS, name: text}) if target == "checkpoint" else text, tmp_path))
    assert len(read) > 50 and sum(read) < len(read) * 0.6


def toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value).replace("null", "2026-01-31")


def test_values_of_the_wrong_type_anywhere_in_a_recipe_give_a_recipe_or_one_clear_line(tmp_path):
    read = []
    for document in variants(reading.tomllib.loads(RECIPE)):
        if isinstance(document, dict):
            text = "".join(f"{json.dumps(key)} = {toml(part)}\n" for key, part in document.items())
            read.append(read_or_refused("recipe", text.encode(), tmp_path))
    assert len(read) > 300 and 0 < sum(read) < len(read) / 2


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("steps = 6", "steps = 1" + "0" * 30, "steps: must be from 1 to 4,294,967,296"),
        ("steps = 6", "steps = 0x" + "f" * 5000, "steps: must be from .* got int"),
        ("at_most = 9.0", "at_most = 1" + "0" * 400, "checks.0..at_most: expected a finite number"),
        ("at_most = 9.0", "at_most = nan", "expected a finite number, got nan"),
        ("at_most = 9.0", "at_most = 9.0, by = inf", "by: expected a finite number, got inf"),
        ("at_most = 9.0", "at_most = 9.0, last = 0x" + "f" * 5000, "last: must be from 1 to .* got int"),
        ("degree = 16", "degree = 0x" + "f" * 5000, "embedding_degree must be .* got int"),
        ("title = ", "a.a" + ".a" * 1000 + " = 1\ntitle = ", "nested too deeply"),
        ("title = ", "data" + ".a" * 60 + " = 1\ntitle = ", "not a recipe|expected str"),
        ("title = ", '"a\\n\\u001b[31m" = 1\ntitle = ', r"'a\\n\\x1b\[31m': no such key"),
        ("title = ", "log.day = 2026-01-31\ntitle = ", "log: .*not JSON serializable"),
        ('data = "', f'data = "{"x" * 9999}', r"data: must be one of .* got 'x+\.\.\."),
        ("count = 2", 'name = "../../x"', "name: must be 1 to 64 letters"),
        ("count = 2", 'name = "/etc/x"', "name: must be 1 to 64 letters"),
        ('snapshot = "early"', 'snapshot = "../x"', "snapshot: must be 1 to 64 letters"),
        ('do = "init", count = 2', 'do = "init-with", parents = ["../../x/model"]', "parents: expected EXPERIMENT/MODEL"),
        ('do = "init", count = 2', 'do = "init-with", parents = ["x/../model"]', "parents: expected EXPERIMENT/MODEL"),
        ('do = "init", count = 2', 'do = "init-with", parents = ["09/model"]', "parents: expected EXPERIMENT/MODEL"),
        ("copies = 2 },", "copies = 1000 }," + '{ do = "insert-layer", at = 1, copies = 1000 },' * 9, "more than 10,000 models"),
        ("steps = 6", "steps = 4294967295 }," + '{ do = "train", steps = 4294967295', "training: decay_steps must be"),
    ],
)
def test_a_recipe_that_asks_for_too_much_or_for_other_folders_is_refused(old, new, match, tmp_path):
    assert old in RECIPE
    refused("recipe", RECIPE.replace(old, new, 1).encode(), tmp_path, match)


HEIR = """
title = "heir"
data = "simple_sequence"
[modern]
stages = [STAGES, { do = "train", steps = 1 }]
checks = [{ measure = "training_loss", at_most = 9.0 }]
"""


def heirs(folder, count, nearest):
    """Recipes r0, r1, ..., each of which starts from the `nearest` next ones; the first of them, read."""
    for number in range(count):
        parents = range(number + 1, min(number + 1 + nearest, count))
        stages = [f'{{ do = "init-with", parents = ["r{parent}/m{parent}"], name = "m{number}" }}' for parent in parents]
        stages = [stage.replace(f'"m{number}"', f'"m{number}{"-x" * index}"') for index, stage in enumerate(stages)]
        last = f'{{ do = "init", name = "m{number}" }}'
        (folder / f"r{number}.toml").write_text(HEIR.replace("STAGES", ", ".join(stages or [last])))
    return reading.load(folder / "r0.toml")


def test_recipes_that_share_all_their_parents_are_each_read_once(tmp_path, monkeypatch):
    recipe = heirs(tmp_path, 40, nearest=2)  # 165,580,141 ways from the first to the last
    loads = []
    load = reading.load
    monkeypatch.setattr(reading, "load", lambda path: loads.append(path) or load(path))
    assert [found.name for found in reading.with_parents(recipe, "modern")] == [f"r{number}" for number in range(40)][::-1]
    assert len(loads) == 39


def test_a_chain_of_recipes_without_end_is_refused(tmp_path):
    recipe = heirs(tmp_path, 1200, nearest=1)
    with pytest.raises(RecipeError, match="and so on, more than 100 times"):
        reading.with_parents(recipe, "modern")


# Models that can be read and not used.


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tensor", ["token_embedding", "head_map_bias", "heads_0_qkv"])
def test_a_model_with_numbers_that_are_not_finite_loads_and_says_so_when_it_generates(value, tensor, tmp_path):
    (tmp_path / "model.dat").write_bytes(CHECKPOINT)
    loaded = checkpoint.load(tmp_path / "model.dat")
    loaded.model.layout.stored(loaded.model.parameters)[tensor][...] = value
    checkpoint.save(loaded, tmp_path / "broken.dat")
    broken = checkpoint.load(tmp_path / "broken.dat")
    assert broken.model.parameters_sha256 == loaded.model.parameters_sha256
    for sampling in (generation.Sampling(), generation.Sampling(0.0), generation.Sampling(1.0, 2, 0.5)):
        for prompt in ("", "ab", "abcabc"):
            with pytest.raises(CheckpointError, match="logits are not finite"):
                list(generation.generate(broken, prompt, 5, sampling))


@pytest.mark.parametrize("token", ["../../x", "/etc/passwd", "\x1b[31m", "\n", "\0", "\u202e", "a\\b", "<unk>\n"])
def test_tokens_that_look_like_paths_or_commands_are_text_and_nothing_else(token, tmp_path):
    document = {**json.loads(TOKENIZER), "kind": "bpe", "tokens": [token, "a", "<unk>"], "unk": 2}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document))
    read = tokenizers.load(path)
    assert read.decode(read.encode(token + "a")) == token + "a"
    tokenizers.save(read, path)
    assert tokenizers.load(path) == read
    assert os.listdir(tmp_path) == ["tokenizer.json"]
    refused("tokenizer", json.dumps({**document, "tokens": [token, token, "<unk>"]}).encode(), tmp_path, "repeats token 0")


def test_a_vocabulary_that_could_not_be_loaded_again_is_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizers.files, "MAX_FILE_BYTES", 300)
    with pytest.raises(TokenizerError, match=r"t\.json: cannot write: the tokens would take more than"):
        tokenizers.save(tokenizers.build("ascii", None), tmp_path / "t.json")
    assert not os.listdir(tmp_path)


def test_the_original_programs_models_are_read_only_if_they_can_be_saved_and_loaded_again(tmp_path):
    content = (CORPUS / "original_model" / "grown").read_bytes()
    for place in range(len(content) - 400, len(content)):
        for other in (1, 0xFF):
            read_or_refused("original_model", content[:place] + bytes([other]) + content[place + 1 :], tmp_path)
    entry = struct.pack("<IQ", 3, 1)  # insert-layer before layer 1
    assert content.count(entry) == 1
    path = tmp_path / "old.dat"
    path.write_bytes(content.replace(entry, struct.pack("<IQ", 3, 2**64 - 1)))
    with pytest.raises(CheckpointError, match="the index of entry 4 of the history is 18446744073709551615, not 0 to 4096"):
        load_original_model(path)


# Vocabularies that make matching slow.


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=300), st.data())
def test_jumps_reach_any_ancestor_in_a_logarithmic_number_of_steps(draws, data):
    chain = data.draw(st.booleans())
    parents = [place - 1 if chain else draw % (place + 1) - 1 for place, draw in enumerate(draws)]
    jumps = longest_match._jumps(parents)
    ancestors, place = set(), len(parents) - 1
    while place >= 0:
        ancestors.add(place)
        place = parents[place]
    wanted = data.draw(st.sampled_from([*sorted(ancestors), -1]))
    place, steps = len(parents) - 1, 0
    while place > wanted:
        place = jumps[place] if jumps[place] >= wanted else parents[place]
        steps += 1
    assert place == wanted
    assert steps <= 3 * len(ancestors).bit_length()


def test_a_thousand_tokens_that_almost_match_at_every_byte_cost_little(monkeypatch):
    tokens = [b"a" * 500 + b"A" * count for count in range(1, 525)] + [b"a"]
    asked = 0

    class Counted(bytes):
        def startswith(self, *arguments):
            nonlocal asked
            asked += 1
            return bytes.startswith(self, *arguments)

    matcher = longest_match.LongestMatch(tokens, range(len(tokens)), 999)
    assert matcher.match(Counted(b"a" * 2000), 0) == (524, 1)
    assert 0 < asked < 50


# Error messages.


@pytest.mark.parametrize(
    "value", ["x" * 10**6, "a\nb\x1b\u202e", 2**100_000, [[[]] * 1000], {"a\n": "\ud800"}], ids=lambda value: type(value).__name__
)
def test_values_in_messages_are_brief_and_fit_on_a_line(value):
    assert brief(value).isascii() and brief(value).isprintable() and len(brief(value)) <= 60


def test_json_as_deep_as_is_allowed_is_read():
    deep = b"[" * strict_json.MAX_DEPTH + b"]" * strict_json.MAX_DEPTH
    assert strict_json.parse(b"\xef\xbb\xbf" + deep) == json.loads(deep)
    for refused_text in (b"[" + deep + b"]", b'{"a": ' + deep + b"}"):
        with pytest.raises(ValueError, match="nested too deeply"):
            strict_json.parse(refused_text)


# What could fill the memory, wait for ever, or reach outside: in a process of its own.

TERABYTE = 1 << 40


def content(path, made):
    path.write_bytes(made())


def sparse(path, start=b"", places=(), size=TERABYTE):
    with open(path, "wb") as file:
        file.write(start)
        for place, piece in places:
            file.seek(place)
            file.write(piece)
        file.truncate(size)


def claiming(path, claimed, **changes):
    """A checkpoint whose section `claimed` is a hole of about a terabyte; the table and its checksum are right."""
    sections = {**SECTIONS, **{name: json.dumps(document).encode() for name, document in changes.items()}}
    config = ModelConfig(**json.loads(sections["model"])["config"])
    sizes = {name: len(piece) for name, piece in sections.items()} | {"parameters": 4 * layout_size(config)}
    sizes |= {"optimizer": 8 * layout_size(config)}
    if claimed in ("losses", "milliseconds"):
        sizes[claimed] = 4 * sum(entry.get("steps", 0) for entry in json.loads(sections["history"]))
    elif claimed in JSON_SECTIONS:
        sizes[claimed] = TERABYTE
    offset, table, places = 64 + 64 * len(sections), b"", []
    for name, piece in sections.items():
        table += struct.pack("<24sIIQQ16s", name.encode(), 1, targets.zlib.crc32(piece), offset, sizes[name], b"")
        places += [(offset, piece)] if sizes[name] == len(piece) else []
        offset = -(-(offset + sizes[name]) // 64) * 64
    header = struct.pack("<8sIIQ36s", b"\x89FEMTO\r\n", 1, len(sections), offset, b"")
    checksum = targets.zlib.crc32(table, targets.zlib.crc32(header))
    sparse(path, header + struct.pack("<I", checksum) + table, places, offset)


def link(path, to):
    path.symlink_to(to)


def original_model_of_a_terabyte(path):
    good = (CORPUS / "original_model" / "untrained").read_bytes()
    shape = struct.pack("<6Q", 1, 2, 1, 1, 1, 1)
    assert good.count(shape) == 2  # of the model, and in the history
    sparse(
        path, good[: good.index(shape)] + struct.pack("<6Q", 1, 2, 65_536, 5, 1, 65_536) + struct.pack("<Q", 70), (), 2 * TERABYTE
    )


HISTORY, MODEL = json.loads(SECTIONS["history"]), json.loads(SECTIONS["model"])
LONG = [HISTORY[0], {**HISTORY[1], "steps": TERABYTE // 4}, *HISTORY[2:]]
WIDE = {**MODEL, "config": {**MODEL["config"], "embedding_degree": 65_536, "num_layers": 5}}
MILLION = 10**6
HOSTILE = {  # (what, reader): makes the file at a path
    **{
        (what, target): make
        for target in TARGETS
        if target != "sections"
        for what, make in {
            "a terabyte of nothing": sparse,
            "a device without end": partial(link, to="/dev/zero"),
            "a pipe": os.mkfifo,
            "a folder": os.mkdir,
            "a link to itself": lambda path: path.symlink_to(path.name),
        }.items()
    },
    **{
        (what, target): partial(content, made=partial(file, text))
        for what, text in {
            "a million open brackets": b"[" * MILLION,
            "a million brackets": b"[" * MILLION + b"]" * MILLION,
            "a million objects in each other": b'{"a":' * MILLION,
        }.items()
        for target, file in {
            "tokenizer": lambda text: text,
            "run": lambda text: b'{"data":' + text,
            "checkpoint": lambda text: packed({**SECTIONS, "history": text}),
            "recipe": lambda text: b"x = " + text[:16_000].replace(b":", b"="),
        }.items()
    },
    **{(f"{name} of a terabyte", "checkpoint"): partial(claiming, claimed=name) for name in JSON_SECTIONS},
    ("losses of a terabyte", "checkpoint"): partial(claiming, claimed="losses", history=LONG),
    ("more losses than steps", "checkpoint"): lambda path: content(path, lambda: packed({**SECTIONS, "losses": bytes(4000)})),
    ("parameters of a terabyte", "checkpoint"): partial(claiming, claimed="parameters", model=WIDE),
    ("a shape of a terabyte", "original_model"): original_model_of_a_terabyte,
    ("eleven million lists", "tokenizer"): partial(content, made=lambda: b"[" + b"[]," * 11 * MILLION + b"[]]"),
    ("eleven million objects", "checkpoint"): partial(
        content, made=lambda: packed({**SECTIONS, "history": b"[" + b"{}," * 11 * MILLION + b"{}]"})
    ),
    ("a file of 33 MiB", "tokenizer"): partial(sparse, size=33 << 20),
    ("a file of 17 MiB", "run"): partial(sparse, size=17 << 20),
    ("a key of eight thousand parts", "recipe"): partial(content, made=lambda: b"a" + b".a" * 8000 + b" = 1"),
    ("a million stages", "recipe"): partial(
        content, made=lambda: RECIPE.replace("{ do = \"keep\", best = 1 },", '{ do = "keep", best = 1 },' * MILLION).encode()
    ),
}  # fmt: skip

NEED_MEMORY = {  # as they say, and are what they say; all others are refused before any is taken, or need little
    ("a terabyte of nothing", "data"),
    ("parameters of a terabyte", "checkpoint"),
    ("a shape of a terabyte", "original_model"),
}

CHILD = """
import json, os, resource, sys, time
from pathlib import Path
sys.path.append(sys.argv[1])
from targets import TARGETS, CORPUS
from femto.errors import FemtoError

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NEVER = ("os.", "shutil.", "subprocess.", "socket.", "pickle.", "exec", "compile", "ctypes.", "marshal.", "code.", "pty.")
touched, watching = [], False

def watch(event, arguments):
    writes = event == "open" and arguments[2] & WRITES
    if watching and (writes or event.startswith(NEVER) and event not in ("os.listdir", "os.scandir")):
        touched.append(f"{event} {arguments!r}"[:200])

cases = json.load(sys.stdin)
for name, target in TARGETS.items():  # whatever is imported late
    for path in (CORPUS / name).iterdir():
        Path(cases["scratch"], target.file).write_bytes(target.arrange(path.read_bytes()))
        try:
            target.read(Path(cases["scratch"], target.file))
        except FemtoError:
            pass
sys.addaudithook(watch)
watching = True
open(Path(cases["scratch"], "control"), "w").close()
control, touched[:] = list(touched), []
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (3 << 29),) * 2)
for target, path in cases["files"]:
    watching, started = True, time.monotonic()
    try:
        TARGETS[target].read(Path(path))
        told = ["read", ""]
    except FemtoError as error:
        told = ["refused", str(error)]
    except BaseException as error:
        told = [type(error).__name__, str(error)[:1000]]
    watching = False
    print(json.dumps([*told, time.monotonic() - started, touched]), flush=True)
    touched.clear()
print(json.dumps(control))
"""


@pytest.fixture(scope="module")
def told():
    """What a process with 1.5 GiB of memory to spare says of each file: how it went, the message, seconds, what it touched."""
    if not sys.platform.startswith("linux"):
        pytest.skip("limits of memory and /proc are Linux's")
    with tempfile.TemporaryDirectory() as name:
        yield tell(Path(name))


def tell(folder):
    paths = {}
    for number, ((what, target), make) in enumerate(HOSTILE.items()):
        (folder / str(number)).mkdir()
        paths[what, target] = folder / str(number) / TARGETS[target].file
        make(paths[what, target])
    for path in CORPUS_FILES:
        target = TARGETS[path.parent.name]
        (folder / path.parent.name / path.name).mkdir(parents=True)
        paths[path.name, path.parent.name] = folder / path.parent.name / path.name / target.file
        paths[path.name, path.parent.name].write_bytes(target.arrange(path.read_bytes()))
    (folder / "scratch").mkdir()
    files = [(target, str(path)) for (_, target), path in paths.items()]
    before = sorted(folder.rglob("*"))
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(CORPUS.parent)],
        input=json.dumps({"scratch": str(folder / "scratch"), "files": files}),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
    )
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    assert child.returncode == 0, f"{files[len(lines)]}: {child.stderr}"
    assert [path for path in sorted(folder.rglob("*")) if path.parent.name != "scratch"] == before
    assert len(lines.pop()) == 1  # the control: the watch sees what is written
    return {key: (paths[key], *line) for key, line in zip(paths, lines, strict=True)}


@pytest.mark.parametrize("case", HOSTILE, ids="-".join)
def test_what_would_fill_the_memory_or_wait_for_ever_is_refused_at_once(case, told):
    path, outcome, message, seconds, _ = told[case]
    assert outcome == "refused", (outcome, message)
    require_clear(FemtoError(message), path)
    assert seconds < 15
    assert (" of memory (" in message and " are free" in message) == (case in NEED_MEMORY), message


def test_nothing_is_written_or_run_while_files_are_read(told):
    assert {case: touched for case, (*_, touched) in told.items() if touched} == {}
    outcomes = [outcome for _, outcome, *_ in told.values()]
    assert set(outcomes) == {"read", "refused"}


def test_odd_things_in_a_folder_of_texts_are_passed_over(tmp_path):
    from femto import data

    (tmp_path / "a.txt").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "up").symlink_to("..")
    assert data.read_documents(tmp_path) == [b"text"]
    with pytest.raises(DataError, match="not a regular file; `-` reads standard input"):
        data.read_documents(tmp_path / "pipe")
