"""What a report leaves for other programs: examples.parquet, lm-eval's results and samples, model cards.

All are made from results.json and examples.jsonl alone and hold no date, so that a report rendered twice has
the same files, to the byte.
"""
