"""How it was done, in words that can go into a paper, with versions and citations."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from crow import __version__
from crow.report.blocks import Block, Heading, Items, Section, Words, said
from crow.report.evaluated import Evaluation
from crow.report.numbers import counted, percent
from crow.run.config import Config
from crow.run.folder import Run

CROW = "Hwang SJ, Tao Z, Kim WH, Singh V. Conditional recurrent flow: conditional generation of longitudinal samples with applications to neuroimaging. ICCV 2019."  # noqa: E501
CITATIONS = {
    "cinn": "Ardizzone L, Lüth C, Kruse J, Rother C, Köthe U. Guided image generation with conditional invertible neural networks. arXiv:1907.02392, 2019.",  # noqa: E501
    "enhance": "Winkler C, Worrall D, Hoogeboom E, Welling M. Learning likelihoods with conditional normalizing flows. arXiv:1912.00042, 2019.",  # noqa: E501
    "segment": "Winkler C, Worrall D, Hoogeboom E, Welling M. Learning likelihoods with conditional normalizing flows. arXiv:1912.00042, 2019.",  # noqa: E501
    "semi-conditional": "Atanov A, Volokhova A, Ashukha A, Sosnovik I, Vetrov D. Semi-conditional normalizing flows for semi-supervised learning. arXiv:1905.00505, 2019.",  # noqa: E501
    "infocnf": "Nguyen TM, Garg A, Baraniuk RG, Anandkumar A. InfoCNF: an efficient conditional continuous normalizing flow with adaptive solvers. arXiv:1912.03978, 2019.",  # noqa: E501
    "ccnf": "Nguyen TM, Garg A, Baraniuk RG, Anandkumar A. InfoCNF: an efficient conditional continuous normalizing flow with adaptive solvers. arXiv:1912.03978, 2019.",  # noqa: E501
    "caglow": "Liu R, Liu Y, Gong X, Wang X, Li H. Conditional adversarial generative flow for controllable image synthesis. CVPR 2019.",  # noqa: E501
    "cglow": "Kingma DP, Dhariwal P. Glow: generative flow with invertible 1x1 convolutions. NeurIPS 2018.",
}
COVARIATES = {
    "known": "Covariates of later visits were told to all models as the table has them.",
    "carry": "Covariates of later visits were carried forward from the last given one.",
    "linear": "Covariates of later visits were those of a line through the given ones.",
}
MIXED = "Laird NM, Ware JH. Random-effects models for longitudinal data. Biometrics 38, 1982."
CRPS = "Gneiting T, Raftery AE. Strictly proper scoring rules, prediction, and estimation. JASA 102, 2007."
LIN = "Lin LI. A concordance correlation coefficient to evaluate reproducibility. Biometrics 45, 1989."
YEOM = "Yeom S, Giacomelli I, Fredrikson M, Jha S. Privacy risk in machine learning: analyzing the connection to overfitting. IEEE CSF 2018."  # noqa: E501
TADPOLE = "Marinescu RV and others. The Alzheimer's disease prediction of longitudinal evolution (TADPOLE) challenge: results after 1 year follow-up. MELBA 2021."  # noqa: E501
TEMPLATE = "Fonov V and others. Unbiased average age-appropriate atlases for pediatric studies. NeuroImage 54, 2011."
PACKAGES = (
    "torch", "lightning", "torchdiffeq", "numpy", "scipy", "pandas", "scikit-learn", "scoringrules",
    "statsmodels", "nibabel", "nilearn", "dipy", "matplotlib", "jinja2",
)  # fmt: skip


def methods_section(run: Run, evaluation: Evaluation | None) -> Section:
    """What was done as prose, the versions of this report, and what to cite."""
    blocks: list[Block] = [*_prose(run, evaluation), Heading("Versions")]
    trained = ", ".join(f"{name} {text}" for name, text in run.versions.items())
    blocks.append(said(f"Trained with {trained or 'unknown versions'}."))
    if evaluation is not None and (versions := evaluation.part("what").get("versions")):
        blocks.append(said(f"Evaluated with {', '.join(f'{name} {text}' for name, text in versions.items())}."))
    blocks.append(said(f"This report was made with {', '.join(f'{name} {text}' for name, text in _installed())}."))
    blocks += [Heading("Please cite"), Items(tuple(_citations(run, evaluation)))]
    return Section("methods", "Methods, versions and citations", tuple(blocks))


def _prose(run: Run, evaluation: Evaluation | None) -> list[Words]:
    paragraphs = [_visits(run) if not isinstance(run.config, Config) else _crow(run, run.config)]
    if scans := run.description.get("scans"):
        paragraphs.append(_scans(scans))
    if evaluation is not None:
        paragraphs += _evaluated(evaluation)
    return [said(text) for text in paragraphs]


def _crow(run: Run, config: Config) -> str:
    model, training = config.model, config.training
    schema = run.description.get("schema", {})
    covariates = ", ".join(schema.get("covariates", {})) or "no covariates"
    regions = counted(len(run.description.get("representation", {}).get("regions", [])), "measure")
    if model.objective == "inn":
        return (
            "The conditional recurrent flow (Hwang et al. 2019) was trained by its published objective on sequences "
            f"of {regions}, given {covariates}, with seed {config.seed}."
        )
    members = run.metrics.get("members") or []
    kept = sum(bool(member.get("included")) for member in members)
    starts = set(run.description.get("starts", []))
    first = "Its first bijection" if starts <= {"mixed"} else "The first bijection of members of the mixed start"
    tested = f"{percent(config.split.test)} of the subjects were" if config.split.test else "No subject was"
    return (
        "A conditional recurrent flow (after Hwang et al. 2019) was trained by exact maximum likelihood on sequences "
        f"of {regions} a visit, at the visits' real times, given {covariates}, the age and the times since the last "
        f"and the first visit. {first} maps each visit to its innovation under a linear mixed model "
        f"(random intercept and slope a region; Laird and Ware 1982); {counted(model.blocks, 'block')} of recurrent "
        f"coupling layers with hidden width {model.hidden} follow. {counted(len(members), 'member')} with seeds "
        f"derived from {config.seed} stopped early on held-out subjects ({percent(training.validation_fraction)} of the training "
        f"subjects each), and {kept} of them {'answer as one mixture' if kept > 1 else 'answers'}. Measures were "
        "standardised on training subjects; likelihoods are in the original units. "
        f"{tested} kept for a test."
    )


def _visits(run: Run) -> str:
    config: Any = run.config
    return (
        f"A conditional normalizing flow of single visits ({config.architecture}; {config.flow.levels} levels, "
        f"{config.flow.depth} couplings a level, hidden width {config.flow.hidden}) was trained with seed "
        f"{config.seed}; {percent(config.training.held_out)} of the subjects were held out and decided when to stop."
    )


def _scans(scans: dict[str, Any]) -> str:
    store = scans.get("store", {})
    kind = {
        "deformation": "each visit is the subject's first scan moved by a smooth deformation, whose coefficients on a "
        "basis learned from training subjects the flow models",
        "subspace": "each scan is projected on modes learned from training subjects, whose coefficients the flow "
        "models, and a residual that persists by voxel",
        "voxels": "a convolutional recurrent flow models the voxels themselves",
    }.get(str(scans.get("kind")), str(scans.get("kind")))
    shape = " x ".join(str(n) for n in store.get("grid", {}).get("shape", []))
    return (
        f"Scans ({store.get('modality')}) were brought onto a grid of {shape} voxels in the space {store.get('space')} "
        f"(Fonov et al. 2011): {kind}."
    )


def _evaluated(evaluation: Evaluation) -> list[str]:
    what = evaluation.part("what")
    split = what.get("split")
    who = f"{what.get('subjects', 'the')} subjects" + (f" ({split})" if isinstance(split, str) else "")
    text = (
        f"The evaluation judges {who}: forecasts are {what.get('samples', 'several')} draws a visit, scored by mean "
        "absolute error of the median, root mean square error of the mean, the continuous ranked probability score "
        "(Gneiting and Raftery 2007), the energy score, and the exact negative log-likelihood of whole held-out "
        "sequences and of the visits that are forecast."
    )
    if told := COVARIATES.get(str(what.get("covariates ahead"))):
        text += f" {told}"
    if evaluation.part("skill"):
        text += " Intervals of skill are bootstrapped over subjects."
    texts = [text]
    if evaluation.part("group_effects"):
        texts.append(
            "Group effects are Cohen's d between covariate paths, of real and of synthetic people, compared by Lin's "
            "concordance correlation (Lin 1989)."
        )
    if evaluation.part("privacy"):
        texts.append(
            "Memorisation was screened by distances to the nearest training and held-out records, by copies, and by "
            "membership inference from the likelihood (Yeom et al. 2018)."
        )
    return texts


def _citations(run: Run, evaluation: Evaluation | None) -> Sequence[str]:
    if not isinstance(run.config, Config):
        return [CITATIONS[run.config.architecture]] if run.config.architecture in CITATIONS else []
    found = [CROW, *([MIXED] if run.config.model.objective == "likelihood" else [])]
    if "scans" in run.description:
        found.append(TEMPLATE)
    if evaluation is not None:
        parts = {"forecast": CRPS, "group_effects": LIN, "privacy": YEOM, "tadpole": TADPOLE}
        found += [text for part, text in parts.items() if evaluation.part(part)]
    return found


def _installed() -> list[tuple[str, str]]:
    found = [("crow", __version__)]
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found
