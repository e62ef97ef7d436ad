"""What was trained, from what, by which code, and how the training went."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crow.report import figures
from crow.report.blocks import Block, Cell, Code, Facts, Metric, More, Note, Section, Table, measured, numbers_of, said
from crow.report.embed import drawn
from crow.run.config import Config, dump_config
from crow.run.cross_sectional_config import CrossSectionalConfig
from crow.run.folder import Run

FILE = "metrics.json"
MEASURED = {  # of runs of single visits, by their names in words
    "held out loss": "loss of training", "epoch": "epoch that was kept (0: the start)", "visits": "visits learned from",
    "labelled visits": "visits with a label", "held out error": "share of labelled held-out visits told wrong",
    "held out error logistic regression": "the same by a logistic regression on the same labels",
    "held out labelled visits": "labelled held-out visits",
    "threshold": "log p(x) below which a visit is refused (nats)",
    "held out nll per visit": "negative log-likelihood (nats a visit, the table's own units)",
    "held out bits per dim": "bits a voxel", "held out dice": "overlap with the true masks (Dice)",
    "held out calibration error": "calibration error of probabilities, around the masks",
}
INTERRUPTED = "This training was ended early. The model can be used; crow train --resume goes on with it."


def trained_section(run: Run) -> Section:
    """Settings, members, seed, versions and source of a run."""
    blocks: list[Block] = [] if run.finished else [Note(INTERRUPTED, "warning")]
    blocks.append(Facts(tuple(_facts(run))))
    if members := run.metrics.get("members"):
        blocks += [_members(members), said(
            "Members differ by seed, by start and by the subjects that decide when to stop; those that are kept answer "
            "as one mixture. The mixed model is what a flow of the mixed start is before its first step."
        )]  # fmt: skip
    settings = Code(dump_config(run.config).strip())
    blocks.append(More("All settings (config.yaml)", (settings,)))
    versions = tuple((name, text) for name, text in run.versions.items())
    blocks.append(More("Versions that it was trained with", (Facts(versions),)))
    return Section("trained", "What was trained", tuple(blocks))


def curves_section(run: Run) -> Section:
    """Loss by epoch."""
    log = run.log
    if not len(log) or not {"epoch", "train", "validation", "member"} <= set(log.columns):
        return Section("training", "Training curves", (Note("The run has no log of its training."),))
    epochs = log.groupby("member")["epoch"].max()
    alt = f"Loss of {len(epochs)} members by epoch, of training and of held-out subjects, up to {epochs.max()} epochs."
    caption = (
        "Loss a visit in standardised units (lower is better). Thin: training subjects; thick: held-out subjects, who "
        "decide when to stop; dot: the epoch that is kept."
    )
    return Section("training", "Training curves", (drawn(figures.training_curves(log), alt, caption),))


def measured_section(run: Run) -> Section:
    """Every number that a run of single visits keeps of its held-out subjects."""
    rows = tuple((MEASURED.get(name, name), number) for name, number in numbers_of(run.metrics, FILE))
    table = Table("Measured on held-out subjects while training (the run's metrics.json)", ("measure", "value"), rows)
    return Section("measured", "How good it is", (table,) if rows else (Note("The run keeps no metrics."),))


def _facts(run: Run) -> list[tuple[str, Cell]]:
    config, source = run.config, run.description.get("cohort") or {}
    facts: list[tuple[str, Cell]] = [("Model", _model(config, run.description))]
    if isinstance(config, Config) and config.model.objective == "likelihood":
        shape = config.model
        facts.append(("Flow", f"{shape.blocks} blocks, hidden width {shape.hidden}, base {shape.base}"))
        facts.append(("Members", _counted(run)))
    if (nll := measured(run.metrics, FILE, "validation_nll_per_visit")) is not None:
        facts.append(("Held-out NLL while training (nats a visit)", nll))
        facts.append(("The same of the mixed model", measured(run.metrics, FILE, "mixed_model_nll_per_visit")))
    if (test := measured(run.metrics, FILE, "test_nll_per_visit")) is not None:
        facts.append(("Test subjects, never seen", measured(run.metrics, FILE, "test_subjects")))
        facts.append(("Their NLL (nats a visit)", test))
    facts += [
        ("Seed", str(config.seed)),
        ("Trained from", Path(source.get("path", "a cohort in memory")).name),  # a report may be passed on
        ("Digest of that file (SHA-256)", str(source.get("sha256", "none"))),
        ("crow", f"version {run.versions.get('crow', 'unknown')}, git {run.git or 'unknown'}"),
    ]
    return facts


def _model(config: Config | CrossSectionalConfig, description: Mapping[str, Any]) -> str:
    if isinstance(config, CrossSectionalConfig):
        return f"{config.architecture}, a conditional flow of single visits ({(type(config).__doc__ or '').split(':')[0]})"
    what = "regions"
    if scans := description.get("scans"):
        store = scans.get("store", {})
        what = f"scans ({store.get('modality', 'unknown modality')}) as {scans.get('kind')}"
    objective = {"likelihood": "exact likelihood", "inn": "the published objective (inn)"}[config.model.objective]
    return f"conditional recurrent flow (CRow) of {what}, trained by {objective}"


def _counted(run: Run) -> str:
    members = run.metrics.get("members") or []
    kept = sum(bool(member.get("included")) for member in members)
    return f"{len(members)} trained, {kept} kept as one mixture"


def _members(members: list[Mapping[str, Any]]) -> Table:
    rows = tuple(
        (
            f"member {k + 1}", str(member.get("start", "")), "yes" if member.get("included") else "no",
            *(_of_member(member, k, name) for name in ("epoch", "validation", "mixed_model")),
        )
        for k, member in enumerate(members)
    )  # fmt: skip
    header = ("member", "start", "kept", "epoch", "held-out NLL", "mixed model")
    return Table("The members: negative log-likelihood of their held-out subjects, nats a visit", header, rows)


def _of_member(member: Mapping[str, Any], k: int, name: str) -> Cell:
    value = member.get(name)
    return Metric(value, f"members.{k}.{name}", FILE) if isinstance(value, int | float) else None

