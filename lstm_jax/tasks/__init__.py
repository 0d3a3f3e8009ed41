"""Long-range problems as pure generators: `task.sample(key, batch_size)` draws inputs, targets and mask on device."""

from lstm_jax.tasks.adding import Adding
from lstm_jax.tasks.adding_1997 import Adding1997
from lstm_jax.tasks.base import Batch, Task
from lstm_jax.tasks.long_lag import LongLag
from lstm_jax.tasks.temporal_order import TemporalOrder

__all__ = ["Adding", "Adding1997", "Batch", "LongLag", "Task", "TemporalOrder"]
