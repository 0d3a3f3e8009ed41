"""Networks: layers with what stands before and behind them; n-grams; generation."""

from lstm_jax.models.attention import Attention as Attention
from lstm_jax.models.classifier import Classifier as Classifier
from lstm_jax.models.crf import CRF as CRF
from lstm_jax.models.decoding import Beams as Beams
from lstm_jax.models.decoding import beam_search as beam_search
from lstm_jax.models.decoding import filter_logits as filter_logits
from lstm_jax.models.decoding import sample as sample
from lstm_jax.models.embedding import Embedding as Embedding
from lstm_jax.models.encoder_decoder import EncoderDecoder as EncoderDecoder
from lstm_jax.models.language_model import LanguageModel as LanguageModel
from lstm_jax.models.language_model import SequenceDropout as SequenceDropout
from lstm_jax.models.language_model import awd_lstm as awd_lstm
from lstm_jax.models.language_model import log_probability as log_probability
from lstm_jax.models.language_model import zaremba as zaremba
from lstm_jax.models.ngram import AddK as AddK
from lstm_jax.models.ngram import KneserNey as KneserNey
from lstm_jax.models.ngram import NGram as NGram
from lstm_jax.models.ngram import NGramModel as NGramModel
from lstm_jax.models.readout import MLP as MLP
from lstm_jax.models.readout import DenseParams as DenseParams
from lstm_jax.models.readout import Linear as Linear
from lstm_jax.models.readout import Network as Network
from lstm_jax.models.readout import NetworkParams as NetworkParams
from lstm_jax.models.tagger import Tagger as Tagger
from lstm_jax.models.transformer import Transformer as Transformer
from lstm_jax.models.window import WindowModel as WindowModel
