"""Names that other programs of the field give to options of femto. They are understood, and help does not show them."""

import difflib
from collections.abc import Iterable, Mapping

OPTIONS: dict[str, tuple[str, ...]] = {  # those of one meaning; `_` stands for `-` in all of them
    "--learning-rate": ("--lr", "--max-lr", "--peak-lr"),
    "--min-learning-rate": ("--min-lr", "--lr-min", "--eta-min"),
    "--warmup-steps": ("--warmup", "--warmup-iters", "--num-warmup-steps", "--lr-warmup-steps"),
    "--decay-steps": ("--lr-decay-iters", "--lr-decay-steps", "--decay-iters"),
    "--decay": ("--lr-schedule", "--lr-scheduler", "--lr-scheduler-type", "--lr-decay-style", "--scheduler"),
    "--weight-decay": ("--wd",),
    "--beta1": ("--adam-beta1", "--beta-1"),
    "--beta2": ("--adam-beta2", "--beta-2"),
    "--epsilon": ("--eps", "--adam-eps", "--adam-epsilon"),
    "--clip-norm": ("--grad-clip", "--gradient-clip", "--gradient-clip-val", "--clip-grad", "--max-grad-norm"),
    "--optimizer": ("--optim", "--optimiser"),
    "--dropout": ("--dropout-rate", "--dropout-prob", "--dropout-p", "--p-dropout"),
    "--batch-size": ("--bs", "--batch", "--train-batch-size", "--per-device-train-batch-size"),
    "--micro-batch-size": ("--microbatch-size", "--micro-batch", "--microbatch", "--device-batch-size"),
    "--steps": ("--iters", "--iterations", "--num-iters", "--num-iterations", "--num-steps", "--n-steps", "--train-steps"),
    "--until": ("--max-steps", "--max-iters", "--max-iterations", "--total-steps", "--train-iters", "--num-train-steps"),
    "--validation-split": ("--val-split", "--valid-split", "--val-fraction", "--validation-fraction", "--val-ratio"),
    "--validate-every": ("--eval-every", "--eval-interval", "--eval-steps", "--val-every", "--val-interval"),
    "--patience": ("--early-stopping-patience", "--early-stopping"),
    "--save-every": ("--save-steps", "--save-interval", "--checkpoint-every", "--checkpoint-interval", "--ckpt-interval"),
    "--seed": ("--random-seed", "--rng-seed"),
    "--dataset": ("--data", "--data-path", "--data-file", "--train-data", "--train-file", "--text", "--text-file", "--corpus"),
    "--model": ("--checkpoint", "--ckpt", "--ckpt-path", "--checkpoint-path", "--model-path", "--model-file"),
    "--threads": ("--num-threads", "--n-threads", "--nthreads"),
    "--embedding-degree": (
        *("--n-embd", "--n-embed", "--d-model", "--dim", "--model-dim", "--hidden-size", "--hidden-dim", "--width"),
        *("--embed-dim", "--emb-dim", "--embedding-dim", "--embedding-size", "--n-embedding"),
    ),
    "--num-layers": ("--n-layer", "--n-layers", "--num-layer", "--layers", "--num-hidden-layers", "--num-blocks", "--depth"),
    "--num-heads": ("--n-head", "--n-heads", "--num-head", "--heads", "--num-attention-heads"),
    "--num-tokens": (
        *("--block-size", "--context", "--context-length", "--context-size", "--context-window", "--n-ctx", "--ctx-len"),
        *("--seq-len", "--seq-length", "--sequence-length", "--max-seq-len", "--max-position-embeddings", "--n-positions"),
    ),
    "--vocab-size": ("--n-vocab", "--vocabulary-size", "--num-vocab"),
    "--positional-encoding": ("--pos-encoding", "--position-encoding", "--pos-emb", "--position-embedding-type"),
    "--rotary-base": ("--rope-base", "--rope-theta"),
    "--max-new-tokens": ("--max-tokens", "--n-predict", "--num-predict", "--length", "--num-new-tokens"),
    "--temperature": ("--temp",),
    "--top-k": ("--topk",),
    "--top-p": ("--topp",),
    "--num-samples": ("--num-return-sequences", "--n-samples", "--num-sequences"),
    "--stop": ("--stop-sequence", "--stop-string", "--stop-text"),
    "--candidates": ("--logprobs", "--top-logprobs"),
}

COMMANDS = {"generate": "infer", "sample": "infer", "complete": "infer", "eval": "evaluate", "benchmark": "bench"}

_NO_KINDS = "femto computes in float32 on CPU cores, with kernels of its own"
_LOGGING = "--metrics FILE of `femto train` writes every step as a line of JSON"
_WHOLE_BATCH = "--batch-size is the whole batch of a step, and --micro-batch-size divides it"
_EPOCHS = "femto counts steps, --steps or --until; one reads as many windows as --batch-size says"
_GOES_ON = "`femto train` goes on from where the model of --model stopped"
_WIDE = "the feed-forward part is four times as wide as the model"

WITHOUT = {  # names of what femto has not, and what to say
    **dict.fromkeys(("--device", "--cuda", "--gpu", "--gpus"), _NO_KINDS + "; --threads says how many"),
    **dict.fromkeys(("--dtype", "--precision", "--fp16", "--bf16", "--compile", "--amp"), _NO_KINDS),
    **dict.fromkeys(("--epochs", "--num-epochs", "--n-epochs", "--max-epochs", "--num-train-epochs"), _EPOCHS),
    **dict.fromkeys(("--gradient-accumulation-steps", "--grad-accum", "--accumulate-grad-batches"), _WHOLE_BATCH),
    **dict.fromkeys(("--resume", "--resume-from", "--resume-from-checkpoint", "--init-from"), _GOES_ON),
    **dict.fromkeys(("--out-dir", "--output-dir", "--save-dir", "--out"), "--model names the file of the model"),
    **dict.fromkeys(("--log-interval", "--log-every", "--logging-steps", "--log-file", "--wandb", "--tensorboard"), _LOGGING),
    **dict.fromkeys(("--eval-iters", "--eval-batches"), "`femto train` validates on at most 65,536 tokens, always the same ones"),
    **dict.fromkeys(("--d-ff", "--ffn-dim", "--intermediate-size", "--mlp-ratio"), _WIDE),
    **dict.fromkeys(("--head-dim", "--head-size", "--d-head"), "a head has --embedding-degree divided by --num-heads columns"),
    **dict.fromkeys(("--prompt", "--start"), "a prompt is an argument, without an option: femto infer 'Once upon'"),
    "--max-length": "--max-new-tokens of `femto infer` counts the new tokens alone",
    "--do-sample": "--temperature 0 of `femto infer` always takes the likeliest token, any other one chooses at random",
}

MEANT = {name: option for option, names in OPTIONS.items() for name in names}


def hidden(names: Iterable[str], taken: Iterable[str]) -> list[str]:
    """The names of the field for an option with these names, in a command in which `taken` are names of options."""
    return [other for name in names for other in OPTIONS.get(name, ()) if other not in set(taken)]


def advice(name: str, here: Iterable[str], elsewhere: Mapping[str, Iterable[str]]) -> str:
    """What to say to who gives an option that a command has not; nothing if nobody knows.

    here: the options of the command. elsewhere: those of all commands, by what is typed to run them.
    """
    name = name.replace("_", "-")
    if name in WITHOUT:
        return WITHOUT[name]
    meant = MEANT.get(name, name)
    having = [f"`{command}`" for command, options in elsewhere.items() if meant in options]
    if having:
        more = ", …" if len(having) > 3 else ""
        return f"{meant} is an option of {', '.join(having[:3])}{more}"
    close = difflib.get_close_matches(name, [*here], n=2, cutoff=0.7)
    return f"did you mean {' or '.join(close)}?" if close else ""
