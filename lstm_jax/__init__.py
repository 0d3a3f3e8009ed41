"""Recurrent networks in JAX: pure functional cells, one scan, layers to build from."""

import importlib
from typing import TYPE_CHECKING, Any

from lstm_jax import inits as inits
from lstm_jax import kernels as kernels
from lstm_jax import tree as tree
from lstm_jax.cells import GRU as GRU
from lstm_jax.cells import LSTM as LSTM
from lstm_jax.cells import Elman as Elman
from lstm_jax.cells import ElmanParams as ElmanParams
from lstm_jax.cells import GRUParams as GRUParams
from lstm_jax.cells import LSTMCarry as LSTMCarry
from lstm_jax.cells import LSTMParams as LSTMParams
from lstm_jax.layers import Bidirectional as Bidirectional
from lstm_jax.layers import BidirectionalCarry as BidirectionalCarry
from lstm_jax.layers import BidirectionalParams as BidirectionalParams
from lstm_jax.layers import Recurrent as Recurrent
from lstm_jax.layers import RecurrentParams as RecurrentParams
from lstm_jax.layers import Stack as Stack
from lstm_jax.scan import scan as scan
from lstm_jax.types import Cell as Cell
from lstm_jax.types import Layer as Layer

if TYPE_CHECKING:
    from lstm_jax import convert as convert
    from lstm_jax import data as data
    from lstm_jax import losses as losses
    from lstm_jax import models as models
    from lstm_jax import tasks as tasks
    from lstm_jax import training as training

# Rooms opened when first asked for: import stays light.
_LAZY = ("convert", "data", "losses", "models", "tasks", "training")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"lstm_jax.{name}")
    raise AttributeError(f"module 'lstm_jax' has no attribute {name!r}")
