"""What every framework of compare_pytorch.py starts from, as one .npz file: femto's worker writes it, the others read it."""

import json

import numpy as np

CHECK_STEPS = 3  # without dropout, on batches that all share
CHECK_CLIP_NORM = 0.1  # shorter than any gradient, so that the check sees clipping
NOT_PARAMETERS = ("settings", "ids", "check_windows")


class Problem:
    """Settings (the fields of femto's ModelConfig and TrainConfig, also as attributes), initial parameters, token ids.

    Parameters are read when they are asked for, so that a worker's peak memory is its framework's and not this file's.
    """

    def __init__(self, path):
        self.file = np.load(path)
        self.settings = json.loads(str(self.file["settings"]))
        self.ids = self.file["ids"]
        self.check_windows = list(self.file["check_windows"])
        self.random = np.random.default_rng(0)

    def __getattr__(self, name):
        if name in self.settings:
            return self.settings[name]
        raise AttributeError(name)

    def parameter_names(self):
        return [name for name in self.file.files if name not in NOT_PARAMETERS]

    def parameter(self, name):
        """A parameter by its name in femto, float32; weights are (inputs, outputs)."""
        return self.file[name]

    def draw(self):
        """Windows (B, T+1) int64: the first CHECK_STEPS times those of the check, then uniformly random ones."""
        if self.check_windows:
            return self.check_windows.pop(0)
        starts = self.random.integers(len(self.ids) - self.num_tokens, size=(self.batch_size, 1))
        return self.ids[starts + np.arange(self.num_tokens + 1)]


def save(path, settings, parameters, ids, check_windows):
    numbers = {"ids": ids.astype(np.int64), "check_windows": check_windows.astype(np.int64)}
    np.savez(path, settings=np.array(json.dumps(settings)), **numbers, **parameters)
