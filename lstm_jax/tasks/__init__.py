"""Long-range problems as pure generators: `task.sample(key, batch_size)` draws inputs, targets and mask on device."""

from lstm_jax.tasks.adding import Adding
from lstm_jax.tasks.adding_1997 import Adding1997
from lstm_jax.tasks.agreement import Agreement
from lstm_jax.tasks.copy import Copy, VariableCopy
from lstm_jax.tasks.delayed_recall import DelayedRecall
from lstm_jax.tasks.denoise import Denoise
from lstm_jax.tasks.formal import CycleNavigation, ModularArithmetic, Parity
from lstm_jax.tasks.long_lag import LongLag
from lstm_jax.tasks.long_lag_prediction import LongLagPrediction
from lstm_jax.tasks.mqar import MQAR
from lstm_jax.tasks.multiplication import Multiplication
from lstm_jax.tasks.reber import ContinualReber, EmbeddedReber, ReberStream
from lstm_jax.tasks.selective_copy import SelectiveCopy
from lstm_jax.tasks.temporal_order import TemporalOrder
from lstm_jax.tasks.timed_spikes import GenerateTimedSpikes
from lstm_jax.tasks.timing import MeasureSpikeDelay, PeriodicFunction
from lstm_jax.tasks.two_sequence import TwoSequence, TwoSequenceNoisyTarget
from lstm_jax.tasks.types import Batch, Task
from lstm_jax.tasks.word_problem import WordProblem

__all__ = [
    "MQAR",
    "Adding",
    "Adding1997",
    "Agreement",
    "Batch",
    "ContinualReber",
    "Copy",
    "CycleNavigation",
    "DelayedRecall",
    "Denoise",
    "EmbeddedReber",
    "GenerateTimedSpikes",
    "LongLag",
    "LongLagPrediction",
    "MeasureSpikeDelay",
    "ModularArithmetic",
    "Multiplication",
    "Parity",
    "PeriodicFunction",
    "ReberStream",
    "SelectiveCopy",
    "Task",
    "TemporalOrder",
    "TwoSequence",
    "TwoSequenceNoisyTarget",
    "VariableCopy",
    "WordProblem",
]
