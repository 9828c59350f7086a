"""Datasets: from a user's files or the Hub to Examples, split, and clean of overlap.

sources reads rows (textfiles: json, jsonl and csv, with a line for each error), formats recognises the
columns, conversion turns rows into Examples, splits holds validation and eval rows out, leakage finds
what the parts have in common, preflight looks at a source before any work starts.
"""
