"""suite.yaml: what it means, and one whole line for whatever is wrong with it."""

# ruff: noqa: E501 - a message stands on one line, whole, so that it can be searched for

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import registry
from harness.data.sources import FILE_KINDS
from harness.errors import DataError, InputError, ModelError, PluginError, SuiteError
from harness.modeling.training_settings import KEYS, LORA_PRESETS
from harness.records import Method, ModelRef, Prompting, from_json, to_json
from harness.suite import Candidate, Suite, load_suite
from harness.suite.deepspeed import DeepSpeedKeys, OffloadKeys, ZeroKeys
from harness.suite.keys import (
    CandidateKeys,
    DataKeys,
    JudgeKeys,
    LaunchKeys,
    ModelKeys,
    PromptingKeys,
    SourceKeys,
    SuiteKeys,
)
from harness.suite.method_settings import (
    LEARNING_RATES,
    METHODS,
    Ia3,
    Lora,
    PromptTuning,
    Qlora,
    Quantization,
)
from harness.suite.settings import READ_BY_HARNESS, READ_BY_PREDICT, Generation, Section, Training
from harness.suite.training_arguments import TRAINING_ARGUMENTS

SMALLEST = """\
model: model
data: rows.json
candidates:
  full: {}
"""
STAND_IN = """\
from dataclasses import dataclass


@dataclass(frozen=True)
class StandIn:
    training_keys = frozenset()
    methods = frozenset()

    def train(self, job): ...
    def load(self, model, trained, prompting): ...
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model's files, data, and a backend that trains nothing."""
    make_model(tmp_path / "model")
    (tmp_path / "rows.json").write_text("[]")
    (tmp_path / "more.csv").write_text("")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "chat.jinja").write_text("{{ messages[0].content }}")
    (tmp_path / "broken.jinja").write_text("fine\n{% if %}")
    (tmp_path / "backends").mkdir()
    (tmp_path / "backends" / "stand_in.py").write_text(STAND_IN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_model(folder: Path) -> None:
    folder.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_text("")


def load(text: str, *overrides: str) -> Suite:
    Path("suite.yaml").write_text(text, encoding="utf-8")
    return load_suite(Path("suite.yaml"), overrides)


def complaint(text: str, *overrides: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load(text, *overrides)
    assert "\n" not in str(caught.value)
    return caught.value


def candidate(suite: Suite, name: str) -> Candidate:
    return next(c for c in suite.candidates if c.name == name)


def test_the_smallest_suite_has_a_default_for_everything_else(folder: Path) -> None:
    suite = load(SMALLEST)
    base, full = suite.candidates
    assert (suite.name, suite.folder, suite.display_path) == (folder.name, folder, "suite.yaml")
    assert suite.text == SMALLEST
    assert suite.model == ModelRef(str(folder / "model"))
    assert [(s.path, s.local, s.format) for s in suite.data.train] == [
        (str(folder / "rows.json"), True, "auto")
    ]
    assert (suite.data.validation, suite.data.eval, suite.data.overlap) == (0.05, None, "remove")
    assert suite.prompting == Prompting("chat", "", 1024)
    assert [e.name for e in suite.evaluators] == SuiteKeys.model_fields["evaluators"].default
    assert [(j.name, j.against, j.max_prompts) for j in suite.judges] == [("reference", "base", None)]
    assert (suite.rank_by, suite.seeds) == ("perplexity", (0,))
    assert (base.name, base.method, base.backend.name) == ("base", None, "torch")
    assert full.method == Method("full", {})
    assert full.generation == {"max_new_tokens": 128, "do_sample": False}
    assert from_json(Suite, json.loads(json.dumps(to_json(suite)))).candidates == suite.candidates


@pytest.mark.parametrize(
    ("method", "rate"),
    [
        ("full", 2e-5),
        ("freeze: {last_layers: 1}", 2e-5),
        *((name, 2e-4) for name in ("lora", "dora", "rslora", "pissa", "qlora")),
        ("ia3", 3e-3),
        ("prompt_tuning", 3e-2),
    ],
)
def test_a_candidate_has_every_key_and_each_method_its_learning_rate(
    folder: Path, method: str, rate: float
) -> None:
    method = f"{{{method}}}" if ":" in method else method
    suite = load(SMALLEST.replace("full: {}", f"one: {{method: {method}}}"))
    defaults = {**Training().model_dump(), "learning_rate": rate}
    expected = {key: defaults[key] for key in TORCH_KEYS}
    assert candidate(suite, "one").training == expected


def test_training_and_generation_are_merged_key_by_key_and_the_rest_is_replaced(folder: Path) -> None:
    suite = load(
        """\
model: model
data: rows.json
training: {learning_rate: 2e-4, num_train_epochs: 1}
generation: {do_sample: true, temperature: 0.7}
method: {lora: {r: 64}}
seeds: [1, 2]
candidates:
  a:
  b:
    training: {num_train_epochs: 2}
    generation: {do_sample: false, temperature: null}
    method: {lora: {lora_alpha: 32}}
    evaluators: [bleu]
    judges: []
    seeds: 7
"""
    )
    a, b = suite.candidates[1:]
    assert (a.training["learning_rate"], a.training["num_train_epochs"]) == (2e-4, 1)
    assert (b.training["learning_rate"], b.training["num_train_epochs"]) == (2e-4, 2)
    assert a.generation == {"max_new_tokens": 128, "do_sample": True, "temperature": 0.7}
    assert b.generation == {"max_new_tokens": 128, "do_sample": False}
    assert a.method is not None
    assert b.method is not None
    assert (a.method.options["r"], b.method.options["r"]) == (64, 8)
    assert (a.method.options["lora_alpha"], b.method.options["lora_alpha"]) == (16, 32)
    assert ([e.name for e in b.evaluators], b.judges, b.seeds) == (["bleu"], (), (7,))
    assert (a.evaluators, a.seeds) == (suite.evaluators, (1, 2))


PLAIN_LORA = {
    "r": 8,
    "lora_alpha": 16,
    "lora_dropout": 0.0,
    "target_modules": "all-linear",
    "bias": "none",
    "use_rslora": False,
    "use_dora": False,
    "init_lora_weights": True,
    "ensure_weight_tying": False,
}
METHOD_OPTIONS = [
    ("full", {}),
    ("{freeze: {last_layers: 2}}", {"last_layers": 2, "embeddings": False, "head": False}),
    (
        "{freeze: {first_frozen: 24, head: true}}",
        {"first_frozen": 24, "embeddings": False, "head": True},
    ),
    ("lora", PLAIN_LORA),
    ("{lora: {use_dora: true}}", PLAIN_LORA | {"use_dora": True}),
    ("dora", PLAIN_LORA | {"use_dora": True}),
    ("{rslora: {r: 64}}", PLAIN_LORA | {"use_rslora": True, "r": 64}),
    ("pissa", PLAIN_LORA | {"init_lora_weights": "pissa"}),
    (
        "{pissa: {init_lora_weights: pissa_niter_4}}",
        PLAIN_LORA | {"init_lora_weights": "pissa_niter_4"},
    ),
    ("ia3", {}),
    (
        "{ia3: {target_modules: [k_proj, fc2], feedforward_modules: [fc2]}}",
        {"target_modules": ["k_proj", "fc2"], "feedforward_modules": ["fc2"]},
    ),
    ("prompt_tuning", {"num_virtual_tokens": 20, "prompt_tuning_init": "SAMPLE_VOCAB"}),
    (
        "{prompt_tuning: {prompt_tuning_init: TEXT, prompt_tuning_init_text: Answer.}}",
        {"num_virtual_tokens": 20, "prompt_tuning_init": "TEXT", "prompt_tuning_init_text": "Answer."},
    ),
    (
        "{qlora: {quantization: {load_in_8bit: true, llm_int8_skip_modules: [lm_head]}}}",
        {"load_in_8bit": True, "llm_int8_threshold": 6.0, "llm_int8_skip_modules": ["lm_head"]},
    ),
    ("qlora", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}),
]


@pytest.mark.parametrize(("written", "options"), METHOD_OPTIONS)
def test_a_method_has_its_options_filled_in(folder: Path, written: str, options: dict[str, Any]) -> None:
    suite = load(SMALLEST.replace("full: {}", f"c: {{method: {written}}}"))
    method = candidate(suite, "c").method
    assert method is not None
    assert method.options.get("quantization", method.options) == options


@pytest.mark.slow
def test_every_key_of_a_method_is_taken_by_the_installed_class() -> None:
    from peft import IA3Config, LoraConfig, PromptTuningConfig
    from transformers import BitsAndBytesConfig, GenerationConfig

    tables = [(Lora, LoraConfig), (Ia3, IA3Config), (PromptTuning, PromptTuningConfig)]
    for ours, theirs in tables:
        assert ours.model_fields.keys() <= {f.name for f in dataclasses.fields(theirs)}
    quantization = BitsAndBytesConfig(load_in_4bit=True).__dict__.keys() | {"load_in_4bit", "load_in_8bit"}
    assert Quantization.model_fields.keys() <= quantization
    assert Generation.model_fields.keys() <= GenerationConfig().to_dict().keys()


@pytest.mark.slow
def test_plain_prompts_are_read_with_their_own_keys(folder: Path) -> None:
    written = "{template: plain, max_length_prompt: 64, text_answer_separator: 'A: ', add_eos_token_to_answer: false}"
    prompting = load(SMALLEST + f"prompting: {written}\n").prompting
    assert prompting == Prompting(
        "plain", max_length_prompt=64, text_answer_separator="A: ", add_eos_token_to_answer=False
    )


def test_optional_training_keys_reach_the_candidate(folder: Path) -> None:
    suite = load(
        SMALLEST
        + "training: {optim: sgd, optim_args: {momentum: 0.9}, warmup_epochs: 0.5, early_stopping_patience: 2}\n"
    )
    training = candidate(suite, "full").training
    keys = ("optim_args", "warmup_epochs", "warmup_steps", "early_stopping_patience")
    assert [training[key] for key in keys] == [{"momentum": 0.9}, 0.5, 0, 2]


def test_the_table_of_training_arguments_is_that_of_the_installed_class() -> None:
    from transformers import TrainingArguments

    installed = {f.name for f in dataclasses.fields(TrainingArguments)}
    assert installed == TRAINING_ARGUMENTS
    ours = Training.model_fields.keys() - installed
    assert ours == {
        "completion_only_loss",
        "dropout",
        "early_stopping_patience",
        "early_stopping_threshold",
        "eval_epochs",
        "packing",
        "padding_free",
        "padding_quantile",
        "skip_memory_check",
        "token_mask_probability",
        "validation_samples",
        "warmup_epochs",
    }
    assert not Training.renamed.keys() & Training.model_fields.keys()


DATA_FORMS = [
    ("rows.json", ["rows.json"], 0.05, None),
    ("[rows.json, ./more.csv]", ["rows.json", "more.csv"], 0.05, None),
    ("{train: rows.json, eval: 0.1, validation: null}", ["rows.json"], None, 0.1),
    ("{train: [{path: rows.json, format: alpaca}, more.csv], eval: 7}", ["rows.json", "more.csv"], 0.05, 7),
]


@pytest.mark.parametrize(("written", "train", "validation", "held_out"), DATA_FORMS)
def test_data_is_a_source_a_list_or_a_mapping(
    folder: Path, written: str, train: list[str], validation: Any, held_out: Any
) -> None:
    data = load(SMALLEST.replace("data: rows.json", f"data: {written}")).data
    assert [source.path for source in data.train] == [str(folder / name) for name in train]
    assert (data.validation, data.eval) == (validation, held_out)


def test_sources_of_their_own_and_hub_ids(folder: Path) -> None:
    text = SMALLEST.replace(
        "data: rows.json",
        "data:\n  train: {path: tatsu-lab/alpaca, name: default, revision: abc, columns: {instruction: q}}\n"
        "  eval: [rows.json]\n  validation: more.csv",
    )
    data = load(text.replace("model: model", "model: {name_or_path: org/tiny, revision: v1}")).data
    assert isinstance(data.eval, tuple)
    assert isinstance(data.validation, tuple)
    [source] = data.train
    assert (source.path, source.local, source.name, source.revision) == (
        "tatsu-lab/alpaca",
        False,
        "default",
        "abc",
    )
    assert source.columns == {"instruction": "q"}
    assert [s.path for s in (*data.eval, *data.validation)] == [
        str(folder / n) for n in ("rows.json", "more.csv")
    ]


def test_a_hub_model_has_a_revision_and_a_local_one_none(folder: Path) -> None:
    assert load(SMALLEST.replace("model: model", "model: org/tiny")).model == ModelRef("org/tiny", "main")
    assert load(SMALLEST.replace("model: model", "model: ./model")).model == ModelRef(str(folder / "model"))


def test_without_validation_nothing_is_validated(folder: Path) -> None:
    text = SMALLEST.replace("data: rows.json", "data: {train: rows.json, validation: null}")
    training = candidate(load(text), "full").training
    assert (training["eval_strategy"], training["load_best_model_at_end"]) == ("no", False)


def test_a_constant_schedule_has_no_warmup(folder: Path) -> None:
    suite = load(SMALLEST + "training: {lr_scheduler_type: constant}\n")
    assert candidate(suite, "full").training["warmup_steps"] == 0


def test_a_template_of_ones_own_is_read(folder: Path) -> None:
    prompting = load(SMALLEST + "prompting: {template: chat.jinja, max_length: 64}\n").prompting
    assert prompting == Prompting("jinja", "{{ messages[0].content }}", 64)


def test_plugins_are_named_and_have_options(folder: Path) -> None:
    suite = load(
        SMALLEST
        + "evaluators: [bleu, {bleu: {lowercase: true, name: bleu-lc}}]\nrank_by: bleu-lc\n"
        + "judges: [{reference: {margin: 1, against: full, max_prompts: 250, name: near}}]\n"
    )
    assert [(e.name, e.plugin.options["lowercase"]) for e in suite.evaluators] == [
        ("bleu", False),
        ("bleu-lc", True),
    ]
    [judge] = suite.judges
    assert (judge.name, judge.against, judge.max_prompts) == ("near", "full", 250)
    assert (judge.plugin.options, suite.rank_by) == ({"margin": 1}, "bleu-lc")


def test_a_judge_can_rank_and_a_budget_holds_for_the_suite(folder: Path) -> None:
    suite = load(SMALLEST + "judges: [reference, length]\nrank_by: length\nbudget_usd: 2.5\n")
    assert (suite.rank_by, suite.budget_usd) == ("length", 2.5)


def test_whom_a_judge_compares_with_and_how_often(folder: Path) -> None:
    suite = load(
        SMALLEST.replace("full: {}", "full: {}\n  reference: {backend: reference}")
        + "judges: [{gpt4: {against: all, max_pairs: 90, controls: 5}}, {length: {against: reference}}]\n"
    )
    assert [(j.against, j.max_pairs, j.controls, j.symmetric) for j in suite.judges] == [
        ("all", 90, 5, False),
        ("reference", None, 0, True),
    ]
    assert candidate(suite, "reference").method is None


@pytest.mark.parametrize(
    ("panel", "against"),
    [
        ("{judges: [length, reference]}", "reference"),
        ("{judges: [length, reference], against: reference}", "reference"),
    ],
)
def test_a_panel_compares_with_whom_its_members_do(folder: Path, panel: str, against: str) -> None:
    members = "{length: {against: reference}}, {reference: {against: reference}}"
    nested = "{panel: {name: outer, judges: [panel, length]}}"
    suite = load(SMALLEST + f"judges: [{nested}, {members}, {{panel: {panel}}}]\n")
    assert {judge.against for judge in suite.judges} == {against}


def test_a_panel_names_its_members(folder: Path) -> None:
    suite = load(SMALLEST + "judges: [length, reference, {panel: {judges: [reference, length]}}]\n")
    assert [judge.members for judge in suite.judges] == [(), (), ("reference", "length")]


def test_a_backend_that_stands_in_for_a_model_trains_nothing(folder: Path) -> None:
    suite = load(SMALLEST + "  gpt: {backend: stand_in, model: gpt-4o}\ntraining: {learning_rate: 1e-4}\n")
    stand_in = candidate(suite, "gpt")
    assert (stand_in.method, stand_in.training) == (None, {"per_device_eval_batch_size": 8})
    assert stand_in.model == ModelRef("gpt-4o", "main")


YAML_VALUES = [
    ("2e-4", 2e-4),
    ("0.0002", 2e-4),
    (".2e-3", 2e-4),
    ("1", 1.0),
]


@pytest.mark.parametrize(("written", "value"), YAML_VALUES)
def test_numbers_are_those_of_yaml_1_2(folder: Path, written: str, value: float) -> None:
    suite = load(SMALLEST + f"training: {{learning_rate: {written}, eval_strategy: no}}\n")
    training = candidate(suite, "full").training
    assert (training["learning_rate"], training["eval_strategy"]) == (value, "no")


def test_anchors_and_merges_mean_what_they_say(folder: Path) -> None:
    suite = load(
        SMALLEST.replace("full: {}", "full: &recipe {training: {learning_rate: 1e-3}, seeds: 1}")
        + "  again: *recipe\n  other:\n    <<: *recipe\n    seeds: 2\n"
    )
    rates = [(c.training["learning_rate"], c.seeds) for c in suite.candidates[1:]]
    assert rates == [(1e-3, (1,)), (1e-3, (1,)), (1e-3, (2,))]


OVERRIDES = [
    ("training.max_steps=10", lambda s: s.candidates[1].training["max_steps"] == 10),
    (
        "candidates.full.training.learning_rate=3e-4",
        lambda s: s.candidates[1].training["learning_rate"] == 3e-4,
    ),
    ("candidates.full.method=lora", lambda s: s.candidates[1].method.name == "lora"),
    ("candidates.v1.0.seeds=[1,2]", lambda s: s.candidates[2].seeds == (1, 2)),
    ("candidates.v1.0.method.lora.r=3", lambda s: s.candidates[2].method.options["r"] == 3),
    ("evaluators.1.bleu.lowercase=true", lambda s: s.evaluators[1].plugin.options["lowercase"] is True),
    ("candidates={only: {}}", lambda s: [c.name for c in s.candidates] == ["base", "only"]),
    ("description=a = b", lambda s: s.description == "a = b"),
    ("judges=", lambda s: [j.name for j in s.judges] == ["reference"]),
]


@pytest.mark.parametrize(("override", "holds"), OVERRIDES, ids=[o for o, _ in OVERRIDES])
def test_an_override_sets_one_value(folder: Path, override: str, holds: Any) -> None:
    suite = load(SMALLEST + "  v1.0: {method: lora}\nevaluators: [perplexity, bleu]\n", override)
    assert holds(suite)
    assert suite.overrides == (override,)
    assert override not in suite.text


BAD_OVERRIDES = [
    ("training", "--set training: expected key.path=value"),
    ("=1", "--set =1: expected key.path=value"),
    (
        "training.max_steps=[1",
        "--set training.max_steps=[1: not YAML: expected ',' or ']', but got '<stream end>'",
    ),
    (
        "training.max_step=1",
        "--set training.max_step=1: training.max_step: unknown key; did you mean 'max_steps'?",
    ),
    ("candidates.ful.seeds=1", "--set candidates.ful.seeds=1: no candidate 'ful'; did you mean 'full'?"),
    ("seeds.3=1", "--set seeds.3=1: seeds: no item '3'; the list has 1, counted from 0"),
    ("model.revision=1", "--set model.revision=1: model: is the text 'model' and has no key 'revision'"),
    (
        "training.learning_rate=-1",
        "--set training.learning_rate=-1: training.learning_rate: must be above 0, got -1",
    ),
    (
        "data=rows.jsn",
        "--set data=rows.jsn: data: no such file or folder: rows.jsn; did you mean 'rows.json'?",
    ),
]


@pytest.mark.parametrize(("override", "line"), BAD_OVERRIDES, ids=[o for o, _ in BAD_OVERRIDES])
def test_a_wrong_override_is_named(folder: Path, override: str, line: str) -> None:
    assert str(complaint(SMALLEST + "seeds: [0]\n", override)) == line


UNREADABLE = [
    ("", "suite.yaml:1:1: the file is empty; a suite is a mapping with the keys model, data and candidates"),
    (
        "- a\n",
        "suite.yaml:1:1: the file holds a list; a suite is a mapping with the keys model, data and candidates",
    ),
    ("model: [a\nb: c\n", "suite.yaml:2:2: not YAML: expected ',' or ']', but got ':'"),
    (
        "model: a: b\n",
        "suite.yaml:1:9: not YAML: mapping values are not allowed here; "
        "check the indentation, or put text that holds ': ' into quotes",
    ),
    (
        "data:\n\t- a\n",
        "suite.yaml:2:1: not YAML: found character '\\t' that cannot start any token; "
        "indent with spaces, not with tabs",
    ),
    (
        '{"a": 1}\n{"b": 2}\n',
        "suite.yaml:2:1: not YAML: expected '<document start>', but found '{'; "
        "a suite is one mapping with the keys model, data and candidates; is this a file of data?",
    ),
    ("model: a\n--- \nmodel: b\n", "suite.yaml:2:1: not YAML: but found another document"),
    ("model: *base\n", "suite.yaml:1:8: not YAML: found undefined alias 'base'"),
    (
        "model: !!int foo\n",
        "suite.yaml: not YAML that can be read: invalid literal for int() with base 10: 'foo'",
    ),
    ("model: " + "[" * 3000 + "\n", "suite.yaml: not YAML that can be read: it is nested too deep"),
    (
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 7)),
        "suite.yaml:1:37: more than 100,000 values, aliases written out",
    ),
    ("model: &m [*m]\n", "suite.yaml:1:8: model.0: an alias that stands inside of what it names"),
    ("model: !path a\n", "suite.yaml:1:8: not YAML: could not determine a constructor for the tag '!path'"),
    ("model: a\nname: \x07\n", "suite.yaml:2:1: not YAML: character #x0007 is not allowed"),
    ("? [a, b]\n: 1\n", "suite.yaml:1:3: a key must be text"),
    ("model: a\ndata: b\nmodel: c\n", "suite.yaml:3:1: model: duplicate key; it already stands in line 1"),
    (
        "candidates:\n  lora: {}\n  full: {}\n  lora: {}\n",
        "suite.yaml:4:3: candidates.lora: duplicate key; it already stands in line 2",
    ),
]


@pytest.mark.parametrize(("text", "line"), UNREADABLE, ids=range(len(UNREADABLE)))
def test_what_is_not_a_yaml_mapping_is_one_line(folder: Path, text: str, line: str) -> None:
    assert str(complaint(text)) == line


def test_a_file_that_cannot_be_read_is_one_line(folder: Path) -> None:
    Path("latin.yaml").write_bytes(b"description: caf\xe9\n")
    for name, line in [
        ("nope.yaml", "nope.yaml: no such file; check the path"),
        ("model", "model: is a folder; name the suite.yaml in it"),
        ("latin.yaml", "latin.yaml: is not UTF-8 text (byte 16)"),
    ]:
        with pytest.raises(SuiteError) as caught:
            load_suite(Path(name))
        assert str(caught.value) == line


TORCH_KEYS = sorted(KEYS | READ_BY_HARNESS)
NAMES = "use letters, digits, '.', '_' and '-', the first a letter or digit"
METHODS_LINE = f"backend 'torch' trains {', '.join(sorted(METHODS))}"
EVALUATORS_LINE, JUDGES_LINE, BACKENDS_LINE = (
    "known are " + ", ".join(sorted([*more, *(source.name for source in registry.known(kind))]))
    for kind, more in (("evaluator", ()), ("judge", ()), ("backend", ("stand_in",)))
)

# (what is changed in SMALLEST: old -> new, or lines to append; the whole message)
MISTAKES: list[tuple[tuple[str, str] | str, type[InputError], str]] = [
    (
        "launch: {gpus: 2}",
        SuiteError,
        "5:10: launch.gpus: unknown key; did you mean 'num_processes'?",
    ),
    (
        "launch: {config_file: fsdp.yaml}",
        SuiteError,
        "5:10: launch.config_file: unknown key; "
        "write training.deepspeed for DeepSpeed's ZeRO; there is no FSDP",
    ),
    # the top level
    ("bakend: torch", SuiteError, "5:1: bakend: unknown key; did you mean 'backend'?"),
    ("learning_rate: 1", SuiteError, "5:1: learning_rate: unknown key; write it below training:"),
    ("name: a/b", SuiteError, "5:1: name: 'a/b' cannot be a name; " + NAMES),
    ("name: 2024", SuiteError, "5:1: name: expected text, got the number 2024; put it in quotes"),
    ("description: [a]", SuiteError, "5:1: description: expected text, got a list"),
    (("model: model\n", ""), SuiteError, "1:1: model: missing; give a base model's folder or Hub id"),
    (("data: rows.json\n", ""), SuiteError, "1:1: data: missing; give a dataset's file, folder or Hub id"),
    # candidates
    (
        ("  full: {}\n", ""),
        SuiteError,
        "3:1: candidates: no candidates; add one, such as lora: {method: lora}",
    ),
    (
        ("candidates:\n  full: {}\n", ""),
        SuiteError,
        "1:1: candidates: no candidates; add one, such as lora: {method: lora}",
    ),
    (("full: {}", "a/b: {}"), SuiteError, "4:3: candidates.a/b: 'a/b' cannot be a name; " + NAMES),
    (
        ("full: {}", "base: {}"),
        SuiteError,
        "4:3: candidates.base: 'base' is the untrained model, which is always a candidate; choose another name",
    ),
    (
        ("\n  full: {}", " [full]"),
        SuiteError,
        "3:1: candidates: expected a mapping of names to recipes, got a list",
    ),
    (
        ("full: {}", "full: lora"),
        SuiteError,
        "4:3: candidates.full: expected a mapping of keys, got the text 'lora'",
    ),
    (
        ("full: {}", "full: {learning_rate: 1}"),
        SuiteError,
        "4:10: candidates.full.learning_rate: unknown key; write it below training:",
    ),
    (
        ("full: {}", "full: {lora: {}}"),
        SuiteError,
        "4:10: candidates.full.lora: unknown key; write it below method: {lora: ...}",
    ),
    (
        ("full: {}", "full: {data: rows.json}"),
        SuiteError,
        "4:10: candidates.full.data: unknown key; all candidates are trained on the suite's data",
    ),
    # models
    (
        ("model: model", "model: ./modle"),
        ModelError,
        "1:1: model: ./modle: no such folder; did you mean 'model'?",
    ),
    (
        ("model: model", "model: a/b/c"),
        ModelError,
        "1:1: model: no such folder: a/b/c; paths are relative to the suite's file",
    ),
    (
        ("model: model", "model: rows.json"),
        ModelError,
        "1:1: model: rows.json: is not a folder; give the folder that holds config.json",
    ),
    (
        ("model: model", "model: 3"),
        SuiteError,
        "1:1: model: expected a folder, a Hub id or {name_or_path: ...}, got the number 3",
    ),
    (
        ("model: model", "model: {path: model}"),
        SuiteError,
        "1:9: model.path: unknown key; did you mean 'name_or_path'?",
    ),
    (
        ("model: model", "model: {name_or_path: model, revision: main}"),
        SuiteError,
        "1:30: model.revision: a folder has no revision; leave it out",
    ),
    (
        ("model: model", "model: {name_or_path: org/x, revision: 12}"),
        SuiteError,
        "1:30: model.revision: expected text, got the number 12; put it in quotes",
    ),
    # data
    (
        ("data: rows.json", "data: row.json"),
        DataError,
        "2:1: data: no such file or folder: row.json; did you mean 'rows.json'?",
    ),
    (
        ("data: rows.json", "data: [rows.json, ./x]"),
        DataError,
        "2:19: data.1: no such file or folder: ./x; paths are relative to the suite's file",
    ),
    (
        ("data: rows.json", "data: notes.txt"),
        DataError,
        "2:1: data: unknown kind of file: notes.txt; known are " + ", ".join(FILE_KINDS),
    ),
    (
        ("data: rows.json", "data: [rows.json, 5]"),
        SuiteError,
        "2:19: data.1: expected a file, a folder, a Hub id or {path: ...}, got the number 5",
    ),
    (
        ("data: rows.json", "data: {train: rows.json, eval: rows.json}"),
        DataError,
        "2:26: data.eval: is the same data as data.train, none of which would be left; give other data, or "
        "leave it out, and some rows of train are held out",
    ),
    (
        ("data: rows.json", "data: {train: rows.json, eval: ./rows.json, validation: 0.1}"),
        DataError,
        "2:26: data.eval: is the same data as data.train, none of which would be left; give other data, or "
        "leave it out, and some rows of train are held out",
    ),
    (
        ("data: rows.json", "data: {train: rows.json, validation: rows.json}"),
        DataError,
        "2:26: data.validation: is the same data as data.train, none of which would be left; give other "
        "data, or give a share of train, such as 0.1",
    ),
    (
        ("full: {}", "full: {method: {freeze: {last_layer: 2}}}"),
        SuiteError,
        "4:28: candidates.full.method.freeze.last_layer: unknown key; did you mean 'last_layers'?",
    ),
    (
        ("full: {}", "full: {backend: {outputs: {pth: rows.json}}}"),
        PluginError,
        "4:30: candidates.full.backend.outputs.pth: unknown option; did you mean 'path'?",
    ),
    (("data: rows.json", "data: []"), SuiteError, "2:1: data: the list is empty; give at least one dataset"),
    (
        ("data: rows.json", "data: {path: rows.json}"),
        SuiteError,
        "2:8: data.path: unknown key; write it in a source: train: {path: ...} (and 1 more)",
    ),
    (
        ("data: rows.json", "data: {train: rows.json, eval: 1.5}"),
        SuiteError,
        "2:26: data.eval: must be above 0, and below 1 as a float, got 1.5; "
        "a float is a share below 1, a whole number a number of examples",
    ),
    (
        ("data: rows.json", "data: {train: rows.json, eval: true}"),
        SuiteError,
        "2:26: data.eval: expected a share, a number of examples or a source, got true",
    ),
    (
        ("data: rows.json", "data: {train: rows.json, overlap: drop}"),
        SuiteError,
        "2:26: data.overlap: expected 'remove' or 'report', got the text 'drop'",
    ),
    (
        ("data: rows.json", "data: {train: {path: rows.json, columns: {outputs: a}}}"),
        SuiteError,
        "2:43: data.train.columns.outputs: unknown column of ours; did you mean 'output'?",
    ),
    (
        ("data: rows.json", "data: {train: {path: rows.json, revision: v1}}"),
        SuiteError,
        "2:33: data.train.revision: would not be read; it is for datasets of the Hub",
    ),
    # prompting
    (
        "prompting: {template: chatt}",
        SuiteError,
        "5:13: prompting.template: unknown template 'chatt'; did you mean 'chat'? "
        "use chat, alpaca, plain or the path of a .jinja file",
    ),
    (
        "prompting: {template: ./chta.jinja}",
        SuiteError,
        "5:13: prompting.template: no such file: ./chta.jinja; did you mean 'chat.jinja'?",
    ),
    (
        "prompting: {template: broken.jinja}",
        SuiteError,
        "5:13: prompting.template: broken.jinja:2: not Jinja: Expected an expression, got 'end of statement block'",
    ),
    ("prompting: {max_length: 1}", SuiteError, "5:13: prompting.max_length: must be at least 2, got 1"),
    (
        "prompting: {max_length: 256, max_length_answer: 256}",
        SuiteError,
        "5:30: prompting.max_length_answer: cannot be reached: max_length, for both together, is 256; "
        "raise max_length, or lower or leave out max_length_answer",
    ),
    (
        "prompting: {template: alpaca, text_answer_separator: ':'}",
        SuiteError,
        "5:31: prompting.text_answer_separator: would not be read; set template: plain",
    ),
    # training
    (
        "training: {learning_rte: 1}",
        SuiteError,
        "5:12: training.learning_rte: unknown key; did you mean 'learning_rate'?",
    ),
    ("training: {lr: 1}", SuiteError, "5:12: training.lr: unknown key; did you mean 'learning_rate'?"),
    (
        "training: {learning_rate: '2e-4'}",
        SuiteError,
        "5:12: training.learning_rate: expected a number, got the text '2e-4'; take it out of its quotes",
    ),
    (
        "training: {learning_rate: fast}",
        SuiteError,
        "5:12: training.learning_rate: expected a number, got the text 'fast'",
    ),
    ("training: {learning_rate: 0}", SuiteError, "5:12: training.learning_rate: must be above 0, got 0"),
    (
        "training: {learning_rate: .nan}",
        SuiteError,
        "5:12: training.learning_rate: expected a finite number, got the number nan",
    ),
    (
        "training: {num_train_epochs: 0}",
        SuiteError,
        "5:12: training.num_train_epochs: must be above 0, got 0",
    ),
    (
        "training: {per_device_train_batch_size: 0}",
        SuiteError,
        "5:12: training.per_device_train_batch_size: must be at least 1, got 0",
    ),
    (
        "training: {per_device_train_batch_size: 2.5}",
        SuiteError,
        "5:12: training.per_device_train_batch_size: expected a whole number, got the number 2.5",
    ),
    (
        "training: {bf16: yes}",
        SuiteError,
        "5:12: training.bf16: expected true or false, got the text 'yes'; write true or false, without quotes",
    ),
    (
        "training: {warmup_steps: 1.5}",
        SuiteError,
        "5:12: training.warmup_steps: expected a whole number of steps or a share from 0 to below 1, got 1.5",
    ),
    (
        "training: {warmup_steps: '0.1'}",
        SuiteError,
        "5:12: training.warmup_steps: expected a number of steps or a share below 1, got the text '0.1'; "
        "take it out of its quotes",
    ),
    (
        "training: {optim: lion}",
        SuiteError,
        "5:12: training.optim: expected 'adamw_torch', 'adamw_torch_fused', 'adamw_8bit', 'paged_adamw_8bit', "
        "'adam', 'adafactor', 'adadelta', 'rmsprop' or 'sgd', got the text 'lion'",
    ),
    (
        "training: {optim: sgd, adam_beta1: 0.8}",
        SuiteError,
        "5:24: training.adam_beta1: would not be read; sgd has none; leave it out or set optim: adamw_torch",
    ),
    (
        "training: {optim_args: {momentum: 0.9}}",
        SuiteError,
        "5:12: training.optim_args: would not be read; adamw_torch takes none",
    ),
    (
        "training: {optim: sgd, optim_args: {momentun: 0.9}}",
        SuiteError,
        "5:37: training.optim_args.momentun: unknown key; did you mean 'momentum'?",
    ),
    (
        "training: {optim: rmsprop, optim_args: {alpha: 1.5}}",
        SuiteError,
        "5:41: training.optim_args.alpha: must be below 1, got 1.5",
    ),
    (
        "training: {optim: sgd, optim_args: {nesterov: true}}",
        SuiteError,
        "5:37: training.optim_args.nesterov: needs momentum above 0 and no dampening",
    ),
    (
        "training: {lr_scheduler_kwargs: {num_cycles: 2}}",
        SuiteError,
        "5:12: training.lr_scheduler_kwargs: would not be read; cosine takes none",
    ),
    (
        "training: {lr_scheduler_type: cosine_with_min_lr}",
        SuiteError,
        "5:12: training.lr_scheduler_type: cosine_with_min_lr needs one of min_lr and min_lr_rate; "
        "set lr_scheduler_kwargs",
    ),
    (
        "training: {lr_scheduler_type: polynomial, lr_scheduler_kwargs: {lr_end: 1e-3}}",
        SuiteError,
        "5:43: training.lr_scheduler_kwargs: polynomial: lr_end 0.001 is not below learning_rate 2e-05",
    ),
    (
        "training: {warmup_steps: 5, warmup_epochs: 0.1}",
        SuiteError,
        "5:29: training.warmup_epochs: cannot be combined with warmup_steps; choose one",
    ),
    (
        "training: {lr_scheduler_type: constant, warmup_epochs: 0.1}",
        SuiteError,
        "5:41: training.warmup_epochs: constant has no warm-up; use constant_with_warmup",
    ),
    (
        "training: {fp16: true, bf16: true}",
        SuiteError,
        "5:12: training.fp16: cannot be combined with bf16; choose one",
    ),
    (
        "training: {packing: true, token_mask_probability: 0.1}",
        SuiteError,
        "5:27: training.token_mask_probability: cannot be combined with packing, which leaves no room for a "
        "mask; choose one",
    ),
    (
        "training: {packing: true, padding_quantile: 0.9}",
        SuiteError,
        "5:27: training.padding_quantile: packed rows have no padding to save; leave it out",
    ),
    (
        "training: {eval_strategy: steps, eval_epochs: 0.5}",
        SuiteError,
        "5:34: training.eval_epochs: would not be read; set eval_strategy: epoch",
    ),
    (
        "training: {early_stopping_threshold: 0.1}",
        SuiteError,
        "5:12: training.early_stopping_threshold: would not be read; set early_stopping_patience",
    ),
    (
        "training: {eval_strategy: no, early_stopping_patience: 2}",
        SuiteError,
        "5:31: training.early_stopping_patience: nothing is validated; set eval_strategy and data.validation",
    ),
    (
        "training: {eval_strategy: no, eval_on_start: true}",
        SuiteError,
        "5:31: training.eval_on_start: nothing is validated; set eval_strategy and data.validation",
    ),
    (
        "training: {max_steps: 0}",
        SuiteError,
        "5:12: training.max_steps: must be at least 1, or -1 for num_train_epochs, got 0",
    ),
    ("training: [a]", SuiteError, "5:1: training: expected a mapping of keys, got a list"),
    (
        "training: {label_smoothing_factor: 0.1}",
        SuiteError,
        "5:12: training.label_smoothing_factor: backend 'torch' does not honour 'label_smoothing_factor'; "
        "no backend here does; suites/README.md says why, below 'Coming from elsewhere'",
    ),
    (
        "training: {padding_free: true}",
        SuiteError,
        "5:12: training.padding_free: backend 'torch' does not honour 'padding_free'; trl, unsloth do",
    ),
    (
        "training: {eval_steps: 5}",
        SuiteError,
        "5:12: training.eval_steps: would not be read; set eval_strategy: steps",
    ),
    (
        "training: {lr_scheduler_type: constant, warmup_steps: 5}",
        SuiteError,
        "5:41: training.warmup_steps: constant has no warm-up; use constant_with_warmup",
    ),
    (
        "training: {eval_strategy: no, load_best_model_at_end: true}",
        SuiteError,
        "5:31: training.load_best_model_at_end: nothing is validated; set eval_strategy and data.validation",
    ),
    # methods
    (
        ("full: {}", "lora: {method: {lora: {rank: 8}}}"),
        SuiteError,
        "4:26: candidates.lora.method.lora.rank: unknown key; did you mean 'r'?",
    ),
    (
        ("full: {}", "lora: {method: lorra}"),
        SuiteError,
        f"4:10: candidates.lora.method: unknown method 'lorra'; did you mean 'lora'? {METHODS_LINE}",
    ),
    ("method: prefix", SuiteError, f"5:1: method: unknown method 'prefix'; {METHODS_LINE}"),
    ("method: {lora: {}, full: {}}", SuiteError, "5:1: method: expected one method, got lora, full"),
    ("method: [lora]", SuiteError, "5:1: method: expected method or {method: options}, got a list"),
    ("method: {full: {r: 8}}", SuiteError, "5:17: method.full.r: unknown key; full has no options"),
    (
        "method: freeze",
        SuiteError,
        "5:1: method.last_layers: missing; "
        "say how many of the last layers are trained, or first_frozen: how many are not",
    ),
    (
        "method: {freeze: {last_layers: 1, first_frozen: 1}}",
        SuiteError,
        "5:35: method.freeze.first_frozen: last_layers says it already; choose one of the two",
    ),
    (
        "method: {dora: {use_dora: false}}",
        SuiteError,
        "5:17: method.dora.use_dora: would undo dora; leave it out, or write method: lora",
    ),
    (
        "method: {pissa: {init_lora_weights: gaussian}}",
        SuiteError,
        "5:18: method.pissa.init_lora_weights: would undo pissa; leave it out, or write method: lora",
    ),
    (
        "method: {ia3: {target_modules: [k_proj], feedforward_modules: [fc2]}}",
        SuiteError,
        "5:42: method.ia3.feedforward_modules: 'fc2' is none of the target_modules; name it there too",
    ),
    (
        "method: {ia3: {fan_in_fan_out: true}}",
        SuiteError,
        "5:16: method.ia3.fan_in_fan_out: unknown key; leave it out, it follows from the model",
    ),
    (
        "method: {prompt_tuning: {}}\ntraining: {packing: true}",
        SuiteError,
        "6:12: training.packing: prompt_tuning stands before each row, and a packed row has several examples; "
        "set packing: false",
    ),
    (
        "method: {prompt_tuning: {prompt_tuning_init: TEXT}}",
        SuiteError,
        "5:26: method.prompt_tuning.prompt_tuning_init: there is no text to start from; "
        "set prompt_tuning_init_text",
    ),
    (
        "method: {prompt_tuning: {prompt_tuning_init_text: Answer.}}",
        SuiteError,
        "5:26: method.prompt_tuning.prompt_tuning_init_text: would not be read; set prompt_tuning_init: TEXT",
    ),
    (
        "method: {freeze: {last_layers: 0}}",
        SuiteError,
        "5:19: method.freeze.last_layers: nothing would be trained; train a layer, embeddings or head",
    ),
    (
        "method: {lora: {target_modules: [q_proj, lm_head]}}",
        SuiteError,
        "5:17: method.lora.target_modules: lm_head cannot carry an adapter; "
        "train it whole with modules_to_save: [lm_head]",
    ),
    (
        "method: {lora: {lora_dropout: 1}}",
        SuiteError,
        "5:17: method.lora.lora_dropout: must be below 1, got 1",
    ),
    (
        "method: {lora: {init_lora_weights: eva}}",
        SuiteError,
        "5:17: method.lora.init_lora_weights: expected true, false or one of gaussian, orthogonal, pissa, olora, pissa_niter_<n>, "
        "got the text 'eva'",
    ),
    (
        "method: {lora: {layers_to_transform: 1}}",
        SuiteError,
        "5:17: method.lora.layers_to_transform: would not be read; "
        "peft takes it only with target_modules as a list",
    ),
    (
        "method: {qlora: {r: 8}}",
        SuiteError,
        "5:18: method.qlora.r: unknown key; write it below lora:",
    ),
    (
        "method: {qlora: {quantization: {load_in_4bit: true, load_in_8bit: true}}}",
        SuiteError,
        "5:53: method.qlora.quantization.load_in_8bit: the base cannot be in 4 and in 8 bit; "
        "choose one of load_in_4bit and load_in_8bit",
    ),
    (
        "method: {qlora: {quantization: {load_in_4bit: false}}}",
        SuiteError,
        "5:33: method.qlora.quantization.load_in_4bit: neither 4 nor 8 bit; "
        "use lora for a base that is not quantised",
    ),
    (
        "method: {qlora: {quantization: {load_in_8bit: true, bnb_4bit_quant_type: nf4}}}",
        SuiteError,
        "5:53: method.qlora.quantization.bnb_4bit_quant_type: would not be read; the base is in 8 bit",
    ),
    (
        "method: {qlora: {lora: {init_lora_weights: pissa}}}",
        SuiteError,
        "5:25: method.qlora.lora.init_lora_weights: pissa changes the base's weights, which are quantised; "
        "use true, gaussian or orthogonal",
    ),
    # generation
    (
        "generation: {max_new_tokens: 0}",
        SuiteError,
        "5:14: generation.max_new_tokens: must be at least 1, got 0",
    ),
    (
        "generation: {temperature: 0.5}",
        SuiteError,
        "5:14: generation.temperature: would not be read; set do_sample: true",
    ),
    (
        "generation: {length_penalty: 2}",
        SuiteError,
        "5:14: generation.length_penalty: would not be read; set num_beams to 2 or more",
    ),
    (
        "generation: {min_new_tokens: 200}",
        SuiteError,
        "5:14: generation.min_new_tokens: is more than max_new_tokens, 128",
    ),
    (
        "generation: {max_length: 9}",
        SuiteError,
        "5:14: generation.max_length: unknown key; write max_new_tokens for answers, prompting.max_length for rows",
    ),
    # plugins
    (
        "evaluators: [perplexety]",
        PluginError,
        f"5:14: evaluators.0: unknown evaluator 'perplexety'; did you mean 'perplexity'? {EVALUATORS_LINE}",
    ),
    ("evaluators: bleu", SuiteError, "5:1: evaluators: expected a list of evaluators, got the text 'bleu'"),
    ("evaluators: []", SuiteError, "5:1: evaluators: no evaluators; name at least one, such as perplexity"),
    (
        ("full: {}", "full: {evaluators: [perplexity, {bleu: {lowercase: true}}]}"),
        SuiteError,
        "4:36: candidates.full.evaluators.1.bleu: 'bleu' has other options here than elsewhere in the suite; "
        "give it another by name: in its options",
    ),
    (
        "evaluators: [bleu, {bleu: {lowercase: true}}]",
        SuiteError,
        "5:21: evaluators.1.bleu: two evaluators are called 'bleu'; give one of them another by name: in its options",
    ),
    (
        "evaluators: [{bleu: {lowercas: true}}]",
        PluginError,
        "5:22: evaluators.0.bleu.lowercas: unknown option; did you mean 'lowercase'?",
    ),
    (
        "evaluators: [{bleu: {lowercase: 1}}]",
        PluginError,
        "5:22: evaluators.0.bleu.lowercase: expected true or false, got the number 1",
    ),
    ("rank_by: bleurt", SuiteError, "5:1: rank_by: no evaluator or judge 'bleurt'; did you mean 'bleu'?"),
    (
        "evaluators: [{bleu: {name: both}}]\njudges: [{reference: {name: both}}]\nrank_by: both",
        SuiteError,
        "7:1: rank_by: 'both' is an evaluator and a judge; give one of them another by name: in its options",
    ),
    ("budget_usd: -1", SuiteError, "5:1: budget_usd: must be at least 0, got -1"),
    ("budget: 3", SuiteError, "5:1: budget: unknown key; did you mean 'budget_usd'?"),
    (
        "judges: [gpt5]",
        PluginError,
        f"5:10: judges.0: unknown judge 'gpt5'; did you mean 'gpt4'? {JUDGES_LINE}",
    ),
    (
        "judges: [{reference: {against: ful}}]",
        SuiteError,
        "5:23: judges.0.reference.against: no candidate 'ful'; did you mean 'full'?",
    ),
    (
        "judges: [{reference: {max_prompts: 0}}]",
        SuiteError,
        "5:23: judges.0.reference.max_prompts: must be at least 1, got 0",
    ),
    (
        "judges: [{reference: {max_pairs: 9}}]",
        SuiteError,
        "5:23: judges.0.reference.max_pairs: is for a round robin, and this judge compares with one opponent; "
        "write max_prompts, or against: all",
    ),
    (
        "judges: [{reference: {controls: -1}}]",
        SuiteError,
        "5:23: judges.0.reference.controls: must be at least 0, got -1",
    ),
    (
        "judges: [{length: {controls: 5}}]",
        SuiteError,
        "5:20: judges.0.length.controls: this judge sees no order and has no noise; leave it out",
    ),
    (
        "judges: [length, reference, {panel: {judges: [length, reference], controls: 5}}]",
        SuiteError,
        "5:67: judges.2.panel.controls: this judge combines the verdicts of others; leave it out",
    ),
    (
        "judges: [length, {panel: {judges: [length, referense]}}]",
        SuiteError,
        "5:19: judges.1.panel: combines 'referense', which is no judge beside it; known are length",
    ),
    (
        "judges: [length, {reference: {max_prompts: 9}}, {panel: {judges: [length, reference]}}]",
        SuiteError,
        "5:50: judges.2.panel: has max_prompts: null, its member 'reference' has 9; compare the same pairs with both",
    ),
    (
        "judges: [length, reference, {panel: {judges: [length, reference], against: reference}}]",
        SuiteError,
        "5:30: judges.2.panel: has against: reference, its member 'length' has base; "
        "compare the same pairs with both (and 1 more)",
    ),
    (
        "judges: [length, {panel: {judges: [length, b], name: a}}, {panel: {judges: [length, a], name: b}}]",
        SuiteError,
        "5:19: judges.1.panel: combines 'b', which combines 'a'; leave one of them out of the other (and 1 more)",
    ),
    (
        "judges: [{panel: {judges: [panel, panel2]}}]",
        SuiteError,
        "5:11: judges.0.panel: combines 'panel', which combines 'panel'; "
        "leave one of them out of the other (and 1 more)",
    ),
    (
        "judges: [{panel: {judges: [length]}}]",
        PluginError,
        "5:11: judges.0.panel: judge 'panel' refuses its options: judges names two or more judges, each once",
    ),
    (
        ("full: {}", "all: {}"),
        SuiteError,
        "4:3: candidates.all: 'all' stands for all candidates in a judge's against; choose another name",
    ),
    (
        ("full: {}", "reference: {}"),
        SuiteError,
        "4:3: candidates.reference: 'reference' means the examples' reference answers; "
        "choose another name, or backend: reference",
    ),
    (
        "backend: trol",
        PluginError,
        f"5:1: backend: unknown backend 'trol'; did you mean 'trl'? {BACKENDS_LINE}",
    ),
    (
        ("full: {}", "full: {backend: stand_in, method: lora}"),
        SuiteError,
        "4:29: candidates.full.method: backend 'stand_in' trains nothing; leave it out",
    ),
    (
        ("full: {}", "full: {backend: stand_in, training: {learning_rate: 1}}"),
        SuiteError,
        "4:40: candidates.full.training.learning_rate: backend 'stand_in' does not honour 'learning_rate'; "
        "it honours per_device_eval_batch_size",
    ),
    # seeds
    (
        "seeds: [0, -1]",
        SuiteError,
        "5:12: seeds.1: expected a whole number from 0 to 4294967295, got the number -1",
    ),
    ("seeds: [0, 0]", SuiteError, "5:12: seeds.1: seed 0 is there twice; each seed is one trial"),
    ("seeds: []", SuiteError, "5:1: seeds: no seeds; give at least one"),
]


@pytest.mark.parametrize(
    ("change", "kind", "line"), MISTAKES, ids=[line.split(";")[0] for _, _, line in MISTAKES]
)
def test_a_mistake_is_one_line_with_its_place_and_the_fix(
    folder: Path, change: tuple[str, str] | str, kind: type[InputError], line: str
) -> None:
    if isinstance(change, tuple):
        assert change[0] in SMALLEST
        text = SMALLEST.replace(*change)
    else:
        text = f"{SMALLEST}{change}\n"
    error = complaint(text)
    assert str(error) == f"suite.yaml:{line}"
    assert type(error) is kind


def test_the_first_mistake_by_place_is_told_and_the_others_are_counted(folder: Path) -> None:
    text = SMALLEST.replace("full: {}", "full: {seeds: []}") + "training: {lr: 1, max_steps: 0}\nsede: 1\n"
    line = "suite.yaml:4:10: candidates.full.seeds: no seeds; give at least one (and 3 more)"
    assert str(complaint(text)) == line


def test_an_inherited_mistake_is_told_once(folder: Path) -> None:
    text = SMALLEST + "  lora: {method: lora}\ntraining: {lr: 1}\n"
    assert str(complaint(text)) == "suite.yaml:6:12: training.lr: unknown key; did you mean 'learning_rate'?"


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 300)
    | st.floats()
    | st.sampled_from(["", "lora", "model", "a.b", "1e-4"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["lora", "path", "name", "bleu", "x", "base"]), inner, max_size=3)
    ),
    max_leaves=5,
)
KEY_PATHS = [
    *((key,) for key in SuiteKeys.model_fields),
    *(("candidates", "full", key) for key in CandidateKeys.model_fields),
    *(("data", key) for key in DataKeys.model_fields),
    *(("data", "train", key) for key in SourceKeys.model_fields),
    *(("training", key) for key in Training.model_fields),
    *(("prompting", key) for key in PromptingKeys.model_fields),
    *(("generation", key) for key in Generation.model_fields),
    *(("method", name, key) for name, section in METHODS.items() if section for key in section.model_fields),
    *(("method", "qlora", "quantization", key) for key in Quantization.model_fields),
    ("judges", 0, "reference", "against"),
    ("evaluators", 0, "bleu", "smooth_value"),
]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(KEY_PATHS), value=JSON_VALUES)
def test_any_value_at_any_key_is_taken_or_answered_in_one_line(
    folder: Path, path: tuple[str | int, ...], value: Any
) -> None:
    tree: Any = value
    for step in reversed(path):
        tree = [tree] if step == 0 else {step: tree}
    suite = {"model": "model", "data": {"train": {"path": "rows.json"}}, "candidates": {"full": {}}}
    outcome = attempt(json.dumps(overlaid(suite, tree)))
    assert isinstance(outcome, Suite) or re.fullmatch(r"suite\.yaml:1:\d+: .+", str(outcome))


def attempt(text: str) -> Suite | InputError:
    try:
        return load(text)
    except InputError as error:
        return error


def overlaid(below: Any, above: Any) -> Any:
    """`above` over `below`, mapping by mapping."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{key: overlaid(below.get(key), value) for key, value in above.items()}}


FROM_OTHER_TOOLS = [
    ("cutoff_len: 9", "cutoff_len: unknown key; write prompting.max_length"),
    ("lora_target: all", "lora_target: unknown key; write method.lora.target_modules"),
    ("adapter: lora", "adapter: unknown key; write method"),
    ("num_processes: 2", "num_processes: unknown key; write launch.num_processes"),
    ("val_set_size: 9", "val_set_size: unknown key; write data.validation"),
    ("load_in_4bit: true", "load_in_4bit: unknown key; write method.qlora.quantization.load_in_4bit"),
    ("prompting: {sequence_len: 9}", "prompting.sequence_len: unknown key; did you mean 'max_length'?"),
    (
        "method: {lora: {lora_target: q}}",
        "method.lora.lora_target: unknown key; did you mean 'target_modules'?",
    ),
    ("method: {qlora: {lora_r: 8}}", "method.qlora.lora_r: unknown key; write it below lora:, as r"),
    (
        "method: {lora: {target_modules: all}}",
        "method.lora.target_modules: 'all' is the name of no module; did you mean 'all-linear'?",
    ),
]


@pytest.mark.parametrize(("written", "told"), FROM_OTHER_TOOLS)
def test_what_another_tool_calls_so_says_what_it_is_here(folder: Path, written: str, told: str) -> None:
    assert re.fullmatch(rf"suite\.yaml:5:\d+: {re.escape(told)}", str(complaint(f"{SMALLEST}{written}\n")))


def test_other_tools_words_for_data_say_what_they_are_here(folder: Path) -> None:
    for data, told in [
        ("{train: rows.json, val_size: 9}", "data.val_size: unknown key; did you mean 'validation'?"),
        (
            "{train: {path: rows.json, format: sharegpt}}",
            "data.train.format: unknown format 'sharegpt'; did you mean 'conversations'?",
        ),
    ]:
        said = str(complaint(SMALLEST.replace("data: rows.json", f"data: {data}")))
        assert re.fullmatch(rf"suite\.yaml:2:\d+: {re.escape(told)}", said)


RENAMED = [(key, fix) for key, fix in Training.renamed.items()]


@pytest.mark.parametrize(("key", "fix"), RENAMED)
def test_a_key_that_went_elsewhere_says_where(folder: Path, key: str, fix: str) -> None:
    said = str(complaint(SMALLEST + f"training: {{{key}: 1}}\n"))
    refused = f"backend 'torch' does not honour '{key}'" if key in TRAINING_ARGUMENTS else "unknown key"
    assert said == f"suite.yaml:5:12: training.{key}: {refused}; {fix}"


MODEL_TROUBLES = [
    (["config.json"], "has no config.json; give a folder that save_pretrained wrote"),
    (["model.safetensors"], "has no model.safetensors; give a folder that save_pretrained wrote"),
    (["tokenizer.json"], "has no tokenizer; save the tokenizer into the same folder"),
]


@pytest.mark.parametrize(("lacking", "line"), MODEL_TROUBLES)
def test_a_model_folder_must_be_whole(folder: Path, lacking: list[str], line: str) -> None:
    for name in lacking:
        (folder / "model" / name).unlink()
    assert str(complaint(SMALLEST)) == f"suite.yaml:1:1: model: model: {line}"


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model" / "model.safetensors").rename(folder / "model" / "pytorch_model.bin")
    line = "holds pickled weights alone, which are never loaded; save the model as safetensors"
    assert str(complaint(SMALLEST)) == f"suite.yaml:1:1: model: model: {line}"


def test_every_shard_of_a_model_must_be_there(folder: Path) -> None:
    index = folder / "model" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model.safetensors", "b": "part-2.safetensors"}}))
    line = f"lacks part-2.safetensors, which {index.name} names; download the model again"
    assert str(complaint(SMALLEST)) == f"suite.yaml:1:1: model: model: {line}"


def test_a_default_name_can_be_a_name(folder: Path) -> None:
    for file, name in [("my suite.yaml", "my-suite"), ("_x.yaml", "x"), ("äö.yaml", "suite")]:
        Path(file).write_text(SMALLEST, encoding="utf-8")
        assert load_suite(Path(file)).name == name


def test_loading_imports_nothing_heavy(folder: Path) -> None:
    Path("suite.yaml").write_text(SMALLEST)
    code = """
import sys
from pathlib import Path
from harness.suite import load_suite
load_suite(Path("suite.yaml"))
heavy = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "evaluate", "pandas",
         "openai", "scipy", "sacrebleu", "pyarrow")
print(*(m for m in heavy if m in sys.modules))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == []


OWN_TABLE = ("freeze", "ia3", "prompt_tuning")
SECTIONS: dict[str, type[Section]] = {
    "Suite": SuiteKeys,
    "Candidate": CandidateKeys,
    "model": ModelKeys,
    "data": DataKeys,
    "source": SourceKeys,
    "prompting": PromptingKeys,
    "training": Training,
    "generation": Generation,
    "judges": JudgeKeys,
    "launch": LaunchKeys,
    "lora": Lora,
    "quantization": Quantization,
    "qlora": Qlora,
    "deepspeed": DeepSpeedKeys,
    "zero_optimization": ZeroKeys,
    "offload_optimizer": OffloadKeys,
    **{name: section for name, section in METHODS.items() if name in OWN_TABLE and section},
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_and_its_default_is_documented(repo: Path, heading: str) -> None:
    section = documented(repo, heading)
    fields = SECTIONS[heading].model_fields
    assert list(section) == list(fields)
    for key, default in section.items():
        if default.startswith("`"):
            assert json.loads(default.strip("`")) == fields[key].default, key
        else:
            assert fields[key].default is None, f"{key}: the default is {fields[key].default!r}"


def documented(repo: Path, heading: str) -> dict[str, str]:
    """Key -> default as written, in the table below a heading of suites/README.md."""
    text = (repo / "suites" / "README.md").read_text(encoding="utf-8")
    [part] = re.findall(
        rf"^#+ `?{re.escape(heading)}`?(?: .*)?$(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL
    )
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", part, re.MULTILINE))


BACKENDS = {name: registry.find("backend", name).cls for name in ("torch", "trl", "unsloth", "llamafactory")}
STAND_INS = {"constant", "openai", "outputs", "reference"}
"""Backends that train nothing."""


def honoured_by(key: str) -> str:
    """Who honours a training key, as the table of keys is to say it."""
    if key in READ_BY_HARNESS:
        return "harness"
    honour = [name for name, backend in BACKENDS.items() if key in backend.training_keys]
    others = [name for name in BACKENDS if name not in honour]
    who = f"all but {others[0]}" if len(others) == 1 else ", ".join(honour) if others else "all"
    return f"{who}, predict" if key in READ_BY_PREDICT else who


def test_the_readme_names_who_honours_each_training_key(repo: Path) -> None:
    text = (repo / "suites" / "README.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \|[^|]*\|[^|]*\| ([^|]+) \|$", text, re.MULTILINE))
    assert {key: told[key] for key in Training.model_fields} == {
        key: honoured_by(key) for key in Training.model_fields
    }
    assert [key for key in Training.renamed if f"`{key}`" not in text] == []


def test_the_readme_has_every_backend_with_its_methods_and_who_takes_a_launch(repo: Path) -> None:
    assert {source.name for source in registry.known("backend")} == BACKENDS.keys() | STAND_INS
    text = (repo / "suites" / "README.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]+) \|[^|]*\|[^|]*\|$", text, re.MULTILINE))
    for name, backend in BACKENDS.items():
        methods = [method for method in METHODS if method in backend.methods]
        assert told[name] == ("all" if methods == list(METHODS) else ", ".join(methods)), name
    launched = [name for name, backend in BACKENDS.items() if getattr(backend, "launch_keys", None)]
    assert f"Backends that take it: {', '.join(launched)}." in text


@pytest.mark.parametrize("name", METHODS)
def test_the_readme_has_every_method_with_its_learning_rate(repo: Path, name: str) -> None:
    text = (repo / "suites" / "README.md").read_text(encoding="utf-8")
    [rate] = re.findall(rf"^\| `{name}` \| [^|]+ \| (\S+) \| [^|]+ \|$", text, re.MULTILINE)
    assert float(rate) == LEARNING_RATES[name]


@pytest.mark.parametrize("name", LORA_PRESETS)
def test_the_kin_of_lora_have_its_keys_and_one_other_default(name: str) -> None:
    section = METHODS[name]
    assert section is not None
    defaults, plain = section().model_dump(), Lora().model_dump()
    assert defaults == plain | LORA_PRESETS[name]
