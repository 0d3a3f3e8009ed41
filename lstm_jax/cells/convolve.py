"""The convolution of cells whose states are images."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lstm_jax.types import Array, wide


@functools.partial(jax.checkpoint, prevent_cse=False)  # patches, larger than the image, are cut again and not kept
def convolve(x: Array, w: Array) -> Array:
    """Returns w * x, `[*batch, *spatial, columns]`, accumulated and returned in float32 or better.

    `x [*batch, *spatial, channels]` is read in the dtype of the weights `w [*kernel, channels, columns]`.
    """
    # Within a loop, XLA's CPU backend takes ten times as long for the gradient of a kernel as for that of a matrix.
    return lax.platform_dependent(x.astype(w.dtype), w, cpu=by_patches, default=by_sliding)


def by_sliding(x: Array, w: Array) -> Array:
    axes = "DHW"[-(w.ndim - 2) :]
    y = lax.conv_general_dilated(
        x.reshape(math.prod(x.shape[: 1 - w.ndim]), *x.shape[1 - w.ndim :]),
        w,
        window_strides=(1,) * len(axes),
        padding="SAME",
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
        preferred_element_type=wide(w.dtype),
    )
    return y.reshape(*x.shape[:-1], w.shape[-1])


def by_patches(x: Array, w: Array) -> Array:
    """The same as one product with each place's neighbours, joined in the order of the kernel's entries."""
    *kernel, channels, columns = w.shape
    image = x.shape[1 - w.ndim : -1]
    edges = [((size - 1) // 2, size // 2) for size in kernel]
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - len(edges) - 1) + edges + [(0, 0)])
    patches = [
        padded[..., *(slice(start, start + size) for start, size in zip(corner, image, strict=True)), :]
        for corner in np.ndindex(*kernel)
    ]
    w = w.reshape(len(patches) * channels, columns)
    return jnp.matmul(jnp.concatenate(patches, axis=-1), w, preferred_element_type=wide(w.dtype))
