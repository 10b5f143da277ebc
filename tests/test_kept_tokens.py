"""Kept tokens: found whole in any text, never merged, in the file, and between the documents of a folder."""

import itertools
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from femto import data, tokenizers
from femto.commands import main
from femto.errors import TokenizerError
from femto.tokenizers import BpeTokenizer, Tokenizer, build, from_json, load, longest_match, save

END = "<|endoftext|>"
STORY = ["the cat sat. ", "a dog ran. ", "it is big. ", "and then ", "one day ", "Lily ", "\n"]


def stories(count: int, seed: int = 0) -> list[str]:
    choose = random.Random(seed)
    return ["".join(choose.choices(STORY, k=choose.randint(8, 20))) for _ in range(count)]


def encoded_by_hand(tokenizer: Tokenizer, text: bytes) -> list[int]:
    """From the definition: cut at kept tokens, the first, of those the longest; match what is between without them."""
    ids: list[int] = []
    while text:
        places = [(text.find(name), -len(name), name) for name in tokenizer.kept if name in text]
        place, _, name = min(places, default=(len(text), 0, b""))
        piece, text = text[:place], text[place + len(name) :]
        while piece:
            fits = [
                token for index, token in enumerate(tokenizer.tokens) if index != tokenizer.unk_id and piece.startswith(token)
            ]
            best = max((token for token in fits if token not in tokenizer.kept), key=len, default=None)
            ids.append(tokenizer.tokens.index(best) if best is not None else tokenizer.unk_id or 0)
            piece = piece[len(best) if best is not None else 1 :]
        ids += [tokenizer.tokens.index(name)] if name else []
    return ids


SMALL = st.integers(0, 3).map(lambda value: bytes([value]))


@given(st.sets(st.lists(SMALL, min_size=1, max_size=4).map(b"".join), min_size=1), st.data())
def test_any_kept_tokens_of_any_vocabulary_are_found_as_by_hand(vocabulary: set[bytes], drawn: st.DataObject) -> None:
    tokens = [b"<unk>", *sorted(vocabulary)]
    kept = drawn.draw(st.lists(st.sampled_from(tokens[1:]), unique=True, max_size=3))
    text = drawn.draw(st.lists(SMALL, max_size=40).map(b"".join))
    made = BpeTokenizer(tokens, 0, kept=kept)
    assert made.encode(text).tolist() == encoded_by_hand(made, text)
    assert from_json(json.loads(tokenizers.to_text(made))) == made


@pytest.mark.parametrize("kept", [[], [b"bcc"], [b"bcc", b"cca"]])
def test_every_text_in_parts_encodes_as_the_whole_does(kept: list[bytes]) -> None:
    made = BpeTokenizer([b"<unk>", *b"a b c aab bcc cca".split()], 0, kept=kept)
    lengths = made.token_lengths()
    for text in map(bytes, itertools.product(b"abc", repeat=6)):
        whole = made.encode(text).tolist()
        for size in (1, 3, 4):
            ids, begin = [], 0
            for end in range(size, len(text) + size, size):
                for index in made.encode(text[begin:end]).tolist():
                    if end < len(text) and begin > end - made.lookahead:
                        break
                    ids.append(index)
                    begin += int(lengths[index])
            assert ids == whole, (text, size)


@pytest.mark.parametrize("every_byte", [False, True], ids=["text", "binary data, which leaves no byte free"])
def test_a_long_text_encodes_as_its_parts_do(every_byte: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longest_match, "BLOCK", 4096)
    tokens = [bytes([value]) for value in range(256)] + [b"the cat sat. <", b"t|>", b"<|end", b">\nL", END.encode(), b"|>|"]
    made = BpeTokenizer(tokens, None, kept=[END.encode(), b"|>|"])
    noise = [bytes(range(256))] if every_byte else [b"\xff"]
    parts = [*(story.encode() for story in stories(300, 1)), *noise]
    text = END.encode().join(parts)
    end = tokens.index(END.encode())
    expected = np.concatenate([part for story in parts for part in (made.encode(story), [end])][:-1])
    np.testing.assert_array_equal(made.encode(text), expected)
    assert made.decode_bytes(made.encode(text)) == text
    for first in range(0, 2000, 97):
        part = text[first : first + 500]
        assert made.encode(part).tolist() == encoded_by_hand(made, part)


@pytest.mark.parametrize("kind", ["ascii", "byte", "char"])
def test_every_kind_may_keep_tokens(kind: str) -> None:
    before = build(kind, "one, two<three>", reserve_tokens=2)
    made = BpeTokenizer.keeping(before, [END, "tw", "o"], document_separator="<|doc|>")
    assert (made.kept, made.document_separator) == ((END.encode(), b"tw", b"o", b"<|doc|>"), b"<|doc|>")
    assert made.tokens[: before.vocab_size] == before.tokens  # "o" was one already
    ids = made.encode(f"one, two{END}<three>")
    assert [made.token_bytes(index).decode() for index in ids] == [*"one, ", "tw", "o", END, *"<three>"]
    assert BpeTokenizer.renamed(made, "thr").with_reserved(1).kept == made.kept


def test_nothing_is_learnt_from_a_kept_token_or_across_it() -> None:
    text = f"{END}\n".join(stories(400))
    careless = BpeTokenizer.from_text(text, 120)
    assert any(re.search(rb"\w<\||\|>\n.", token) for token in careless.tokens)
    made = BpeTokenizer.from_documents([text], 120, keep=[END])
    ids = made.encode(text)
    uses = np.bincount(ids, minlength=120)
    assert (made.vocab_size, made.tokens[-2:]) == (120, (END.encode(), b"<unk>"))
    assert uses[-2] == 399 and uses[-1] == 0
    assert not any(b"|" in token or b"<" in token for token in made.tokens[:-2])
    assert made.decode(ids) == text
    pieces = BpeTokenizer.from_documents(text.split(END), 119)
    assert (*pieces.tokens[:-1], END.encode(), b"<unk>") == made.tokens


def test_lower_case_is_made_before_tokens_are_kept() -> None:
    made = BpeTokenizer.from_documents([f"ONE DAY{END.upper()}one day" * 9], 20, case_sensitive=False, keep=[END])
    assert np.count_nonzero(made.encode(f"One Day {END.upper()}") == made.tokens.index(END.encode())) == 1
    with pytest.raises(TokenizerError, match="case insensitive, so it would never find"):
        BpeTokenizer.keeping(build("ascii", None, False), ["<|END|>"])


def test_a_file_says_what_is_kept_and_older_ones_keep_nothing(tmp_path: Path) -> None:
    plain = build("char", "abc")
    made = BpeTokenizer.keeping(plain, [END, "끝\n"], document_separator=END)
    save(made, tmp_path / "kept.json")
    read = load(tmp_path / "kept.json")
    assert (read, read.kept, read.document_separator) == (made, made.kept, made.document_separator)
    assert read != BpeTokenizer(made.tokens, made.unk_id)
    assert '\n  "keep": ["<|endoftext|>", "\\ub05d\\n"],\n' in (tmp_path / "kept.json").read_text()
    assert not {"keep", "document_separator"} & plain.to_json().keys()


GOOD = BpeTokenizer.keeping(build("char", "ab"), [END]).to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": END}, "field 'keep' must be a list of tokens, not a string"),
        ({"keep": [5]}, "keep must be a string or a list of bytes"),
        ({"keep": ["c"]}, "keep: 'c' is not a token that texts may have"),
        ({"keep": ["<unk>"]}, "keep: '<unk>' is not a token"),
        ({"keep": ["a", [97]]}, "keep: 'a' is there twice"),
        ({"keep": ["a"] * 100_000}, "keep: 'a' is there twice"),
        ({"document_separator": "a"}, "document_separator: 'a' is not among the tokens to keep"),
        ({"document_separator": 7}, "document_separator must be a string"),
        ({"kind": "char", "tokens": ["a", "b", "<unk>"], "keep": ["a"]}, 'keep: .* kind char keeps no tokens; .*"bpe"'),
    ],
)
def test_a_file_that_keeps_what_it_cannot_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        from_json({**GOOD, **change})


def test_the_hugging_face_library_finds_kept_tokens_whole() -> None:
    import tokenizers as hugging_face

    text = f"{END}\n".join(stories(100))
    made = BpeTokenizer.from_documents([text], 80, keep=[END, "<|끝 |>", "at."]).with_reserved(2)
    other = hugging_face.Tokenizer.from_str(json.dumps(tokenizers.to_huggingface(made)))
    for sample in (text, f"cat{END}<|끝 |>{END[:-1]} sat.{END}"):
        ids = made.encode(sample).tolist()
        assert other.encode(sample).ids == ids
        assert other.decode(ids, skip_special_tokens=False) == made.decode(ids)
    for name in ("é", "Ġ"):
        with pytest.raises(TokenizerError, match="would decode"):
            tokenizers.to_huggingface(BpeTokenizer.keeping(made, [name]))


def test_a_separator_stands_between_the_files_of_a_folder(tmp_path: Path) -> None:
    texts = stories(5)
    for place, text in enumerate(texts):
        (tmp_path / f"{place}.txt").write_text(text)
    (tmp_path / "empty.txt").write_text("")
    made = BpeTokenizer.keeping(build("char", "".join(STORY)), [], document_separator=END)
    read, joined = data.load_dataset(tmp_path, made), data.from_text("", END.join(texts), made)
    np.testing.assert_array_equal(read.ids, joined.ids)
    assert (read.sha256, read.num_bytes) == (joined.sha256, joined.num_bytes)
    assert np.count_nonzero(read.ids == made.tokens.index(END.encode())) == 4
    plain = data.load_dataset(tmp_path, build("char", "".join(STORY)))
    assert (plain.sha256, plain.num_bytes) == (data.from_text("", "".join(texts), made).sha256, len("".join(texts)))


# Commands


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("dataset.txt").write_text(f"{END}\n".join(stories(300)))
    Path("folder").mkdir()
    for place, text in enumerate(stories(20, 2)):
        Path("folder", f"{place}.txt").write_text(text)
    return tmp_path


def counted(*arguments: object) -> dict[str, int]:
    return {entry["token"]: entry["count"] for entry in json.loads(run("count-tokens", *arguments).stdout)}


def test_train_bpe_keeps_separators_and_count_tokens_finds_them_all(texts: Path) -> None:
    learnt = run("train-bpe", "--vocab-size", 90, "--keep", END, "--keep", "Lily", "--quiet")
    assert 'dataset.txt has "<|endoftext|>" 299 times\n' in learnt.stdout
    assert learnt.stderr == ""
    assert counted()[END] == 299
    assert counted()["Lily"] == Path("dataset.txt").read_text().count("Lily")
    report = json.loads(run("train-bpe", "--vocab-size", 90, "--keep", END, "--quiet", "--json").stdout)
    assert (report["kept"], report["vocab_size"]) == ({END: 299}, 90)


def test_a_separator_that_is_not_kept_is_told(texts: Path) -> None:
    learnt = run("train-bpe", "--vocab-size", 90, "--reserve-tokens", 1, "--quiet")
    assert 'note: "<|endoftext|>" stands 299 times in dataset.txt, and tokens may run across it; --keep' in learnt.stderr
    run("rename-token", END, "--model", "tokenizer.json")
    assert 'note: "<|endoftext|>" stands 299 times in dataset.txt, and is found ' in run("count-tokens").stderr


def test_the_files_of_a_folder_are_separated_wherever_the_vocabulary_goes(texts: Path) -> None:
    told = "note: nothing stands between the 20 files of folder when they are encoded; --document-separator"
    assert told in run("train-bpe", "--vocab-size", 60, "--dataset", "folder", "--quiet").stderr
    assert (
        "note" not in run("train-bpe", "--vocab-size", 60, "--dataset", "folder", "--document-separator", END, "--quiet").stderr
    )
    run("init", "--tokenizer", "bpe", "--keep", "Lily", "--num-tokens", 16, "--embedding-degree", 16)
    for file in ("tokenizer.json", "model.dat"):
        assert counted("--model", file, "--dataset", "folder")[END] == 19
    assert counted("--model", "model.dat", "--dataset", "folder")["Lily"] > 5
    run("train", "--dataset", "folder", "--steps", 2, "--quiet")
    run("init", "--tokenizer", "char", "--document-separator", END, "--model", "char.dat", "--reserve-tokens", 1)
    assert counted("--model", "char.dat", "--dataset", "folder")[END] == 19


def test_a_text_with_no_use_for_so_many_tokens_gives_fewer_and_a_note(texts: Path) -> None:
    learnt = run("train-bpe", "--dataset", "folder", "--document-separator", END, "--quiet", "--json")
    report = json.loads(learnt.stdout)
    size = report["vocab_size"]
    assert size < 768
    assert f"note: folder has a use for {size} tokens, not for 768: a larger text" in learnt.stderr
    uses = counted("--dataset", "folder")
    assert len(uses) == size and all(count for token, count in uses.items() if len(token) > 1 and token != "<unk>")
