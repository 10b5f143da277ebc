"""The rows that every speed is quoted for: configurations of seven of the journal's experiments (docs/performance.md)."""

# experiment: (V, T, d, L, H, dropout)
ROWS = {
    "10": (257, 80, 32, 4, 2, 0.0),
    "1": (257, 80, 64, 4, 4, 0.0),
    "22": (257, 80, 144, 6, 6, 0.1),
    "36": (576, 128, 144, 6, 6, 0.1),
    "19": (1054, 80, 192, 8, 8, 0.1),
    "34": (1344, 128, 324, 9, 9, 0.1),
    "14": (1054, 80, 768, 8, 16, 0.1),
}

# Every setting is named, because what is published says them: a default of femto that changes must not change the rows.
# The learning rate is constant, as the other frameworks of compare_pytorch.py have it, and without a warm-up, whose first step
# would move nothing.
MODEL = {"block": "pre-norm", "positional_encoding": "rotary", "initializer": "scaled", "rotary_base": 1000.0}
TRAINING = {
    "batch_size": 32,
    "micro_batch_size": 0,  # as many windows at a time as training.trainer.ACTIVATION_BYTES holds
    "learning_rate": 0.003,
    "min_learning_rate": 0.003,
    "warmup_steps": 0,
    "decay_steps": 0,
    "schedule": "life",
    "decay": "linear",
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.99,
    "epsilon": 1e-8,
    "clip_norm": 1.0,
    "validation_split": 0.0,
    "seed": 0,
}


def configuration(row):
    """ModelConfig and TrainConfig of a row. Imported late: the table also serves a Python without femto."""
    from femto.config import ModelConfig, TrainConfig

    v, t, d, layers, heads, dropout = ROWS[row]
    shape = {"vocab_size": v, "num_tokens": t, "embedding_degree": d, "num_layers": layers, "num_heads": heads}
    return ModelConfig(**shape, **MODEL), TrainConfig(dropout=dropout, **TRAINING)
