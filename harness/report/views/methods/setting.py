"""The methods paragraph on what was trained, on what, how, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.data.leakage import THRESHOLD
from harness.report.views.methods.citing import by_value, chosen, cite, listed, spelled, value, word

Json = Mapping[str, Any]
METHODS: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "full": ("full fine-tuning", (), ()),
    "freeze": ("fine-tuning of the last layers", (), ("last_layers", "embeddings", "head")),
    "lora": ("LoRA", ("hu2022lora",), ("r", "lora_alpha", "target_modules")),
    "dora": ("DoRA", ("liu2024dora",), ("r", "lora_alpha", "target_modules")),
    "rslora": ("rank-stabilised LoRA", ("kalajdzievski2023rslora",), ("r", "lora_alpha", "target_modules")),
    "pissa": ("PiSSA", ("meng2024pissa",), ("r", "lora_alpha", "target_modules")),
    "ia3": ("IA3", ("liu2022ia3",), ("target_modules",)),
    "prompt_tuning": ("prompt tuning", ("lester2021prompt",), ("num_virtual_tokens",)),
}
"""Method -> what a paper calls it, whom to cite, and the options that tell two of it apart."""
ENGINES: Mapping[str, tuple[str, str, str]] = {
    "trl": ("TRL's SFTTrainer", "vonwerra2020trl", "trl"),
    "unsloth": ("Unsloth", "han2023unsloth", "unsloth"),
    "llamafactory": ("LLaMA-Factory", "zheng2024llamafactory", "llamafactory"),
}
"""Backend -> what it trains with beside PyTorch and Transformers, whom to cite, and its package."""
STAND_INS = {
    "outputs": "answers read from a file",
    "reference": "the reference answers themselves",
    "constant": "the same answer to every prompt",
}
SERVED = "behind an OpenAI-compatible server"
LIBRARIES = (
    ("torch", "PyTorch", "paszke2019pytorch"),
    ("transformers", "Transformers", "wolf2020transformers"),
    ("peft", "PEFT", "mangrulkar2022peft"),
)


def passage(results: Json) -> Iterator[str]:
    """Sentences on the base model, the data, the candidates and their training."""
    trained = [c for c in results["candidates"] if c["training"]]
    yield _base(results)
    if results["data"]:
        yield from _data(results["data"], trained=bool(trained))
    yield from _candidates(results)
    if trained:
        yield from _training(trained)
    yield from _generation(results["candidates"])


def _base(results: Json) -> str:
    base = results["candidates"][0]
    others = listed([c["name"] for c in results["candidates"][1:]])
    what = STAND_INS.get(base["backend"])
    model = what or f"the model {word(base['model'])}" + (
        f" {SERVED}" if base["backend"] == "openai" else ", untrained"
    )
    compared = (
        f"We compare {others} with {word(base['name'])}" if others else f"We evaluate {word(base['name'])}"
    )
    return f"{compared} ({model}), by sft-harness {word(results['environment']['harness'])}."


def _data(data: Json, *, trained: bool) -> Iterator[str]:
    """What was trained and evaluated on; of training data nothing where nothing was trained."""
    rows, sources = data.get("rows") or {}, data.get("sources") or []
    own = {part: [s for s in sources if s.get("part") == part] for part in ("train", "validation", "eval")}
    read = own["train"]
    names = listed([str(source["path"]) for source in read])
    unusable = sum(source.get("unusable") or 0 for source in sources)
    if trained and "train" in rows and read:
        total = sum(source["rows"] for source in read)
        yield (
            f"The training data are {fmt.counted(rows['train'], 'example')} of {names} "
            f"({fmt.counted(total, 'row')} read)."
        )
    if unusable:
        yield f"{fmt.counted(unusable, 'row')} of the sources could not be used."
    if rows.get("eval"):
        yield _held_out("eval", rows["eval"], own["eval"], data)
    if trained and rows.get("validation"):
        yield _held_out("validation", rows["validation"], own["validation"], data)
    if trained:
        yield from _overlap(data.get("overlap") or {})
    if data.get("eval_sha256"):
        yield f"The SHA-256 of the eval set is {word(data['eval_sha256'])}."


def _held_out(part: str, n: int, own: Sequence[Json], data: Json) -> str:
    """How the rows of a part were chosen."""
    told = f"The {fmt.count(n)} {part} examples "
    limit = f" of {fmt.count(data['max_length'])} tokens" if data.get("max_length") else ""
    if not own:
        fit = f"; only rows within the limit{limit} could be chosen" if part == "eval" else ""
        return (
            f"{told}were held out of the training data by a hash of their prompts, rows with one prompt "
            f"staying together{fit}."
        )
    dropped = data.get("eval_dropped_too_long") if part == "eval" else 0
    were = "was" if dropped == 1 else "were"
    less = f"; {fmt.count(dropped)} more {were} left out as longer than the limit{limit}" if dropped else ""
    return f"{told}are from a source of their own ({listed([str(s['path']) for s in own])}){less}."


def _overlap(overlap: Json) -> Iterator[str]:
    if "exact" not in overlap:
        return
    found = overlap["exact"] or overlap["near"]
    action = "removed" if overlap.get("action") == "remove" else "kept"
    counts = f"{fmt.count(overlap['exact'])} exact and {fmt.count(overlap['near'])} near"
    yield (
        "Training prompts were searched for held-out ones, equal but for case, spaces and punctuation or "
        "near by their word trigrams (Jaccard similarity of at least "
        f"{fmt.number(float(THRESHOLD), 1)}): "
        + (f"{counts} duplicates were found and {action}." if found else "none was found.")
    )


def _candidates(results: Json) -> Iterator[str]:
    rows = results["candidates"]
    for candidate in rows[1:]:
        name, backend = word(candidate["name"]), candidate["backend"]
        if backend == "openai":
            yield f"{name} is the model {word(candidate['model'])} {SERVED}, not trained here."
    for backend, what in STAND_INS.items():
        if names := [c["name"] for c in rows[1:] if c["backend"] == backend]:
            yield f"{listed(names)} {'is' if len(names) == 1 else 'are'} {what}."
    trained = [c for c in rows if c["method"] and c["backend"] != "openai" and c["backend"] not in STAND_INS]
    for names, told in _by_method(trained):
        verb = "is" if len(names) == 1 else "are"
        yield f"{listed(names)} {verb} trained by {told}."
    if trained:
        yield _engines(trained, results["environment"].get("packages") or {})
    for candidate in rows:
        if candidate["failure"]:
            stage = word(candidate["failure"]["stage"])
            yield f"{word(candidate['name'])} failed in the stage {stage} and has no figures."


def _by_method(trained: Sequence[Json]) -> Iterator[tuple[list[str], str]]:
    alike: dict[str, list[str]] = {}
    for candidate in trained:
        alike.setdefault(_method(candidate), []).append(candidate["name"])
    for told, names in alike.items():
        yield names, told


def _method(candidate: Json) -> str:
    options, name = candidate["recipe"]["method"], candidate["method"]
    if name == "qlora":
        return _quantized(options)
    called, keys, shown = METHODS.get(name, (word(name), (), ()))
    extra = [
        key
        for option, key in (("use_dora", "liu2024dora"), ("use_rslora", "kalajdzievski2023rslora"))
        if options.get(option) and key not in keys
    ]
    if str(options.get("init_lora_weights", "")).startswith("pissa") and name != "pissa":
        extra.append("meng2024pissa")
    works = cite(*keys, *extra) if keys or extra else ""
    return called + works + chosen(options, shown)


def _quantized(options: Json) -> str:
    quantization = options.get("quantization") or {}
    keys = (
        ("hu2022lora", "dettmers2022llmint8") if quantization.get("load_in_8bit") else ("dettmers2023qlora",)
    )
    called = "LoRA over a base in 8 bit" if quantization.get("load_in_8bit") else "QLoRA"
    lora = chosen(options.get("lora") or options, ("r", "lora_alpha", "target_modules"))
    kind = chosen(quantization, ("bnb_4bit_quant_type", "bnb_4bit_use_double_quant"))
    return called + cite(*keys) + lora + (f", the base quantised{kind}" if kind else "")


def _engines(trained: Sequence[Json], packages: Json) -> str:
    adapted = any(c["method"] not in ("full", "freeze") for c in trained)
    used = [
        f"{name} {word(packages[package])}{cite(key)}"
        for package, name, key in LIBRARIES
        if package in packages and (package != "peft" or adapted)
    ]
    told = f"Training is by {fmt.listed(used)}" if used else "Training is local"
    by_engine = {}
    for backend, (name, key, package) in ENGINES.items():
        names = [c["name"] for c in trained if c["backend"] == backend]
        if names:
            version = f" {word(packages[package])}" if package in packages else ""
            by_engine[f"{name}{version}{cite(key)}"] = names
    for backend in dict.fromkeys(c["backend"] for c in trained if c["backend"] not in ENGINES):
        names = [c["name"] for c in trained if c["backend"] == backend]
        by_engine["the harness's own loop" if backend == "torch" else f"the backend {word(backend)}"] = names
    if len(by_engine) == 1:
        return f"{told}, in {next(iter(by_engine))}."
    return f"{told}: {'; '.join(f'{listed(names)} in {engine}' for engine, names in by_engine.items())}."


def _training(trained: Sequence[Json]) -> Iterator[str]:
    recipes = {c["name"]: c["recipe"]["training"] for c in trained}
    optim = {name: str(one["optim"]) for name, one in recipes.items() if one.get("optim")}
    if optim:
        adamw = cite("loshchilov2019adamw") if any("adamw" in one for one in optim.values()) else ""
        yield f"The optimizer is {by_value({name: word(one) for name, one in optim.items()})}{adamw}."
    settings = [
        (what, {name: value(one[key]) for name, one in recipes.items() if one.get(key) is not None})
        for what, key in (("learning rate", "learning_rate"), ("schedule", "lr_scheduler_type"))
    ]
    figures = [
        ("effective batch size", "effective_batch_size", fmt.count),
        ("epochs", "epochs", fmt.number),
        ("steps", "steps", fmt.count),
    ]
    settings += [
        (what, {c["name"]: show(c["training"][key]) for c in trained if c["training"].get(key) is not None})
        for what, key, show in figures
    ]
    told = [f"{what} {by_value(known)}" for what, known in settings if known]
    if told:
        yield f"Settings: {'; '.join(told)}."
    if noisy := [name for name, one in recipes.items() if one.get("neftune_noise_alpha")]:
        yield f"NEFTune{cite('jain2024neftune')} is used for {listed(noisy)}."
    validated = {c["name"] for c in trained if c["training"].get("best_validation_loss") is not None}
    if best := [n for n, one in recipes.items() if n in validated and one.get("load_best_model_at_end")]:
        which = "Of each training" if len(best) == len(trained) else f"Of {listed(best)}"
        yield f"{which} the checkpoint with the lowest validation loss is kept."
    yield from _cut(trained)
    if grids := {c["name"]: fmt.count(c["search"]["tried"]) for c in trained if c.get("search")}:
        yield (
            f"The recipe of {listed(grids)} was chosen by validation loss among {by_value(grids)} recipes; "
            "the eval examples had no part in it."
        )
    seeds = {c["name"]: listed(map(str, c["seeds"])) for c in trained}
    several = any(len(c["seeds"]) > 1 for c in trained)
    yield f"Seeds: {by_value(seeds)}." if several else f"Each is trained once (seed {by_value(seeds)})."


def _cut(trained: Sequence[Json]) -> Iterator[str]:
    for what in ("truncated", "dropped"):
        rows = {c["name"]: c["training"].get(f"rows_{what}") for c in trained}
        known = {name: fmt.count(count) for name, count in rows.items() if count}
        if known:
            yield f"Training rows {what} to fit the limit of tokens: {by_value(known)}."


def _generation(candidates: Sequence[Json]) -> Iterator[str]:
    asked = [c for c in candidates if c["backend"] not in STAND_INS]
    told = {c["name"]: spelled(c["recipe"].get("generation") or {}) for c in asked}
    known = {name: one for name, one in told.items() if one}
    if known:
        settings = [c["recipe"]["generation"] for c in asked if c["name"] in known]
        greedy = all(one.get("do_sample") is False and one.get("num_beams", 1) == 1 for one in settings)
        yield f"Answers are generated{' greedily' if greedy else ''} with {by_value(known)}."


def machine(results: Json) -> Iterator[str]:
    """Where all of it ran."""
    found = results["environment"]
    devices = {
        c["name"]: _device(c)
        for c in results["candidates"]
        if c["training"] and (c["costs"] or {}).get("device")
    }
    if devices:
        yield f"Training ran on {by_value(devices)}."
    here = ", ".join(word(gpu) for gpu in found.get("gpus") or []) or word(found.get("cpu") or "a CPU")
    system = f"Python {word(found['python'])}, {word(found['platform'])}"
    yield f"The figures were computed on {here} with {system}."


def _device(candidate: Json) -> str:
    costs = candidate["costs"]
    count = costs.get("process_count") or 1
    device = "a CPU" if costs["device"] == "cpu" else word(costs["device"])
    return f"{fmt.count(count)} × {device}" if count > 1 else device
