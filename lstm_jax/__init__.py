"""Recurrent networks in JAX: pure functional cells, one scan, layers to build from."""

import importlib
from typing import TYPE_CHECKING, Any

from lstm_jax import forests as forests
from lstm_jax import inits as inits
from lstm_jax import kernels as kernels
from lstm_jax import tree as tree
from lstm_jax.cells import GRU as GRU
from lstm_jax.cells import IRNN as IRNN
from lstm_jax.cells import JANET as JANET
from lstm_jax.cells import LRU as LRU
from lstm_jax.cells import LSTM as LSTM
from lstm_jax.cells import MGU as MGU
from lstm_jax.cells import MUT1 as MUT1
from lstm_jax.cells import MUT2 as MUT2
from lstm_jax.cells import MUT3 as MUT3
from lstm_jax.cells import NTM as NTM
from lstm_jax.cells import SCRN as SCRN
from lstm_jax.cells import SLSTM as SLSTM
from lstm_jax.cells import ChildSumTreeLSTM as ChildSumTreeLSTM
from lstm_jax.cells import ConvGRU as ConvGRU
from lstm_jax.cells import ConvGRUParams as ConvGRUParams
from lstm_jax.cells import ConvLSTM as ConvLSTM
from lstm_jax.cells import ConvLSTMParams as ConvLSTMParams
from lstm_jax.cells import Elman as Elman
from lstm_jax.cells import ElmanParams as ElmanParams
from lstm_jax.cells import FullGateCarry as FullGateCarry
from lstm_jax.cells import FullGateLSTM as FullGateLSTM
from lstm_jax.cells import FullGateParams as FullGateParams
from lstm_jax.cells import GRUParams as GRUParams
from lstm_jax.cells import IndRNN as IndRNN
from lstm_jax.cells import IndRNNParams as IndRNNParams
from lstm_jax.cells import JANETParams as JANETParams
from lstm_jax.cells import LayerNormGRU as LayerNormGRU
from lstm_jax.cells import LayerNormGRUParams as LayerNormGRUParams
from lstm_jax.cells import LayerNormLSTM as LayerNormLSTM
from lstm_jax.cells import LayerNormLSTMParams as LayerNormLSTMParams
from lstm_jax.cells import LightGRU as LightGRU
from lstm_jax.cells import LightGRUParams as LightGRUParams
from lstm_jax.cells import LRUCarry as LRUCarry
from lstm_jax.cells import LRUParams as LRUParams
from lstm_jax.cells import LSTMCarry as LSTMCarry
from lstm_jax.cells import LSTMParams as LSTMParams
from lstm_jax.cells import MemoryBlockLSTM as MemoryBlockLSTM
from lstm_jax.cells import MemoryBlockParams as MemoryBlockParams
from lstm_jax.cells import MGUParams as MGUParams
from lstm_jax.cells import MinGRU as MinGRU
from lstm_jax.cells import MinimalParams as MinimalParams
from lstm_jax.cells import MinLSTM as MinLSTM
from lstm_jax.cells import MultiplicativeLSTM as MultiplicativeLSTM
from lstm_jax.cells import MultiplicativeLSTMParams as MultiplicativeLSTMParams
from lstm_jax.cells import MUTParams as MUTParams
from lstm_jax.cells import NaryTreeLSTM as NaryTreeLSTM
from lstm_jax.cells import NTMCarry as NTMCarry
from lstm_jax.cells import NTMParams as NTMParams
from lstm_jax.cells import PeepholeLSTM as PeepholeLSTM
from lstm_jax.cells import PeepholeParams as PeepholeParams
from lstm_jax.cells import ProjectedLSTM as ProjectedLSTM
from lstm_jax.cells import ProjectedLSTMParams as ProjectedLSTMParams
from lstm_jax.cells import SCRNCarry as SCRNCarry
from lstm_jax.cells import SCRNParams as SCRNParams
from lstm_jax.cells import SLSTMCarry as SLSTMCarry
from lstm_jax.cells import SLSTMParams as SLSTMParams
from lstm_jax.cells import TreeLSTMParams as TreeLSTMParams
from lstm_jax.cells import VariationalDropout as VariationalDropout
from lstm_jax.cells import WeightDrop as WeightDrop
from lstm_jax.cells import Zoneout as Zoneout
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
    from lstm_jax import analysis as analysis
    from lstm_jax import convert as convert
    from lstm_jax import data as data
    from lstm_jax import losses as losses
    from lstm_jax import models as models
    from lstm_jax import tasks as tasks
    from lstm_jax import training as training

# Rooms opened when first asked for: import stays light.
_LAZY = ("analysis", "convert", "data", "losses", "models", "tasks", "training")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"lstm_jax.{name}")
    raise AttributeError(f"module 'lstm_jax' has no attribute {name!r}")
