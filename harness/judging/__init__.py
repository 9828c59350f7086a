"""Verdicts of judges as columns, from wherever they come, and what they say: analysis, agreement, text."""
