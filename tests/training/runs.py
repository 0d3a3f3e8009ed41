"""A small run for the tests of this room: dropout, a streamed carry, data that depend on the position alone.

`python tests/training/runs.py DIRECTORY STEPS CHECKPOINT_EVERY` trains it and prints each position that it reads.
"""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.training import clipped_adam, fit, init_state, make_step


def loss_fn(params, batch, carry, key):
    x, y = batch
    kept = jax.random.bernoulli(key, 0.8, x.shape).astype(x.dtype)
    prediction = (x * kept) @ params["w"] + carry
    loss = jnp.mean((prediction - y) ** 2)
    return loss, (0.5 * carry + 0.1 * prediction, {"mean": jnp.mean(prediction)})


optimizer = clipped_adam(0.02, max_norm=1.0)
step = make_step(loss_fn, optimizer)


def batches(position):
    rng = np.random.default_rng(position)
    x = rng.normal(size=(4, 3)).astype(np.float32)
    return x, x.sum(-1) + rng.normal(size=4).astype(np.float32)


def first_state(seed=0):
    key = jax.random.key(seed)
    return init_state({"w": jax.random.normal(key, (3,))}, optimizer, key, carry=jnp.zeros(4))


def lines(directory, wall_time=False):
    """The metrics in `directory`, without their wall time unless asked for."""
    read = [json.loads(line) for line in Path(directory, "metrics.jsonl").read_text().splitlines()]
    return read if wall_time else [{k: v for k, v in line.items() if k != "seconds"} for line in read]


def assert_same(got, expected):
    """Two pytrees have one structure and, leaf by leaf, the same dtype and the same bits."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            assert jax.random.key_impl(a) == jax.random.key_impl(b)
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def main(directory, steps, checkpoint_every):
    def printed(position):
        print(position, flush=True)
        return batches(position)

    fit(
        step,
        first_state(),
        printed,
        steps=int(steps),
        directory=directory,
        checkpoint_every=int(checkpoint_every),
        log_every=1,
        keep=1,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
