"""Long-range problems as pure generators: `task.sample(key, batch_size)` draws inputs, targets and mask on device."""

from lstm_jax.tasks.adding import Adding
from lstm_jax.tasks.adding_1997 import Adding1997
from lstm_jax.tasks.long_lag import LongLag
from lstm_jax.tasks.reber import ContinualReber, EmbeddedReber, ReberStream
from lstm_jax.tasks.temporal_order import TemporalOrder
from lstm_jax.tasks.timing import MeasureSpikeDelay, PeriodicFunction
from lstm_jax.tasks.types import Batch, Task

__all__ = [
    "Adding",
    "Adding1997",
    "Batch",
    "ContinualReber",
    "EmbeddedReber",
    "LongLag",
    "MeasureSpikeDelay",
    "PeriodicFunction",
    "ReberStream",
    "Task",
    "TemporalOrder",
]
