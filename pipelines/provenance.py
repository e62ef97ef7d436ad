"""The origin of synthetic tables: a JSON file beside each, so that no one takes them for measured data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crow.run.folder import sha256
from crow.version import __version__


def provenance_beside(out: Path) -> Path:
    """``synthetic.provenance.json`` for ``synthetic.csv``."""
    return out.with_name(f"{out.stem}.provenance.json")


def write_provenance(path: Path, run: Path, what: str, seed: int, facts: dict[str, Any]) -> None:
    """Write that a table is synthetic, the model with its digest, the seed, and further ``facts``."""
    content = {
        "Synthetic": True,
        "Description": f"Synthetic {what}. No row was measured.",
        "Model": {"run": run.resolve().name, "sha256": sha256(run / "model.safetensors")},
        "Seed": seed,
        **facts,
        "GeneratedBy": {"Name": "crow", "Version": __version__},
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
