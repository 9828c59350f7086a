"""Each method trains exactly the tensors it says, and what it saved is what was in memory."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from conftest import make_llama, make_tokenizer
from safetensors.torch import load_file, save_file
from training_jobs import EVERY_METHOD, LORA, METHODS, NF4, make_job, train
from transformers import AutoConfig, AutoModelForCausalLM

from harness.backends.torch import Torch
from harness.errors import ModelError
from harness.modeling.adapter_files import load_adapter
from harness.modeling.adapters import prepare_quantized
from harness.modeling.artifacts import load_base, load_trained, save
from harness.modeling.layers import is_tied, part_of_parameters
from harness.modeling.loading import load_model, load_tokenizer
from harness.modeling.methods import _METHODS, MethodFacts, check_method, prepare
from harness.modeling.training.metering import parameter_counts
from harness.modeling.training.optimization import Optimization
from harness.modeling.training.setup import set_up
from harness.modeling.training.validation_loss import Validator
from harness.modeling.training_settings import METHODS as METHOD_NAMES
from harness.modeling.training_settings import TrainingSettings
from harness.records import Message, Method, ModelRef, Prompting
from harness.suite.method_settings import METHODS as SECTIONS

CPU = torch.device("cpu")
IDS = torch.tensor([[5, 40, 41, 90, 7, 300]])
LAYER_1 = "model.layers.1."

LORA_LIKE = ("lora", "dora", "rslora", "pissa", "nf4", "fp4", "int8", "nf4-dora")

Rows = list[dict[str, str]]


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("untied"), tied=False)


@pytest.fixture(scope="module")
def padless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer has no pad token, so that the vocabulary has to grow by one."""
    folder = make_llama(tmp_path_factory.mktemp("padless"), tied=False)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer has two tokens more than the model has embeddings."""
    folder = make_llama(tmp_path_factory.mktemp("extended"))
    tokenizer = load_tokenizer(ModelRef(str(folder)))
    tokenizer.add_tokens(["<|tool|>", "<|result|>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    return folder


def base(folder: Path, method: Method) -> Any:
    model = ModelRef(str(folder))
    return load_base(model, load_tokenizer(model), method, device=CPU, dtype=torch.float32)


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model.eval()(input_ids=IDS, use_cache=False).logits


def tensors(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


# What is expected to change, as a predicate on the tensor's name.
CHANGES: list[tuple[str, Method, Any]] = [
    ("full", METHODS["full"], lambda name: True),
    ("last layer", METHODS["freeze"], lambda name: name.startswith(LAYER_1)),
    (
        "head",
        Method("freeze", {"last_layers": 1, "head": True}),
        lambda name: name.startswith((LAYER_1, "lm_head.", "model.norm.")),
    ),
    (
        "embeddings",
        Method("freeze", {"last_layers": 0, "embeddings": True}),
        lambda name: name == "model.embed_tokens.weight",
    ),
    (
        "first frozen",
        Method("freeze", {"first_frozen": 1, "head": True}),
        lambda name: name.startswith((LAYER_1, "lm_head.", "model.norm.")),
    ),
    *((name, EVERY_METHOD[name], lambda key: "lora_" in key) for name in LORA_LIKE),
    ("ia3", EVERY_METHOD["ia3"], lambda name: "ia3_" in name),
    ("prompt_tuning", EVERY_METHOD["prompt_tuning"], lambda name: "prompt_encoder" in name),
    (
        "a whole module",
        Method("lora", LORA | {"modules_to_save": ["lm_head"]}),
        lambda name: "lora_" in name or "modules_to_save" in name,
    ),
    (
        "some tokens",
        Method("lora", LORA | {"trainable_token_indices": [2, 3]}),
        lambda name: "lora_" in name or "trainable_tokens_delta" in name,
    ),
]


@pytest.mark.parametrize("checkpointing", [False, True], ids=["stored", "recomputed"])
@pytest.mark.parametrize(("method", "expected"), [case[1:] for case in CHANGES], ids=[c[0] for c in CHANGES])
def test_exactly_the_intended_tensors_change(
    tmp_path: Path, untied: Path, rows: Rows, method: Method, expected: Any, checkpointing: bool
) -> None:
    training = {"activation_checkpointing": checkpointing, "lr_scheduler_type": "constant"}
    job = make_job(tmp_path / "out", untied, rows, method, **training)
    settings = TrainingSettings(**job.training)
    setup = set_up(job, settings, CPU)
    before = tensors(setup.model)
    setup.model.train()
    optimization = Optimization(setup, settings, total_steps=3)
    for step in range(3):
        optimization.step(step, torch.arange(4 * step, 4 * step + 4).numpy())
    after = tensors(setup.model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if expected(name)}


@pytest.mark.parametrize("name", [*LORA_LIKE, "ia3"])
def test_an_adapter_changes_nothing_before_it_is_trained(untied: Path, name: str) -> None:
    method = EVERY_METHOD[name]
    model = base(untied, method)
    plain = logits(prepare_quantized(model) if method.name == "qlora" else model)
    adapted = logits(prepare(base(untied, method), method, seed=0))
    # PiSSA takes the adapter out of the weights, and adds it up again.
    assert torch.allclose(adapted, plain, rtol=0, atol=1e-5 if name == "pissa" else 0)


@pytest.mark.parametrize("name", ["lora", "dora", "nf4", "prompt_tuning"])
def test_the_seed_makes_the_adapter(untied: Path, name: str) -> None:
    method = EVERY_METHOD[name]

    def adapter(seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(1234 + seed)  # whatever was drawn before must not count
        model = prepare(base(untied, method), method, seed)
        drawn = ("lora_A", "prompt_encoder")
        return {name: tensor for name, tensor in tensors(model).items() if any(d in name for d in drawn)}

    first, again, other = adapter(0), adapter(0), adapter(1)
    assert first
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


LAYERS = "linear layers of this model: down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj"
REFUSED = [
    ("freeze", {"last_layers": 3}, "freeze.last_layers: 3 asked for, the model has 2 decoder layers"),
    ("freeze", {"first_frozen": 3}, "freeze.first_frozen: 3 asked for, the model has 2 decoder layers"),
    ("freeze", {"last_layers": 0}, "nothing would be trained"),
    ("freeze", {"first_frozen": 2}, "nothing would be trained"),
    ("freeze", {"last_layers": 1, "head": True}, "one tensor"),
    ("freeze", {"last_layers": 1, "embeddings": True}, "one tensor"),
    ("lora", {"target_modules": ["nope"]}, f"target_modules: 'nope' matches nothing; {LAYERS}"),
    ("lora", {"target_modules": ["q_proj", "nope"]}, f"target_modules: 'nope' matches nothing; {LAYERS}"),
    ("lora", {"target_modules": ".*nope"}, LAYERS),
    ("lora", {"target_modules": ".*lm_head"}, "the output layer cannot carry an adapter; train it whole"),
    ("lora", {"r": 0}, "`r` should be a positive integer"),
    ("lora", {"modules_to_save": ["nope"]}, "modules_to_save: the model has no module 'nope'"),
    ("lora", {"rank_pattern": {"nope": 2}}, "rank_pattern keys did not match any targeted module"),
    ("lora", {"exclude_modules": ["nope"]}, "no modules were excluded"),
    (
        "lora",
        {"target_modules": ["q_proj"], "layers_to_transform": [0, 2]},
        "layers_to_transform: 2 asked for, the model has 2 decoder layers; choose 0 to 1",
    ),
    ("pissa", LORA | {"r": 33}, "lora: r: 33 is more than k_proj has directions; at most 32"),
    ("ia3", {"target_modules": ["nope"]}, f"ia3: target_modules: 'nope' matches nothing; {LAYERS}"),
    (
        "ia3",
        {"target_modules": "all-linear", "feedforward_modules": ["fc2"]},
        f"ia3: feedforward_modules: 'fc2' matches nothing; {LAYERS}",
    ),
    (
        "prompt_tuning",
        {"num_virtual_tokens": 255, "prompt_tuning_init": "RANDOM"},
        "prompt_tuning: 255 virtual tokens leave no room in the model's 256 positions; "
        "lower num_virtual_tokens",
    ),
    pytest.param(
        "qlora",
        {"lora": LORA | {"use_dora": True}, "quantization": {"load_in_8bit": True}},
        "use_dora over a base in 8 bit cannot be trained on a CPU; set load_in_4bit: true",
        marks=pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU can"),
        id="qlora-dora-8bit",
    ),
    (
        "qlora",
        {"lora": LORA, "quantization": NF4 | {"llm_int8_skip_modules": ["q_proj"]}},
        "the output layer, which must not be quantised; add lm_head to it",
    ),
]


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("weights", [False, True], ids=["checked", "prepared"])
@pytest.mark.parametrize(("name", "options", "message"), REFUSED)
def test_a_method_that_does_not_fit_is_one_line(
    tiny_llama: Path, name: str, options: dict[str, Any], message: str, weights: bool
) -> None:
    method, model = Method(name, options), ModelRef(str(tiny_llama))

    def attempt() -> Any:
        return prepare(base(tiny_llama, method), method, seed=0) if weights else check_method(model, method)

    with pytest.raises(ModelError) as caught:
        attempt()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", EVERY_METHOD)
def test_a_check_counts_what_preparing_makes(padless: Path, name: str) -> None:
    method = EVERY_METHOD[name]
    prepared = prepare(base(padless, method), method, seed=0)
    quantized = 73_728 if method.name == "qlora" else 0  # the linear layers of two decoder layers
    expected = MethodFacts(*parameter_counts(prepared), quantized)
    state = torch.get_rng_state()
    assert check_method(ModelRef(str(padless)), method) == expected
    assert torch.equal(torch.get_rng_state(), state)


def test_a_model_of_any_size_is_checked_without_its_weights(tmp_path: Path) -> None:
    make_tokenizer(tmp_path)
    sizes = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80}
    AutoConfig.for_model("llama", **sizes, num_attention_heads=64, num_key_value_heads=8).save_pretrained(
        tmp_path
    )
    facts = check_method(ModelRef(str(tmp_path)), EVERY_METHOD["nf4"])
    assert facts.total - facts.trainable == 68_976_648_192
    assert facts.quantized == 68_451_041_280


def test_tied_embeddings_and_head_train_together(tiny_llama: Path) -> None:
    method = Method("freeze", {"last_layers": 0, "embeddings": True, "head": True})
    model = prepare(base(tiny_llama, method), method, seed=0)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained == {"model.embed_tokens.weight", "model.norm.weight"}


SMALL = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "vocab_size": 64}
ARCHITECTURES = [
    ("llama", SMALL | {"intermediate_size": 64}, {"model.embed_tokens"}, {"model.norm", "lm_head"}),
    ("gpt2", {"n_layer": 2, "n_embd": 32, "n_head": 2, "vocab_size": 64},
     {"transformer.wte", "transformer.wpe"}, {"transformer.ln_f"}),
    ("gpt_neox", SMALL | {"intermediate_size": 64}, {"gpt_neox.embed_in"},
     {"gpt_neox.final_layer_norm", "lm_head"}),
    ("opt", SMALL | {"ffn_dim": 64, "word_embed_proj_dim": 32},
     {"model.decoder.embed_tokens", "model.decoder.embed_positions"}, {"model.decoder.final_layer_norm"}),
    ("bloom", {"n_layer": 2, "hidden_size": 32, "n_head": 2, "vocab_size": 64},
     {"transformer.word_embeddings", "transformer.word_embeddings_layernorm"}, {"transformer.ln_f"}),
    ("phi", SMALL | {"intermediate_size": 64}, {"model.embed_tokens"},
     {"model.final_layernorm", "lm_head"}),
    ("mixtral", SMALL | {"intermediate_size": 64, "num_local_experts": 2, "num_key_value_heads": 2},
     {"model.embed_tokens"}, {"model.norm", "lm_head"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "sizes", "embeddings", "head"), ARCHITECTURES, ids=[a[0] for a in ARCHITECTURES]
)
def test_parts_are_found_in_every_architecture(
    kind: str, sizes: dict[str, int], embeddings: set[str], head: set[str]
) -> None:
    config = AutoConfig.for_model(kind, **sizes, bos_token_id=0, eos_token_id=0, pad_token_id=0)
    model = AutoModelForCausalLM.from_config(config)
    found: dict[str, set[str]] = {"embeddings": set(), "layers": set(), "head": set()}
    for name, part in part_of_parameters(model).items():
        found[part].add(name.rpartition(".")[0])
    assert (found["embeddings"], found["head"]) == (embeddings, head)
    assert found["layers"]
    assert is_tied(model) == config.tie_word_embeddings


def test_a_fresh_process_loads_what_was_in_memory(
    tmp_path: Path, tiny_llama: Path, padless: Path, extended: Path, rows: Rows
) -> None:
    """Every method on tied embeddings; then a vocabulary that grew, by a pad token or by others."""
    cases = {name: (tiny_llama, method) for name, method in EVERY_METHOD.items()}
    exact = ("full", "freeze", "lora", "dora", "ia3", "prompt_tuning", "nf4")
    cases |= {f"padless-{name}": (padless, EVERY_METHOD[name]) for name in exact}
    cases |= {f"extended-{name}": (extended, EVERY_METHOD[name]) for name in exact}
    cases |= {"padless-head": (padless, Method("lora", LORA | {"modules_to_save": ["lm_head"]}))}
    in_memory = {}
    for name, (folder, method) in cases.items():
        job = make_job(tmp_path / name, folder, rows, method, max_steps=2, eval_strategy="no", warmup_steps=0)
        in_memory[name] = _train_and_keep_logits(job)
    save_file(in_memory, tmp_path / "in_memory.safetensors")
    script = textwrap.dedent("""
        import sys, torch
        from pathlib import Path
        from safetensors.torch import load_file
        from harness.modeling.artifacts import load_trained
        from harness.records import ModelRef
        torch.set_num_threads(1)
        root = Path(sys.argv[1])
        expected = load_file(root / "in_memory.safetensors")
        for name, folder in zip(sys.argv[2::2], sys.argv[3::2]):
            model, tokenizer = load_trained(ModelRef(folder), root / name / "model", torch.device("cpu"))
            ids = torch.tensor([[5, 40, 41, 90, 7, 300]])
            with torch.no_grad():
                difference = (model(input_ids=ids, use_cache=False).logits - expected[name]).abs().max()
            assert difference <= (1e-5 if name == "pissa" else 0), (name, difference)
            assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id), name
            assert ("[PAD]" in tokenizer.get_vocab()) == name.startswith("padless"), name
            assert ("<|tool|>" in tokenizer.get_vocab()) == name.startswith("extended"), name
    """)
    arguments = [str(text) for name, (folder, _) in cases.items() for text in (name, folder)]
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path), *arguments]
    child = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (child.returncode, child.stderr) == (0, ""), child.stderr


def test_a_base_that_is_quantised_already_stays_as_it_is(tmp_path: Path, untied: Path) -> None:
    model = ModelRef(str(untied))
    whole = base(untied, METHODS["nf4"])
    whole.save_pretrained(tmp_path)
    load_tokenizer(model).save_pretrained(tmp_path)
    again = prepare(base(tmp_path, METHODS["nf4"]), METHODS["nf4"], seed=0)
    assert torch.equal(logits(again), logits(prepare(whole, METHODS["nf4"], seed=0)))
    assert check_method(ModelRef(str(tmp_path)), METHODS["nf4"]) == check_method(model, METHODS["nf4"])
    assert isinstance(load_model(ModelRef(str(tmp_path)), device=CPU).model.layers[0].mlp.up_proj, Linear4bit)
    for name, line in (
        ("int8", "qlora: this base is quantised already, with load_in_4bit: true; ask for the same, or"),
        ("fp4", 'qlora: this base is quantised already, with bnb_4bit_quant_type: "nf4"; ask for the same'),
        (
            "lora",
            "lora: this base is quantised already (bitsandbytes), so its weights cannot be trained",
        ),
    ):
        for attempt in (partial(base, tmp_path), partial(check_method, ModelRef(str(tmp_path)))):
            with pytest.raises(ModelError, match=re.escape(line)):
                attempt(EVERY_METHOD[name])


def test_added_tokens_start_as_the_mean_and_are_trained_by_lora(extended: Path) -> None:
    plain = base(extended, METHODS["full"])
    old = len(load_tokenizer(ModelRef(str(extended)))) - 2
    embeddings = plain.get_input_embeddings().weight
    assert torch.allclose(embeddings[old:], embeddings[:old].mean(dim=0), atol=1e-6)
    untrained = Torch().load(ModelRef(str(extended)), None, Prompting())
    [sums] = untrained.score([((Message("user", "<|tool|>"),), "<|result|>")])
    assert sums is not None
    assert math.isfinite(sums.negative_log_likelihood)
    for method, trained in (
        (METHODS["lora"], [old, old + 1]),
        (Method("lora", LORA | {"trainable_token_indices": [3]}), [3]),
        (Method("lora", LORA | {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}), None),
    ):
        config = prepare(base(extended, method), method, seed=0).active_peft_config
        assert config.trainable_token_indices == trained


def _train_and_keep_logits(job: Any) -> torch.Tensor:
    """Train, save, and return the logits that the trained model in memory has."""
    settings = TrainingSettings(**job.training)
    torch.set_num_threads(1)
    setup = set_up(job, settings, CPU)
    setup.model.train()
    optimization = Optimization(setup, settings, total_steps=2)
    for step in range(2):
        optimization.step(step, torch.arange(8).numpy())
    save(setup.model, setup.tokenizer, job.method, job.seed, job.out / "model")
    return logits(setup.model).contiguous()


TAKEN_OUT_OF_THE_BASE = [
    ("pissa", {}),
    ("pissa", {"init_lora_weights": "pissa_niter_4", "use_rslora": True, "alpha_pattern": {"k_proj": 3}}),
    ("pissa", {"use_dora": True, "rank_pattern": {"up_proj": 2}}),
    ("lora", {"init_lora_weights": "olora", "modules_to_save": ["lm_head"]}),
]


@pytest.mark.parametrize(("name", "options"), TAKEN_OUT_OF_THE_BASE, ids=str)
def test_an_adapter_that_was_taken_out_of_the_base_is_saved_as_a_plain_one(
    tmp_path: Path, untied: Path, rows: Rows, name: str, options: dict[str, Any]
) -> None:
    """peft would decompose the base again at loading: other hardware, other rounding, another model."""
    method = Method(name, LORA | options)
    job = make_job(tmp_path, untied, rows, method, max_steps=2, eval_strategy="no", warmup_steps=0)
    in_memory = _train_and_keep_logits(job)
    config = json.loads((tmp_path / "model" / "adapter_config.json").read_text())
    assert (config["init_lora_weights"], config["r"]) == (True, 2 * LORA["r"])
    torch.manual_seed(1)
    loaded = load_adapter(base(untied, method), tmp_path / "model")
    assert torch.allclose(logits(loaded), in_memory, rtol=0, atol=1e-5)
    assert not torch.allclose(in_memory, logits(base(untied, method)), rtol=0, atol=1e-3)


def test_validation_leaves_the_gradients_of_a_4_bit_model_alone(
    tmp_path: Path, tiny_llama: Path, rows: Rows
) -> None:
    """bitsandbytes repacks 4-bit weights in eval mode on some CPUs, and its packed matmul has no backward."""
    job = make_job(tmp_path / "out", tiny_llama, rows, METHODS["nf4"])
    settings = TrainingSettings(**job.training)

    def gradients(*, validate_first: bool) -> dict[str, torch.Tensor]:
        setup = set_up(job, settings, CPU)
        setup.model.train()
        if validate_first:
            Validator(setup, job.prompting, job.generation, batch_size=8).loss()
        batch = {"input_ids": IDS, "labels": IDS}
        setup.model(**batch, use_cache=False).loss.backward()
        return {name: p.grad for name, p in setup.model.named_parameters() if p.grad is not None}

    plain, validated = gradients(validate_first=False), gradients(validate_first=True)
    assert plain.keys() == validated.keys()
    assert all(torch.equal(plain[name], validated[name]) for name in plain)
    assert any(bool(gradient.any()) for gradient in plain.values())


def test_parameters_are_counted_by_elements_not_bytes(untied: Path) -> None:
    plain = base(untied, METHODS["lora"])
    _, total = parameter_counts(plain)
    lora = parameter_counts(prepare(plain, METHODS["lora"], 0))
    assert parameter_counts(prepare(base(untied, METHODS["nf4"]), METHODS["nf4"], 0)) == lora
    assert lora[1] == total + lora[0]
    assert total == sum(tensor.numel() for tensor in load_file(untied / "model.safetensors").values())


def test_an_adapter_folder_holds_no_base_weights(tmp_path: Path, padless: Path, rows: Rows) -> None:
    job = make_job(tmp_path / "out", padless, rows, METHODS["nf4"], max_steps=1, eval_strategy="no")
    outcome = train(job)
    names = load_file(job.out / "model" / "adapter_model.safetensors")
    assert all("lora_" in name for name in names)
    assert (
        json.loads((job.out / "model" / "method.json").read_text())["method"]["options"]["quantization"]
        == NF4
    )
    assert outcome.artifact_bytes == sum(path.stat().st_size for path in (job.out / "model").iterdir())


def test_an_interrupted_save_is_not_a_model(tmp_path: Path, tiny_llama: Path) -> None:
    model = base(tiny_llama, METHODS["full"])
    tokenizer = load_tokenizer(ModelRef(str(tiny_llama)))
    (tmp_path / "model.partial").mkdir()
    (tmp_path / "model.partial" / "torn").touch()
    save(model, tokenizer, METHODS["full"], 0, tmp_path / "model")
    assert not (tmp_path / "model" / "torn").exists()
    assert not (tmp_path / "model.partial").exists()
    loaded, _ = load_trained(ModelRef(str(tiny_llama)), tmp_path / "model", CPU)
    assert torch.equal(logits(loaded), logits(model))


def test_every_method_that_is_named_can_be_prepared_and_has_its_keys() -> None:
    assert Torch.methods == METHOD_NAMES == _METHODS.keys() == SECTIONS.keys()
