"""Training: a trainer that takes steps, and a session that validates and saves between them."""

from femto.training.evaluation import Loss, evaluate
from femto.training.session import OutOfPatience, Saved, Session, Validation
from femto.training.spikes import Spike
from femto.training.trainer import Step, Trainer

__all__ = ["Loss", "OutOfPatience", "Saved", "Session", "Spike", "Step", "Trainer", "Validation", "evaluate"]
