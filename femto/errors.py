"""Every error that femto raises on purpose.

All derive from :class:`FemtoError`; the command line turns each into one line and exit status 1.
"""


class FemtoError(Exception):
    """Base of femto's errors. The message is one line: what is wrong, where, what to do."""


class ConfigError(FemtoError):
    """A hyperparameter or training setting is out of range or contradicts another.

    field: the name of the setting, with which the message then begins, or None.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class DataError(FemtoError):
    """A data set cannot be read or is too small for what was asked."""


class TokenizerError(FemtoError):
    """A tokenizer file or definition is not valid."""


class CheckpointError(FemtoError):
    """A checkpoint cannot be read, written or used."""


class TrainingError(FemtoError):
    """Training cannot go on: a loss or gradient is not finite."""


class ResourceError(FemtoError):
    """Something needs more memory than this process can have."""


class RecipeError(FemtoError):
    """A recipe of an experiment, or the folder of its run, is not valid."""
