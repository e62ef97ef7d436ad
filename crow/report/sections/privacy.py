"""Privacy: whether the model memorised its training subjects."""

from __future__ import annotations

from crow.report.blocks import Block, Items, Note, Section, Table, paragraph
from crow.report.evaluated import Evaluation

TONES = {"pass": "good", "caution": "caution", "fail": "bad"}
VERDICTS = {
    "pass": "No rule of the audit was broken. Small cohorts cannot exclude weak signs: see the intervals.",
    "caution": "The model may have memorised training subjects. Read the reasons before you share it.",
    "fail": "The model memorised training subjects. Do not share it, nor the synthetic subjects that it generates.",
}
MEASURES = {
    "nearest_distance_ratio": "distance to training subjects / distance to test subjects (1: no closer)",
    "nearest_distance_p": "p-value of the distance ratio",
    "closest_record": "distance to the closest training record (5 % quantile, in sd)",
    "closest_record_of_test": "that of test records",
    "exact_copies": "equal to a training record (share)",
    "exact_copies_of_test": "equal to a test record (share)",
    "exact_copies_p": "p-value of the excess of equal records",
    "near_copies": "close to a training record (share)",
    "near_copies_of_test": "close to a record of as many test subjects (share)",
    "near_copies_p": "p-value of the excess of near copies",
    "membership_auc": "membership inference: AUC (0.5: impossible)",
    "membership_auc_low": "its 95 % interval, from",
    "membership_auc_high": "its 95 % interval, to",
    "membership_p": "p-value of the AUC",
    "attribute_auc": "attribute inference, training against test subjects: AUC (0.5: no better)",
    "attribute_auc_low": "its 95 % interval, from",
    "attribute_auc_high": "its 95 % interval, to",
    "attribute_p": "p-value of the attribute inference, corrected for their number",
    "k_anonymity": "training subjects with the same age band and levels, at least (k)",
    "training_subjects_below_k_5": "training subjects with k below 5 (share)",
    "on_single_subject": "synthetic subjects with age band and levels of a single training subject (share)",
    "on_single_test_subject": "those of a single test subject (share)",
    "on_single_p": "p-value of the difference",
    "likelihood_gap": "excess log-likelihood of training subjects (nats per visit)",
}

RECORDS = {"record_": "whole records", "covariate_": "covariates with visit times"}
"""Prefixes of measures; those without one are of regions given the covariates of real subjects."""


def privacy_section(evaluation: Evaluation | None, missing: str) -> Section:
    """The verdict of the audit with its reasons and figures."""
    name, title = "privacy", "Privacy"
    part = {} if evaluation is None else evaluation.part("privacy")
    if evaluation is None or not part:
        return Section(name, title, (Note(missing),))
    verdict = str(part.get("verdict", ""))
    blocks: list[Block] = [Note(VERDICTS.get(verdict, verdict), TONES.get(verdict, "caution"))]  # type: ignore[arg-type]
    if reasons := [str(reason) for reason in part.get("reasons") or []]:
        blocks.append(Items(tuple(reasons)))
    rows = tuple(
        (_measure(number.path.rpartition(".")[2], name), number) for name, number in evaluation.numbers("privacy")
    )
    if rows:
        blocks.append(Table("Figures of the privacy audit", ("measure", "value"), rows))
    blocks.append(paragraph(
        "The audit compares the distances from synthetic records to their nearest training and test records: of "
        "regions given the covariates of real subjects, and of whole records of new subjects, with covariates and "
        "visit times. Membership inference tries to recognise training subjects by their likelihood or by their "
        "distances. The audit is a screening, not a proof of privacy. Differentially private training is not offered."
    ))  # fmt: skip
    return Section(name, title, tuple(blocks))


def _measure(key: str, name: str) -> str:
    """A measure in words, with the records that it is of."""
    for prefix, of in RECORDS.items():
        if key.removeprefix(prefix) in MEASURES and key.startswith(prefix):
            return f"{of}: {MEASURES[key.removeprefix(prefix)]}"
    return MEASURES.get(key, name)
