"""What gradients, gates and states do over time: for looking into networks, not for training them."""

from lstm_jax.analysis.backward import LSTMDeltas, LSTMGradients, elman_gradient, lstm_gradients
from lstm_jax.analysis.probe import Probe, fit_probe, probe_accuracy
from lstm_jax.analysis.rtrl import Influence, rtrl, rtrl_step, start_influence
from lstm_jax.analysis.sensitivity import (
    Gradients,
    InputSensitivity,
    Sensitivity,
    decay_rate,
    direct_path,
    gradients,
    input_sensitivity,
    sensitivity,
)
from lstm_jax.analysis.trace import trace
from lstm_jax.analysis.truncation import Bias, Truncated, gradient_bias, truncated_scan

__all__ = [
    "Bias",
    "Gradients",
    "Influence",
    "InputSensitivity",
    "LSTMDeltas",
    "LSTMGradients",
    "Probe",
    "Sensitivity",
    "Truncated",
    "decay_rate",
    "direct_path",
    "elman_gradient",
    "fit_probe",
    "gradient_bias",
    "gradients",
    "input_sensitivity",
    "lstm_gradients",
    "probe_accuracy",
    "rtrl",
    "rtrl_step",
    "sensitivity",
    "start_influence",
    "trace",
    "truncated_scan",
]
