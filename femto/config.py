"""What a model is and how it is trained: two frozen records, and the presets that set their defaults."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TypeVar

from femto.errors import ConfigError
from femto.system.text import brief

BLOCKS = ("pre-norm", "reference")  # their classes: femto.model.blocks
POSITIONAL_ENCODINGS = ("none", "absolute", "learned", "rotary")
INITIALIZERS = ("scaled", "reference")
DECAYS = ("linear", "cosine")
SCHEDULES = ("run", "life")  # what the learning rate is a function of: femto.optimizers.schedule
NORMS = ("layer_norm",)  # their classes: femto.model.norms
OPTIMIZERS = ("adamw",)  # their classes: femto.optimizers
ROLES = ("embedding", "matrix", "gain", "bias", "head")  # of tensors: femto.model.tensors

# The numerics version says what the bytes of a run follow: the order of sums, the rounding of kernels, the meaning of settings.
# Whatever changes a bit of any result raises it. A model keeps its own (docs/reliability.md says what each promises).
LATEST_NUMERICS = 1

CHOICES = ("block", "positional_encoding", "initializer", "norm", "decay", "schedule", "optimizer")  # fields: one of several
# Fields, and what "auto" is there:
AUTO: dict[str, int | None] = {"micro_batch_size": 0, "warmup_steps": None, "decay_steps": None, "parts": 0}

PARTS = tuple(2**power for power in range(7))  # the numbers of parts that a batch may have
MAX_TOKENS = 65_536
MAX_VOCABULARY = 65_536
MAX_LAYERS = 4096


def added(as_before: Any, **new: Any) -> Any:
    """A field that came after the first version. Files without it mean `as_before`, which never changes.

    It is the default, too, but for a field that says `default`: what new records have.
    """
    known: dict[str, Any] = {"default_factory": dict, "hash": False} if as_before == {} else {"default": as_before}
    return field(**known | new, metadata={"as_before": as_before})


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {brief(value)}", name)


def _by_role(name: str, values: object) -> None:
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must be an object of numbers by role, got {brief(values)}", name)
    for role, value in values.items():
        if role not in ROLES:
            raise ConfigError(f"{name} must name roles among {', '.join(ROLES)}, got {brief(role)}", name)
        if type(value) not in (int, float) or not 0.0 <= value <= 1e3:
            raise ConfigError(f"{name} must be numbers from 0 to 1000, got {brief(value)} for {role}", name)


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a model. Raises ConfigError when the fields contradict each other."""

    vocab_size: int  # V, tokens the model knows
    num_tokens: int = 80  # T, context in tokens
    embedding_degree: int = 80  # d, width of the residual stream
    num_layers: int = 4  # L
    num_heads: int = 4  # H, divides d; each head has d / H columns
    block: str = "pre-norm"  # "pre-norm": h + f(LN(h)); "reference": the journal's, which adds to LN(h)
    positional_encoding: str = "rotary"  # one of POSITIONAL_ENCODINGS
    initializer: str = "scaled"  # see Model.initialize
    rotary_base: float = 1000.0  # of the rotary angles t / base^(2c/hs); longer contexts want a larger one
    norm: str = added("layer_norm")  # one of NORMS
    numerics: int = added(1, default=LATEST_NUMERICS)  # version of the arithmetic

    def __post_init__(self) -> None:
        for name, limit in (
            ("vocab_size", MAX_VOCABULARY),
            ("num_tokens", MAX_TOKENS),
            ("embedding_degree", 65_536),
            ("num_layers", MAX_LAYERS),
            ("num_heads", 65_536),
        ):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= limit:
                raise ConfigError(f"{name} must be a whole number from 1 to {limit:,}, got {brief(value)}", name)
        if self.embedding_degree % self.num_heads:
            raise ConfigError(
                f"embedding_degree must be a multiple of the number of heads, {self.num_heads}, got {self.embedding_degree}; "
                f"the nearest is {self.num_heads * max(1, round(self.embedding_degree / self.num_heads))}",
                "embedding_degree",
            )
        _one_of("block", self.block, BLOCKS)
        _one_of("norm", self.norm, NORMS)
        _one_of("positional_encoding", self.positional_encoding, POSITIONAL_ENCODINGS)
        _one_of("initializer", self.initializer, INITIALIZERS)
        if type(self.rotary_base) not in (int, float) or not 1.0 <= self.rotary_base <= 1e9:
            raise ConfigError(f"rotary_base must be a number from 1 to 1e9, got {brief(self.rotary_base)}", "rotary_base")
        if type(self.numerics) is not int or not 1 <= self.numerics <= LATEST_NUMERICS:
            message = f"numerics must be a version from 1 to {LATEST_NUMERICS}, got {brief(self.numerics)}"
            raise ConfigError(f"{message}; if a newer femto made the file, upgrade femto", "numerics")

    @property
    def head_size(self) -> int:
        """hs = d / H, columns of a head."""
        return self.embedding_degree // self.num_heads

    @property
    def letters(self) -> dict[str, int]:
        """The shape in short, by the letters of the docs."""
        names = {"V": "vocab_size", "T": "num_tokens", "d": "embedding_degree", "L": "num_layers", "H": "num_heads"}
        return {letter: getattr(self, name) for letter, name in names.items()}

    @property
    def num_parameters(self) -> int:
        """The sum of the sizes of all tensors that `femto.model.tensors` declares."""
        from femto.model import tensors  # late: it loads NumPy, which a setting does not need

        return tensors.num_parameters(self)

    @property
    def flops_per_token(self) -> int:
        """What the mathematics of one training step needs a token; see `femto.model.tensors.flops_per_token`."""
        from femto.model import tensors

        return tensors.flops_per_token(self)


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. Stored in the checkpoint, so that a run goes on as it began. Raises ConfigError.

    "auto", for a field of AUTO, is another way to say what the field holds where femto derives the value.
    """

    batch_size: int = 16  # B, windows of T+1 tokens a step
    micro_batch_size: int = 0  # windows of a part computed at a time; 0: see training.partitioning
    dropout: float = 0.0  # probability, on attention and on the output of each half of a block
    learning_rate: float = 0.003  # peak, reached after the warm-up
    min_learning_rate: float = 0.00003  # where the decay ends, and what is used after it
    warmup_steps: int | None = None  # linear, up to the peak; None: a tenth of the run, 100 at most, see schedule.settled
    decay_steps: int | None = None  # steps from the peak to the minimum; None: until the end of each run, see Session
    decay: str = "linear"  # one of DECAYS
    weight_decay: float = 0.1  # decoupled, on every parameter
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-8
    clip_norm: float = 1.0  # largest Euclidean norm of the gradient; 0: no clipping
    validation_split: float = 0.0  # last share of the data set that is held out
    seed: int = 0  # batches and dropout are functions of seed and step
    optimizer: str = added("adamw")  # one of OPTIMIZERS
    learning_rate_factors: dict[str, float] = added({})  # by role of a tensor, one of ROLES; 1 for the others
    weight_decays: dict[str, float] = added({})  # by role; weight_decay for the others
    parts: int = added(1, default=0)  # of the batch, with a gradient each; a power of two; 0: see training.partitioning
    schedule: str = added("life", default="run")  # one of SCHEDULES
    # Where the schedule stands, which sessions write: settings that nobody chooses.
    run_start: int = added(0)  # updates of the optimiser before the run that the schedule belongs to
    run_rate: float = added(0.0)  # the learning rate that its warm-up starts from
    run_end: int | None = added(None)  # updates at its end; None: the next session begins a run
    rewarmed: bool = added(False)  # whether it was begun by Session(rewarm=True)

    def __post_init__(self) -> None:
        for name, derived in AUTO.items():
            if getattr(self, name) == "auto":
                object.__setattr__(self, name, derived)
        for name, lowest, highest in (
            ("batch_size", 1, 1_048_576),
            ("warmup_steps", 0, 2**32),
            ("decay_steps", 0, 2**32),
            ("seed", 0, 2**63 - 1),
            ("run_start", 0, 2**63 - 1),
            ("run_end", 0, 2**63 - 1),
        ):
            value = getattr(self, name)
            if value is None and name in ("warmup_steps", "decay_steps", "run_end"):
                continue
            if type(value) is not int or not lowest <= value <= highest:
                or_auto = " or auto" if name in AUTO else ""
                message = f"{name} must be a whole number from {lowest} to {highest:,}{or_auto}, got {brief(value)}"
                raise ConfigError(message, name)
        micro = self.micro_batch_size
        if type(micro) is not int or micro < 0 or (micro and self.batch_size % micro):
            message = f"micro_batch_size must be auto (or 0), or divide batch_size {self.batch_size}, got {brief(micro)}"
            raise ConfigError(message, "micro_batch_size")
        if type(self.parts) is not int or self.parts not in (0, *PARTS) or self.batch_size % ((self.parts or 1) * (micro or 1)):
            windows = f"{self.batch_size} windows" + (f" in micro-batches of {micro}" if micro else "")
            raise ConfigError(
                f"parts must be auto (or 0), or 1, 2, 4 … 64 and divide {windows}, got {brief(self.parts)}", "parts"
            )
        for name, lowest_rate, limit in (
            ("dropout", 0.0, 0.99),
            ("learning_rate", 0.0, 1e3),
            ("min_learning_rate", 0.0, 1e3),
            ("weight_decay", 0.0, 1e3),
            ("beta1", 0.0, 0.999999),
            ("beta2", 0.0, 0.999999999),
            ("epsilon", 1e-30, 1.0),
            ("clip_norm", 0.0, 1e30),
            ("validation_split", 0.0, 0.9),
            ("run_rate", 0.0, 1e3),
        ):
            rate = getattr(self, name)
            if type(rate) not in (int, float) or not lowest_rate <= rate <= limit:
                raise ConfigError(f"{name} must be a number from {lowest_rate:g} to {limit:g}, got {brief(rate)}", name)
        _one_of("decay", self.decay, DECAYS)
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("schedule", self.schedule, SCHEDULES)
        if type(self.rewarmed) is not bool:
            raise ConfigError(f"rewarmed must be true or false, got {brief(self.rewarmed)}", "rewarmed")
        _by_role("learning_rate_factors", self.learning_rate_factors)
        _by_role("weight_decays", self.weight_decays)
        for name in ("learning_rate_factors", "weight_decays"):
            object.__setattr__(self, name, dict(getattr(self, name)))  # its own, which nobody else changes


@dataclass(frozen=True)
class Preset:
    """Defaults for a model and its training; every one has a flag of its own."""

    model: dict[str, Any]
    training: TrainConfig


PRESETS = {
    "modern": Preset(
        {
            "block": "pre-norm",
            "positional_encoding": "rotary",
            "initializer": "scaled",
            "numerics": LATEST_NUMERICS,
        },
        TrainConfig(),
    ),
    "reference": Preset(  # what the original program computes
        {
            "block": "reference",
            "positional_encoding": "absolute",
            "initializer": "reference",
            "numerics": LATEST_NUMERICS,
        },
        TrainConfig(
            batch_size=32,
            learning_rate=0.001,
            min_learning_rate=0.00001,
            warmup_steps=100,
            decay_steps=50_000,
            schedule="life",
            weight_decay=0.01,
            beta2=0.999,
            clip_norm=0.0,
        ),
    ),
}

Record = TypeVar("Record", ModelConfig, TrainConfig)


def to_json(record: ModelConfig | TrainConfig) -> dict[str, Any]:
    return asdict(record)


def from_json(kind: type[Record], document: object) -> Record:
    """The record that `to_json` wrote, also if it was written before some fields were added.

    Raises ConfigError on missing, unknown or wrong fields.
    """
    if not isinstance(document, dict):
        raise ConfigError(f"expected a JSON object for {kind.__name__}, got {type(document).__name__}")
    known = {one.name for one in fields(kind)}
    for name in document.keys() - known:
        raise ConfigError(f"{kind.__name__} has no field {brief(name)}; was the file written by a newer femto?")
    for name in known - document.keys() - as_before(kind).keys():
        raise ConfigError(f"{kind.__name__} lacks the field {name!r}")
    try:
        return kind(**{**as_before(kind), **document})
    except ConfigError as error:
        if error.field not in CHOICES:
            raise
        raise ConfigError(f"{error}; was the file written by a newer femto?", error.field) from error


def as_before(kind: type[Any]) -> dict[str, Any]:
    """The fields that were added to a record after the first version, and what files without them mean."""
    return {one.name: one.metadata["as_before"] for one in fields(kind) if "as_before" in one.metadata}


def without_as_before(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of fields of a record, without those that say what files meant before the field was there.

    What is recorded of an experiment stays valid by it: a digest of these does not change when a field is added.
    """
    before = as_before(kind)
    return {name: value for name, value in values.items() if name not in before or value != before[name]}


def updated(record: Record, changes: dict[str, Any]) -> Record:
    """The record with the changes that are not None."""
    return replace(record, **{name: value for name, value in changes.items() if value is not None})
