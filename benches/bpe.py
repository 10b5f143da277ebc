"""Learning a BPE vocabulary from a text, and encoding it: seconds, megabytes a second, bytes a token, growth with the text.

    python benches/bpe.py rust_14.txt --vocab-size 1024

One thread: nothing in it uses more.
"""

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

from femto.tokenizers import BpeTokenizer


def timed(function, *arguments):
    started = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--vocab-size", type=int, default=1024, help="[1024]")
    parser.add_argument("--parts", type=int, nargs="*", default=[4, 2], help="also learn from a half and a quarter [4 2]")
    options = parser.parse_args()
    text = options.text.read_bytes()
    print("| MB of text | tokens | seconds to learn | seconds a MB | bytes a token | <unk> | MB/s of encoding |\n|" + "---|" * 7)
    for part in [*options.parts, 1]:
        data = text[: len(text) // part]
        tokenizer, seconds = timed(BpeTokenizer.from_text, data, options.vocab_size)
        runs = [timed(tokenizer.encode, data) for _ in range(5)]
        ids, speed = runs[0][0], len(data) / 1e6 / statistics.median(run[1] for run in runs)
        size = len(data) / 1e6
        print(
            f"| {size:.2f} | {tokenizer.vocab_size} | {seconds:.1f} | {seconds / size:.2f} | {len(data) / len(ids):.3f} | "
            f"{tokenizer.count_unknown(ids)} | {speed:.0f} |",
            flush=True,
        )
    unit = 1 if sys.platform == "darwin" else 1024
    print(f"\npeak of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
