"""Both Flax adapters as functions of our own parameters, so that one test serves the two."""

import jax
from flax import nnx

from lstm_jax import tree
from lstm_jax.adapters import linen as in_linen
from lstm_jax.adapters import nnx as in_nnx


def linen(layer, params, *inputs, rngs=None, method=None, options=(), **call):
    module = in_linen.Recurrent(layer, **dict(options))
    return module.apply({"params": tree.to_dict(params)}, *inputs, rngs=rngs, method=method, **call)


def nnx_(layer, params, *inputs, rngs=None, method=None, options=(), **call):
    graph, state = nnx.split(in_nnx.Recurrent(layer, rngs=nnx.Rngs(0), **dict(options)))
    weights, rest = nnx.split_state(state, nnx.Param, ...)
    weights = jax.tree.unflatten(jax.tree.structure(weights), jax.tree.leaves(tree.to_dict(params)))
    module = nnx.merge(graph, weights, rest)
    if rngs is not None:
        call["rngs"] = nnx.Rngs(**rngs)
    return (module if method is None else getattr(module, method))(*inputs, **call)


FLAXES = {"linen": linen, "nnx": nnx_}
