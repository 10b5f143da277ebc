"""The bpe tokenizer: what is learnt is a function of the text, covers it, and is used; it encodes by the longest match."""

import json
import random
import re
import tracemalloc
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from femto import tokenizers
from femto.dummy_data import simple_dummy2
from femto.errors import TokenizerError
from femto.tokenizers import BpeTokenizer, Drop, Merge, Tokenizer, build, from_json, load, longest_match, match_table, save
from femto.tokenizers.pairs import Pairs

WORDS = [*["fn ", "let ", "self", "::", "\r\n", "    ", "한글", "안녕", "🙂", "👩\u200d👧", "ё", "();", "// ", "<unk>", "0", "é"]]


def words(count: int, seed: int = 0, among: list[str] = WORDS) -> str:
    return "".join(random.Random(seed).choices(among, k=count))


TEXT = words(3000)


# Learning


@pytest.mark.parametrize("sensitive", [True, False])
@pytest.mark.parametrize("text", [TEXT, simple_dummy2.generate()[:50_000]], ids=["words", "dummy"])
@pytest.mark.parametrize("vocab_size", [48, 100, 151])
def test_every_character_and_only_used_merges_and_exactly_as_many_tokens_as_asked(
    text: str, sensitive: bool, vocab_size: int
) -> None:
    made = BpeTokenizer.from_text(text, vocab_size, sensitive)
    covered = text if sensitive else text.lower()
    assert made.vocab_size == vocab_size
    assert {token.decode() for token in made.tokens} >= set(covered)
    ids = made.encode(text)
    assert made.count_unknown(ids) == 0
    assert made.decode(ids) == covered
    uses = np.bincount(ids, minlength=vocab_size)
    merges = [index for index, token in enumerate(made.tokens) if len(token.decode()) > 1 and index != made.unk_id]
    assert merges
    assert uses[merges].all()
    order = [len(token.decode()) == 1 for token in made.tokens]
    assert order == sorted(order, reverse=True)  # characters, merges, and <unk> last
    assert made.tokens[-1] == b"<unk>"


def test_the_same_text_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    import subprocess
    import sys

    save(BpeTokenizer.from_text(TEXT, 120), tmp_path / "here.json")
    script = (
        "import sys; from femto.tokenizers import BpeTokenizer, save; "
        "save(BpeTokenizer.from_text(open(sys.argv[1], newline='').read(), 120), sys.argv[2])"
    )
    (tmp_path / "text").write_bytes(TEXT.encode())
    subprocess.run(
        [sys.executable, "-c", script, tmp_path / "text", tmp_path / "there.json"],
        check=True,
        env={"PYTHONHASHSEED": "1", "PYTHONUTF8": "1"},
    )
    assert (tmp_path / "here.json").read_bytes() == (tmp_path / "there.json").read_bytes()


def merged_by_hand(text: str, merges: int) -> list[tuple[str, str, int]]:
    """What byte pair encoding learns, from the definition: recount everything after every merge."""
    tokens, learnt = list(text), []
    while len(learnt) < merges:
        counts = Counter(pairwise(tokens))
        (left, right), count = min(counts.items(), key=lambda item: (-item[1], item[0][0].encode(), item[0][1].encode()))
        if count < 2:
            break
        if left + right not in {*text, *(a + b for a, b, _ in learnt)}:
            learnt.append((left, right, count))
        joined, position = [], 0
        while position < len(tokens):
            both = tuple(tokens[position : position + 2]) == (left, right)
            joined.append(left + right if both else tokens[position])
            position += 2 if both else 1
        tokens = joined
    return learnt


@pytest.mark.parametrize(
    "text",
    [
        words(400, 1, [word for word in WORDS if word != "<unk>"]),
        words(300, 2, ["a", "b", "aa", "ab"]),
        "aaaaaaa b aaaa" * 9,
        words(500, 3, list("ab \n")),
    ],
    ids=["words", "overlaps", "runs", "four"],
)
def test_merges_are_those_of_a_recount_after_each(text: str) -> None:
    expected = merged_by_hand(text, 12)
    characters = sorted({character.encode() for character in text})
    tokens = [b"<unk>", *characters]
    ids = Tokenizer(tokens, 0).encode(text)
    found: list[Merge] = []
    Pairs(ids, tokens).merge(len(tokens) + 12, set(), found.append)
    assert [(merge.left.decode(), merge.right.decode(), merge.count) for merge in found] == expected


@given(st.text("ab", max_size=60), st.integers(1, 7))
@settings(max_examples=200)
def test_counts_of_pairs_stay_right_however_merges_overlap(text: str, merges: int) -> None:
    pairs = Pairs(np.array([1 + "ab".index(character) for character in text], np.int32), [b"<unk>", b"a", b"b"])
    pairs.merge(3 + merges, set(), lambda event: None)
    ids = pairs.ids.tolist()
    assert pairs.counts == Counter(pair for pair in pairwise(ids))
    assert b"".join(pairs.tokens[index] for index in ids).decode() == text


def test_ids_may_outgrow_sixteen_bits() -> None:
    tokens = [b"<unk>", *(chr(0x10000 + index).encode() for index in range(65_530))]
    ids = np.random.default_rng(0).integers(1, 9, 2000).astype(np.int32)
    pairs = Pairs(ids, tokens)
    pairs.merge(65_560, set(), lambda event: None)
    assert pairs.ids.max() >= 1 << 16
    assert b"".join(pairs.tokens[index] for index in pairs.ids.tolist()) == b"".join(tokens[index] for index in ids.tolist())


def test_nothing_spans_two_documents_or_what_is_unknown() -> None:
    # "xy" is in no document: only where one ends and the next begins. é is too rare for the vocabulary.
    documents = ["y" + words(40, seed, [*"abcdefgh"]) + "x" for seed in range(300)]
    made = BpeTokenizer.from_documents(documents, 40)
    assert not any(b"xy" in token for token in made.tokens)
    assert any(b"xy" in token for token in BpeTokenizer.from_text("".join(documents), 40).tokens)


def test_characters_that_have_no_room_are_the_rarest_and_are_counted() -> None:
    text = words(4000, 5, [*"abcdefghijklmn"]) + "oép" + "oé"
    made = BpeTokenizer.from_text(text, 25)  # room for 15 of the 17 characters
    assert [token.decode() for token in made.tokens[:15]] == [*"abcdefghijklmn", "o"]
    assert made.count_unknown(made.encode(text)) == 2 * len("é".encode()) + len("p")
    assert not any("é".encode() in token for token in made.tokens)


def test_characters_take_the_places_that_merges_have_no_use_for() -> None:
    text = "A cat sat. A dog ran. A cat ran. A dog sat."  # 12 characters
    for vocab_size in range(14, 23):
        made = BpeTokenizer.from_text(text, vocab_size)
        characters = [token for token in made.tokens if len(token) == 1]
        assert made.vocab_size == vocab_size or len(characters) == len(set(text))
        uses = np.bincount(made.encode(text), minlength=made.vocab_size)
        assert uses[len(characters) : -1].all()
    assert BpeTokenizer.from_text("abcdefgh", 100).tokens == (*(bytes([letter]) for letter in b"abcdefgh"), b"<unk>")


def test_events_tell_what_became_of_the_vocabulary() -> None:
    events: list[Merge | Drop] = []
    made = BpeTokenizer.from_documents([TEXT], 100, show_event=events.append)
    size, alive = len(set(TEXT)) + 1, set()
    for event in events:
        if isinstance(event, Merge):
            alive.add(event.left + event.right)
            size += 1
            assert event.count >= 2
        else:
            alive -= set(event.tokens)
            size -= len(event.tokens)
        assert event.vocab_size == size
    assert alive == {token for token in made.tokens[:-1] if len(token.decode()) > 1}


@pytest.mark.parametrize(
    ("text", "vocab_size", "message"),
    [
        ("", 100, "no character"),
        (b"\xff\xfe\x80", 100, "no character"),
        (TEXT, 11, "vocab_size must be from 12 to 65,536, not 11"),
        (TEXT, 65_537, "not 65537"),
        (TEXT, -1, "not -1"),
    ],
)
def test_what_cannot_be_learnt_is_refused(text: str | bytes, vocab_size: int, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        BpeTokenizer.from_text(text, vocab_size)


def test_bytes_that_are_no_utf8_are_unknown_and_reported() -> None:
    data = TEXT.encode().replace(b"fn ", b"fn\xff\xfe ")
    made = BpeTokenizer.from_text(data, 100)
    assert made.count_unknown(made.encode(data)) == data.count(b"\xff") * 2
    for token in made.tokens:
        token.decode()


def test_names_that_encode_never_finds_are_never_learnt() -> None:
    name = build("byte", None, reserve_tokens=1).tokens[-1].decode()
    text = words(1500, 6, [*"abc", "<unk>", name])
    made = BpeTokenizer.from_text(text, 50)
    assert any(len(token) > 100 for token in made.tokens)  # it came past both names
    assert made.tokens.count(b"<unk>") == 1
    assert made.num_reserved == 0
    assert made.decode(made.encode(f"<unk>{name}")) == f"<unk>{name}"


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from([*WORDS, "x", "\ud800", "\x00", "\u2028"]), min_size=100, max_size=300).map("".join), st.data())
def test_text_of_the_same_characters_comes_back(text: str, data: st.DataObject) -> None:
    made = BpeTokenizer.from_text(text, len(set(text)) + 12)
    characters = sorted(set(text) - {"\ud800"})
    other = data.draw(st.text(st.sampled_from(characters)))
    assert made.decode(made.encode(other)) == other
    assert made.count_unknown(made.encode(other)) == 0


# Encoding long texts: many walks at once


def by_bisection(tokenizer: Tokenizer, data: bytes) -> list[int]:
    ids, position = [], 0
    while position < len(data):
        index, position = tokenizer._longest_match.match(data, position)
        ids.append(index)
    return ids


VOCABULARIES = {
    "learnt": BpeTokenizer.from_text(TEXT, 150),
    "runs": BpeTokenizer([b"a" * length for length in (1, 2, 3, 5, 8, 40)] + [b"b", b"<unk>"], 7),
    "no synchronisation": BpeTokenizer([b"aaa", b"<unk>"], 1),
    "cut characters": BpeTokenizer([b"\xed", b"\x95\x9c", b"\xed\x95\x9c\xea", b"ab", b"b", b"<unk>"], 5),
    "every byte": BpeTokenizer([bytes([byte]) for byte in range(256)] + [b"ab", b"abc"], None),
    "longer than a walk": BpeTokenizer([b"a" * 1000, b"a" * 333, b"b", b"<unk>"], 3),
    "far ahead in vain": BpeTokenizer([b"a", b"ab", b"a" * 1000 + b"b", b"<unk>"], 3),
    "nothing": BpeTokenizer([b"<unk>"], 0),
}


@pytest.mark.parametrize("name", VOCABULARIES)
@pytest.mark.parametrize("size", [4095, 4096, 20_011, 65_537])
def test_long_texts_encode_as_short_ones_do(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = VOCABULARIES[name]
    monkeypatch.setattr(longest_match, "BLOCK", 16_384)  # several blocks, the last one short
    for seed, among in enumerate([WORDS, ["a"], ["a", "a", "a", "b"], ["ab", "abc", "한", "é", "!"]]):
        data = words(size, seed, among).encode()[:size]
        assert tokenizer.encode(data).tolist() == by_bisection(tokenizer, data)


def test_a_walk_that_reads_far_ahead_in_vain_gives_up() -> None:
    table = VOCABULARIES["far ahead in vain"]._longest_match.table
    assert table is not None
    found, ends = table.walk(np.frombuffer(b"a" * 9000, np.uint8), np.array([0, 4000, 8000]))
    assert (ends < [4000, 8000]).all()
    assert (found[: ends[0]] == 0).all() and (found[ends[0] : 4000] == -1).all()


def test_a_vocabulary_too_large_for_a_table_still_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = VOCABULARIES["learnt"].encode(TEXT).tolist()
    for module, limit in ((longest_match, "MOST_PREFIX_BYTES"), (match_table, "MOST_ENTRIES")):
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, 10)
            assert BpeTokenizer(VOCABULARIES["learnt"].tokens, 149).encode(TEXT).tolist() == expected


def test_memory_of_a_table_is_bounded_where_tokens_are_long() -> None:
    random_bytes = random.Random(0).randbytes
    tokenizer = BpeTokenizer([*(random_bytes(1024) for _ in range(1000)), b"<unk>"], 1000)
    tracemalloc.start()
    tokenizer.encode(tokenizer.tokens[5] * 8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 << 20


def test_memory_of_encoding_does_not_grow_with_the_text() -> None:
    tokenizer = VOCABULARIES["learnt"]
    data = TEXT.encode()
    data *= (24 << 20) // len(data)
    tokenizer.encode(data[:100_000])
    tracemalloc.start()
    ids = tokenizer.encode(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.3 * ids.nbytes + (80 << 20)


# Files


LOG_FORM = {"unit": "Char", "case_sensitive": True, "unk": 1, "tokens": {"2": [97, 98], "0": [97], "1": [60, 117, 110, 107, 62]}}


def test_the_forms_of_a_file_give_the_same_tokenizer(tmp_path: Path) -> None:
    made = BpeTokenizer([b"a", b"<unk>", b"ab"], 1)
    for document in (made.to_json(), ["a", "<unk>", "ab"], ["a", "<unk>", [97, 98]], LOG_FORM, {**LOG_FORM, "unit": "Byte"}):
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(document))
        assert load(path) == made
    assert not from_json({**LOG_FORM, "case_sensitive": False}).case_sensitive


def test_the_file_of_the_logs_program_is_read() -> None:
    path = Path(__file__).parent / "reference" / "tokenizer_256.json"
    read = load(path)
    assert (read.kind, read.vocab_size, read.unk_id, read.case_sensitive) == ("bpe", 256, 95, True)
    assert read.tokens[112] == b"C" and read.tokens[181] == b"here"
    assert read.decode(read.encode("there and here")) == "there and here"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "the list has 0 tokens"),
        (["a", "b"], "unk is missing"),
        (["a", "a", "<unk>"], "token 1 repeats token 0: 'a'"),
        (["a", 5, "<unk>"], "token 1 must be a string or a list of bytes"),
        (["<unk>", "a", "<unk>"], "token 2 repeats token 0: '<unk>'"),
        ({**LOG_FORM, "unit": "Word"}, "'unit' must be 'Char' or 'Byte', not \"Word\""),
        ({**LOG_FORM, "unk": 2}, "unk is 2, but token 1 is '<unk>'"),
        ({**LOG_FORM, "unk": 7}, "'unk' is 7, but token 1 is '<unk>': a token's place is its id; write \"unk\": 1"),
        ({**LOG_FORM, "unk": None}, "unk is null, but token 1"),
        ({**LOG_FORM, "case_sensitive": "yes"}, "'case_sensitive' must be true or false"),
        ({**LOG_FORM, "tokens": []}, "'tokens' must be an object"),
        ({**LOG_FORM, "tokens": {}}, "'tokens' has 0 tokens"),
        ({**LOG_FORM, "tokens": {"0": [97], "2": [98]}}, 'token 1 is missing: 2 ids must be 0 to 1; there is "2"'),
        ({**LOG_FORM, "tokens": {"0": [97], "01": [98]}}, 'token 1 is missing.*"01"'),
        ({**LOG_FORM, "tokens": {"0": [97], "x": [98]}}, "token 1 is missing"),
        ({**LOG_FORM, "tokens": {"-1": [97], "0": [98]}}, "token"),
        ({**LOG_FORM, "tokens": {"0": [97], "1": [97]}}, "token 1 repeats token 0"),
        ({**LOG_FORM, "tokens": {"0": [97], "1": [300]}}, r"token 1 .*\[300\]"),
        ({**LOG_FORM, "extra": 1}, '"extra" is not known'),
        ({"unit": "Char", "tokens": {}}, "'case_sensitive' is missing"),
    ],
)
def test_bad_forms_are_refused_with_the_field_or_token(document: object, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        from_json(document)


# Renaming


@pytest.mark.parametrize("kind", ["ascii", "byte", "char"])
@pytest.mark.parametrize("sensitive", [True, False])
def test_a_reserved_token_becomes_a_real_one(kind: str, sensitive: bool) -> None:
    before = build(kind, "abc <|end|>", sensitive, 3)
    if kind == "byte" and not sensitive:
        with pytest.raises(TokenizerError, match="byte tokenizer that is case insensitive"):
            BpeTokenizer.renamed(before, "<|end|>")
        return
    first = before.vocab_size - 3
    after = BpeTokenizer.renamed(BpeTokenizer.renamed(before, "<|end|>"), "ab", first + 2)
    assert [token for token in zip(before.tokens, after.tokens, strict=True) if token[0] != token[1]] == [
        (before.tokens[first], b"<|end|>"),
        (before.tokens[first + 2], b"ab"),
    ]
    assert after.num_reserved == 1
    expected = [first + 2, *before.encode("c").tolist(), first]
    assert after.encode("abc<|end|>").tolist() == expected
    assert after.decode(expected) == "abc<|end|>"
    assert from_json(after.to_json()) == after
    assert after.encode("c a").tolist() == before.encode("c a").tolist()


@pytest.mark.parametrize(
    ("name", "token_id", "message"),
    [
        ("x", 0, "token 0 is .*only a reserved"),
        ("x", 500, "500 is not in the vocabulary"),
        ("a", None, "repeats token"),
        ("", None, "0 bytes"),
        ("<unk>", None, "never found"),
        ("<|reserved_token_" + "0" * 32 + "|>", None, "never found"),
        ("y" * 1025, None, "1025 bytes"),
        ("\ud800", None, "not UTF-8"),
    ],
)
def test_a_name_that_would_not_work_is_refused(name: str, token_id: int | None, message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        BpeTokenizer.renamed(build("ascii", None, True, 1), name, token_id)
    with pytest.raises(TokenizerError, match="no reserved token left"):
        BpeTokenizer.renamed(build("ascii", None), "new")
    with pytest.raises(TokenizerError, match="case insensitive, so it would never find 'New'; give it 'new'"):
        BpeTokenizer.renamed(build("ascii", None, False, 1), "New")


# Adding, and what is found of a token


@pytest.mark.parametrize("kind", ["ascii", "byte", "char"])
@pytest.mark.parametrize("sensitive", [True, False])
@given(text=st.lists(st.sampled_from([*"abcÀ \u212aİΣ", "<|end|>", "<|", "end|>", "\udc80"])).map("".join))
def test_added_tokens_are_found_and_texts_without_them_get_the_ids_that_they_had(kind: str, sensitive: bool, text: str) -> None:
    before = build(kind, "abc <|end|>", sensitive, 1)
    if kind == "byte" and not sensitive:
        with pytest.raises(TokenizerError, match="byte tokenizer that is case insensitive"):
            BpeTokenizer.extended(before, ["<|end|>"])
        return
    after = BpeTokenizer.extended(before, ["<|end|>", "abc"])
    assert after.tokens == (*before.tokens, b"<|end|>", b"abc")
    assert from_json(after.to_json()) == after
    new = {before.vocab_size: b"<|end|>", before.vocab_size + 1: b"abc"}
    whole = before.matched_bytes(text)
    pieces = [before.encode(piece).tolist() for piece in re.split(b"<\\|end\\|>|abc", whole)]
    found = [index for index in after.encode(text).tolist() if index in new]
    assert [new[index] for index in found] == re.findall(b"<\\|end\\|>|abc", whole)
    expected = pieces[0]
    for index, piece in zip(found, pieces[1:], strict=True):
        expected += [index, *piece]
    assert after.encode(text).tolist() == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no token to add"),
        (["new", "a"], "token 102 repeats token 70: 'a'"),
        (["new", "new"], "token 102 repeats token 101"),
        (["<unk>"], "never found in a text"),
        ([""], "0 bytes"),
        ([str(number) * 9 for number in range(65_500)], "1 to 65536 tokens, not 65601"),
    ],
)
def test_tokens_that_cannot_be_added_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        BpeTokenizer.extended(build("ascii", None), names)


@given(st.sets(st.text("abc", min_size=1, max_size=4), min_size=1), st.lists(st.text("abcd", max_size=30), max_size=3))
def test_occurrences_are_those_of_a_walk_over_the_text(tokens: set[str], documents: list[str]) -> None:
    tokenizer = Tokenizer([*(token.encode() for token in sorted(tokens)), b"<unk>"], len(tokens))
    wanted = list(range(len(tokens)))
    for of in tokenizers.occurrences(tokenizer, wanted, documents):
        name, in_text, found, takers = tokenizer.tokens[of.token_id].decode(), 0, 0, Counter[int]()
        for document in documents:
            ids = tokenizer.encode(document).tolist()
            owner = [index for index in ids for _ in range(1 if index == len(tokens) else len(tokenizer.tokens[index]))]
            found += ids.count(of.token_id)
            place = document.find(name)
            while place >= 0:
                in_text += 1
                takers[owner[place]] += owner[place] != of.token_id
                place = document.find(name, place + len(name))
        assert (of.in_text, of.found) == (in_text, found)
        assert dict(of.taken_by) == {index: count for index, count in takers.items() if count}
        assert of.found <= of.in_text


# Export


EXPORTED = {
    "ascii": build("ascii", None, True, 2),
    "byte": build("byte", None),
    "char": build("char", TEXT[:100], True, 1),
    "bpe": BpeTokenizer.from_text(TEXT, 150).with_reserved(3),
    "bpe of special characters": BpeTokenizer([b".*", b"a|b", b"(", b"\\d+", b" ^$", b"\n\n", b"[^a]", b"\x80\xff", b"<unk>"], 8),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_the_hugging_face_library_gives_the_same_ids_and_text(name: str) -> None:
    import tokenizers as hugging_face

    tokenizer = EXPORTED[name]
    other = hugging_face.Tokenizer.from_str(json.dumps(tokenizers.to_huggingface(tokenizer)))
    assert other.get_vocab_size() == tokenizer.vocab_size
    special = ["", "a", "\n", "zz<unk>zz", "tab\tnul\x00 end \u2028\u3000", "a|b.*(\\d+\n\n\n[^a] ^$", "é" * 9]
    texts = [TEXT[:2000], *special, tokenizer.decode([tokenizer.vocab_size - 1])]
    for text in [*texts, *(words(200, seed, [*WORDS, "x", " ", "\x7f", "İ"]) for seed in range(20))]:
        ids = tokenizer.encode(text).tolist()
        assert other.encode(text).ids == ids
        if not tokenizer.count_unknown(ids):
            assert other.decode(ids, skip_special_tokens=False) == text


def test_a_case_insensitive_tokenizer_has_no_exact_equivalent() -> None:
    with pytest.raises(TokenizerError, match="only a case-sensitive"):
        tokenizers.to_huggingface(build("ascii", None, False))


def test_a_text_that_repeats_itself_gives_what_it_can(tmp_path: Path) -> None:
    text = words(5_000, 1, [*"abcdefgh"]) * 2
    made = BpeTokenizer.from_text(text, 400)
    uses = np.bincount(made.encode(text), minlength=400)
    assert made.vocab_size == 400
    assert uses[8:399].all()
