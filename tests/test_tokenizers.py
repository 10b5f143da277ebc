"""Tokenizers: every kind encodes as greedy longest match does, loses nothing it covers, and refuses bad files."""

import copy
import importlib
import json
import os
import stat
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from femto import tokenizers
from femto.errors import ConfigError, TokenizerError
from femto.tokenizers import StreamDecoder, Tokenizer, base, build, from_json, load, save

SAMPLE = 'Hello, <unk>!\r\n\t"ÀÉ"  ΑΣ ΟΔΟΣ한글 안녕\u3000🙂🇰🇷\x00\x7f\x85\u2028\u212aİ'
# written out, since models hold them: a femto that makes others could not make the same file again
RESERVED = [
    "<|reserved_token_ffefe01ae7c5eca5e81b071fceac3c06|>",
    "<|reserved_token_97f8316f95d1df7467d015bfea96dd91|>",
    "<|reserved_token_f90c91392b33cfa36521157aacbf4286|>",
]
SURROGATES = "\ud800\udc80\udcc3\udc89\udfff"
UNUSUAL = st.sampled_from([*RESERVED, "<unk>", "\r\n", "한글", "ΑΣ", "Σ'Σ", *SURROGATES, *"\x00🙂Σ\u212aİ\uffff\U0010ffff"])
ANY_TEXT = st.lists(st.one_of(st.text(st.characters(), max_size=8), st.text(SAMPLE, max_size=8), UNUSUAL)).map("".join)
ANY_BYTES = st.one_of(
    st.binary(), st.lists(st.one_of(st.binary(max_size=3), st.text(SAMPLE, max_size=4).map(str.encode))).map(b"".join)
)
EITHER: st.SearchStrategy[str | bytes] = st.one_of(ANY_TEXT, ANY_BYTES)
PLAIN = [build(kind, SAMPLE, sensitive) for kind in ("ascii", "byte", "char") for sensitive in (True, False)]
WITH_RESERVED = [build(kind, SAMPLE, flag, 3) for kind in ("ascii", "byte", "char") for flag in (True, False)]
ALL = PLAIN + WITH_RESERVED
EVERY_KIND = pytest.mark.parametrize("tokenizer", ALL, ids=repr)
# tokens that are prefixes of each other, cut characters in two, and leave most bytes out
MANY_BYTES = [b" ", b"\n  ", *b"a ab abc abcde bc \xed\x95 \xed\x95\x9c \x80 <unk <unk>".split()]
MANY = Tokenizer(MANY_BYTES, unk_id=11)


def longest_match_by_hand(tokens: list[bytes], unk_id: int, data: bytes) -> list[int]:
    ids = []
    while data:
        fitting = [index for index, token in enumerate(tokens) if index != unk_id and data.startswith(token)]
        best = max(fitting, key=lambda index: len(tokens[index]), default=unk_id)
        ids.append(best)
        data = data[1 if best == unk_id else len(tokens[best]) :]
    return ids


# Encoding


@EVERY_KIND
@given(pieces=st.lists(ANY_BYTES))
def test_a_text_in_pieces_has_the_ids_of_the_whole(tokenizer: Tokenizer, pieces: list[bytes]) -> None:
    found = np.concatenate([np.empty(0, np.int32), *tokenizer.encode_pieces(iter(pieces))])
    assert found.tolist() == tokenizer.encode(b"".join(pieces)).tolist()


@pytest.mark.parametrize("case_sensitive", [True, False])
@given(data=st.data())
def test_long_tokens_are_found_across_pieces(case_sensitive: bool, data: st.DataObject) -> None:
    tokenizer = Tokenizer(MANY_BYTES, 11, case_sensitive)
    text = data.draw(
        st.lists(st.sampled_from([*MANY_BYTES, b"A", b"AB", "Σ".encode(), b"c", b"d", b"e", b"\xed", b"\xff"])).map(b"".join)
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found = np.concatenate([np.empty(0, np.int32), *tokenizer.encode_pieces(pieces)])
    assert found.tolist() == tokenizer.encode(text).tolist()


@given(data=st.data())
def test_kept_tokens_are_found_across_pieces(data: st.DataObject) -> None:
    tokens = [b"a", b"b", b"<", b"|", b">", b"ab<|", b"b<|>a", b"<|>", b"<|><|>b", b"<unk>"]
    tokenizer = Tokenizer(tokens, 9, kept=[b"<|>", b"<|><|>b"])
    text = data.draw(st.lists(st.sampled_from([*tokens, b"c"])).map(b"".join))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    found = np.concatenate([np.empty(0, np.int32), *tokenizer.encode_pieces(pieces)])
    assert found.tolist() == tokenizer.encode(text).tolist()


@given(st.lists(st.sampled_from([*MANY_BYTES, b"c", b"d", b"e", b"\xed", b"\xff"])).map(b"".join))
def test_bare_token_list_takes_the_longest_token_at_each_byte(data: bytes) -> None:
    assert MANY.encode(data).tolist() == longest_match_by_hand(MANY_BYTES, 11, data)


@given(st.sets(st.binary(min_size=1, max_size=5).map(lambda token: bytes(byte % 3 for byte in token))), st.data())
def test_longest_match_is_right_for_any_vocabulary(vocabulary: set[bytes], data: st.DataObject) -> None:
    tokens = [b"<unk>", *vocabulary]
    text = data.draw(st.lists(st.integers(0, 3)).map(bytes))
    assert Tokenizer(tokens, unk_id=0).encode(text).tolist() == longest_match_by_hand(tokens, 0, text)


@EVERY_KIND
@given(text=EITHER)
def test_fast_path_equals_longest_match(tokenizer: Tokenizer, text: str | bytes) -> None:
    ids = tokenizer.encode(text)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    np.testing.assert_array_equal(ids, Tokenizer.encode(tokenizer, text))


@pytest.mark.parametrize(("plain", "reserved"), [*zip(PLAIN, WITH_RESERVED, strict=True)], ids=repr)
@given(text=EITHER)
def test_reserved_tokens_change_no_id(plain: Tokenizer, reserved: Tokenizer, text: str | bytes) -> None:
    np.testing.assert_array_equal(reserved.encode(text), plain.encode(text))
    np.testing.assert_array_equal(Tokenizer.encode(reserved, text), plain.encode(text))


@given(st.lists(st.sampled_from([*MANY_BYTES, *map(str.encode, RESERVED), b"<|reserved", b"c"])).map(b"".join))
def test_longest_match_passes_over_reserved_tokens_wherever_they_are(data: bytes) -> None:
    first, *rest = map(str.encode, RESERVED)
    tokenizer = Tokenizer([first, *MANY_BYTES, *rest, b"<|"], unk_id=12)
    hidden = [b"\0never"]  # stands for a token that nothing matches
    by_hand = [*hidden, *MANY_BYTES, *hidden, *hidden, b"<|"]
    assert tokenizer.encode(data).tolist() == longest_match_by_hand(by_hand, 12, data)


def bytes_of(text: str) -> bytes:
    """UTF-8, but for lone surrogates: those that Python makes of bytes are these, others are three bytes each."""
    return b"".join(bytes([ord(c) - 0xDC00]) if "\udc80" <= c <= "\udcff" else c.encode("utf-8", "surrogatepass") for c in text)


@EVERY_KIND
@given(text=ANY_TEXT)
def test_text_and_its_utf8_bytes_encode_alike(tokenizer: Tokenizer, text: str) -> None:
    np.testing.assert_array_equal(tokenizer.encode(text), tokenizer.encode(bytes_of(text)))


@EVERY_KIND
@given(text=ANY_TEXT)
def test_cutting_into_pieces_changes_nothing(tokenizer: Tokenizer, text: str) -> None:
    whole = tokenizer.encode(text)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("base", "single_byte"):
            patch.setattr(importlib.import_module(f"femto.tokenizers.{module}"), "PIECE", 2)
        np.testing.assert_array_equal(tokenizer.encode(text), whole)
        np.testing.assert_array_equal(tokenizer.encode(bytes_of(text)), whole)
        cut = tokenizer.decode_bytes(whole)
    assert cut == tokenizer.decode_bytes(whole)


@given(text=st.text())
def test_covered_text_comes_back(text: str) -> None:
    everything = [build("byte", None)] + ([build("char", text)] if text else [])
    for tokenizer in everything:
        assert tokenizer.decode(tokenizer.encode(text)) == text
        assert tokenizer.count_unknown(tokenizer.encode(text)) == 0
    if text:
        small = build("char", text, case_sensitive=False)
        assert small.decode(small.encode(text)) == text.lower()


@given(text=st.text([chr(code) for code in (*range(9, 14), *range(0x20, 0x7F))]))
def test_ascii_text_comes_back(text: str) -> None:
    assert build("ascii", None).decode(build("ascii", None).encode(text)) == text
    small = build("ascii", None, case_sensitive=False)
    assert small.decode(small.encode(text)) == text.lower()


@given(data=ANY_BYTES)
def test_bytes_come_back_exactly_from_byte(data: bytes) -> None:
    exact, small = build("byte", None), build("byte", None, case_sensitive=False)
    assert exact.encode(data).tolist() == list(data)
    assert exact.decode_bytes(exact.encode(data)) == data
    assert small.decode_bytes(small.encode(data)) == data.lower()


def test_vocabularies_are_the_specified_ones() -> None:
    ascii_bytes = [bytes([code]) for code in (*range(9, 14), *range(0x20, 0x7F))]
    assert build("ascii", None).tokens == (*ascii_bytes, b"<unk>")
    assert build("ascii", None, False).tokens == (*(token for token in ascii_bytes if not token.isupper()), b"<unk>")
    assert [build("ascii", None, sensitive).vocab_size for sensitive in (True, False)] == [101, 75]
    for sensitive in (True, False):
        assert build("byte", None, sensitive).tokens == tuple(bytes([code]) for code in range(256))
        assert build("byte", None, sensitive).unk_id is None
    assert build("char", "b🙂a한B\ud800").tokens == (b"B", b"a", b"b", "한".encode(), "🙂".encode(), b"<unk>")
    assert build("char", "bAB", False).tokens == (b"a", b"b", b"<unk>")


def test_each_uncovered_byte_is_one_unknown() -> None:
    counts: dict[str | bytes, int] = {"a한b": 3, "🙂": 4, "é\x00": 3, "\ud800": 3, b"\xff\xe2\x82a": 3, "": 0, b"": 0}
    for tokenizer in (build("ascii", None), build("char", "ab<unk>")):
        for text, unknown in counts.items():
            assert tokenizer.count_unknown(tokenizer.encode(text)) == unknown, text
        assert tokenizer.decode(tokenizer.encode("a한")) == "a<unk><unk><unk>"
    assert build("byte", None).count_unknown([1, 2]) == 0


def test_text_that_spells_unk_is_not_unknown() -> None:
    for tokenizer in (*ALL, Tokenizer([*(bytes([byte]) for byte in b"<unk>"), b"<unk>"], 5)):
        assert tokenizer.count_unknown(tokenizer.encode("<unk>")) == 0
        assert tokenizer.decode(tokenizer.encode("<unk>")) == "<unk>"


def test_char_refuses_more_than_8192_characters_and_says_how_many() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 8193)))
    assert build("char", text[:-1]).vocab_size == 8193
    with pytest.raises(TokenizerError, match="8193"):
        build("char", text)


@pytest.mark.parametrize(("kind", "data"), [("char", None), ("char", ""), ("char", "\ud800"), ("words", "a b")])
def test_build_refuses_what_it_cannot_make(kind: str, data: str | None) -> None:
    with pytest.raises(TokenizerError, match=r"data|kind"):
        build(kind, data)


@pytest.mark.parametrize("tokenizer", WITH_RESERVED, ids=repr)
def test_reserved_tokens_are_last_and_only_decoded(tokenizer: Tokenizer) -> None:
    size = tokenizer.vocab_size
    assert tokenizer.num_reserved == 3
    assert [token.decode() for token in tokenizer.tokens[-3:]] == RESERVED
    for index, name in zip(range(size - 3, size), RESERVED, strict=True):
        assert tokenizer.decode([index]) == name
        assert tokenizer.token_bytes(index) == name.encode()
        assert not (tokenizer.encode(f"a{name}b") >= size - 3).any()
        assert tokenizer.count_unknown([index]) == 0
    a = int(tokenizer.encode("a")[0]) if b"a" in tokenizer.tokens else 0
    mixed = np.full(base.PIECE + 9, a)  # so that one piece has a reserved token, and the other none
    mixed[-2] = size - 1
    before = tokenizer.tokens[a].decode() * (base.PIECE + 7)
    assert tokenizer.decode(mixed) == before + RESERVED[2] + tokenizer.tokens[a].decode()


def test_plain_tokenizers_have_nothing_reserved() -> None:
    assert {tokenizer.num_reserved for tokenizer in (*PLAIN, MANY)} == {0}
    for plain, reserved in zip(PLAIN, WITH_RESERVED, strict=True):
        assert plain.with_reserved(3) == plain.with_reserved(2).with_reserved(1) == reserved
        assert plain.tokens == reserved.tokens[:-3]
        assert plain.unk_id == reserved.unk_id


@pytest.mark.parametrize(("kind", "others"), [("ascii", 101), ("byte", 256), ("char", 3)])
def test_reserved_tokens_fill_the_vocabulary_and_no_more(kind: str, others: int) -> None:
    full = build(kind, "ab", reserve_tokens=65_536 - others)
    assert (full.vocab_size, full.num_reserved, len(set(full.tokens))) == (65_536, 65_536 - others, 65_536)
    for count in (-1, 65_537 - others, 10**12):
        with pytest.raises(TokenizerError, match=f"reserved tokens: .* not {count}"):
            build(kind, "ab", reserve_tokens=count)


def test_char_limit_does_not_count_reserved_tokens() -> None:
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 8193)))
    assert build("char", text[:-1], reserve_tokens=9).vocab_size == 8192 + 1 + 9
    with pytest.raises(TokenizerError, match="8193"):
        build("char", text, reserve_tokens=9)


@EVERY_KIND
def test_memory_beyond_the_result_does_not_grow_with_the_text(tokenizer: Tokenizer) -> None:
    text = "Some text, 한.\n" * 500_000
    tracemalloc.start()
    ids = tokenizer.encode(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * ids.nbytes + 16 * 2**20


# Decoding


@pytest.mark.parametrize("tokenizer", [*ALL, MANY], ids=repr)
@given(data=st.data())
def test_stream_gives_the_text_of_decode_for_any_ids(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    assert tokenizer.decode_bytes(ids) == b"".join(tokenizer.tokens[index] for index in ids)
    stream = StreamDecoder(tokenizer)
    for _ in range(2):  # flush leaves it as new
        assert "".join(map(stream.feed, ids)) + stream.flush() == tokenizer.decode(ids)


def test_stream_holds_a_character_until_it_is_whole() -> None:
    stream = StreamDecoder(build("byte", None))
    assert [stream.feed(byte) for byte in "é🙂a".encode()] == ["", "é", "", "", "", "🙂", "a"]
    assert [stream.feed(0xF0), stream.feed(0x9F), stream.flush(), stream.flush()] == ["", "", "\ufffd", ""]


@given(
    pieces=st.lists(st.binary(max_size=5).map(lambda data: bytes(b"ab\xc3\xa9"[byte % 4] for byte in data)).filter(bool)),
    stop=st.lists(st.text("abé", min_size=1, max_size=4), max_size=3),
)
def test_stream_ends_before_the_first_stop_text_however_tokens_divide_it(pieces: list[bytes], stop: list[str]) -> None:
    tokenizer = Tokenizer([*dict.fromkeys(pieces), b"<unk>"], unk_id=len(set(pieces)))
    whole, stops = b"".join(pieces), [text.encode() for text in stop]
    ends = [(at + len(text), at) for text in stops if (at := whole.find(text)) >= 0]
    stream, fed, shown = StreamDecoder(tokenizer, stop), b"", b""
    for piece in pieces:
        assert not stream.stopped
        fed, shown = fed + piece, shown + stream.feed_bytes(tokenizer.tokens.index(piece))
        if stream.stopped:
            break
        held = fed[len(shown) :]  # no more than may begin a stop text, after half a character
        assert any(text.startswith(rest) for rest in (held, held.removeprefix(b"\xc3")) for text in (*stops, b""))
    assert stream.stopped == bool(ends)
    assert shown + stream.flush_bytes() == (whole[: min(ends)[1]] if ends else whole)


def test_a_stop_text_must_have_something_to_find() -> None:
    for empty in ("", b"", ["a", ""]):
        with pytest.raises(ConfigError, match="stop must not be empty"):
            StreamDecoder(build("byte", None), empty)


@EVERY_KIND
def test_ids_outside_the_vocabulary_are_refused(tokenizer: Tokenizer) -> None:
    for bad in (-1, tokenizer.vocab_size):
        for use in (tokenizer.decode, tokenizer.count_unknown):
            with pytest.raises(TokenizerError, match=f"id {bad} "):
                use([0, bad])
        with pytest.raises(TokenizerError, match=f"id {bad} "):
            StreamDecoder(tokenizer).feed(bad)
    for ids in ([0.5], [[0]], 0, [True]):
        with pytest.raises(TokenizerError, match="token ids"):
            tokenizer.decode(ids)
    assert tokenizer.decode([]) == ""
    assert tokenizer.decode(np.array([9], np.uint8)) == tokenizer.decode([9])


# Files


@EVERY_KIND
def test_file_gives_the_same_tokenizer_and_the_same_bytes(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    save(tokenizer, path)
    content = path.read_bytes()
    read = load(path)
    assert read == tokenizer
    assert type(read) is type(tokenizer)
    assert hash(read) == hash(tokenizer)
    assert len(content.decode().splitlines()) == tokenizer.vocab_size + 9  # one token a line, for every editor
    assert from_json(json.loads(content)).to_json() == tokenizer.to_json() == json.loads(content)
    save(read, path)
    assert path.read_bytes() == content
    path.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))  # as saved by a Windows editor
    assert load(path) == tokenizer


def test_failed_save_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokenizer.json"
    save(build("ascii", None), path)

    def fail(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: cannot write: No space"):
        save(build("byte", None), path)
    assert load(path) == build("ascii", None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["tokenizer.json"]


@pytest.mark.skipif(os.name != "posix", reason="file modes")
def test_saved_file_has_the_usual_mode(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    save(build("ascii", None), tmp_path / "saved")
    modes = {stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()}
    assert len(modes) == 1


GOOD = build("char", "ab한").to_json()  # tokens: a b 한 <unk>
REMOVE = object()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "'format'"),
        ({"format": REMOVE}, "'format'"),
        ({"version": 2}, "version 2 .* newer than this femto understands"),
        ({"version": 0}, "'version'"),
        ({"version": True}, "'version'"),
        ({"version": "1"}, "'version'"),
        ({"kind": "words"}, "'kind'.*words"),
        ({"kind": ["char"]}, "'kind'"),
        ({"kind": REMOVE}, "'kind' is missing"),
        ({"case_sensitive": 1}, "'case_sensitive'"),
        ({"colour": "red"}, "colour"),
        ({"unk": None}, "unk is null, but token 3"),
        ({"unk": 2}, "unk is 2, but token 3"),
        ({"unk": -1}, "'unk' .*-1"),
        ({"unk": 4}, "'unk' .*4"),
        ({"unk": 10**5000}, "'unk'"),
        ({"unk": 3.0}, "'unk'"),
        ({"unk": True}, "'unk'"),
        ({"unk": 1, "tokens": ["a", "b"]}, "unk is 1, but no token"),
        ({"unk": None, "tokens": ["a", "b"]}, "unk is missing"),
        ({"tokens": "ab"}, "'tokens'"),
        ({"tokens": []}, "tokens"),
        ({"tokens": ["<unk>"], "unk": 0}, "0"),
        ({"tokens": ["a", "b", "a", "<unk>"]}, "token 2 repeats token 0: 'a'"),
        ({"tokens": ["a", "b", [97], "<unk>"]}, "token 2 repeats token 0: 'a'"),
        ({"tokens": ["a", "", "c", "<unk>"]}, "token 1 has 0 bytes"),
        ({"tokens": ["a", [], "c", "<unk>"]}, "token 1 has 0 bytes"),
        ({"tokens": ["a", "b" * 1025, "c", "<unk>"]}, "token 1 has 1025 bytes"),
        ({"tokens": ["a", 7, "c", "<unk>"]}, "token 1 .* 7"),
        ({"tokens": ["a", [256], "c", "<unk>"]}, r"token 1 .*\[256\]"),
        ({"tokens": ["a", [True], "c", "<unk>"]}, "token 1 "),
        ({"tokens": ["a", "\ud800", "c", "<unk>"]}, "token 1 .*surrogate"),
        ({"tokens": ["a", "bc", "c", "<unk>"]}, "token 1 must be one character, not 'bc'"),
        ({"tokens": ["a", [128], "c", "<unk>"]}, r"token 1 must be one character, not \[128\]"),
        ({"tokens": ["a", "B", "c", "<unk>"], "case_sensitive": False}, "token 1 is a capital: 'B'"),
        ({"tokens": ["a"] * 65_537}, "65537"),
    ],
)
def test_bad_json_is_refused_with_the_field_or_token(change: dict[str, object], message: str, tmp_path: Path) -> None:
    document = {field: value for field, value in {**GOOD, **change}.items() if value is not REMOVE}
    with pytest.raises(TokenizerError, match=message) as caught:
        from_json(document)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 200
    path = tmp_path / "bad.json"
    if document.get("unk") == 10**5000:
        return  # Python does not write it as JSON
    path.write_text(json.dumps(document))
    with pytest.raises(TokenizerError, match=rf"bad\.json: .*{message}"):
        load(path)


@pytest.mark.parametrize("kind", ["ascii", "byte"])
@pytest.mark.parametrize("sensitive", [True, False])
def test_ascii_and_byte_accept_only_their_own_tokens(kind: str, sensitive: bool) -> None:
    good = build(kind, None, sensitive).to_json()
    tokens = good["tokens"]
    assert isinstance(tokens, list)
    swapped = [tokens[1], tokens[0], *tokens[2:]]
    with pytest.raises(TokenizerError, match="token 0 must be"):
        from_json({**good, "tokens": swapped})
    with pytest.raises(TokenizerError, match=r"must have \d+ tokens, not \d+"):
        from_json({**good, "tokens": [*tokens, "한"]})
    with pytest.raises(TokenizerError, match=r"token|unk"):
        from_json({**good, "tokens": tokens[1:]})
    if kind == "ascii":
        with pytest.raises(TokenizerError, match="token"):
            from_json({**good, "case_sensitive": not sensitive})


@pytest.mark.parametrize("kind", ["ascii", "char"])
def test_an_edited_file_is_read_once_it_says_what_the_refusal_asks_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "edited.json"
    dumped = tokenizers.to_text(build(kind, "bcd")).splitlines(keepends=True)
    place = dumped.index('    "b",\n')
    path.write_text("".join([*dumped[:place], '    "bcd",\n', *dumped[place + 1 :]]))
    with pytest.raises(TokenizerError, match=r'token \d+ must be .*, not \'bcd\'; for other tokens, write "kind": "bpe"'):
        load(path)
    path.write_text(path.read_text().replace(f'"kind": "{kind}"', '"kind": "bpe"'))
    read = load(path)
    assert read.encode("bcd").tolist() == [read.tokens.index(b"bcd")]
    path.write_text(path.read_text().replace('    "bcd",\n', ""))
    assert read.unk_id is not None
    with pytest.raises(TokenizerError, match=f'unk.* is {read.unk_id}, but .*; write "unk": {read.unk_id - 1}$'):
        load(path)
    path.write_text(path.read_text().replace(f'"unk": {read.unk_id}', f'"unk": {read.unk_id - 1}'))
    assert load(path).vocab_size == read.vocab_size - 1


ALMOST_RESERVED = [
    RESERVED[0].upper(),
    RESERVED[0][:17] + RESERVED[0][17:49].upper() + "|>",
    RESERVED[0] + "\n",
    " " + RESERVED[0],
    "<|reserved_token_0|>",
    "<|reserved_token_" + "0" * 31 + "g|>",
    "<|reserved_token_" + "0" * 33 + "|>",
    "<|reserved_token_" + "\u0660" * 32 + "|>",
]


@pytest.mark.parametrize("tokenizer", WITH_RESERVED, ids=repr)
def test_reserved_tokens_elsewhere_or_misspelt_are_refused(tokenizer: Tokenizer) -> None:
    document = tokenizer.to_json()
    tokens = document["tokens"]
    assert isinstance(tokens, list)
    other, last = "<|reserved_token_" + "0" * 32 + "|>", len(tokens) - 3
    assert from_json({**document, "tokens": [*tokens, other]}).num_reserved == 4  # any name of the pattern will do
    refused = r"token \d+ must be|must have \d+ tokens, not \d+"
    for place in (0, 1, last - 1):
        moved = [*tokens[:place], other, *tokens[place:]]
        unk_id = moved.index("<unk>") if "<unk>" in moved else None
        with pytest.raises(TokenizerError, match=rf"token {place} must be"):
            from_json({**document, "tokens": moved, "unk": unk_id})
    for wrong in [*ALMOST_RESERVED, "한글"]:
        for bad in ([*tokens, wrong], [*tokens[:last], wrong, *tokens[last:]], [*tokens[:last], wrong]):
            with pytest.raises(TokenizerError, match=refused):
                from_json({**document, "tokens": bad})
    with pytest.raises(TokenizerError, match=f"token {last + 3} repeats token {last}"):
        from_json({**document, "tokens": [*tokens, tokens[last]]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not JSON"),
        (b'{"format": ', "not JSON.*line 1"),
        (b"\xff{}", "not UTF-8 at byte 0"),
        (b"[" * 100_000, "not JSON"),
        (b'{"version": ' + b"9" * 5000 + b"}", "not JSON|format"),
        (b"null", "object or list, not null"),
        (b'{"unk": 1, "unk": 2}', '"unk" is there more than once'),
        (b"{%s}" % b", ".join(b'"%d": 0' % (index % 199_999) for index in range(200_000)), '"0" is there more than once'),
    ],
)
def test_file_that_is_no_tokenizer_is_refused_with_its_path(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(TokenizerError, match=rf"bad\.json: .*({message})"):
        load(path)
    with pytest.raises(TokenizerError, match=r"absent\.json: cannot read"):
        load(tmp_path / "absent.json")


# The rest


def test_bare_token_list_checks_its_vocabulary_and_has_no_file() -> None:
    with pytest.raises(TokenizerError, match="unk is missing"):
        Tokenizer([b"a"], None)
    assert Tokenizer([bytes([byte]) for byte in range(256)] + [b"ab"], None).encode("xab").tolist() == [120, 256]
    with pytest.raises(TokenizerError, match="no kind"):
        MANY.to_json()
    with pytest.raises(TypeError, match="NoneType"):
        MANY.encode(None)  # type: ignore[arg-type]


def test_copies_are_equal_and_kinds_differ() -> None:
    assert [copy.deepcopy(tokenizer) for tokenizer in ALL] == ALL
    assert len(set(ALL)) == len(ALL)
    assert set(tokenizers.__all__) <= set(vars(tokenizers))


def test_limits_are_the_documented_ones() -> None:
    assert (base.MAX_TOKENS, base.MAX_TOKEN_BYTES) == (65_536, 1024)
