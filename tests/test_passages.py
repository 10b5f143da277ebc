"""Passages by loss, and tokens that are alike."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import femto
from femto import tokenizers
from femto.analysis import embeddings
from femto.analysis.chunks import chunk_losses, number_of_chunks
from femto.analysis.embeddings import closest_tokens
from femto.commands import main

TEXT = "to be, or not to be: that is the question. " * 20 + "".join(random.Random(0).choices("qzxj", k=90))


@pytest.fixture(scope="module")
def checkpoint():
    tokenizer = tokenizers.build("char", TEXT)
    config = femto.ModelConfig(tokenizer.vocab_size, num_tokens=8, embedding_degree=12, num_layers=1, num_heads=2)
    made = femto.create(config, tokenizer, femto.TrainConfig(batch_size=4, seed=1))
    list(femto.Session(made, femto.from_text("text", TEXT[:800], tokenizer), path=None).run(40))
    return made


@pytest.mark.parametrize("chunk_size", [2, 5, 9, 20, 31, 947, 5000, 10**25])
@pytest.mark.parametrize("first", [0, 3])
def test_a_chunk_has_the_loss_of_its_text_alone(checkpoint, chunk_size, first):
    ids = checkpoint.tokenizer.encode(TEXT)
    count = number_of_chunks(ids, chunk_size)
    found = np.concatenate([np.empty(0), *chunk_losses(checkpoint.model, ids, chunk_size, first)])
    assert len(found) == max(0, count - first)
    for place in random.Random(1).sample(range(first, count), min(5, len(found))) + ([count - 1] if len(found) else []):
        alone = ids[place * chunk_size : (place + 1) * chunk_size]
        assert found[place - first] == pytest.approx(femto.evaluate(checkpoint.model, alone, checkpoint.tokenizer).nats, rel=1e-6)


def test_a_chunk_of_many_windows_is_computed_some_at_a_time(checkpoint):
    ids = checkpoint.tokenizer.encode(TEXT * 12)
    for chunk_size in (len(ids), len(ids) - 3000):
        found = np.concatenate(list(chunk_losses(checkpoint.model, ids, chunk_size)))
        parts = [part for part in (ids[:chunk_size], ids[chunk_size:]) if len(part)]
        alone = [femto.evaluate(checkpoint.model, part, checkpoint.tokenizer).nats for part in parts]
        assert found == pytest.approx(alone, rel=1e-6)


def test_every_token_is_in_a_chunk_but_one_that_would_be_alone():
    for length in range(2, 30):
        for size in range(2, 12):
            count = number_of_chunks(np.zeros(length, np.int32), size)
            assert 0 <= length - min(length, count * size) <= 1


def run(*arguments, status=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == status, result.output
    return result


@pytest.fixture
def files(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    femto.save(checkpoint, "model.dat")
    Path("dataset.txt").write_text(TEXT)


def test_the_best_and_the_worst_passages_are_shown(files):
    shown = json.loads(run("chunks", "--chunk-size", 10, "--num-chunks", 3, "--json").stdout)
    assert shown["num_chunks"] == 95
    losses = json.loads(Path("chunks.json").read_bytes())["losses"]
    assert [passage["loss"] for passage in shown["best"]] == sorted(losses)[:3]
    assert [passage["loss"] for passage in shown["worst"]] == sorted(losses, reverse=True)[:3]
    for passage in shown["worst"]:
        assert passage["text"] == TEXT[10 * passage["chunk"] :][:10]
        assert set(passage["text"]) <= set("qzxj") | set(TEXT[850:870])
    loaded = femto.load("model.dat")
    ids = loaded.tokenizer.encode(TEXT)
    parts = [femto.evaluate(loaded.model, part, loaded.tokenizer) for part in (ids[:900], ids[900:])]
    mean = sum(part.nats * part.num_predictions for part in parts) / sum(part.num_predictions for part in parts)
    assert f"mean loss {mean:.4f} nats a token" in run("chunks", "--chunk-size", 900, "--output", "long.json").stdout
    text = run("chunks", "--chunk-size", 10, "--num-chunks", 1).stdout
    assert f"---- worst: chunk {shown['worst'][0]['chunk']}, loss " in text


def test_a_run_goes_on_where_another_was_stopped(files):
    run("chunks", "--chunk-size", 10)
    whole = Path("chunks.json").read_bytes()
    state = json.loads(whole)
    state["losses"] = [*state["losses"][:40]]
    state["losses"][7] = 123.0  # a mark: it is not computed again
    Path("chunks.json").write_text(json.dumps(state))
    resumed = run("chunks", "--chunk-size", 10, "--num-chunks", 1)
    assert "40 of 95 chunks are there already" in resumed.stderr
    assert "worst: chunk 7, loss 123.0000" in resumed.stdout
    state["losses"][7] = json.loads(whole)["losses"][7]
    Path("chunks.json").write_text(json.dumps(state))
    run("chunks", "--chunk-size", 10)
    assert Path("chunks.json").read_bytes() == whole
    # of another size, nothing is taken over
    assert "already" not in run("chunks", "--chunk-size", 11).stderr
    Path("chunks.json").write_text("[1]")
    assert "is no file of chunks" in run("chunks", status=1).stderr
    assert Path("chunks.json").read_text() == "[1]"


def test_a_signal_saves_what_is_done(files, monkeypatch):
    import signal

    def interrupted(model, ids, chunk_size, first):
        for some in chunk_losses(model, ids, chunk_size, first):
            signal.raise_signal(signal.SIGTERM)
            yield some[:3]

    with monkeypatch.context() as patch:
        patch.setattr("femto.analysis.chunks.chunk_losses", interrupted)
        stopped = run("chunks", "--dataset", "dataset.txt", "--chunk-size", 10, status=128 + signal.SIGTERM)
    assert stopped.stderr == "chunks.json: stopped by SIGTERM after 3 of 95 chunks; the same command goes on\n"
    assert "3 of 95 chunks are there already" in run("chunks", "--chunk-size", 10).stderr


def test_the_closest_tokens_are_those_of_all_pairs(checkpoint, files):
    model = checkpoint.model
    for head in (0, 1):
        part = model.tensors["token_embedding"][:, 6 * head : 6 * head + 6].astype(np.float64)
        units = part / np.linalg.norm(part, axis=1, keepdims=True)
        every = [(units[i] @ units[j], i, j) for i in range(len(units)) for j in range(i + 1, len(units))]
        every.sort(key=lambda pair: -pair[0])
        found = closest_tokens(model, head, 7)
        assert [(pair.first, pair.second) for pair in found] == [pair[1:] for pair in every[:7]]
        assert len(closest_tokens(model, head, 10**6)) == len(every)
    shown = run("cluster-tokens", "--limit", 2).stdout.splitlines()
    assert [line for line in shown if line.startswith("----")] == ["---- Head 0 ----", "---- Head 1 ----"]
    assert len(shown) == 6
    assert len(json.loads(run("cluster-tokens", "--json").stdout)["heads"][1]) == 10


def test_large_vocabularies_are_compared_block_by_block(monkeypatch):
    monkeypatch.setattr(embeddings, "ELEMENTS", 400 * 1300)
    config = femto.ModelConfig(1300, num_tokens=4, embedding_degree=8, num_layers=1, num_heads=2)
    model = femto.Model(config).initialize(3)
    model.tensors["token_embedding"][1290, 4:] = 2.0 * model.tensors["token_embedding"][5, 4:]
    model.tensors["token_embedding"][600:602] = 0.0
    (pair,) = closest_tokens(model, 1, 1)
    assert (pair.first, pair.second) == (5, 1290)
    assert pair.cosine == pytest.approx(1.0)
    model.tensors["token_embedding"][...] = 1.0
    assert [(pair.first, pair.second) for pair in closest_tokens(model, 0, 3)] == [(0, 1), (0, 2), (0, 3)]
    assert [(pair.first, pair.second) for pair in closest_tokens(model, 0, 1301)][-3:] == [(0, 1299), (1, 2), (1, 3)]


def test_tokens_that_are_not_numbers_come_last():
    model = femto.Model(femto.ModelConfig(5, num_tokens=4, embedding_degree=8, num_layers=1, num_heads=1)).initialize(3)
    model.tensors["token_embedding"][1, 0] = np.nan
    assert [1 in (pair.first, pair.second) for pair in closest_tokens(model, 0)] == [False] * 6 + [True] * 4
    assert closest_tokens(femto.Model(femto.ModelConfig(1)).initialize(3), 0) == []
