"""Sampling and generation: seeds, cuts, streaming, and going on past the context."""

import numpy as np
import pytest

from femto import checkpoint, generation, tokenizers
from femto.config import PRESETS, ModelConfig, TrainConfig
from femto.errors import ConfigError
from femto.generation import Sampling, generate, sample
from femto.model import Graph

FIRST = [822, 155, 273, 815, 760, 637]  # of 1,000 tokens that are as likely: draws 0 to 5 of seed 3


@pytest.fixture(scope="module", params=PRESETS)
def made(request):
    config = ModelConfig(256, 12, 16, 2, 2, **PRESETS[request.param].model)
    made = checkpoint.create(config, tokenizers.build("byte", None), TrainConfig())
    made.model.parameters *= 3.0  # so that tokens differ in probability
    return made


def ids(made, *arguments, **keywords):
    return [generated.token for generated in generate(made, *arguments, **keywords)]


def test_a_seed_gives_the_same_text_and_another_seed_another(made):
    texts = [ids(made, "hello", 40, Sampling(1.0, seed=seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("shift", [None, 1, 2, 5, 11, 12])
@pytest.mark.parametrize("prompt", ["ab", "twelve token", "a prompt longer than the context"])
def test_each_token_follows_from_the_tokens_that_the_context_holds(made, prompt, shift):
    sequence = made.tokenizer.encode(prompt).tolist()
    start = max(0, len(sequence) - 12)
    for token in ids(made, prompt, 30, Sampling(0.0), context_shift=shift):
        if len(sequence) - start > 12:  # full: the oldest tokens go
            start += 6 if shift is None else shift
        window = np.array([sequence[start:]], np.int32)
        assert token == int(Graph(made.model, 1, window.shape[1]).forward(window)[-1].argmax())
        sequence.append(token)


@pytest.mark.parametrize("shift", [0, -1, 13])
def test_a_context_cannot_shift_by_more_than_it_holds(made, shift):
    with pytest.raises(ConfigError, match="context_shift must be from 1 to the context of 12 tokens"):
        generate(made, "ab", 0, Sampling(0.0), context_shift=shift)  # and not when the first token is asked for


def test_temperature_top_k_and_top_p_cut_as_they_say():
    logits = np.log(np.array([0.5, 0.05, 0.3, 0.15], np.float32))

    def seen(**settings):
        return {sample(logits, Sampling(seed=1, **settings), index) for index in range(400)}

    assert seen(temperature=1.0) == {0, 1, 2, 3}
    assert seen(temperature=0.0) == {0}
    assert seen(temperature=1e-30) == {0}
    assert seen(temperature=1.0, top_k=2) == {0, 2}
    assert seen(temperature=1.0, top_p=0.5) == {0}
    assert seen(temperature=1.0, top_p=0.81) == {0, 2, 3}
    draws = [sample(logits, Sampling(1.0, seed=3), index) for index in range(4000)]
    assert np.bincount(draws) / 4000 == pytest.approx([0.5, 0.05, 0.3, 0.15], abs=0.03)


def test_the_first_sample_of_a_seed_is_what_it_always_was_and_each_has_its_own_numbers():
    logits = np.zeros(1000, np.float32)

    def drawn(sample_number, seed=3):
        return [sample(logits, Sampling(1.0, seed=seed, sample=sample_number), index) for index in range(6)]

    assert drawn(0) == FIRST
    others = [tuple(drawn(number, seed)) for seed in (3, 4) for number in range(20)]
    assert len(set(others)) == 40


def test_a_stop_text_ends_the_generation_and_is_no_part_of_it(made):
    whole = list(generate(made, "x", 60, Sampling(1.0, seed=4)))
    assert [generated.finish_reason for generated in whole] == [None] * 59 + ["length"]
    text = b"".join(generated.data for generated in whole)
    end = text[20:23]  # of three tokens
    for stop in (end, [b"never in it", end]):
        cut = list(generate(made, "x", 60, Sampling(1.0, seed=4), stop=stop))
        assert [generated.finish_reason for generated in cut] == [None] * (len(cut) - 1) + ["stop"]
        assert [generated.token for generated in cut] == [generated.token for generated in whole[: text.index(end) + 3]]
        assert b"".join(generated.data for generated in cut) == text[: text.index(end)]
        assert "".join(generated.text for generated in cut) == text[: text.index(end)].decode("utf-8", "replace")


def test_a_prompt_of_bytes_is_taken_to_the_byte(made):
    assert ids(made, "é", 10, Sampling(0.0)) == ids(made, "é".encode(), 10, Sampling(0.0))
    sequence = [0xE9, 0xFF]
    for token in ids(made, b"\xe9\xff", 8, Sampling(0.0)):
        window = np.array([sequence[-12:]], np.int32)
        assert token == int(Graph(made.model, 1, window.shape[1]).forward(window)[-1].argmax())
        sequence.append(token)


def test_streamed_text_never_splits_a_character(made):
    pieces = [generated.text for generated in generate(made, "é", 60, Sampling(1.0, seed=5))]
    tokens = ids(made, "é", 60, Sampling(1.0, seed=5))
    assert "".join(pieces) == made.tokenizer.decode(tokens)


def test_an_empty_prompt_starts_as_after_a_newline(made):
    assert ids(made, "", 10, Sampling(0.0)) == ids(made, "\n", 10, Sampling(0.0))


def test_probabilities_are_the_models_own(made):
    generated = next(generate(made, "x", 1, Sampling(0.1, top_k=1)))
    assert generated.probabilities.sum() == pytest.approx(1.0)
    logits = Graph(made.model, 1, 1).forward(np.array([[ord("x")]], np.int32))[0]
    assert generated.probabilities == pytest.approx(generation.softmax(logits), rel=1e-4)


@pytest.mark.parametrize(
    "settings", [{"temperature": -1.0}, {"top_k": -1}, {"top_p": 0.0}, {"temperature": float("nan")}, {"sample": -1}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        Sampling(**settings)
