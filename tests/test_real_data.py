"""Real GPT-4 answers and a small real English model, the whole way: every method beats the base."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import harness, results

SUITE = """\
name: alpaca
description: Which way of tuning a 4M-parameter English model on 999 GPT-4 answers is best?
model: {model}
data: {{train: {data}, eval: 100}}
prompting: {{max_length: 512}}
training: {{num_train_epochs: 1, per_device_train_batch_size: 8, per_device_eval_batch_size: 16}}
generation: {{max_new_tokens: 64}}
evaluators: [perplexity, bits_per_byte, token_accuracy, bleu, chrf]
judges: [reference]
candidates:
  full: {{training: {{learning_rate: 1e-3}}}}
  freeze: {{method: {{freeze: {{last_layers: 2}}}}, training: {{learning_rate: 1e-3}}}}
  lora: {{method: {{lora: {{r: 16, lora_alpha: 32}}}}, training: {{learning_rate: 3e-3}}}}
  qlora: {{method: {{qlora: {{lora: {{r: 16, lora_alpha: 32}}}}}}, training: {{learning_rate: 3e-3}}}}
"""


@pytest.mark.slow
def test_every_method_beats_the_base_on_real_data(shared: Path, tmp_path: Path) -> None:
    text = SUITE.format(model=shared / "models/tiny-en", data=shared / "data/alpaca_gpt4_999.json")
    (tmp_path / "suite.yaml").write_text(text)
    said = harness("run", "suite.yaml", folder=tmp_path)
    print(said.stdout)
    assert said.returncode == 0, said.stderr
    done = results(tmp_path, "alpaca")
    rows = {candidate["name"]: candidate for candidate in done["candidates"]}
    assert next(iter(rows)) == "base"
    assert set(rows) == {"base", "full", "freeze", "lora", "qlora"}
    base = rows["base"]["scores"]["perplexity"]
    assert base["n"] == 100
    for name in ("full", "freeze", "lora", "qlora"):
        score, difference = (rows[name][part]["perplexity"] for part in ("scores", "differences"))
        assert score["n"] == 100
        assert score["low"] < score["value"] < score["high"]
        assert score["value"] < base["value"]
        assert difference["verdict"] == "better"
        assert difference["high"] < 0
        assert (
            rows[name]["win_rates"]["reference"]["n"]
            + rows[name]["win_rates"]["reference"].get("incomplete", 0)
            == 100
        )
