"""Checkpoints of a train state on disk, written by Orbax; each is there in full or not at all.

A checkpoint is the directory `directory/checkpoints/STEP`. Orbax writes it under another name and renames it when it is
complete, and what is thrown away is renamed before it is deleted, so that a process killed at any moment leaves nothing
but whole checkpoints under plain numbers.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax.training.checks import check_count
from lstm_jax.training.layout import difference, layout
from lstm_jax.training.state import TrainState


def latest_step(directory: str | os.PathLike) -> int | None:
    """The step of the newest checkpoint in `directory`, or None where there is none."""
    return max(_steps(checked_directory(directory)), default=None)


def save(directory: str | os.PathLike, state: TrainState, *, keep: int | None = None) -> Path:
    """Saves `state` under its step, deletes all but the newest `keep` checkpoints, and returns the new one's path.

    Arrays keep their dtype and every bit; typed keys are kept as their data and the name of their implementation.

    Raises:
      TypeError: `state` is no TrainState.
      ValueError: the runs of a vmapped state stand at different steps.
      FileExistsError: there already is a checkpoint of this step.
    """
    import orbax.checkpoint as ocp

    directory = checked_directory(directory)
    check_state("state", state)
    if keep is not None:
        check_count("keep", keep, low=1)
    path = directory / "checkpoints" / str(counter("step", state.step))
    if path.exists():
        raise FileExistsError(f"`directory` must have no checkpoint of this step yet, got {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob("[0-9]*.*"):  # of a process that was killed
        shutil.rmtree(leftover)
    named = _named(state)
    keys = {name: str(jax.random.key_impl(leaf)) for name, leaf in named.items() if _is_key(leaf)}
    arrays = {name: jax.random.key_data(leaf) if name in keys else leaf for name, leaf in named.items() if leaf.size}
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        checkpointer.save(path, arrays, custom_metadata={"layout": layout(state), "keys": keys})
    for step in sorted(_steps(directory))[: -keep if keep else 0]:
        doomed = path.parent / f"{step}.deleted"
        (path.parent / str(step)).rename(doomed)
        shutil.rmtree(doomed)
    return path


def restore(directory: str | os.PathLike, state_like: TrainState, *, step: int | None = None) -> TrainState:
    """The state saved in `directory` at `step`, the newest where None.

    `state_like` is a state of the same layout, of arrays or of `jax.ShapeDtypeStruct` as `jax.eval_shape` gives; its
    values are not read. Leaves go to the devices that its leaves are committed to, else to the default one.

    Raises:
      TypeError: `state_like` is no TrainState.
      FileNotFoundError: no such checkpoint.
      ValueError: the checkpoint holds another layout than `state_like`, or cannot be read.
    """
    import orbax.checkpoint as ocp

    directory = checked_directory(directory)
    check_state("state_like", state_like)
    steps = sorted(_steps(directory))
    wanted = check_count("step", step, low=0) if step is not None else max(steps, default=None)
    if wanted not in steps:
        what = "a checkpoint" if wanted is None else f"a checkpoint of step {wanted}"
        raise FileNotFoundError(f"`directory` must hold {what}, got {directory} with steps {steps}")
    path = directory / "checkpoints" / str(wanted)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        try:
            about = checkpointer.metadata(path).custom_metadata
            saved, keys = about["layout"], about["keys"]
        except Exception as error:
            raise _unreadable(path) from error
        if changed := difference(saved, layout(state_like)):
            raise ValueError(f"`state_like` must have the layout of the checkpoint {path}; {changed}")
        named = _named(state_like)
        sizeable = {name: 0 for name, leaf in named.items() if leaf.size}
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), sizeable)
        try:
            arrays = checkpointer.restore(path, ocp.args.PyTreeRestore(item=sizeable, restore_args=as_numpy))
        except Exception as error:
            raise _unreadable(path) from error
    leaves = [_place(arrays.get(name), keys.get(name), like) for name, like in named.items()]
    return jax.tree.unflatten(jax.tree.structure(state_like), leaves)


def checked_directory(directory: Any) -> Path:
    """`directory` as an absolute path; raises unless it is a path that is, or could become, a directory."""
    if not isinstance(directory, str | os.PathLike) or not os.fspath(directory):
        raise TypeError(f"`directory` must be a path, got {directory!r}")
    path = Path(directory).absolute()
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"`directory` must be a directory, got the file {path}")
    return path


def check_state(name: str, state: Any) -> None:
    """Raises unless `state` is a TrainState."""
    if not isinstance(state, TrainState):
        raise TypeError(f"`{name}` must be a TrainState, got {type(state).__name__}")


def counter(name: str, value: jax.Array) -> int:
    """The number that all runs of a state agree on: one run's scalar, or the same in every entry of an array."""
    different = np.unique(np.asarray(value))
    if different.size != 1:
        raise ValueError(f"`state` must have one {name} for all its runs, got {different.tolist()}")
    return int(different[0])


def _steps(directory: Path) -> list[int]:
    return [int(path.name) for path in directory.glob("checkpoints/*") if path.name.isdecimal()]


def _named(state: TrainState) -> dict[str, jax.Array]:
    return {
        jax.tree_util.keystr(path): leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(state)
    }


def _is_key(leaf: jax.Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _place(array: np.ndarray | None, impl: str | None, like: jax.Array) -> jax.Array:
    if array is None:  # Orbax refuses arrays without entries, so they are not saved
        array = np.zeros(like.shape, like.dtype)
    leaf = jnp.array(array) if impl is None else jax.random.wrap_key_data(jnp.array(array), impl=impl)
    asked_for = getattr(like, "committed", isinstance(like, jax.ShapeDtypeStruct))
    return jax.device_put(leaf, like.sharding if asked_for else None)


def _unreadable(path: Path) -> ValueError:
    return ValueError(
        f"`directory` must hold whole checkpoints, but {path} cannot be read; without it, older ones serve"
    )
