"""The page on which every prepared scan is looked at: the pictures beside it, worst scans first."""

from __future__ import annotations

from html import escape
from pathlib import Path

from crow.files import write_text
from crow.scans.prepare import Facts, facts_path
from crow.scans.store import ScanStore

STYLE = """
body { font: 15px system-ui, sans-serif; margin: 2rem; background: #fff; color: #222 }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); gap: 1.2rem }
figure { margin: 0; border: 1px solid #ddd; padding: .5rem } img { width: 100%; background: #000 }
.failed { border-color: #c00; background: #fff4f4 } .said { color: #a60 } .path { color: #777; font-size: 12px;
overflow-wrap: anywhere } h1 { font-size: 1.4rem }
"""


def write_page(store: ScanStore, facts: list[Facts]) -> Path:
    """Write ``qc/index.html`` of a store and return its path."""
    failed = sum(one.failed is not None for one in facts)
    shape = " x ".join(map(str, store.info.grid.shape))
    worst = sorted(facts, key=lambda one: (one.failed is None, not one.said, one.fit if one.fit is not None else -1.0))
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Prepared scans</title><style>{STYLE}</style>"
        f"<h1>{len(facts):,} {escape(store.info.modality)} scans prepared, {failed:,} failed</h1>"
        f"<p>Grid {shape}, voxels of {store.info.grid.spacing[0]:g} mm, space {escape(store.info.space)}. "
        "Red: the template's brain; blue: its ventricles. L and R are the subject's left and right. Fit: multiple "
        "correlation of a scan with the template's gray and white matter. Worst first.</p><main>"
        + "".join(_figure(store, one) for one in worst)
        + "</main></html>\n"
    )
    path = store.path / "qc" / "index.html"
    write_text(path, page, overwrite=True)
    return path


def _figure(store: ScanStore, facts: Facts) -> str:
    visit = store.visits.iloc[facts.row]
    name = escape(f"{visit['subject']} {visit['session']}".strip())
    picture = facts_path(store.path, facts.row).with_suffix(".png")
    shown = ""
    if facts.failed is None and picture.is_file():
        shown = f'<img alt="{name}" loading=lazy src="{picture.name}">'
    numbers = "" if facts.fit is None else f" · fit {facts.fit:.2f} · {facts.covered:.0%} of the brain in view"
    failed = f"<p>Failed: {escape(facts.failed)}</p>" if facts.failed else ""
    said = "".join(f"<p class=said>{escape(one)}</p>" for one in facts.said)
    kind = " class=failed" if facts.failed else ""
    return (
        f"<figure{kind}>{shown}<figcaption><b>{name}</b> · {visit['time']:.2f} years{numbers}{failed}{said}"
        f"<div class=path>{escape(str(visit['scan']))}</div></figcaption></figure>"
    )
