#!/usr/bin/env python3
"""Every command that README.md, CONTRIBUTING.md and docs/*.md show is run by the gate, or .ci/commands.toml says why not.

    .ci/commands.py check          one line for each command that the gate does not know; exit status 1 if there is one
    .ci/commands.py run FOLDER     run them in FOLDER; the first that fails, or says other than its document shows, ends it
    .ci/commands.py outputs FOLDER DOCUMENT    run the blocks of a document, and write into it what came out

A command is a line of a fenced `sh` block, or an inline code span that begins with femto, python, pip, pytest, .venv/bin/ or .ci/
(environment variables may stand before). What becomes of it:

- A block after the comment `<!-- ci: NAME -->` is run word for word, in the order of its document, in a folder of the document's
  own that has dataset.txt; the blocks of GATE are run by .ci/run itself.
  A `text` block after it shows what comes out: whole, or but for lines of `…`. Only times, dates and speeds may differ.
- `femto COMMAND` without arguments is a mention: `femto COMMAND --help` must work.
- Every other one stands in .ci/commands.toml, or is the same as a command of a marked block.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

try:
    import tomllib
except ImportError:  # Python 3.10, where femto itself needs it
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
MAPPING = ".ci/commands.toml"
GATE = ("main-job", "tests")  # blocks that set up a virtual environment: steps of .ci/run
FIRST_WORDS = ("femto", "python", "python3", "pip", "pytest", "eval")
STARTED_BY_OTHERS = ("compare_worker.py",)  # of benches/
SECONDS = 300  # that one command may take
RENEW = "`python .ci/commands.py outputs FOLDER {}` writes it down"
LEFT_OUT = "…"  # a line of an output that stands for others
DIFFERS = r"[\d,]+ tokens/s +(\d+ (h|min|s) ?)+left|\d{4}-\d\d-\d\dT[\d:]+Z"  # from run to run: speeds, times, dates
DESK = (
    ".ci",
    "benches",
    "docs",
    "dummy_data",
    "tests",
    "pyproject.toml",
    "README.md",
    "CONTRIBUTING.md",
)  # never femto/: see below


@dataclass(frozen=True)
class Command:
    text: str
    place: str  # document and line
    block: str | None  # name of the marked block that it stands in


def documents() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(document: Path) -> list[tuple[str | None, int, list[str]]]:
    """Fenced sh blocks of a document: name of the mark before it, number of its first line, lines."""
    found, mark, inside, kept = [], None, False, False
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            inside = not inside
            if inside:
                kept = line.strip()[3:].strip() in ("sh", "bash", "shell", "console")
                if kept:
                    found.append((mark, number + 1, []))
            mark = None
        elif inside and kept:
            found[-1][2].append(line)
        elif not inside and line.strip():
            marked = re.fullmatch(r"<!-- ci: ([\w-]+) -->", line.strip())
            mark = marked[1] if marked else None
    return found


def outputs(document: Path) -> dict[str, str]:
    """What a document shows as the output of its marked blocks, by their names."""
    text = document.read_text(encoding="utf-8")
    return dict(re.findall(r"^<!-- ci: ([\w-]+) -->\n```sh\n[^`]*^```\n\n```text\n(.*?)^```$", text, re.S | re.M))


def constant(line: str) -> str:
    return re.sub(DIFFERS, "*", line.rstrip())


def unlike(shown: str, said: str) -> list[str]:
    """The lines that a document shows and that did not come out in this order; if it leaves nothing out, also the others."""
    wanted, came = ([constant(line) for line in text.splitlines() if line] for text in (shown, said))
    found, rest = [], came
    for line in wanted:
        if line != LEFT_OUT and line not in rest:
            found.append(f"shown, and did not come out: {line}")
        elif line != LEFT_OUT:
            rest = rest[rest.index(line) + 1 :]
    if LEFT_OUT not in wanted:  # a slow machine shows its progress more often
        others = [line for line in came if line not in wanted and not re.match(r"step \d+  loss", line)]
        found += [f"came out, and is not shown: {line}" for line in others]
    return found


def renewed(shown: str, said: str) -> str:
    """What came out, with the lines left out that the document leaves out."""
    if LEFT_OUT not in shown.splitlines():
        return said
    came = said.splitlines()

    def likest(line: str) -> str:
        return max(came, key=lambda one: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, line, strict=False))))

    return "".join(f"{line if line == LEFT_OUT else likest(line)}\n" for line in shown.splitlines())


def spans(document: Path) -> list[tuple[int, str]]:
    """Inline code spans of a document, with the number of their first line; they may go over the end of a line."""
    text = document.read_text(encoding="utf-8")
    text = re.sub(r"^ *```.*?^ *```", lambda fence: "\n" * fence[0].count("\n"), text, flags=re.S | re.M)
    found = re.finditer(r"(?<!`)(`+)(?!`)((?:(?!\n\s*\n).)+?)(?<!`)\1(?!`)", text, re.S)
    return [(1 + text.count("\n", 0, span.start()), " ".join(span[2].split())) for span in found]


def is_command(text: str) -> bool:
    words = text.split()
    while words and re.match(r"[A-Z_][A-Z0-9_]*=", words[0]):
        words = words[1:]
    if not words or words[0] == MAPPING:
        return False
    return words[0].startswith((".venv/bin/", ".ci/")) or words == ["pytest"] or (words[0] in FIRST_WORDS and len(words) > 1)


def commands() -> list[Command]:
    """All that the documents show, in order."""
    found = []
    for document in documents():
        name = document.relative_to(ROOT)
        for mark, first, lines in blocks(document):
            whole = ""
            for number, line in enumerate(lines, first):
                whole += re.sub(r"(^|\s)#.*", "", line).strip()
                if whole.endswith("\\"):
                    whole = whole[:-1]
                elif whole:
                    found.append(Command(" ".join(whole.split()), f"{name}:{number}", mark))
                    whole = ""
        found += [Command(span, f"{name}:{number}", None) for number, span in spans(document) if is_command(span)]
    return found


def is_mention(text: str) -> bool:
    return bool(re.fullmatch(r"femto( [a-z][a-z-]*){1,2}", text))


def mapping() -> dict[str, Any]:
    return tomllib.loads((ROOT / MAPPING).read_text(encoding="utf-8"))


def faults(found: list[Command], mapped: dict[str, Any]) -> list[str]:
    """What the gate does not know of the commands, and what it says of commands that are shown no more."""
    known = {**mapped["run"], **mapped["step"], **mapped["not-run"]}
    word_for_word = {command.text for command in found if command.block}
    said = [
        f"{command.place}: the gate does not run `{command.text}`: mark its block with <!-- ci: NAME -->, or name it in {MAPPING}"
        for command in found
        if not (command.block or command.text in known or command.text in word_for_word or is_mention(command.text))
    ]
    shown = {command.text for command in found}
    said += [f"{MAPPING}: no document shows `{text}` any more" for text in known if text not in shown]
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    said += [f"{MAPPING}: .ci/run has no step {step!r}" for step in mapped["step"].values() if f'step "{step}"' not in gate]
    names = [mark for document in documents() for mark, _, _ in blocks(document) if mark]
    said += [f"two blocks are marked <!-- ci: {name} -->" for name in sorted({name for name in names if names.count(name) > 1})]
    said += [f"no block is marked <!-- ci: {name} -->" for name in GATE if name not in names]
    scripts = (path for path in (ROOT / "benches").glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))
    run = " ".join([*mapped["run"], *mapped["run"].values(), *mapped["also"]])
    started = [path.name for path in scripts if path.name not in STARTED_BY_OTHERS]
    said += [f"the gate does not run benches/{name}: name it in {MAPPING}" for name in started if name not in run]
    return said


def desk(folder: Path, text: Path) -> Path:
    """A folder to run commands in: dataset.txt, and what the documents name by its path in the repository.

    Without femto/, which Python would find there before the installed package.
    """
    folder.mkdir()
    for name in DESK:
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(text, folder / "dataset.txt")
    return folder


@cache
def against() -> str:
    """What the comparison with other frameworks is told: the first of TORCH_PYTHON and this Python that has torch, or --alone."""
    for python in (os.environ.get("TORCH_PYTHON"), sys.executable):
        if python and subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 0:
            return f"--python {python}"
    return "--alone"


def run(script: str, folder: Path, label: str) -> str:
    """Run a script in bash, silently, and return what it said. Ends the gate, with that, when it fails."""
    started = time.monotonic()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "AGAINST": against()}
    try:
        done = subprocess.run(
            ["bash", "-euc", script],  # no pipefail: `head` may end before what it reads from
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        status, said = str(done.returncode), done.stdout
    except subprocess.TimeoutExpired as error:
        status, said = f"none after {SECONDS} seconds", (error.stdout or b"").decode(errors="replace")
    print(f"{time.monotonic() - started:6.1f} s  {label}", flush=True)
    if status != "0":
        sys.exit(f"{said[-4000:]}\ncommands: exit status {status} of: {script.strip()}\n  which stands for: {label}")
    return said


def marked_blocks(document: Path) -> list[tuple[str, list[str]]]:
    return [(mark, lines) for mark, _, lines in blocks(document) if mark and mark not in GATE]


def text_of_sums(work: Path) -> Path:
    work.mkdir(exist_ok=True)
    text = work / "dataset.txt"
    with open(text, "w", encoding="utf-8") as file:
        subprocess.run([sys.executable, ROOT / "dummy_data" / "addition_dummy.py"], stdout=file, check=True)
    return text


def renew_outputs(work: Path, document: Path) -> None:
    """Run the blocks of a document, and write into it what came out."""
    folder, shows = desk(work / document.stem, text_of_sums(work)), outputs(document)
    for mark, lines in marked_blocks(document):
        said = run("\n".join(lines), folder, mark)
        if mark in shows:
            fenced = "```text\n{}```"
            page = document.read_text(encoding="utf-8")
            after = page.index(f"<!-- ci: {mark} -->")
            changed = page[after:].replace(fenced.format(shows[mark]), fenced.format(renewed(shows[mark], said)), 1)
            document.write_text(page[:after] + changed, encoding="utf-8")


def run_all(work: Path) -> None:
    mapped, found = mapping(), commands()
    text = text_of_sums(work)
    readme, done = None, set()
    for document in documents():
        name = document.relative_to(ROOT)
        marked, shows = marked_blocks(document), outputs(document)
        shown = {command.text for command in found if command.block in {mark for mark, _ in marked}}
        if readme and shown <= done:  # nothing new, or nothing at all
            continue
        folder = desk(work / document.stem, text)
        readme = readme or folder
        if first := mapped["before"].get(str(name)):
            run(first, folder, f"{name}: before its blocks")
        for mark, lines in marked:
            said = run("\n".join(lines), folder, f"{name}: {mark}")
            if mark in shows and (differing := unlike(shows[mark], said)):
                sys.exit("\n".join([f"{name}: the output of {mark} is another one; {RENEW.format(name)}", *differing]))
        done |= shown
    for text_shown, instead in mapped["run"].items():
        run(instead or text_shown, readme, text_shown)
    for script in mapped["also"]:
        run(script, readme, script)
    mentions = sorted({command.text for command in found if is_mention(command.text) and command.text not in mapped["run"]})
    for mention in mentions:
        run(f"{mention} --help", readme, f"{mention} --help")


def main() -> None:
    match sys.argv[1:]:
        case ["check"]:
            if said := faults(commands(), mapping()):
                sys.exit("\n".join(said))
        case ["run", folder]:
            run_all(Path(folder).resolve())
        case ["outputs", folder, document]:
            renew_outputs(Path(folder).resolve(), Path(document).resolve())
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
