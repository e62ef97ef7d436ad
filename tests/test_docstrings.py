"""The examples in docstrings run and print what they show, and every public name has one."""

import doctest
import importlib
from pathlib import Path

import pytest
import torch

import crow

# What people hold or build with, by module. Every name needs an example; CONTRIBUTING tells what else.
PUBLIC = {
    "crow.bijections.affine": ["ActNorm", "Standardise"],
    "crow.bijections.base": ["Bijection", "RecurrentBijection"],
    "crow.bijections.chain": ["Chain"],
    "crow.bijections.checkpointed": ["CheckpointedChain"],
    "crow.bijections.context_gate": ["ContextGate"],
    "crow.bijections.coupling": ["Coupling", "AffineCoupling"],
    "crow.bijections.dequantize": ["UniformDequantizer", "VariationalDequantizer", "BinaryDequantizer"],
    "crow.bijections.factor_out": ["FactorOut"],
    "crow.bijections.haar": ["Haar"],
    "crow.bijections.innovation": ["MixedModelInnovation"],
    "crow.bijections.logarithm": ["Logarithm"],
    "crow.bijections.masked_haar": ["MaskedHaar"],
    "crow.bijections.mixing": ["Permutation", "Rotation", "LU"],
    "crow.bijections.multiscale": ["MultiScale"],
    "crow.bijections.normal": ["standard_normal_log_prob"],
    "crow.bijections.ode": ["ODE"],
    "crow.bijections.principal": ["PrincipalComponents"],
    "crow.bijections.priors": ["StandardPrior", "ConditionalPrior", "SplitPrior"],
    "crow.bijections.published": ["PublishedBlock"],
    "crow.bijections.recurrent": ["TemporalContextGate", "RecurrentCoupling"],
    "crow.bijections.regression": ["Regression"],
    "crow.bijections.reversible": ["ReversibleChain"],
    "crow.bijections.soft_bounds": ["SoftBounds"],
    "crow.bijections.spline": ["SplineCoupling"],
    "crow.bijections.squeeze": ["Squeeze"],
    "crow.bijections.temperature": ["LatentTemperature"],
    "crow.cohort.cohort": ["Cohort"],
    "crow.cohort.reader": ["read_cohort"],
    "crow.data.forecast": ["Forecast"],
    "crow.errors": ["CrowError"],
    "crow.evaluation.result": ["EvaluationResult"],
    "crow.flows.base": ["Flow"],
    "crow.flows.caglow": ["CAGlow"],
    "crow.flows.cglow": ["CGlow"],
    "crow.flows.cinn": ["CINN"],
    "crow.flows.conditional_flow": ["ConditionalFlow"],
    "crow.flows.coupling": ["CouplingFlow"],
    "crow.flows.crow": ["CRowFlow"],
    "crow.flows.glow": ["Glow"],
    "crow.flows.infocnf": ["InfoCNF"],
    "crow.flows.published": ["PublishedCRow"],
    "crow.flows.semi_conditional": ["SemiConditionalFlow"],
    "crow.models.classifier": ["Classifier"],
    "crow.models.crow": ["CRow"],
    "crow.models.enhancer": ["Enhancer"],
    "crow.models.loading": ["load"],
    "crow.models.scans": ["ScanModel"],
    "crow.models.segmenter": ["Segmenter"],
    "crow.models.synthesizer": ["Synthesizer"],
    "crow.models.translator": ["Translator"],
    "crow.models.voxels": ["VoxelModel"],
    "crow.networks.conditioning": ["ConditioningNetwork"],
    "crow.networks.mlp": ["MLP"],
    "crow.networks.recurrent": ["RecurrentSubnet"],
    "crow.run.config": ["Config"],
    "crow.scans.store": ["ScanStore"],
    "crow.seeds": ["derived_seed"],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the examples read: a table, three stores of scans and masks."""
    from models.model_cases import masked_scans
    from paired_stores import paired_stores

    from crow.simulate import simulate_wide

    folder = tmp_path_factory.mktemp("examples")
    table = simulate_wide(24, 4, 3, seed=0).table
    number = table["subject"].str[1:].astype(int)
    table["sex"], table["DX"] = number.map(lambda n: "FM"[n % 2]), number.map(lambda n: ["CN", "MCI"][n % 3 == 0])
    names = {"ROI01": "Hippocampus", "ROI02": "Ventricles", "ROI03": "Entorhinal"}
    table = table.rename(columns=names)[["subject", "age", "sex", "DX", "CDRSB", *names.values()]]
    table.to_csv(folder / "adni.csv", index=False)
    paired_stores(folder)
    masked_scans(folder)
    return folder


def test_the_list_holds_every_name_of_the_package() -> None:
    listed = {name for names in PUBLIC.values() for name in names}
    assert {name for name in crow.__all__ if name != "__version__"} <= listed


@pytest.mark.parametrize("module", PUBLIC)
def test_examples_run(module: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    source = importlib.import_module(module)
    for name in PUBLIC[module]:
        thing = getattr(source, name)
        examples = doctest.DocTestFinder(recurse=False).find(thing, name, module=source, globs=dict(vars(source)))
        assert any(test.examples for test in examples), f"{module}.{name} has no example"
    torch.manual_seed(0)
    results = doctest.testmod(source, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert not results.failed


def test_no_example_is_skipped() -> None:
    for module in PUBLIC:
        assert "doctest: +SKIP" not in Path(str(importlib.import_module(module).__file__)).read_text()
