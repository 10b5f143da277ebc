"""Runs the journal's experiments, records their verdicts in the package, and renews the pages that show them.

python benches/experiments.py record 1 2 3 --preset modern --code PATH --prose PATH   # one after another, nothing else running
python benches/experiments.py page                                              # docs/experiments.md, journal.md, recipes.md
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from femto.experiments import reading, report, results

PAGES = [Path(__file__).parents[1] / "docs" / name for name in ("experiments.md", "journal.md", "recipes.md")]


def record(
    numbers: list[str], preset: str, texts: dict[str, str | None], budget: float | None, root: Path, seed: int, file: Path
) -> None:
    """Run each in a folder of its own, and record what the command says. What was trained before in that folder is not again."""
    for number in numbers:
        command = [sys.executable, "-m", "femto", "experiment", "run", number, "--preset", preset, "--json", "--seed", str(seed)]
        command += ["--folder", str(root / f"{number}-{preset}"), "--quiet"]
        text = texts.get(reading.load(number).data)
        command += ["--dataset", text] if text else []
        command += ["--max-minutes", str(budget)] if budget else []
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if done.returncode not in (0, 3):
            sys.exit(f"experiment {number} ended with status {done.returncode}")
        verdict = json.loads(done.stdout)
        for private in ("folder", "log"):
            del verdict[private]
        verdict["data"]["name"] = Path(verdict["data"]["name"]).name
        recorded = json.loads(file.read_bytes()) if file.is_file() else {}
        recorded[f"{number}.{preset}"] = verdict
        in_order = sorted(recorded.items(), key=lambda item: (int(item[0].partition(".")[0]), item[0]))
        file.write_text(json.dumps(dict(in_order), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(
            number,
            preset,
            "passed" if verdict["passed"] else "not passed",
            f"loss {verdict['loss']:.4f}, {verdict['seconds']:.0f} s",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("numbers", nargs="+")
    recording.add_argument("--preset", choices=["modern", "reference"], default="modern")
    recording.add_argument("--code", help="text for the experiments on code")
    recording.add_argument("--prose", help="text for the experiments on prose")
    recording.add_argument("--budget", type=float, help="minutes of training each")
    recording.add_argument("--seed", type=int, default=0)
    recording.add_argument(
        "--root", type=Path, default=Path(tempfile.gettempdir()) / "femto-experiments", help="folder of the runs"
    )
    recording.add_argument("--results", type=Path, default=results.PATH, metavar="FILE", help="[the package's results.json]")
    commands.add_parser("page")
    chosen = parser.parse_args()
    if chosen.command == "record":
        texts = {"code": chosen.code, "prose": chosen.prose}
        record(chosen.numbers, chosen.preset, texts, chosen.budget, chosen.root, chosen.seed, chosen.results)
    else:
        for page in PAGES:
            page.write_text(report.updated(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
