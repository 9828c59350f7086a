"""Probes: the invariants of training, measured on a base model and data of the user's own.

results.py       what a probe says
bench.py         what a probe works on: a model, its tokenizer, a few examples; a recipe, prepared
supervision.py   mask, BOS, EOS, truncation
batching.py      scores and answers do not depend on the batch
packing.py       whether packed rows leak into one another
accumulation.py  the gradient does not depend on how a batch is cut
methods.py       a recipe's own: gradient flow, start, save and load, seed, dtypes, merge drift
memory.py        whether a recipe fits on the device
parity.py        the same losses on another engine
judges.py        whether a judge could be asked
checking.py      all of them, for `harness check`
gate.py          those that a recipe must pass before anything is trained
"""
