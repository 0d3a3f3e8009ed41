"""Networks: layers with what stands before and behind them."""

from lstm_jax.models.readout import MLP as MLP
from lstm_jax.models.readout import DenseParams as DenseParams
from lstm_jax.models.readout import Linear as Linear
from lstm_jax.models.readout import Network as Network
from lstm_jax.models.readout import NetworkParams as NetworkParams
from lstm_jax.models.transformer import Transformer as Transformer
