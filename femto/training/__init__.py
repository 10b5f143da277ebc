"""Training: a trainer that takes steps, and a session that validates and saves between them."""

from femto.training import leaks, metrics, notes
from femto.training.ahead import Ahead, ahead
from femto.training.evaluation import Loss, evaluate
from femto.training.last_dataset import last_dataset, last_validation_dataset
from femto.training.partitioning import Partition, partition
from femto.training.session import OutOfPatience, Saved, Session, Validation
from femto.training.spikes import Spike
from femto.training.trainer import Step, Trainer

__all__ = [
    "Ahead",
    "Loss",
    "OutOfPatience",
    "Partition",
    "Saved",
    "Session",
    "Spike",
    "Step",
    "Trainer",
    "Validation",
    "ahead",
    "evaluate",
    "last_dataset",
    "last_validation_dataset",
    "leaks",
    "metrics",
    "notes",
    "partition",
]
