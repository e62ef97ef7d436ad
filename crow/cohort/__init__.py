"""Cohort tables in, one Cohort out."""

from crow.cohort.cohort import Cohort, Finding, Schema
from crow.cohort.options import ReadOptions
from crow.cohort.reader import read_cohort

__all__ = ["Cohort", "Finding", "ReadOptions", "Schema", "read_cohort"]
