"""Methods as prose that can be used in a paper, versions, and citations."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from crow import __version__
from crow.report.blocks import Block, Code, Details, Heading, References, Section, paragraph
from crow.report.evaluated import Evaluation
from crow.report.numbers import counted, percent
from crow.report.references import (
    CROW,
    CRPS,
    LIN,
    MIXED,
    OF_ARCHITECTURE,
    TADPOLE,
    TEMPLATE,
    YEOM,
    Reference,
    as_latex,
    as_markdown,
    bibtex,
)  # fmt: skip
from crow.report.sections.training import longitudinal
from crow.run.config import Config
from crow.run.folder import Run

FUTURE_COVARIATES = {
    "known": "All models received the covariates at the forecast visits as they are in the table.",
    "carry": "Covariates at the forecast visits were carried forward from the last observed visit. Draws of crow "
    "include how such covariates changed in training subjects.",
    "linear": "Covariates at the forecast visits were extrapolated linearly from the observed visits.",
}
PACKAGES = (
    "torch", "lightning", "torchdiffeq", "numpy", "scipy", "pandas", "scikit-learn", "scoringrules",
    "statsmodels", "nibabel", "nilearn", "dipy", "matplotlib", "jinja2",
)  # fmt: skip
SCANS = {
    "deformation": "Each visit is the subject's first scan moved by a smooth deformation. The flow models the "
    "coefficients of the deformation in a basis learned from training subjects.",
    "subspace": "The flow models the mean intensities of structures and the coefficients of modes, which are learned "
    "from what the means leave in training subjects; how much of the residual persists depends on its spatial scale.",
    "voxels": "A convolutional recurrent flow models the voxels themselves.",
}


def methods_section(run: Run, evaluation: Evaluation | None) -> Section:
    """The methods as prose, versions, and what to cite."""
    blocks: list[Block] = [*map(paragraph, _texts(run, evaluation)), Heading("Versions")]
    blocks.append(paragraph(f"Trained with {_listed(run.versions.items()) or 'unknown versions'}."))
    if evaluation is not None and (versions := evaluation.part("protocol").get("versions")):
        blocks.append(paragraph(f"Evaluated with {_listed(versions.items())}."))
    blocks.append(paragraph(f"This report was made with {_listed(_installed())}."))
    cited, prose = _citations(run, evaluation), _texts(run, evaluation)
    blocks += [Heading("References"), References(tuple(cited))] if cited else []
    blocks.append(Heading("For a paper"))
    blocks.append(Details("Methods as Markdown", (Code(as_markdown(prose, cited), "methods.md"),)))
    blocks.append(Details("Methods as LaTeX", (Code(as_latex(prose, cited), "methods.tex"),)))
    if cited:
        blocks.append(Details("References as BibTeX", (Code(bibtex(cited), "references.bib"),)))
    return Section("methods", "Methods, versions and references", tuple(blocks))


def _listed(versions: Any) -> str:
    return ", ".join(f"{name} {text}" for name, text in versions)


def _texts(run: Run, evaluation: Evaluation | None) -> list[str]:
    """The paragraphs of the methods."""
    config = longitudinal(run)
    texts = [_cross_sectional(run) if config is None else _crow(run, config)]
    if scans := run.description.get("scans"):
        texts.append(_scans(scans))
    if evaluation is not None:
        texts += _evaluation(evaluation)
    return texts


def _crow(run: Run, config: Config) -> str:
    model, training = config.model, config.training
    schema = run.description.get("schema", {})
    covariates = ", ".join(schema.get("covariates", {})) or "no covariates"
    regions = counted(len(run.description.get("representation", {}).get("regions", [])), "measure")
    if model.objective == "inn":
        return (
            "The conditional recurrent flow (Hwang et al. 2019) was trained with its published objective on sequences "
            f"of {regions}, conditional on {covariates}, with seed {config.seed}."
        )
    members = run.metrics.get("members") or []
    included = sum(bool(member.get("included")) for member in members)
    kinds = {str(member.get("initialisation")) for member in members if member.get("included")}
    first = "Its first bijection" if kinds <= {"mixed_model"} else (
        "In ensemble members that are initialised at the mixed model, the first bijection"
    )  # fmt: skip
    test = f"{percent(config.split.test)} of the subjects were" if config.split.test else "No subjects were"
    mixture = f"{included} of them form a mixture" if included > 1 else f"{included} of them is used"
    return (
        "A conditional recurrent flow (after Hwang et al. 2019) was trained by exact maximum likelihood on sequences "
        f"of {regions} per visit at the actual visit times, conditional on {covariates}, the age, and the times since "
        f"the last and the first visit. {first} maps each visit to its innovation under a linear mixed model (random "
        f"intercept and slope per region; Laird and Ware 1982). It is followed by {counted(model.blocks, 'block')} of "
        f"recurrent coupling layers with hidden width {model.hidden}. {counted(len(members), 'ensemble member')} with "
        f"seeds derived from {config.seed} were trained with early stopping on validation subjects "
        f"({percent(training.validation_fraction)} of the training subjects each); {mixture}. Measures were "
        f"standardised on training subjects; likelihoods are in original units. {test} reserved for testing."
    )


def _cross_sectional(run: Run) -> str:
    config: Any = run.config
    return (
        f"A cross-sectional conditional normalizing flow ({config.architecture}; {config.flow.levels} levels, "
        f"{config.flow.depth} couplings per level, hidden width {config.flow.hidden}) was trained with seed "
        f"{config.seed}, with early stopping on validation subjects ({percent(config.training.validation_fraction)} of "
        "the subjects)."
    )


def _scans(scans: dict[str, Any]) -> str:
    store = scans.get("store", {})
    shape = " x ".join(str(n) for n in store.get("grid", {}).get("shape", []))
    return (
        f"Scans ({store.get('modality')}) were resampled to a grid of {shape} voxels in the space {store.get('space')} "
        f"(Fonov et al. 2011). {SCANS.get(str(scans.get('representation')), '')}"
    ).strip()


def _evaluation(evaluation: Evaluation) -> list[str]:
    protocol = evaluation.part("protocol")
    split = protocol.get("split")
    subjects = f"{protocol.get('subjects', 'the')} subjects" + (f" ({split})" if isinstance(split, str) else "")
    text = (
        f"The model was evaluated on {subjects}. Forecasts consist of {protocol.get('draws', 'several')} draws per "
        "visit. They are scored by the mean absolute error of the median, the root mean square error of the mean, the "
        "continuous ranked probability score (CRPS; Gneiting and Raftery 2007), the energy score, and the exact "
        "negative log-likelihood (NLL)."
    )
    if covariates := FUTURE_COVARIATES.get(str(protocol.get("future covariates"))):
        text += f" {covariates}"
    if evaluation.part("skill"):
        text += " Intervals of skill scores are 95 % bootstrap intervals over subjects."
    texts = [text]
    if evaluation.part("group_effects"):
        texts.append(
            "Group effects are Cohen's d between subjects on two paths of a covariate. Effects of real and of "
            "synthetic subjects are compared by Lin's concordance correlation (Lin 1989)."
        )
    if evaluation.part("tadpole"):
        texts.append("Scores of the TADPOLE challenge follow Marinescu et al. 2021.")
    if evaluation.part("privacy"):
        texts.append(
            "Memorisation was assessed by distances to the nearest training and test records, by exact and near "
            "copies, and by membership inference from the likelihood (Yeom et al. 2018)."
        )
    return texts


def _citations(run: Run, evaluation: Evaluation | None) -> list[Reference]:
    if (config := longitudinal(run)) is None:
        architecture = getattr(run.config, "architecture", "")
        return [OF_ARCHITECTURE[architecture]] if architecture in OF_ARCHITECTURE else []
    found = [CROW, *([MIXED] if config.model.objective == "likelihood" else [])]
    if "scans" in run.description:
        found.append(TEMPLATE)
    if evaluation is not None:
        parts = {"forecast": CRPS, "group_effects": LIN, "privacy": YEOM, "tadpole": TADPOLE}
        found += [one for part, one in parts.items() if evaluation.part(part)]
    return found


def _installed() -> list[tuple[str, str]]:
    found = [("crow", __version__)]
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found
