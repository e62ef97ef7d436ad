"""The model, its settings and versions, and the course of its training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crow.report import figures
from crow.report.blocks import (
    Block,
    Cell,
    Code,
    Details,
    Metric,
    Note,
    Properties,
    Section,
    Table,
    metric_at,
    numbers_of,
    paragraph,
)
from crow.report.embed import drawn
from crow.run.config import Config, dump_config
from crow.run.folder import Run

FILE = "metrics.json"
MEASURES = {  # of cross-sectional models, by their names in words
    "validation loss": "validation loss",
    "epoch": "best epoch (0: initialisation)",
    "visits": "training visits",
    "labelled visits": "labelled training visits",
    "validation error": "validation error (share of labelled visits that are misclassified)",
    "validation error logistic regression": "validation error of a logistic regression on the same labels",
    "validation labelled visits": "labelled validation visits",
    "threshold": "log-density below which a visit is rejected (nats)",
    "validation nll per visit": "validation NLL (nats per visit, original units)",
    "validation bits per dim": "validation loss (bits per voxel)",
    "validation dice": "Dice overlap with the true masks (validation)",
    "validation calibration error": "calibration error of the probabilities around the masks (validation)",
}
INTERRUPTED = "This training was interrupted. The model can be used; continue the training with crow train --resume."
MEMBERS = (
    "Ensemble members differ by their seed, their initialisation and their validation subjects. The members that are "
    "included form a mixture. A member that is initialised at the mixed model equals it before the first training step."
)


def longitudinal(run: Run) -> Config | None:
    """The settings of a run of CRow; None for a cross-sectional model."""
    return run.config if isinstance(run.config, Config) else None


def trained_section(run: Run) -> Section:
    """Settings, ensemble members, seed, versions and source of a run."""
    blocks: list[Block] = [] if run.finished else [Note(INTERRUPTED, "warning")]
    blocks.append(Properties(tuple(_properties(run))))
    if members := run.metrics.get("members"):
        blocks += [_members(members), paragraph(MEMBERS)]
    settings = Code(dump_config(run.config).strip())
    blocks.append(Details("All settings (config.yaml)", (settings,)))
    versions = tuple((name, text) for name, text in run.versions.items())
    blocks.append(Details("Versions used for training", (Properties(versions),)))
    return Section("trained", "Model", tuple(blocks))


def curves_section(run: Run) -> Section:
    """Loss by epoch."""
    log = run.log
    if not len(log) or not {"epoch", "train", "validation", "member"} <= set(log.columns):
        return Section("training", "Training curves", (Note("The run has no training log."),))
    epochs = log.groupby("member")["epoch"].max()
    alt = f"Training and validation loss of {len(epochs)} ensemble members over up to {epochs.max()} epochs."
    caption = (
        "Loss per visit in standardised units (lower is better). Thin lines: training subjects. Thick lines: "
        "validation subjects, which decide when to stop. Dots: chosen epoch, whose weights are kept."
    )
    members = [one for one in run.metrics.get("members") or [] if isinstance(one, Mapping)]
    if any("mixed_model" in one for one in members):
        caption += " Dotted lines: the mixed model, on the validation subjects of the member."
    return Section("training", "Training curves", (drawn(figures.training_curves(log, members), alt, caption),))


def metrics_section(run: Run) -> Section:
    """Every metric of a cross-sectional run."""
    rows = tuple((MEASURES.get(name, name), number) for name, number in numbers_of(run.metrics, FILE))
    table = Table("Metrics of the training (the run's metrics.json)", ("measure", "value"), rows)
    return Section("metrics", "Metrics", (table,) if rows else (Note("The run has no metrics."),))


def _properties(run: Run) -> list[tuple[str, Cell]]:
    config, source = run.config, run.description.get("cohort") or {}
    found: list[tuple[str, Cell]] = [("Model", _model(run))]
    own = longitudinal(run)
    if own is not None and own.model.objective == "likelihood":
        shape = own.model
        found.append(("Flow", f"{shape.blocks} blocks, hidden width {shape.hidden}, {shape.base} base"))
        found.append(("Ensemble members", _counted(run)))
    if (nll := metric_at(run.metrics, FILE, "validation_nll_per_visit")) is not None:
        found.append(("Validation NLL (nats per visit)", nll))
        mixed = metric_at(run.metrics, FILE, "mixed_model_nll_per_visit")
        found.append(("Validation NLL of the mixed model", mixed))
    if (test := metric_at(run.metrics, FILE, "test_nll_per_visit")) is not None:
        found.append(("Test subjects (not used in training)", metric_at(run.metrics, FILE, "test_subjects")))
        found.append(("Test NLL (nats per visit)", test))
    found += [
        ("Seed", str(config.seed)),
        ("Training data", Path(source.get("path", "a cohort in memory")).name),  # a report may be shared
        ("SHA-256 of the data", str(source.get("sha256", "none"))),
        ("crow", f"version {run.versions.get('crow', 'unknown')}, git {run.git or 'unknown'}"),
    ]
    return found


def _model(run: Run) -> str:
    if (config := longitudinal(run)) is None:
        summary = (type(run.config).__doc__ or "").split(":")[0]
        return f"{getattr(run.config, 'architecture', '')}, a cross-sectional conditional flow ({summary})"
    modelled = "regions"
    if scans := run.description.get("scans"):
        store = scans.get("store", {})
        modelled = f"scans ({store.get('modality', 'unknown modality')}) as {scans.get('representation')}"
    objective = {"likelihood": "by exact maximum likelihood", "inn": "with the published objective (inn)"}
    return f"conditional recurrent flow (CRow) of {modelled}, trained {objective[config.model.objective]}"


def _counted(run: Run) -> str:
    members = run.metrics.get("members") or []
    included = sum(bool(member.get("included")) for member in members)
    return f"{len(members)} trained, {included} included in the mixture"


def _members(members: list[Mapping[str, Any]]) -> Table:
    rows = tuple(
        (
            f"member {k + 1}", str(member.get("initialisation", "")).replace("_", " "),
            "yes" if member.get("included") else "no",
            *(_of_member(member, k, name) for name in ("epoch", "validation", "mixed_model")),
        )
        for k, member in enumerate(members)
    )  # fmt: skip
    header = ("member", "initialisation", "included", "best epoch", "validation NLL", "mixed model")
    caption = "Ensemble members: NLL of their validation subjects, and that of the mixed model (nats per visit)"
    return Table(caption, header, rows)


def _of_member(member: Mapping[str, Any], k: int, name: str) -> Cell:
    value = member.get(name)
    return Metric(value, f"members.{k}.{name}", FILE) if isinstance(value, int | float) else None
