"""The quality-control page of a store: pictures of all prepared scans, worst first."""

from __future__ import annotations

from html import escape
from pathlib import Path

from crow.files import write_text
from crow.scans.prepare import QCRecord, qc_path
from crow.scans.store import ScanStore

STYLE = """
body { font: 15px system-ui, sans-serif; margin: 2rem; background: #fff; color: #222 }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); gap: 1.2rem }
figure { margin: 0; border: 1px solid #ddd; padding: .5rem } img { width: 100%; background: #000 }
.failed { border-color: #c00; background: #fff4f4 } .note { color: #a60 } .path { color: #777; font-size: 12px;
overflow-wrap: anywhere } h1 { font-size: 1.4rem }
"""


def write_page(store: ScanStore, records: list[QCRecord]) -> Path:
    """Write ``qc/index.html`` of a store and return its path."""
    failed = sum(one.failed is not None for one in records)
    shape = " x ".join(map(str, store.info.grid.shape))
    worst = sorted(records, key=lambda one: (one.failed is None, not _remarks(one), -1 if one.fit is None else one.fit))
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Prepared scans</title><style>{STYLE}</style>"
        f"<h1>{len(records):,} {escape(store.info.modality)} scans prepared, {failed:,} failed</h1>"
        f"<p>Grid {shape}, {store.info.grid.spacing[0]:g} mm voxels, space {escape(store.info.space)}. "
        "Red: the template's brain. Blue: its ventricles. L and R: the subject's left and right. Fit: multiple "
        "correlation of the scan with the template's grey and white matter. The worst scans come first.</p><main>"
        + "".join(_figure(store, one) for one in worst)
        + "</main></html>\n"
    )
    path = store.path / "qc" / "index.html"
    write_text(path, page, overwrite=True)
    return path


def _figure(store: ScanStore, record: QCRecord) -> str:
    visit = store.visits.iloc[record.row]
    name = escape(f"{visit['subject']} {visit['session']}".strip())
    picture = qc_path(store.path, record.row).with_suffix(".png")
    image = ""
    if record.failed is None and picture.is_file():
        image = f'<img alt="{name}" loading=lazy src="{picture.name}">'
    numbers = "" if record.fit is None else f" · fit {record.fit:.2f} · {record.coverage:.0%} of the brain in view"
    failed = f"<p>Failed: {escape(record.failed)}</p>" if record.failed else ""
    notes = "".join(f"<p class=note>{escape(one)}</p>" for one in _remarks(record))
    kind = " class=failed" if record.failed else ""
    return (
        f"<figure{kind}>{image}<figcaption><b>{name}</b> · {visit['time']:.2f} years{numbers}{failed}{notes}"
        f"<div class=path>{escape(str(visit['scan']))}</div></figcaption></figure>"
    )


def _remarks(record: QCRecord) -> list[str]:
    return [*record.notes, *filter(None, (record.orientation, record.misplaced))]
