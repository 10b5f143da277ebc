"""Large texts: token files give the same as a text that is encoded in memory, whatever happens to them."""

import hashlib
import json
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import femto
from femto import data, token_cache, token_files, tokenizers
from femto.analysis.chunks import chunk_losses
from femto.analysis.diagnosis import diagnose
from femto.commands import main
from femto.documents import FileDocument, MemoryDocument
from femto.errors import DataError
from femto.system import files
from femto.token_cache import Note, Reading
from femto.tokenizers import BpeTokenizer

STORY = "Once upon a time there was a little dog. Its name was Ünal, and it said: bark, bark!\n"
TEXT = (STORY + "".join(random.Random(0).choices(STORY, k=4000))) * 3
BPE = BpeTokenizer.from_text(TEXT, 400)
BYTE = tokenizers.build("byte", None)
KINDS = [BYTE, tokenizers.build("ascii", None, case_sensitive=False), tokenizers.build("char", TEXT), BPE]
LARGE = token_cache.LEAST_BYTES


RECIPE = """
title = "A large text"
data = "code"
held_out = 0.0
tokenizer = { kind = "byte" }
model = { embedding_degree = 8, num_layers = 1, num_heads = 1, num_tokens = 8 }
training = { batch_size = 2 }
[modern]
stages = [{ do = "init", name = "model" }, { do = "train", steps = 1 }]
checks = [{ measure = "training_loss", at_most = 9.0 }]
"""


class Cache:
    """A folder for token files, and what was told while a text was read."""

    def __init__(self, folder):
        self.folder, self.events = folder, []

    def load(self, *paths, tokenizer=BPE):
        self.events = []
        documents = [FileDocument.of(path) for path in paths]
        return token_cache.load("text", documents, list(map(str, paths)), tokenizer, self.folder, self.events.append)

    @property
    def notes(self):
        return [event.text for event in self.events if isinstance(event, Note)]

    @property
    def purposes(self):
        return {event.purpose for event in self.events if isinstance(event, Reading)}

    @property
    def files(self):
        return sorted(self.folder.glob("*.tokens"))


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def settle(path):
    """Wait until a change of the file after now has another time."""
    while time.time_ns() <= max(os.stat(path).st_mtime_ns, os.stat(path).st_ctime_ns) + 12 * 10**7:
        time.sleep(0.02)


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A text that is just large enough, and a cache, for commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEMTO_CACHE", str(tmp_path / "cache"))
    Path("large.txt").write_bytes((TEXT.encode() * (LARGE // len(TEXT) + 1))[:LARGE])
    run(
        "init",
        "--model",
        "model.dat",
        "--tokenizer",
        "byte",
        "--embedding-degree",
        8,
        "--num-layers",
        1,
        "--num-tokens",
        16,
        "--seed",
        1,
    )
    return Path("large.txt")


def run(*arguments, status=0, text=None):
    result = CliRunner().invoke(main, [str(a) for a in arguments], input=text)
    assert result.exit_code == status, result.output
    return result


def same(found, expected):
    assert found.ids.dtype.itemsize < 4
    assert np.array_equal(found.ids, expected.ids)
    assert (found.sha256, found.num_unknown) == (expected.sha256, expected.num_unknown)


@pytest.mark.parametrize("tokenizer", KINDS, ids=repr)
def test_ids_hash_and_unknown_are_those_of_the_text_in_memory(cache, text, tmp_path, tokenizer):
    (tmp_path / "other.txt").write_bytes(b"b" + TEXT.encode()[:-1] + b"\xff\xc3")
    documents = [path.read_bytes() for path in (text, tmp_path / "other.txt")]
    expected = data.from_documents("both", documents, tokenizer)
    same(cache.load(text, tmp_path / "other.txt", tokenizer=tokenizer), expected)
    assert cache.purposes == {"reading", "encoding"} and cache.notes == []
    in_memory = [MemoryDocument(document) for document in documents]
    same(token_cache.load("both", in_memory, ["both"], tokenizer, None, cache.events.append), expected)
    assert cache.load(text, tokenizer=tokenizer).ids.dtype == (np.uint8 if tokenizer.vocab_size <= 256 else np.uint16)


def test_a_text_that_is_as_it_was_is_not_read_again(cache, text):
    settle(text)
    first = cache.load(text)
    again = cache.load(text)
    assert cache.events == []
    same(again, first)
    assert not again.ids.flags.writeable


def test_a_text_is_known_by_every_path_that_leads_to_it(text, tmp_path, monkeypatch):
    monkeypatch.setattr(token_cache, "LEAST_BYTES", 1)
    settle(text)
    first = data.load_dataset(text, BPE, cache=tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    events = []
    same(data.load_dataset("text.txt", BPE, cache="cache", show_event=events.append), first)
    assert events == []


def test_a_large_text_in_memory_has_small_ids_and_no_file(text, tmp_path, monkeypatch):
    documents = [TEXT.encode(), b"", STORY.encode()]
    expected = data.from_documents("both", documents, BPE)
    monkeypatch.setattr(token_cache, "LEAST_BYTES", 1)
    monkeypatch.setenv("FEMTO_CACHE", str(tmp_path / "cache"))
    same(data.from_documents("both", documents, BPE), expected)
    assert list(tmp_path.iterdir()) == [text]


def test_the_same_content_elsewhere_is_read_and_not_encoded(cache, text, tmp_path):
    cache.load(text)
    shutil.copy(text, tmp_path / "copy.txt")
    cache.load(tmp_path / "copy.txt")
    assert cache.purposes == {"reading"} and len(cache.files) == 1


def test_where_documents_end_and_the_tokenizer_make_another_token_file(cache, text, tmp_path):
    whole = tmp_path / "whole"
    whole.write_bytes(text.read_bytes() * 2)
    assert cache.load(whole).sha256 == cache.load(text, text).sha256
    cache.load(whole, tokenizer=BYTE)
    cache.load(whole, tokenizer=KINDS[2])
    assert len(cache.files) == 4


def test_a_separator_of_documents_stands_between_files(text, tmp_path, monkeypatch):
    monkeypatch.setattr(token_cache, "LEAST_BYTES", 1)
    other = tmp_path / "other.txt"
    other.write_text(STORY)
    settle(other)
    separated = BpeTokenizer.keeping(BPE, [], "<|end|>")
    for tokenizer, between in ((separated, "<|end|>"), (BPE, ""), (separated, "<|end|>")):
        seen = []
        found = data.load_dataset([text, other], tokenizer, cache=tmp_path / "cache", show_event=seen.append)
        assert np.array_equal(found.ids, np.concatenate([tokenizer.encode(part) for part in (TEXT, between, STORY)]))
        content = (TEXT + between + STORY).encode()
        assert (found.sha256, found.num_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert not seen  # both are known by then: nothing is read
    assert (found.ids == separated.tokens.index(b"<|end|>")).sum() == 1


def test_a_kind_of_ones_own_has_no_token_file(tmp_path, text):
    class Every(tokenizers.ByteTokenizer):
        def encode(self, text):
            return np.zeros(3, np.int32)

    text.write_bytes(b"a" * LARGE)
    own = Every.standard()
    assert len(data.load_dataset(text, own, cache=tmp_path / "cache").ids) == 3
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("change", ["grown", "shorter", "another byte", "another byte, the same times"])
def test_a_text_that_has_changed_is_encoded_anew_and_its_old_tokens_go(cache, text, change):
    settle(text)
    cache.load(text)
    status, content = os.stat(text), text.read_bytes()
    changed = {"grown": content + b"more", "shorter": content[:-9]}.get(change, content.replace(b"dog", b"cat", 1))
    text.write_bytes(changed)
    if change.endswith("times"):
        os.utime(text, ns=(status.st_atime_ns, status.st_mtime_ns))
    found = cache.load(text)
    same(found, data.from_documents("", [changed], BPE))
    assert cache.purposes == {"reading", "encoding"} and len(cache.files) == 1


def test_a_text_that_is_changed_within_a_tick_of_its_clock_is_never_taken_for_what_it_was(cache, text):
    content = text.read_bytes()
    for letter in b"abcdefghijklmnopqrst":
        text.write_bytes(content[:-1] + bytes([letter]))
        assert cache.load(text, tokenizer=BYTE).ids[-1] == letter


def test_what_is_appended_after_a_text_was_found_is_not_read(cache, text):
    document = FileDocument.of(text)
    before = text.read_bytes()
    with open(text, "ab") as file:
        file.write(b"x" * 1000)
    found = token_cache.load("text", [document], [str(text)], BPE, cache.folder, cache.events.append)
    same(found, data.from_documents("", [before], BPE))
    assert document.size == len(before) and not document.unchanged()
    after = cache.load(text)
    assert len(after.ids) > len(found.ids) and len(cache.files) == 1
    same(found, data.from_documents("", [before], BPE))  # which is removed, but stays mapped


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: os.truncate(path, 100), "became shorter while it was read"),
        (lambda path: os.replace(shutil.copy(path, f"{path}.new"), path), "another file took its place while it was read"),
        (lambda path: os.unlink(path), "cannot read the data set: No such file"),
    ],
)
def test_a_text_that_goes_while_it_is_read_is_an_error_of_one_line(cache, text, harm, message):
    document = FileDocument.of(text)
    harm(text)
    with pytest.raises(DataError, match=message) as raised:
        token_cache.load("text", [document], [str(text)], BPE, cache.folder, cache.events.append)
    assert str(raised.value).startswith(str(text)) and cache.files == []


def test_a_text_that_is_changed_between_reading_and_encoding_is_refused(cache, text):
    def change(event):
        if isinstance(event, Reading) and event.purpose == "reading":
            text.write_bytes(text.read_bytes().replace(b"dog", b"cat"))

    with pytest.raises(DataError, match="was changed while it was read"):
        token_cache.load("text", [FileDocument.of(text)], [str(text)], BPE, cache.folder, change)
    assert list(cache.folder.glob("*.tokens")) == [] and list(cache.folder.glob(".femto*")) == []


# Damage


def test_damage_anywhere_is_noticed_and_the_file_made_anew(cache, text):
    expected = cache.load(text)
    path, good = cache.files[0], cache.files[0].read_bytes()
    ids_end = 64 + 2 * len(expected.ids)
    places = [0, 20, 63, 64, 64 + len(expected.ids), ids_end - 1, ids_end, ids_end + 100, *range(len(good) - 16, len(good))]
    for place in places:
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :])
        same(cache.load(text), expected)
        assert len(cache.notes) == 1 and cache.notes[0].startswith(str(path)) and cache.notes[0].endswith("; it is made anew"), (
            place
        )
        assert path.read_bytes()[:ids_end] == good[:ids_end]
    for size in (0, 1, 63, 64, 80, ids_end - 2, ids_end, len(good) - 16, len(good) - 1):
        path.write_bytes(good[:size])
        same(cache.load(text), expected)
        assert len(cache.notes) == 1, size
    path.write_bytes(good + b"\0")
    same(cache.load(text), expected)
    assert len(cache.notes) == 1


def test_a_good_file_with_another_time_is_checked_once_and_kept(cache, text):
    settle(text)
    expected = cache.load(text)
    made = os.stat(cache.files[0])
    shutil.copy(cache.files[0], cache.folder / "copy")
    os.replace(cache.folder / "copy", cache.files[0])
    same(cache.load(text), expected)
    assert cache.events == []
    assert os.stat(cache.files[0]).st_mtime_ns == made.st_mtime_ns and os.stat(cache.files[0]).st_ino != made.st_ino


def rewritten(good, **changes):
    """A token file with other facts, and right checksums."""
    length = struct.unpack_from("<I", good, len(good) - 16)[0]
    facts = json.loads(good[-16 - length : -16]) | changes
    described = json.dumps({name: value for name, value in facts.items() if value is not ...}).encode()
    return good[: -16 - length] + described + struct.pack("<II8s", len(described), zlib.crc32(described), token_files.END)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_tokens": 2**61},
        {"num_tokens": 2**70},
        {"num_tokens": 0},
        {"num_tokens": -1},
        {"num_tokens": True},
        {"bits": 32},
        {"bits": 8},
        {"bits": 0},
        {"key": "0" * 64},
        {"key": None},
        {"crc32": 1},
        {"texts": "text"},
        {"texts": [1]},
        {"sha256": ...},
        {"changed": 1e9},
    ],
)
def test_what_a_file_claims_is_checked_before_it_is_believed(cache, text, changes):
    expected = cache.load(text)
    path = cache.files[0]
    path.write_bytes(rewritten(path.read_bytes(), **changes))
    same(cache.load(text), expected)
    assert len(cache.notes) == 1 and cache.notes[0].endswith("; it is made anew")


def test_a_damaged_hash_of_a_text_is_found_anew(cache, text):
    settle(text)
    expected = cache.load(text)
    kept = token_cache.hash_file(cache.folder, [str(text)])
    for content in (b"", b"{", b"[1]", b'{"sha256": 1}', b"\xff", b"[" * 10000):
        assert kept.exists()
        kept.write_bytes(content)
        same(cache.load(text), expected)
        assert cache.purposes == {"reading"} and cache.notes == []


# Where nothing can be written


def test_a_cache_that_cannot_be_is_noted_and_the_text_encoded_in_memory(cache, text):
    cache.folder.write_text("in the way")
    same(cache.load(text), data.load_dataset(text, BPE))
    assert len(cache.notes) == 1 and cache.notes[0].endswith("; the text is encoded in memory")
    assert cache.folder.read_text() == "in the way"


def test_a_disk_without_room_is_noted_and_the_text_encoded_in_memory(large):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
    code = f"{limit}; from femto.commands import main; main()"
    command = [sys.executable, "-c", code, "train", "--dataset", "large.txt", "--steps", "1", "--batch-size", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "no token file: File too large; nothing was changed; the text is encoded in memory" in done.stderr
    assert list(Path("cache").iterdir()) == []


def test_two_processes_that_need_the_same_token_file_make_it_once(large):
    command = [sys.executable, "-m", "femto", "count-tokens", "--dataset", "large.txt", "--model", "model.dat"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    counts = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], counts
    assert counts[0][0] == counts[1][0]
    assert len(list(Path("cache").glob("*.tokens"))) == 1 and list(Path("cache").glob(".*")) == []


def test_whoever_waits_says_for_whom_and_takes_what_the_other_has_made(cache, text, tmp_path):
    cache.load(text)
    made = cache.files[0]
    os.rename(made, tmp_path / "made")
    token_cache.hash_file(cache.folder, [str(text)]).unlink(missing_ok=True)

    def finish(event):
        cache.events.append(event)
        if isinstance(event, Note):  # waiting: the other process ends
            os.rename(tmp_path / "made", made)
            other.__exit__(None, None, None)

    other = files.locked(made)
    other.__enter__()
    cache.events = []
    token_cache.load("text", [FileDocument.of(text)], [str(text)], BPE, cache.folder, finish)
    assert cache.notes == [f"the token file of this text is in use by process {os.getpid()}, which makes it; waiting"]
    assert cache.purposes == {"reading"}


# The same bits


def test_training_and_all_that_reads_a_text_are_the_same_to_the_bit(cache, text):
    loaded = cache.load(text)
    config = femto.ModelConfig(BPE.vocab_size, num_tokens=9, embedding_degree=12, num_layers=1, num_heads=2)
    results = []
    for ids in (loaded.ids, BPE.encode(TEXT)):
        dataset = data.Dataset("text", loaded.sha256, len(TEXT.encode()), ids, 0)
        made = femto.create(config, BPE, femto.TrainConfig(batch_size=600, micro_batch_size=60, validation_split=0.2, seed=3))
        events = list(femto.Session(made, dataset, path=None, validate_every=2).run(4))
        losses = [event.loss for event in events if isinstance(event, (femto.Step, femto.Validation))]
        whole = femto.evaluate(made.model, ids, BPE)
        some = femto.evaluate(made.model, ids, BPE, 50)
        chunks = np.concatenate(list(chunk_losses(made.model, ids, 20))).tolist()
        results.append((made.model.parameters_sha256, losses, whole, some, chunks, asdict(diagnose(made, dataset))))
    assert results[0] == results[1]


def test_reading_all_of_a_token_file_holds_little_of_it(tmp_path):
    facts = token_files.Facts("key", ["text"], "0" * 64, 0, "", "", 16)
    token_files.write(tmp_path / "tokens", (np.full(1 << 22, number, np.uint16) for number in range(8)), facts)
    ids, _ = token_files.load(tmp_path / "tokens", "key")

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    before = resident()
    assert data.counts(ids, 8).tolist() == [1 << 22] * 8
    for step in range(20):
        data.batch(ids, step, 100, 64, 1)
    assert sum(int((targets >= 0).sum()) for _, targets in data.window_batches(ids, 1 << 14, 16)) == len(ids) - 1
    assert resident() - before < 24 << 20 < ids.nbytes / 2


# Commands


def test_every_command_finds_the_token_file_that_the_first_has_made(large):
    command = ["train", "--dataset", large, "--steps", 2, "--batch-size", 4, "--validation-split", 0.1, "--quiet"]
    shutil.copy("model.dat", "other.dat")
    run(*command)
    made = list(Path("cache").glob("*.tokens"))
    assert len(made) == 1 and Path("cache").stat().st_mode & 0o777 == 0o700
    inode = made[0].stat().st_ino
    uncached = CliRunner().invoke(main, [*map(str, command), "--model", "other.dat"], env={"FEMTO_CACHE": "none"})
    assert uncached.exit_code == 0
    first, second = (femto.load(name) for name in ("model.dat", "other.dat"))
    assert first.model.parameters_sha256 == second.model.parameters_sha256
    sessions = [each.history.sessions()[0] for each in (first, second)]
    assert sessions[0]["dataset"] == sessions[1]["dataset"] and sessions[0]["validations"] == sessions[1]["validations"]
    run("evaluate", "--dataset", large, "--validation-split", 0.001)
    run("diagnose", "model.dat", "--dataset", large, "--batch-size", 1)
    run("count-tokens", "--model", "model.dat", "--dataset", large)
    assert [path.stat().st_ino for path in Path("cache").glob("*.tokens")] == [inode]


def test_cache_shows_checks_and_removes(large):
    Path("second.txt").write_bytes(large.read_bytes() + b"!")
    for path in (large, "second.txt"):
        run("count-tokens", "--model", "model.dat", "--dataset", path)
    shown = json.loads(run("cache", "--json").stdout)
    assert shown["folder"] == str(Path("cache").absolute())
    assert {Path(*file["texts"]).name: file["tokens"] for file in shown["files"]} == {"large.txt": LARGE, "second.txt": LARGE + 1}
    lines = run("cache", "second.txt").stdout.splitlines()
    assert "second.txt: 16,777,217 tokens (byte, 256 tokens)" in lines[0] and lines[1].endswith(": 1 token file, 16.0 MiB")
    assert "removed" not in run("cache", "--check").stdout
    path = Path(next(file["path"] for file in shown["files"] if file["tokens"] == LARGE))
    status = path.stat()
    with open(path, "r+b") as file:
        file.seek(LARGE // 2)
        file.write(b"\xff")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as a disk that forgets
    assert "large.txt" in next(line for line in run("cache", "--check").stdout.splitlines() if line.endswith("; removed"))
    run("count-tokens", "--model", "model.dat", "--dataset", large)
    assert run("cache", "--remove", large).stdout.count("; removed") == 1
    (Path("cache") / ".femto-00000000-0123456789abcdef.tmp").write_bytes(b"what a killed process left")
    run("cache", "--remove")
    assert list(Path("cache").iterdir()) == []
    assert json.loads(run("cache", "--json").stdout)["files"] == []


def test_cache_says_where_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setenv("FEMTO_CACHE", "none")
    assert "FEMTO_CACHE is none" in run("cache", status=1).output
    monkeypatch.setenv("FEMTO_CACHE", str(tmp_path / "no such folder"))
    assert "0 token files" in run("cache").stdout
    run("cache", "--remove", "--check", status=2)


def test_the_cache_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("FEMTO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert token_cache.default_folder() == Path("/home/me/.cache/femto")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert token_cache.default_folder() == Path("/home/me/.cache/femto")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert token_cache.default_folder() == Path("/caches/femto")
    monkeypatch.setenv("FEMTO_CACHE", "/here")
    assert token_cache.default_folder() == Path("/here")
    monkeypatch.setenv("FEMTO_CACHE", "none")
    assert token_cache.default_folder() is None


def test_a_pipe_beside_a_large_text_is_refused_as_ever(large):
    os.mkfifo("pipe")
    assert (
        "pipe: cannot read the data set: not a regular file"
        in run("evaluate", "--dataset", large, "--dataset", "pipe", status=1).stderr
    )


def test_a_small_text_writes_nothing(tmp_path, text):
    assert data.load_dataset(text, BPE, cache=tmp_path / "cache").ids.dtype == np.int32
    assert not (tmp_path / "cache").exists()


def test_an_experiment_keeps_the_tokens_of_a_large_text(large):
    Path("mine.toml").write_text(RECIPE)
    run("experiment", "run", "mine.toml", "--dataset", large, "--quiet")
    made = {path: path.stat().st_ino for path in Path("cache").glob("*.tokens")}
    assert [path.stat().st_size // LARGE for path in made] == [1]
    run("experiment", "run", "mine.toml", "--dataset", large, "--quiet", "--force")
    assert {path: path.stat().st_ino for path in Path("cache").glob("*.tokens")} == made


# Several texts


def test_several_texts_are_read_in_the_order_in_which_they_are_given(tmp_path):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    for name, content in {"z": "1", "folder/b": "3", "folder/a": "2", "folder/inner/c": "4", "empty": ""}.items():
        (tmp_path / name).write_text(content)
    names = [str(tmp_path / name) for name in ("z", "empty", "folder", "z")]
    dataset = data.load_dataset(names, BYTE)
    assert bytes(dataset.ids.tolist()) == b"12341" and dataset.num_bytes == 5
    assert dataset.name == ", ".join(names)
    assert data.read_documents(names) == [b"1", b"2", b"3", b"4", b"1"]
    with pytest.raises(DataError, match=r"empty, .*: the data set is empty"):
        data.load_dataset([tmp_path / "empty", tmp_path / "empty"], BYTE)


def test_commands_take_several_texts_and_the_history_names_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        Path(name).write_text(TEXT + name)
    run("train-bpe", "--dataset", "a", "--dataset", "b", "--vocab-size", 120, "--quiet")
    run("init", "--tokenizer", "bpe", "--embedding-degree", 8, "--num-layers", 1, "--num-tokens", 8)
    run("train", "--dataset", "b", "--dataset", "a", "--steps", 1)
    told = femto.load("model.dat").history.sessions()[0]["dataset"]
    expected = data.from_documents("", [(TEXT + name).encode() for name in "ba"], BPE)
    assert told == {"name": "b, a", "path": ["b", "a"], "sha256": expected.sha256, "bytes": expected.num_bytes}
    assert json.loads(run("evaluate", "--dataset", "b", "--dataset", "a", "--json").stdout)["dataset"] == "b, a"
    assert json.loads(run("evaluate", "--json").stdout)["dataset"] == "b, a"  # the last ones of the model
    run("train", "--validation-dataset", "a", "--validation-dataset", "b", "--steps", 1)
    session = femto.load("model.dat").history.sessions()[-1]
    assert (session["dataset"], session["validation_dataset"]["path"]) == (told, ["a", "b"])
    shown = run("evaluate", "--dataset", "-", "--dataset", "a", text=TEXT + "b").stdout
    assert shown == run("evaluate", "--dataset", "b", "--dataset", "a").stdout
