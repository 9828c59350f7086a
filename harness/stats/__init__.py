"""Resampling, seeds, paired tests, pairwise aggregation: arrays in, arrays out, no knowledge of suites."""
