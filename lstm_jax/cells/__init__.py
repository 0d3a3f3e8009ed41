"""One cell per file: its parameters, its carry, its options, its equations."""

from lstm_jax.cells.elman import Elman as Elman
from lstm_jax.cells.elman import ElmanParams as ElmanParams
from lstm_jax.cells.gru import GRU as GRU
from lstm_jax.cells.gru import GRUParams as GRUParams
from lstm_jax.cells.lstm import LSTM as LSTM
from lstm_jax.cells.lstm import LSTMCarry as LSTMCarry
from lstm_jax.cells.lstm import LSTMParams as LSTMParams
