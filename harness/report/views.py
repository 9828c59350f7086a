"""What the page's sections show, as plain values for the templates: judge trust, training, provenance."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.report import format as fmt
from harness.report.text import name_of, one_line, shorten

Json = Mapping[str, Any]
UNPARSED_LIMIT = 0.10
"""Above this share of unreadable verdicts a win rate is not to be believed: they are not missing at random."""
CONSISTENCY_LIMIT = 0.70
"""Below this share of pairs judged alike in both orders, a judge's taste is hard to tell from its position."""
_SAMPLE_LIMIT = 4_000
_RULES = ("average", "tie_on_disagreement", "consistent_only")


# Judge trust


def judge_tables(results: Json) -> list[dict[str, Any]]:
    """One table per judge: every candidate under the three rules, with what speaks against the judge."""
    return [_judge_table(judge, results["candidates"]) for judge in results["judges"]]


def _judge_table(judge: Json, candidates: Sequence[Json]) -> dict[str, Any]:
    rows, warnings = [], []
    for candidate in candidates:
        rates = candidate["win_rates"].get(judge["name"])
        if not rates:
            continue
        if "missing" in rates:
            rows.append({"name": candidate["name"], "missing": rates["missing"]})
            continue
        rows.append(_judge_row(candidate["name"], rates))
        warnings += _judge_warnings(candidate["name"], rates)
    return {"name": judge["name"], "against": judge["against"], "rows": rows, "warnings": warnings}


def _judge_row(name: str, rates: Json) -> dict[str, Any]:
    shares = ("consistency", "flips_to_first", "flips_to_second", "win_tie", "unparsed")
    return {
        "name": name,
        "rules": [_rule(rates["rules"].get(rule)) for rule in _RULES],
        "shares": [fmt.share(rates.get(key)) for key in shares],
        "n": fmt.count(rates.get("n")),
        "p": fmt.p_value(rates.get("p_adjusted")),
        "verdict": rates.get("verdict") or "",
        "cost": fmt.dollars(rates.get("cost_usd")) if rates.get("cost_usd") is not None else "–",
        "from_cache": fmt.count(rates.get("from_cache")),
    }


def _rule(rate: Json | None) -> dict[str, str]:
    if not rate or rate.get("value") is None or not math.isfinite(rate["value"]):
        return {"value": "–", "interval": "", "n": fmt.count((rate or {}).get("n") or 0)}
    span = fmt.interval(rate["value"], rate.get("low"), rate.get("high"), "%")
    return {"value": fmt.share(rate["value"]), "interval": span, "n": fmt.count(rate.get("n"))}


def _judge_warnings(name: str, rates: Json) -> Iterator[str]:
    unparsed, consistency = rates.get("unparsed") or 0.0, rates.get("consistency")
    if unparsed > UNPARSED_LIMIT:
        yield (
            f"{name}: {fmt.share(unparsed)} of the verdicts could not be read. They are left out, and what is "
            "left out is rarely a fair sample: do not trust this win rate."
        )
    if consistency is not None and consistency < CONSISTENCY_LIMIT:
        yield (
            f"{name}: only {fmt.share(consistency)} of the pairs got the same verdict in both orders. "
            "The judge looks at the position of an answer as much as at the answer."
        )


# Training


def training_rows(results: Json) -> list[dict[str, Any]]:
    """One row per trained candidate: what it saw, what was cut or dropped, where it ended."""
    trained = [(i, c) for i, c in enumerate(results["candidates"]) if c["training"]]
    return [{"index": i, "name": c["name"]} | _training_row(c["training"]) for i, c in trained]


def _training_row(training: Json) -> dict[str, Any]:
    best = training.get("best_validation_loss")
    return {
        "steps": fmt.count(training.get("steps")),
        "epochs": fmt.number(training.get("epochs")),
        "batch": fmt.count(training.get("effective_batch_size")),
        "seen": fmt.count(training.get("tokens_seen")),
        "supervised": fmt.count(training.get("tokens_supervised")),
        "used": fmt.count(training.get("rows_used")),
        "truncated": fmt.count(training.get("rows_truncated")),
        "dropped": fmt.count(training.get("rows_dropped")),
        "loss": fmt.number(training.get("final_train_loss")),
        "best": "–" if best is None else f"{fmt.number(best)} at step {fmt.count(training.get('best_step'))}",
        "dtypes": ", ".join(f"{k} {v}" for k, v in (training.get("dtypes") or {}).items()),
    }


def sampled_answers(results: Json) -> list[dict[str, Any]]:
    """Per candidate, the prompts sampled at validations with the answers in the order of training."""
    found = []
    for candidate in results["candidates"]:
        prompts: dict[str, dict[str, Any]] = {}
        for entry in (candidate["training"] or {}).get("validation") or []:
            for sample in entry.get("samples") or []:
                shown = prompts.setdefault(sample["id"], {"prompt": _text_of(sample["prompt"]), "answers": []})
                answer = shorten(sample["answer"] or "", _SAMPLE_LIMIT)
                shown["answers"].append({"step": fmt.count(entry["step"]), "loss": fmt.number(entry.get("loss")), "text": answer})
        if prompts:
            found.append({"name": candidate["name"], "prompts": list(prompts.values())})
    return found


def _text_of(prompt: str | Sequence[Json]) -> str:
    text = prompt if isinstance(prompt, str) else "\n\n".join(f"{m['role']}: {m['content']}" for m in prompt)
    return shorten(text, _SAMPLE_LIMIT)


# Scores in full, head to head


def full_scores(results: Json) -> list[dict[str, Any]]:
    """Every score with its interval, counts, seeds and test: the table behind the board and the charts."""
    rows = []
    for metric in results["metrics"]:
        for candidate in results["candidates"]:
            score = candidate["scores"].get(metric["name"])
            if score:
                rows.append(_full_score(candidate, metric, score))
    return rows


def _full_score(candidate: Json, metric: Json, score: Json) -> dict[str, Any]:
    head = {"metric": metric["label"], "name": candidate["name"]}
    if "missing" in score or not isinstance(score.get("value"), int | float):
        return head | {"missing": score.get("missing") or "not a number"}
    unit, compared = metric["unit"], candidate["differences"].get(metric["name"]) or {}
    value, low, high = score["value"], score.get("low"), score.get("high")
    seeds = score.get("per_seed") or []
    return head | {
        "value": fmt.score(value, unit, low, high),
        "interval": fmt.interval(value, low, high, unit),
        "n": fmt.count(score.get("n")),
        "unscored": fmt.count(score.get("unscored") or 0),
        "seeds": ", ".join(fmt.score(v, unit) for v in seeds) if len(seeds) > 1 else "–",
        "difference": fmt.difference(compared["value"], unit) if "value" in compared else "–",
        "span": fmt.difference_interval(compared.get("low"), compared.get("high"), unit),
        "p": fmt.p_value(compared.get("p_value")),
        "p_adjusted": fmt.p_value(compared.get("p_adjusted")),
        "verdict": compared.get("verdict") or "",
    }


def head_to_head(results: Json) -> dict[str, Any] | None:
    """The ranking metric's pairs as a square: what the row's candidate has over the column's."""
    rank_by = results["suite"]["rank_by"]
    metric = next((m for m in results["metrics"] if m["name"] == rank_by), None)
    pairs = [p for p in results["pairs"] if p["metric"] == rank_by]
    if metric is None or not pairs:
        return None
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for pair in pairs:
        cells[pair["a"], pair["b"]] = _versus(pair, metric, 1)
        cells[pair["b"], pair["a"]] = _versus(pair, metric, -1)
    compared = {name for key in cells for name in key}
    names = [c["name"] for c in results["candidates"] if c["name"] in compared]
    return {"label": metric["label"], "names": names, "rows": [(a, [cells.get((a, b)) for b in names]) for a in names]}


def _versus(pair: Json, metric: Json, sign: int) -> dict[str, str]:
    wins = {"a": 1, "b": -1}.get(pair["verdict"], 0) * sign
    return {
        "text": fmt.difference(sign * pair["value"], metric["unit"]) if pair["value"] is not None else fmt.MISSING,
        "verdict": {1: "better", -1: "worse", 0: "cannot be told apart"}[wins],
        "p": fmt.p_value(pair["p_adjusted"]),
    }


# Provenance


def data_sources(data: Json) -> list[dict[str, str]]:
    """The data's sources: names, formats, rows, and what could not be used."""
    return [
        {
            "name": name_of(str(source["path"])),
            "format": source.get("format") or "",
            "columns": _mapping(source.get("columns") or {}),
            "rows": fmt.count(source.get("rows")),
            "unusable": fmt.count(source.get("unusable") or 0),
            "reasons": _mapping(source.get("reasons") or {}),
        }
        for source in data.get("sources") or []
    ]


def data_facts(data: Json) -> list[tuple[str, str]]:
    """What became of the rows, as (what, how much)."""
    rows, overlap = data.get("rows") or {}, data.get("overlap") or {}
    facts = [(f"rows for {part}", fmt.count(rows[part])) for part in ("train", "validation", "eval") if part in rows]
    if overlap:
        action = "removed from train" if overlap.get("action") == "remove" else "reported, not removed"
        facts.append(("in train and eval alike, exactly", f"{fmt.count(overlap.get('exact'))} ({action})"))
        facts.append(("in train and eval alike, nearly", f"{fmt.count(overlap.get('near'))} ({action})"))
    if data.get("train_duplicates") is not None:
        facts.append(("duplicates within train, kept", fmt.count(data["train_duplicates"])))
    if data.get("eval_dropped_too_long") is not None:
        facts.append(("eval rows dropped as too long", fmt.count(data["eval_dropped_too_long"])))
    if data.get("longest"):
        facts.append(("longest", _mapping(data["longest"])))
    if data.get("eval_sha256"):
        facts.append(("SHA-256 of the eval set", str(data["eval_sha256"])))
    return facts


def recipes(results: Json) -> dict[str, Any]:
    """The resolved recipes: keys in which candidates differ, and keys that all share."""
    candidates = results["candidates"]
    flat = [dict(_flatten(_whole_recipe(c))) for c in candidates]
    keys = list(dict.fromkeys(key for recipe in flat for key in recipe))
    differing, shared = [], []
    for key in keys:
        values = [recipe.get(key) for recipe in flat]
        known = [v for v in values if v is not None]
        if len(set(known)) == 1 and len(known) >= len([c for c in candidates if c["method"]]):
            shared.append((key, known[0]))
        else:
            usual = max(known, key=known.count)
            differing.append((key, [{"text": v, "odd": v is not None and v != usual} for v in values]))
    return {"names": [c["name"] for c in candidates], "differing": differing, "shared": shared}


def _whole_recipe(candidate: Json) -> dict[str, Any]:
    head = {key: candidate[key] for key in ("backend", "method", "model", "seeds")}
    return head | {key: value for key, value in candidate["recipe"].items() if key not in head}


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    elif value is not None:
        yield prefix, _plain(value)


def _plain(value: Any) -> str:
    """A recipe's value as the suite would spell it; folders of this machine as names."""
    if isinstance(value, str):
        return name_of(value)
    return json.dumps(value, ensure_ascii=False)


def environment_facts(environment: Json) -> list[tuple[str, str]]:
    """Where the run took place, packages last."""
    facts = [(key, _mapping(value) if isinstance(value, Mapping) else _words(value)) for key, value in environment.items()]
    return [(key, value) for key, value in facts if value]


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_mapping(v) if isinstance(v, Mapping) else str(v) for v in value) or "none"
    return "" if value is None else str(value)


def _mapping(value: Mapping[str, Any]) -> str:
    return ", ".join(f"{one_line(str(k))} {one_line(str(v))}" for k, v in value.items())
