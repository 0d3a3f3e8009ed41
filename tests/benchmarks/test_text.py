"""The language model beside its peers: three ways to write the same training."""

import jax
import numpy as np
import pytest

from benchmarks import text, text_peers
from lstm_jax.data import Streams, every_token


@pytest.mark.parametrize("peer", ["flax", "torch"])
def test_peers_end_at_the_same_loss(peer):
    pytest.importorskip(peer)
    trainer = getattr(text_peers, f"{peer}_trainer")(text.HIDDEN, text.RATE)
    tokens = np.random.default_rng(0).integers(0, 9, 300) ** 2
    run = text.Run(
        text.MODEL.init(jax.random.key(0)),
        Streams(tokens, 3, 10),
        every_token(tokens[:70], 10, 2),  # the last batch is filled up
        steps=15,  # an epoch is nine batches: the carry is handed on, and begins anew
    )
    with jax.numpy_dtype_promotion("standard"):  # Flax's
        ours, theirs = text._ours(run), trainer(run)
    assert ours == pytest.approx(theirs, rel=2e-3)
    assert ours < 0.9 * np.log(256)
