"""Real processes: signals, and standard streams that are closed, unread or of any encoding."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import femto
from femto.commands import main
from femto.commands.shared.bar import fitted
from femto.system.signals import InterruptedAtOnce, StopRequest

FEMTO = [sys.executable, "-m", "femto"]
LONG = [*FEMTO, "train", "--steps", "10000000"]
STRANGE = b"caf\xe9 \xe2\x96\x81"  # not UTF-8, and a character that few encodings have


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dataset.txt").write_text("".join(f"{i} times {i} is {i * i};\n" for i in range(300)))
    shape = ["--num-tokens", "16", "--embedding-degree", "16", "--num-layers", "1", "--num-heads", "2", "--seed", "1"]
    made = CliRunner().invoke(main, ["init", "--tokenizer", "byte", *shape])
    assert made.exit_code == 0, made.output
    return Path("model.dat")


def until_it_trains(stream) -> None:
    """Wait for a first step: on a terminal too, where lines end otherwise."""
    seen = b""
    while b"  loss " not in seen:
        some = os.read(stream, 1000)
        assert some, seen
        seen += some


def in_a_terminal(command):
    """A process with a terminal of its own, and the terminal's other end."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], command)
    return pid, terminal


def rest_of(terminal) -> str:
    """What a terminal still shows, until all its processes have ended."""
    shown = b""
    try:
        while some := os.read(terminal, 1000):
            shown += some
    except OSError:  # as Linux tells the end
        pass
    os.close(terminal)
    return shown.decode()


def test_ctrl_c_ends_the_loop_of_a_shell_that_trains_in_it(model):
    loop = f"for i in 1 2 3; do echo round $i; {' '.join(LONG)}; done; echo after"
    pid, terminal = in_a_terminal(["bash", "-c", loop])
    until_it_trains(terminal)
    os.write(terminal, b"\x03")
    shown = rest_of(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT
    assert "Ctrl-C again ends at once" in shown and "model.dat: stopped by SIGINT after" in shown
    assert "round 2" not in shown and "after\r\n" not in shown
    assert femto.load(model).history.num_steps > 0


def test_signals_that_are_ignored_stay_ignored(model):
    ignored = [signal.SIGINT, signal.SIGHUP, signal.SIGUSR1]
    script = f"trap '' {' '.join(str(int(number)) for number in ignored)}; exec {' '.join(LONG)}"
    child = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until_it_trains(child.stderr.fileno())
    for number in ignored:
        child.send_signal(number)
    time.sleep(0.3)
    assert child.poll() is None
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGTERM and "stopped by SIGTERM" in out


def test_only_a_second_ctrl_c_ends_at_once_and_not_one_that_a_wrapper_repeats(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with StopRequest().listening() as stop:
        signal.raise_signal(signal.SIGTERM)
        now[0] += 0.01
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.raise_signal(number)
        now[0] += 1.0
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(InterruptedAtOnce):
            signal.raise_signal(signal.SIGINT)
    assert stop.name == "SIGTERM"


def test_ctrl_c_where_nothing_is_saved_says_so_little(model):
    child = subprocess.Popen(
        [*FEMTO, "infer", "x", "--max-new-tokens", "10000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, errors="replace"
    )
    child.stdout.read(20)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (-signal.SIGINT, "interrupted\n")


@pytest.mark.parametrize(
    "words",
    ["train --steps 3 --sample-every 1 2>&-", "train --steps 3 <&- >&- 2>&-", "train-bpe --vocab-size 30 2>&-", "info >&-"],
)
def test_closed_streams_end_no_command(model, words):
    done = subprocess.run(["bash", "-c", f"{' '.join(FEMTO)} {words}"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert femto.load(model).history.num_steps == 3 * ("--steps" in words)


@pytest.mark.parametrize("encoding", ["iso-8859-1", "ascii", "utf-8"])
def test_no_encoding_loses_or_garbles_anything(model, encoding):
    def said(*arguments):
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        done = subprocess.run([*FEMTO, *arguments], env=environment, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    CliRunner().invoke(main, ["train", "--steps", "20", "--quiet"])
    info = said("info").decode(encoding)
    assert ("█" in info) == (encoding == "utf-8") and ("\\u2588" in info) == (encoding != "utf-8")
    Path("dumped.json").write_bytes(said("dump-tokenizer"))
    assert femto.tokenizers.load("dumped.json") == femto.load(model).tokenizer
    # a prompt comes out as it went in, or escaped; and the model gets its very bytes
    text = said("infer", STRANGE, "--max-new-tokens", "0")
    assert text == (STRANGE if encoding == "utf-8" else b"caf\xe9 \\u2581") + b"\n"
    document = json.loads(said("infer", STRANGE, "--max-new-tokens", "1", "--temperature", "0", "--json").decode())
    assert bytes(document["prompt_bytes"]) == STRANGE
    checkpoint = femto.load(model)
    expected = next(femto.generate(checkpoint, STRANGE.decode("utf-8", "surrogateescape"), 1, femto.Sampling(temperature=0.0)))
    assert document["tokens"][0]["id"] == expected.token
    assert bytes(checkpoint.tokenizer.encode(STRANGE.decode("utf-8", "surrogateescape")).tolist()) == STRANGE


def test_an_error_shows_a_name_of_any_bytes(model):
    missing = b"nowh\xe9re\xe2\x96\x81"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*FEMTO, "info", "--model", missing], env=environment, capture_output=True, check=False)
    assert done.stderr.startswith(b"Error: nowh\\udce9re\\u2581: cannot read the model: No such file")


def test_the_bar_stays_on_its_line_and_follows_the_width_of_the_terminal(model):
    pid, terminal = in_a_terminal(LONG)
    until_it_trains(terminal)
    seen = {}
    for wide in (80, 40, 100, 20):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, wide, 0, 0))
        shown = b""
        while shown.count(b"\r") < 5:
            shown += os.read(terminal, 1000)
        seen[wide] = shown.decode().split("\r")[2:-1]  # the first ones may be of the width before
    os.kill(pid, signal.SIGTERM)
    rest_of(terminal)
    os.waitpid(pid, 0)
    for wide, lines in seen.items():
        assert all(len(line) < wide and "\n" not in line and line.count("step") == 1 for line in lines)
    assert re.fullmatch(r"\[-{10,30}\]    0%  step \d+  loss \d\.\d{4}  .+ left  [\d,]+ tokens/s *", seen[80][-1])
    assert re.fullmatch(r"  0%  step \d+ *", seen[20][-1])


SHORT = st.lists(st.text(st.characters(min_codepoint=32), max_size=30))


@given(st.integers(0, 10**9), st.integers(0, 10**9), SHORT, st.integers(0, 300))
def test_a_bar_fits_whatever_it_has_to_tell(done, total, parts, room):
    line = fitted(done, total, parts, room)
    assert len(line) <= room
    whole = "  ".join(parts)
    assert whole in line or len(whole) > room - 6
