"""Simulated cohorts with known truth."""

from crow.simulate.av45 import simulate_av45, true_effects
from crow.simulate.progression import simulate_adni
from crow.simulate.scan_cohort import ScanSimulation, simulate_scans
from crow.simulate.simulation import Simulation
from crow.simulate.wide import simulate_wide

__all__ = [
    "ScanSimulation", "Simulation", "simulate_adni", "simulate_av45", "simulate_scans", "simulate_wide", "true_effects",
]  # fmt: skip
