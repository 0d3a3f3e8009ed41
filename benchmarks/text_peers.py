"""The language model of `text` as users of Flax and of PyTorch write it, with the loop around it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lstm_jax as lj
from lstm_jax import convert


def _layer(params: Any) -> lj.Recurrent:
    """Our layer of these weights' sizes, from which they are converted."""
    inputs, gates = params.layer.cell.w_x.shape
    return lj.Recurrent(lj.LSTM(inputs, gates // 4))


def flax_trainer(hidden_size: int, rate: float) -> Callable[[Any], float]:
    """Returns `train(run)`: linen's Embed, RNN(OptimizedLSTMCell) and Dense, a jitted step with Optax's Adam."""
    from flax import linen as nn
    from flax.training.train_state import TrainState

    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    class Network(nn.Module):
        @nn.compact
        def __call__(self, tokens: jax.Array, carry: Any) -> Any:
            cell = nn.OptimizedLSTMCell(hidden_size, name="cell")
            xs = nn.Embed(256, 64, name="embedding")(tokens)
            carry, ys = nn.RNN(cell, time_major=True, return_carry=True)(xs, initial_carry=carry)
            return carry, nn.Dense(256, name="readout")(ys)

    def apply(params: Any, tokens: Any, carry: Any) -> Any:
        return Network().apply({"params": params}, tokens, carry)

    def loss_fn(params: Any, batch: Any, carry: Any) -> Any:
        carry, logits = apply(params, batch.inputs, carry)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, batch.targets)
        return jnp.sum(each * batch.mask) / jnp.sum(batch.mask), carry

    @jax.jit
    def step(state: TrainState, carry: Any, batch: Any) -> tuple[TrainState, Any]:
        carry = jax.tree.map(lambda c: jnp.where(batch.resets[0][:, None], 0.0, c), carry)
        grads, carry = jax.grad(loss_fn, has_aux=True)(state.params, batch, carry)
        return state.apply_gradients(grads=grads), carry

    @jax.jit
    def judge(params: Any, carry: Any, batch: Any) -> Any:
        nats, carry = loss_fn(params, batch, carry)
        return nats * jnp.sum(batch.mask), carry

    def zeros(batch: int) -> Any:
        return (jnp.zeros((batch, hidden_size)),) * 2

    def train(run: Any) -> float:
        start = run.params
        (readout,) = start.readout
        params = {
            "embedding": {"embedding": start.embedding},
            "cell": convert.to_linen(_layer(start), start.layer),
            "readout": {"kernel": readout.w, "bias": readout.b},
        }
        state = TrainState.create(apply_fn=apply, params=params, tx=optimizer)
        carry = zeros(run.train[0].inputs.shape[1])
        for position in range(run.steps):
            state, carry = step(state, carry, run.train[position])
        carry, total = zeros(run.test[0].inputs.shape[1]), 0.0
        for batch in run.test:
            nats, carry = judge(state.params, carry, batch)
            total += float(nats)
        return total / sum(int(batch.mask.sum()) for batch in run.test)

    return train


def torch_trainer(hidden_size: int, rate: float) -> Callable[[Any], float]:
    """Returns `train(run)`: nn.Embedding, nn.LSTM and nn.Linear, with torch's own clipping and Adam."""
    import torch
    from torch import nn

    def tensor(x: Any) -> Any:
        return torch.tensor(np.asarray(x))

    def loss_fn(modules: Any, batch: Any, carry: Any) -> Any:
        embedding, lstm, readout = modules
        ys, carry = lstm(embedding(tensor(batch.inputs)), carry)
        each = nn.functional.cross_entropy(
            readout(ys).flatten(0, 1), tensor(batch.targets).flatten().long(), reduction="none"
        )
        mask = tensor(batch.mask).flatten()
        return (each * mask).sum(), mask.sum(), carry

    def train(run: Any) -> float:
        start = run.params
        (readout,) = start.readout
        modules = nn.ModuleList([nn.Embedding(256, 64), nn.LSTM(64, hidden_size), nn.Linear(hidden_size, 256)])
        weights = convert.to_torch(_layer(start), start.layer)
        states = [{"weight": start.embedding}, weights, {"weight": readout.w.T, "bias": readout.b}]
        for module, state in zip(modules, states, strict=True):
            module.load_state_dict({name: tensor(x) for name, x in state.items()})
        optimizer, carry = torch.optim.Adam(modules.parameters(), rate), None
        for position in range(run.steps):
            batch = run.train[position]
            carry = None if batch.resets[0].all() or carry is None else tuple(c.detach() for c in carry)
            total, number, carry = loss_fn(modules, batch, carry)
            optimizer.zero_grad()
            (total / number).backward()
            nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
            optimizer.step()
        carry, nats, tokens = None, 0.0, 0
        with torch.no_grad():
            for batch in run.test:
                total, number, carry = loss_fn(modules, batch, carry)
                nats, tokens = nats + float(total), tokens + int(number)
        return nats / tokens

    return train
