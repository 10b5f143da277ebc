"""Training beside other programs: one thread, femto's own choice, and all threads, in turn, with 0, 1 and 2 busy processes.

    python benches/busy.py [--pairs 10] [--steps 300] [--busy 0 1 2]

A table of seconds of training (median of the pairs), and how many times as long as with one thread: median and worst pair.
"""

import argparse
import statistics
import subprocess
import sys

RUN = """
import sys, time
import femto
from femto import kernels
from femto.config import PRESETS
choice, steps, degree = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
if choice != "own choice":
    kernels.set_num_threads(1 if choice == "one" else kernels.num_threads())
text = "the quick brown fox jumps over the lazy dog; " * 400
tokenizer = femto.tokenizers.build("char", text)
config = femto.ModelConfig(tokenizer.vocab_size, num_tokens=80, embedding_degree=degree, num_heads=4, **PRESETS["modern"].model)
checkpoint = femto.create(config, tokenizer, femto.TrainConfig(batch_size=16, seed=1))
started = time.perf_counter()
for event in femto.Session(checkpoint, femto.from_text("text", text, tokenizer), None).run(steps):
    pass
print(time.perf_counter() - started)
"""
CHOICES = ("one", "own choice", "all")


def seconds(choice, options):
    command = [sys.executable, "-c", RUN, choice, str(options.steps), str(options.embedding_degree)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10, help="runs of each choice [10]")
    parser.add_argument("--steps", type=int, default=300, help="of training in each [300]")
    parser.add_argument("--embedding-degree", type=int, default=64, help="[64]")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="processes that use a core each [0 1 2]")
    parser.add_argument("--without-all", action="store_true", help="not with all threads, which may take tens of times as long")
    options = parser.parse_args()
    choices = CHOICES[:2] if options.without_all else CHOICES
    print(f"| busy processes | {' | '.join(f'{choice}, s' for choice in choices)} |", end="")
    print(f" {' | '.join(f'{choice} / one' for choice in choices[1:])} |\n|{'---|' * (2 * len(choices))}")
    for count in options.busy:
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
        try:
            rounds = [{choice: seconds(choice, options) for choice in choices} for _ in range(options.pairs)]
        finally:
            for other in others:
                other.kill()
        medians = [f"{statistics.median(found[choice] for found in rounds):.2f}" for choice in choices]
        ratios = []
        for choice in choices[1:]:
            found = [each[choice] / each["one"] for each in rounds]
            ratios.append(f"{statistics.median(found):.2f} (worst {max(found):.2f})")
        print(f"| {count} | {' | '.join(medians)} | {' | '.join(ratios)} |", flush=True)


if __name__ == "__main__":
    main()
