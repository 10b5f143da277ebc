"""Fuzz a reader, guided by coverage: python tests/fuzz/run.py TARGET --seconds N [--work FOLDER].

Needs atheris (pip install atheris). Starts from corpus/TARGET, keeps what covers more in the work folder, and puts an input that
breaks a promise, takes 10 seconds or 2 GiB, into corpus/TARGET, where the tests replay it.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path
from random import Random

try:
    import atheris
except ImportError:
    raise SystemExit("the fuzzer needs atheris: pip install atheris") from None

with atheris.instrument_imports(include=["femto", "tomllib", "json.decoder"]):
    import targets

WORDS = [
    "null",
    "true",
    "-1",
    "1e999",
    "NaN",
    "\\\\ud800",
    "4294967296",
    "18446744073709551616",
    "[]",
    "{}",
    "../x",
    "\\x00",
    "0x",
    "inf",
]
TEXTS = ("sections", "tokenizer", "recipe", "run")
VALUE = re.compile(rb'"[^"\n]*"|-?\d[\w.]*|true|false|null|\[[^\[\]]*\]|\{[^{}]*\}')
VALUES = (
    b'null|true|-1|0|1e999|nan|NaN|inf|"\\ud800"|""|"../x"|"*"|[]|[[]]|{}|{"a":1}|{a=1}|18446744073709551616|1979-05-27'.split(
        b"|"
    )
)


def mutated(content: bytes, most: int, seed: int) -> bytes:
    """Every other time one value of a text is replaced by another, which keeps the syntax whole; else as libFuzzer does."""
    random = Random(seed)
    places = list(VALUE.finditer(content)) if random.random() < 0.5 else []
    if not places:
        return bytes(atheris.Mutate(content, most))
    place = random.choice(places)
    value = random.choice([*VALUES, random.choice(places)[0]])
    return (content[: place.start()] + value + content[place.end() :])[:most]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=targets.TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--work", type=Path)
    asked = parser.parse_args()
    target, seeds = targets.TARGETS[asked.target], targets.CORPUS / asked.target
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = Path(name)
        work = asked.work or folder / "work"
        work.mkdir(parents=True, exist_ok=True)
        found = {word.decode() for seed in seeds.iterdir() for word in re.findall(rb'"?[a-z][a-z0-9_-]{2,}"?', seed.read_bytes())}
        words = [re.sub('"', r"\"", word) for word in sorted(found)[:400]] + WORDS
        (folder / "words").write_text("".join(f'"{word}"\n' for word in words))
        options = [f"-max_total_time={asked.seconds}", f"-dict={folder / 'words'}", f"-artifact_prefix={seeds}/"]
        options += ["-timeout=10", "-rss_limit_mb=2048", "-max_len=16384", "-print_final_stats=1"]
        inside = folder / "inside"
        inside.mkdir()
        arguments = [sys.argv[0], *options, str(work), str(seeds)]
        more = {"custom_mutator": mutated} if asked.target in TEXTS else {}
        child = os.fork()  # as libFuzzer ends its process without a chance to tidy up
        if child == 0:
            atheris.Setup(arguments, lambda content: targets.run(target, content, inside) and None, **more)
            atheris.Fuzz()
        status = os.waitpid(child, 0)[1]
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
