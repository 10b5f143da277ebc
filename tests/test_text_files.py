"""Files that are not what they seem: what they look like is said, with a command that converts them."""

# ruff: noqa: RUF001 (letters of many scripts)

import random
import shutil
import subprocess
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from femto import data, text_files
from femto.commands import main
from femto.errors import DataError
from femto.text_files import looks_like
from femto.tokenizers import build

ENGLISH = "Call me Ishmael. Some years ago, never mind how long precisely.\n" * 9
KOREAN = "대한민국은 민주공화국이다. 대한민국의 주권은 국민에게 있고, 모든 권력은 국민으로부터 나온다.\n" * 9
CP949 = "똠방각하와 펲시콜라를 마신 숖 이야기.\n" * 9  # syllables that EUC-KR lacks
GERMAN = "Der „Prüfungsausschuß“ läßt größere Änderungen zu – mehr nicht.\n" * 9
FRENCH = "Le garçon a déjà préféré l’école à l’été, où il a beaucoup travaillé.\n" * 9
ITALIAN = "Perché la città è più bella, così com’è, e ci sarà la virtù.\n" * 9
CHINESE = "中国的人口是世界上最多的，我们在北京。这一年他们不在那里了。\n" * 9
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n" * 9
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\n" * 9
TEXTS = {"ENGLISH": ENGLISH, "KOREAN": KOREAN, "GERMAN": GERMAN, "CHINESE": CHINESE, "JAPANESE": JAPANESE, "RUSSIAN": RUSSIAN}


def converted(path: Path, note: str) -> bytes:
    """What the command in a note makes of the file."""
    command = note.split("convert it: ")[1].split(" > NEW")[0]
    return subprocess.run(command, shell=True, cwd=path.parent, check=True, capture_output=True).stdout


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig"])
def test_every_unicode_encoding_is_recognised_and_converted(codec: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "a text.txt"
    path.write_bytes(TEXTS[name].encode(codec))
    notes = text_files.notes(path)
    assert len(notes) == 1
    assert {"utf-16-be": "UTF-16, big-endian", "utf-8-sig": "UTF-8 with a byte order mark"}.get(
        codec, codec[:6].upper()
    ) in notes[0]
    if shutil.which("iconv"):
        assert converted(path, notes[0]) == TEXTS[name].encode()


@pytest.mark.parametrize(
    ("text", "codec", "name"),
    [
        (KOREAN, "euc_kr", "EUC-KR"),
        (CP949, "cp949", "CP949"),
        (GERMAN, "cp1252", "WINDOWS-1252"),
        (FRENCH, "cp1252", "WINDOWS-1252"),
        (ITALIAN, "cp1252", "WINDOWS-1252"),
        (CHINESE, "gb18030", "GB18030"),
        (JAPANESE, "shift_jis", "SHIFT_JIS"),
        (JAPANESE, "euc_jp", "EUC-JP"),
        (RUSSIAN, "cp1251", "WINDOWS-1251"),
        (RUSSIAN, "koi8_r", "KOI8-R"),
    ],
)
def test_older_encodings_are_recognised_and_converted(text: str, codec: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_bytes((ENGLISH * 200 + text).encode(codec))  # what is not ASCII comes late
    with pytest.raises(
        DataError, match=rf"old\.txt: not UTF-8 at byte \d+: it looks like {name}; convert it: iconv -f {name} "
    ) as caught:
        list(data.read_texts(path))
    if shutil.which("iconv"):
        assert converted(path, str(caught.value)) == (ENGLISH * 200 + text).encode()


def test_nothing_is_guessed_of_good_text_and_of_noise() -> None:
    for text in [*TEXTS.values(), FRENCH, unicodedata.normalize("NFD", FRENCH), "🙂" * 9, "a\0b\0\0c" * 99, ""]:
        assert looks_like(text.encode()) is None
    noise = random.Random(0)
    assert not any(looks_like(noise.randbytes(size)) for size in range(2, 3000, 50))
    assert looks_like("Wszyscy ludzie rodzą się wolni.".encode("cp1250")) is None  # not known, so no wrong advice


@given(st.binary(max_size=200))
def test_a_guess_is_made_of_any_bytes_without_an_error(content: bytes) -> None:
    for piece in (content, content * 50):
        guess = looks_like(piece)
        assert guess is None or (guess.name and guess.advice("x"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            ("é" * 50 + "x" + "é" * 50).encode().replace(b"x", b"\xff"),
            "UTF-8 with some bytes that are not; convert it: iconv -c ",
        ),
        (b"\x1f\x8b\x08\x00", "a gzip file, not text; unpack it first: gunzip"),
        (b"PK\x03\x04\xff", "a zip archive, as documents"),
        (b"%PDF-1.7\n\xff", "a PDF document, not text; take the text out of it first: pdftotext"),
        (
            b"\xff\x00\xc3\x28",
            "not UTF-8 at byte 0; if you know its encoding, convert it: iconv -f ENCODING -t UTF-8 text > NEW; the byte",
        ),
    ],
)
def test_what_cannot_be_read_as_text_says_what_helps(
    content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text").write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(data.read_texts("text"))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_text_in_another_unicode_form_is_told_and_converted(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, FRENCH + KOREAN) for form in ("NFC", "NFD"))
    path = tmp_path / "accents.txt"
    for known, text, says in (
        (composed, decomposed, "is in Unicode form NFD, the vocabulary in NFC"),
        (decomposed, composed, "form NFC, "),
    ):
        path.write_text(text)
        (note,) = text_files.notes(path, build("char", known))
        assert says in note
        assert converted(path, note).decode() == known
        assert not text_files.notes(path, build("char", text)) or text is decomposed
    assert text_files.other_form(decomposed, build("ascii", None)) is not None  # decomposed, whatever is unknown
    assert text_files.other_form(composed, build("ascii", None)) is None


# Folders


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "texts/b.txt": "banana\n",
        "texts/a/c.txt": "cherry\n",
        "elsewhere/d.txt": "date\n",
        "one.txt": "one\n",
    }.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    return tmp_path


def test_what_is_left_out_of_a_folder_is_told(folder: Path) -> None:
    assert text_files.notes("texts") == []
    Path("texts/link.txt").symlink_to(folder / "one.txt")
    assert text_files.notes("texts") == []  # a link to a file is read
    Path("texts/a/linked").symlink_to(folder / "elsewhere")
    Path("texts/.hidden").symlink_to(folder / "elsewhere")
    assert text_files.notes("texts") == ["texts: left out: texts/a/linked is a link to a folder"]
    Path("texts/lost").symlink_to(folder / "nowhere")
    assert text_files.notes(["one.txt", "texts"]) == ["texts: left out: texts/a/linked is a link to a folder, and 1 more"]
    assert data.read_documents("texts") == [b"cherry\n", b"banana\n", b"one\n"]


def test_a_file_of_the_name_of_standard_input_is_a_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("texts")
    Path("./-").write_bytes(b"dash\n")
    assert data.read_documents(".") == [b"dash\n", b"cherry\n", b"banana\n"]
    assert data.load_dataset(".", build("byte", None)).num_bytes == 19
    assert data.load_dataset(Path("-"), build("byte", None)).path is None  # a command would take the name for standard input


def test_many_files_of_one_kind_are_one_note(folder: Path) -> None:
    for place in range(5):
        Path(f"texts/{place}.txt").write_text(ENGLISH, encoding="utf-16")
    (note,) = text_files.notes("texts")
    assert note.startswith("texts/0.txt looks like UTF-16, little-endian; convert it: iconv ")
    assert note.endswith(" (4 more files likewise)")


# Commands


def run(*arguments: object, status: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    return result


SHAPE = ["--num-tokens", 16, "--embedding-degree", 8, "--num-layers", 1, "--num-heads", 1, "--force"]


def test_a_char_vocabulary_may_come_from_a_folder(folder: Path) -> None:
    run("init", "--tokenizer", "char", "--tokenizer-data", "texts", *SHAPE)
    run("train", "--dataset", "texts", "--steps", 1, "--quiet")
    assert list(data.read_texts("texts")) == ["cherry\n", "banana\n"]
    expected = sorted(set("banana\ncherry\n"))
    assert build("char", ["banana\n", "cherry\n"]).tokens == (*(c.encode() for c in expected), b"<unk>")
    refused = run("init", "--tokenizer", "char", "--tokenizer-data", "nowhere", *SHAPE, status=1).stderr
    assert refused == "Error: nowhere: cannot read the text of the tokenizer: it does not exist; --tokenizer-data names it\n"
    Path("texts/k.txt").write_bytes(KOREAN.encode("euc_kr"))
    refused = run("init", "--tokenizer", "char", "--tokenizer-data", "texts", *SHAPE, status=1).stderr
    assert (
        "texts/k.txt: not UTF-8 at byte 0: it looks like EUC-KR; convert it: iconv -f EUC-KR -t UTF-8 texts/k.txt > NEW\n"
        in refused
    )


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
def test_sixteen_bits_are_refused_for_char_and_told_for_bytes(codec: str, folder: Path) -> None:
    Path("dataset.txt").write_bytes(ENGLISH.encode(codec))
    refused = run("init", "--tokenizer", "char", *SHAPE, status=1).stderr
    assert "looks like UTF-16" in refused and "convert it: iconv -f UTF-16" in refused
    assert not Path("model.dat").exists()
    run("init", "--tokenizer", "byte", *SHAPE)
    for command in (["train", "--steps", 1, "--quiet"], ["evaluate"], ["count-tokens", "--model", "model.dat"], ["diagnose"]):
        assert "note: dataset.txt looks like UTF-16" in run(*command).stderr
    assert "note: dataset.txt looks like UTF-16" in run("train-bpe", "--vocab-size", 40, "--quiet").stderr


def test_what_is_told_changes_no_text(folder: Path) -> None:
    Path("dataset.txt").write_bytes(b"\xef\xbb\xbfto be or not to be")
    read = data.load_dataset("dataset.txt", build("byte", None))
    np.testing.assert_array_equal(read.ids, list(b"\xef\xbb\xbfto be or not to be"))
    made = run("init", "--tokenizer", "char", *SHAPE).stderr
    assert (
        "note: dataset.txt looks like UTF-8 with a byte order mark, which becomes a token; convert it: tail -c +4 dataset.txt"
        in made
    )
    told = run("infer", "--max-new-tokens", 1, "Cafe\u0301").stderr
    assert "note: the prompt is in Unicode form NFD, where é is e and an accent" in told
