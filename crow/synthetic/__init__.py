"""Covariates and visits of synthetic subjects, drawn from a model of their own."""
