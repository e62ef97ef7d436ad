"""Checkpoint files of a training: written whole, and read only by the training that they belong to."""

from __future__ import annotations

import io
import pickle
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from crow.errors import RunError
from crow.files import writing
from crow.run.config import Optimisation

if TYPE_CHECKING:
    from crow.training.data import Source

SECONDS_BETWEEN_CHECKPOINTS = 2.0  # at least
WRITING_SHARE = 0.02  # of the time of a training


class Timetable:
    """When a checkpoint is due: so seldom that writing takes a fiftieth of the time, but once a minute."""

    def __init__(self) -> None:
        self._next = time.monotonic() + SECONDS_BETWEEN_CHECKPOINTS

    def due(self) -> bool:
        return time.monotonic() >= self._next

    def written(self, began: float) -> None:
        """A checkpoint was written since ``began`` (`time.monotonic`)."""
        now = time.monotonic()
        seconds = max(SECONDS_BETWEEN_CHECKPOINTS, (now - began) / WRITING_SHARE)
        self._next = now + min(seconds, 30 * SECONDS_BETWEEN_CHECKPOINTS)


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write to a temporary file and rename it, so that no partial checkpoint exists.

    It goes through memory, because the error of torch's own writer does not identify a full disk.
    """
    memory = io.BytesIO()
    torch.save(state, memory)
    path.parent.mkdir(exist_ok=True)
    with writing(path, overwrite=True) as temporary:
        temporary.write_bytes(memory.getbuffer())


def read_checkpoint(path: Path, *keys: str) -> dict[str, Any]:
    """The part of a checkpoint under ``keys``, with its ``facts``; raises RunError if it is damaged."""
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        for key in keys:
            state = state[key]
        state["facts"].keys()
    except (RuntimeError, OSError, EOFError, KeyError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        raise RunError(f"{path}: damaged ({type(error).__name__}). Remove it and run --resume again.") from None
    return state


def require_facts(path: Path, found: dict[str, Any], facts: dict[str, Any]) -> None:
    """Raise RunError if a checkpoint belongs to another training."""
    changed = {key: value for key, value in facts.items() if found.get(key) != value}
    if changed:
        each = [
            f"the {key} are others" if key.endswith(" values") else f"{key} was {found.get(key)}, now {value}"
            for key, value in changed.items()
        ]
        raise RunError(
            f"{path}: belongs to another training: {'; '.join(each)}. Go on with the cohort and the flags (--label, "
            "--source, --masks, --factor, ... where the command has them) it was started with, or start again without "
            "--resume."
        )


def training_facts(train: Source, validation: Source, settings: Optimisation, seed: int) -> dict[str, Any]:
    """What must be the same for a checkpoint to be continued."""
    chosen = settings.model_dump(exclude={"threads", "accelerator", "devices", "num_nodes", "strategy"})
    sizes = {"training subjects": len(train), "held-out subjects": len(validation), "visits": train.count}
    values = {"training values": train.digest(), "held-out values": validation.digest()}
    return {**{f"training.{key}": value for key, value in chosen.items()}, **sizes, **values, "seed": seed}
