"""Cells and layers as Flax modules: `lstm_jax.adapters.linen` and `lstm_jax.adapters.nnx`, each imported by name."""
