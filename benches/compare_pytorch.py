"""femto against PyTorch on the rows of SPEC section 8, in one run: each in a process of its own, one after the other.

    python benches/compare_pytorch.py --python PATH_OF_A_PYTHON_WITH_TORCH [ROW …]

The PyTorch side is the same network (pre-norm, rotary, GELU, bias, no weight tying) with its fused attention and fused AdamW,
gradient clipping included, on the same number of threads; eager, and torch.compile with --compile. Times are medians of whole
steps; the ratio is what to quote, because both saw the same machine.
"""

import argparse
import json
import os
import subprocess
import sys

from configurations import ROWS

STEPS = {"34": 5, "14": 4}
BATCH = 32


def torch_step(row, threads, steps, compiled):
    """Median milliseconds and peak resident MiB of PyTorch's whole step. Runs under the Python that has torch."""
    import resource
    import statistics
    import time

    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    vocabulary, context, d, layers, heads, dropout = ROWS[row]
    size = d // heads
    half = size // 2
    angles = torch.outer(torch.arange(context).float(), 1000.0 ** (-2.0 * torch.arange(half) / size))
    cosine, sine = angles.cos(), angles.sin()

    def rotate(x):  # (B, H, T, hs)
        first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine, rest], -1)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.atten_norm = nn.LayerNorm(d), nn.LayerNorm(d)
            self.qkv, self.projection = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d)
            self.up, self.down = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

        def forward(self, h):
            b, t, _ = h.shape
            q, k, v = (x.view(b, t, heads, size).transpose(1, 2) for x in self.qkv(self.norm(h)).split(d, 2))
            p = dropout if self.training else 0.0
            a = functional.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True, dropout_p=p)
            h = h + functional.dropout(self.projection(a.transpose(1, 2).reshape(b, t, d)), dropout)
            inner = functional.gelu(self.up(self.atten_norm(h)), approximate="tanh")
            return h + functional.dropout(self.down(inner), dropout)

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.blocks = nn.Embedding(vocabulary, d), nn.ModuleList(Block() for _ in range(layers))
            self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, vocabulary)

        def forward(self, tokens, targets):
            h = self.embedding(tokens)
            for block in self.blocks:
                h = block(h)
            return functional.cross_entropy(self.head(self.norm(h)).view(-1, vocabulary), targets.view(-1))

    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    run = torch.compile(network) if compiled else network
    data = torch.randint(vocabulary, (1_000_000,))
    times = []
    for _ in range(steps + 3):
        started = time.perf_counter()
        places = torch.randint(len(data) - context - 1, (BATCH, 1)) + torch.arange(context + 1)
        window = data[places]
        loss = run(window[:, :-1], window[:, 1:].contiguous())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        loss.item()
        times.append(1000 * (time.perf_counter() - started))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"median_ms": statistics.median(times[3:]), "peak_rss_mib": peak}


def femto_step(row, threads, steps):
    v, t, d, layers, heads, dropout = ROWS[row]
    options = ["--vocab-size", v, "--num-tokens", t, "--embedding-degree", d, "--num-layers", layers, "--num-heads", heads]
    options += ["--dropout", dropout, "--batch-size", BATCH, "--threads", threads, "--steps", steps, "--json"]
    return json.loads(subprocess.check_output([sys.executable, "-m", "femto", "bench", *map(str, options)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--python", required=True, help="a Python that can import torch")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, help="steps to time [20; 5 and 4 for the two largest]")
    parser.add_argument("--compile", action="store_true", help="torch.compile too")
    parser.add_argument("--torch-worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.torch_worker:
        print(json.dumps(torch_step(options.rows[0], options.threads, options.steps, options.torch_worker == "compile")))
        return
    print("| row | femto ms | of peak | MiB | PyTorch eager ms | MiB | torch.compile ms | faster PyTorch / femto |")
    print("|---|---|---|---|---|---|---|---|")
    for row in options.rows:
        steps = options.steps or STEPS.get(row, 20)
        ours = femto_step(row, options.threads, steps)
        theirs = {}
        for kind in ["eager", "compile"] if options.compile else ["eager"]:
            command = [options.python, __file__, row, "--python", options.python, "--threads", options.threads]
            output = subprocess.check_output([*map(str, command), "--steps", str(steps), "--torch-worker", kind])
            theirs[kind] = json.loads(output)
        compiled = f"{theirs['compile']['median_ms']:.1f}" if "compile" in theirs else "-"
        fastest = min(result["median_ms"] for result in theirs.values())
        print(
            f"| #{row} | {ours['median_ms']:.1f} | {ours['fraction_of_peak']:.0%} | {ours['peak_rss_mib']:.0f} "
            f"| {theirs['eager']['median_ms']:.1f} | {theirs['eager']['peak_rss_mib']:.0f} | {compiled} "
            f"| {fastest / ours['median_ms']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
