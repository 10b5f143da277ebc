"""The rows of SPEC section 8: configurations of the journal's experiments that every speed is quoted for."""

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


def configuration(row):
    """ModelConfig and TrainConfig of a row. Imported late: the table also serves a Python without femto."""
    from femto.config import ModelConfig, TrainConfig

    v, t, d, layers, heads, dropout = ROWS[row]
    return ModelConfig(v, t, d, layers, heads), TrainConfig(dropout=dropout)
