"""cards/<candidate>/README.md: a model card for the Hub, with results that its pages read (model-index).

Form: https://huggingface.co/docs/hub/model-cards. What is not known is not said: no licence, and no base
model or dataset that is not the Hub's. Names, warnings and settings are text that others wrote: `card_head`
quotes them in the head, `markdown` escapes them in the body.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from harness import format as fmt
from harness.report.board import row_warnings
from harness.report.outputs.card_figures import results_table, seeds_of
from harness.report.outputs.card_head import HARNESS, Base, head, sources
from harness.report.outputs.hub_ids import hub_model
from harness.report.outputs.load_code import is_adapter, load_code
from harness.report.text import markdown, name_of, one_line

Json = Mapping[str, Any]

REPO = "OWNER/NAME"
"""Stands in a card for the repository that it will be pushed to."""
WHOSE_WEIGHTS = "the weights are those of seed"
"""Followed by the number, where there are several seeds."""


def has_card(candidate: Json) -> bool:
    """Whether there is something trained to describe."""
    return candidate["status"] == "ok" and candidate["training"] is not None


def base_of(candidate: Json) -> Base:
    """The base as far as results tell: a relative folder looks like a Hub id, so a revision must say it."""
    name = name_of(candidate["model"] or "")
    revision = candidate.get("model_revision")
    return Base(name, hub_model(name), revision) if revision else Base(name)


def model_card(
    results: Json, candidate: Json, repo: str = REPO, base: Base | None = None, seed: int | None = None
) -> str:
    """The card as Markdown with a YAML head. `seed`: whose weights it stands beside; the first if None."""
    base = base or base_of(candidate)
    seed = candidate["training"]["per_seed"][0]["seed"] if seed is None else seed
    sections = (
        [f"# {markdown(candidate['name'])}", "", *_what(results, candidate, base)],
        ["## How it was trained", "", *_trained(results, candidate, base, seed)],
        ["## Results", "", *results_table(results, candidate, seed)],
        ["## How it was measured", "", *_measured(results, candidate)],
        ["## Limitations", "", *(f"- {text}" for text in _limitations(results, candidate))],
        ["## How to load it", "", *_loading(candidate, repo, base)],
    )
    body = "\n\n".join("\n".join(lines) for lines in sections)
    return f"---\n{head(results, candidate, base, seed)}\n---\n\n{body}\n"


def _what(results: Json, candidate: Json, base: Base) -> list[str]:
    made = "An adapter for" if is_adapter(candidate) else "A fine-tune of"
    shown = (
        f"[{markdown(base.hub_id)}](https://huggingface.co/{base.hub_id})"
        if base.hub_id
        else markdown(base.name)
    )
    method, suite = markdown(candidate["method"] or "its backend"), markdown(results["suite"]["name"])
    lines = [
        f"{made} {shown}, trained by {method} and measured by {HARNESS}: "
        f"the candidate {markdown(candidate['name'])} of its suite {suite}."
    ]
    about = results["suite"]["description"]
    return [*lines, "", markdown(about)] if about else lines


def _trained(results: Json, candidate: Json, base: Base, seed: int) -> list[str]:
    rows = [f"| {head} | {text} |" for head, text in _training_facts(results, candidate, base, seed) if text]
    recipe = {key: candidate["recipe"].get(key) for key in ("method", "training", "prompting", "generation")}
    text = json.dumps(_without_folders(recipe), indent=2, ensure_ascii=True).replace("`", "\\u0060")
    return [
        "| | |", "|---|---|", *rows, "",
        "<details><summary>The whole recipe</summary>", "", "```json", text, "```", "", "</details>",
    ]  # fmt: skip


def _training_facts(results: Json, candidate: Json, base: Base, seed: int) -> Iterator[tuple[str, str]]:
    own = next(one for one in candidate["training"]["per_seed"] if one["seed"] == seed)
    training, costs = {**candidate["training"], **own}, candidate["costs"]
    settings, packages = candidate["recipe"]["training"], results["environment"].get("packages") or {}
    yield "base model", markdown(base.name) + (f" at {markdown(base.revision)}" if base.revision else "")
    yield "method", markdown(candidate["method"] or "")
    yield "backend", markdown(candidate["backend"])
    yield "data", ", ".join(_source(source) for source in sources(results, "train"))
    left_out = (
        f"{fmt.count(training['rows_dropped'])} dropped, {fmt.count(training['rows_truncated'])} truncated"
    )
    yield "rows", f"{fmt.count(training['rows_used'])} used ({left_out})"
    yield "tokens seen", fmt.count(training["tokens_seen"])
    yield "steps", f"{fmt.count(training['steps'])} of batch {fmt.count(training['effective_batch_size'])}"
    yield "epochs", fmt.number(training["epochs"])
    for key in ("learning_rate", "lr_scheduler_type", "optim"):
        yield markdown(key), markdown(str(settings[key])) if settings.get(key) is not None else ""
    dtypes = training.get("dtypes") or {}
    yield "number formats", ", ".join(f"{markdown(k)} {markdown(str(v))}" for k, v in dtypes.items())
    yield "seeds", _seeds(candidate, seed)
    yield "hardware", _hardware(candidate, costs)
    yield "trained parameters", _parameters(costs)
    named = (f"{name} {packages[name]}" for name in ("torch", "transformers", "peft") if packages.get(name))
    yield "software", markdown(", ".join([f"{HARNESS} {results['environment'].get('harness', '')}", *named]))


def _source(source: Json) -> str:
    return f"{markdown(name_of(str(source['path'])))} ({fmt.count(source['rows'])} rows)"


def _seeds(candidate: Json, seed: int) -> str:
    seeds = [one["seed"] for one in candidate["training"]["per_seed"]]
    if len(seeds) == 1:
        return str(seeds[0])
    return f"{fmt.listed([str(one) for one in seeds])}; {WHOSE_WEIGHTS} {seed}"


def _hardware(candidate: Json, costs: Json) -> str:
    count = candidate["training"].get("process_count") or 1
    device = markdown(costs.get("device") or "") + (f", {count} processes" if count > 1 else "")
    mean = ", the mean of the seeds" if seeds_of(candidate) else ""
    spent = costs.get("train_seconds")
    time = f"{fmt.seconds(spent)} of training{mean}" if spent is not None else ""
    kind = f" ({markdown(costs['memory_kind'])})" if costs.get("memory_kind") else ""
    peak = costs.get("peak_memory_bytes")
    memory = f"{fmt.size(peak)} at the peak{kind}" if peak is not None else ""
    return "; ".join(filter(None, (device, time, memory)))


def _parameters(costs: Json) -> str:
    trained, total = costs.get("trainable_parameters"), costs.get("total_parameters")
    if trained is None or not total:
        return ""
    return f"{fmt.parameters(trained)} of {fmt.parameters(total)} ({fmt.share(trained / total)})"


def _measured(results: Json, candidate: Json) -> list[str]:
    data = results["data"]
    size, digest = (data.get("rows") or {}).get("eval"), data.get("eval_sha256")
    rows = fmt.counted(size, "example") if size is not None else "examples"
    told = f" (sha256 {markdown(digest)})" if digest else ""
    template = candidate["recipe"]["prompting"].get("template", "chat")
    over = f"these examples and {seeds_of(candidate)}" if seeds_of(candidate) else "these examples"
    lines = [
        f"On {rows} that were held out of training{told}, the same for every candidate. Intervals are 95%, "
        f"over {over}. Prompts have the form of training: the template {markdown(template)}.",
        "",
    ]
    lines += [f"- {markdown(m['label'])}: {markdown(m['signature'])}" for m in results["metrics"]]
    lines += [f"- judge {markdown(j['name'])}: {markdown(j['signature'])}" for j in results["judges"]]
    return lines


def _limitations(results: Json, candidate: Json) -> Iterator[str]:
    for warning in (*row_warnings(candidate), *results["warnings"]):
        yield markdown(warning)
    for judge in results["judges"]:
        yield from map(markdown, judge["warnings"])
    overlap = results["data"].get("overlap") or {}
    if found := overlap.get("exact", 0) + overlap.get("near", 0):
        done = "taken out of train" if overlap.get("action") == "remove" else "left in train"
        yield f"Rows of train that were also held out, exactly or nearly: {fmt.count(found)}, {done}."
    if len(candidate["seeds"]) == 1:
        yield "Trained with one seed: the intervals do not hold what another seed would change."
    yield (
        "The figures are those of the examples above; of other tasks, of safety and of bias they say "
        "nothing. The licence is not stated here: it depends on those of the base model and of the data."
    )


def _loading(candidate: Json, repo: str, base: Base) -> list[str]:
    shown = base.hub_id or f"path/to/{one_line(base.name)}"
    code = load_code(candidate, repo, shown, base.revision if base.hub_id else None)
    return ["```python", code, "```"]


def _without_folders(value: Any) -> Any:
    """Settings without folders of the machine."""
    if isinstance(value, str):
        return name_of(value)
    if isinstance(value, Mapping):
        return {key: _without_folders(item) for key, item in value.items()}
    return [_without_folders(item) for item in value] if isinstance(value, list) else value
