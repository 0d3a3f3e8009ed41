"""Training: clipped optimizers, the train state, one pure step, the loop around it, checkpoints that resume exactly."""

from lstm_jax.training.checkpoint import latest_step, restore, save
from lstm_jax.training.loop import NonFiniteLossError, fit
from lstm_jax.training.optimizers import clipped_adam, clipped_sgd
from lstm_jax.training.state import TrainState, init_state
from lstm_jax.training.step import make_step

__all__ = [
    "NonFiniteLossError",
    "TrainState",
    "clipped_adam",
    "clipped_sgd",
    "fit",
    "init_state",
    "latest_step",
    "make_step",
    "restore",
    "save",
]
