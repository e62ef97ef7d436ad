"""The tables of the portals: which columns play which role where the table says so by its kind."""

from __future__ import annotations

import re

from crow.cohort.findings import Findings
from crow.cohort.layout import Layout
from crow.cohort.names import SIZE, normal
from crow.cohort.options import listed

ADNI_TIMES = ("EXAMDATE", "Years_bl", "Month_bl", "M", "VISCODE")
ADNI_COVARIATES = ("PTGENDER", "PTEDUCAT", "APOE4", "DX", "CDRSB", "ICV")
ADNI_REGIONS = ("Ventricles", "Hippocampus", "WholeBrain", "Entorhinal", "Fusiform", "MidTemp")
PET_COLUMN = re.compile(
    r"(CTX_[LR]H_(?!UNKNOWN)\w+|(LEFT|RIGHT)_(ACCUMBENS_AREA|AMYGDALA|CAUDATE|HIPPOCAMPUS|PALLIDUM|PUTAMEN|THALAMUS_PROPER))"
    r"_UCBERKELEYAV45\w*"
)
PET_TABLE = re.compile(r".*_UCBERKELEYAV45.*")


def detect_layout(header: list[str], findings: Findings) -> Layout:
    """Which kind of table has this header; ``plain`` where it is none of the known ones."""
    columns = {normal(name): name for name in reversed(header)}
    has = columns.keys()
    if {"rid", "viscode"} <= has and ({"d1", "d2"} <= has or any(PET_TABLE.fullmatch(name) for name in header)):
        return _tadpole(header, columns, findings)
    if {"rid", "viscode", "age"} <= has and has & {"dx_bl", "years_bl", "month_bl", "examdate_bl", "origprot"}:
        return _adnimerge("adnimerge", header, columns, findings)
    if {"subject_id", "mri_id", "mr_delay"} <= has:
        return _oasis2(header, columns, findings)
    return Layout("plain", adni="rid" in has, visit_codes="adni" if "rid" in has else "plain")


def _adnimerge(name: str, header: list[str], columns: dict[str, str], findings: Findings) -> Layout:
    regions = _present(ADNI_REGIONS, columns)
    _say(name.upper(), findings)
    if pet := _present(("FDG", "AV45", "PIB"), columns):
        findings.info(
            "pet-left-out",
            f"PET summaries ({listed(pet)}) are left out; add them with --regions {','.join((*regions, *pet))}.",
        )
    return _adni(name, regions, header, columns)


def _tadpole(header: list[str], columns: dict[str, str], findings: Findings) -> Layout:
    regions = tuple(name for name in header if PET_COLUMN.fullmatch(name) and not SIZE.fullmatch(name))
    sizes = [name for name in header if PET_TABLE.fullmatch(name) and SIZE.fullmatch(name)]
    if not regions:
        return _adnimerge("tadpole", header, columns, findings)
    _say("TADPOLE", findings)
    volumes = ",".join(_present(ADNI_REGIONS, columns))
    more = f"; for the volumes, add --regions {volumes}" if volumes else ""
    findings.info("pet-regions", f"the {len(regions)} regional AV45 uptake ratios are the regions{more}.")
    if sizes:
        findings.info("size-columns", f"{len(sizes)} _SIZE_ columns are volumes, not uptake, and are left out.")
    return _adni("tadpole", regions, header, columns)


def _adni(name: str, regions: tuple[str, ...], header: list[str], columns: dict[str, str]) -> Layout:
    covariates = _present(ADNI_COVARIATES, columns)
    if "dx" not in columns:
        covariates += _present(("DXCHANGE",), columns)
    subject = columns["rid"]
    session = columns.get("viscode2", columns["viscode"])
    used = {subject, session, columns.get("age"), *covariates, *regions}
    others = tuple(column for column in header if column not in used)
    times = _present(ADNI_TIMES, columns)
    return Layout(
        name,
        True,
        subject,
        session,
        columns.get("age"),
        times,
        covariates,
        regions,
        others,
        visit_codes="adni",
    )


def _oasis2(header: list[str], columns: dict[str, str], findings: Findings) -> Layout:
    _say("OASIS-2", findings)
    covariates = _present(("Group", "M/F", "Hand", "EDUC", "SES", "MMSE", "CDR", "eTIV"), columns)
    regions = _present(("nWBV",), columns)
    chosen = {*covariates, *regions, *_present(("Subject ID", "MRI ID", "MR Delay", "Age"), columns)}
    return Layout(
        "oasis2",
        subject=columns["subject_id"],
        session=columns["mri_id"],
        age=columns.get("age"),
        times=(columns["mr_delay"],),
        covariates=covariates,
        regions=regions,
        others=tuple(name for name in header if name not in chosen),
    )


def _present(names: tuple[str, ...], columns: dict[str, str]) -> tuple[str, ...]:
    return tuple(columns[normal(name)] for name in names if normal(name) in columns)


def _say(name: str, findings: Findings) -> None:
    findings.info("layout", f"read as a table of {name}.")
