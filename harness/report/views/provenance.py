"""Provenance: the data, the machine, and every candidate's recipe as it was resolved."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.report.text import dotted, name_of, one_line, shorten

Json = Mapping[str, Any]
_VALUE_LIMIT = 300
_NESTED = "method.lora."


def data_sources(data: Json) -> list[dict[str, str]]:
    """The data's sources: names, formats, rows, and what could not be used."""
    return [
        {
            "part": source.get("part") or "",
            "name": name_of(str(source["path"])),
            "format": source.get("format") or "",
            "columns": _mapping(source.get("columns") or {}, " = "),
            "rows": fmt.count(source.get("rows")),
            "unusable": fmt.count(source.get("unusable") or 0),
            "reasons": "; ".join(map(_reason, (source.get("reasons") or {}).items())),
        }
        for source in data.get("sources") or []
    ]


def _reason(found: tuple[str, Any]) -> str:
    reason, told = found
    if isinstance(told, Mapping):
        return f"{reason}: {fmt.count(told.get('rows'))}, first in row {told.get('first')}"
    return f"{reason}: {told}"


def data_facts(data: Json) -> list[tuple[str, str]]:
    """What became of the rows, as (what, how much)."""
    rows = data.get("rows") or {}
    facts = [
        (f"rows for {part}", fmt.count(rows[part]))
        for part in ("train", "validation", "eval")
        if part in rows
    ]
    facts += _overlap_facts(data.get("overlap") or {})
    if data.get("train_duplicates") is not None:
        facts.append(("repeats within train, kept", fmt.count(data["train_duplicates"])))
    if data.get("eval_repeats") is not None:
        facts.append(("eval prompts that repeat another's", fmt.count(data["eval_repeats"])))
    if data.get("max_length"):
        facts.append(("longest row allowed, tokens", fmt.count(data["max_length"])))
    if data.get("eval_dropped_too_long") is not None:
        facts.append(("eval rows dropped as too long", fmt.count(data["eval_dropped_too_long"])))
    facts += [
        (f"rows of {part} longer than allowed", fmt.count(count))
        for part, count in (data.get("too_long") or {}).items()
    ]
    if data.get("eval_tokens"):
        facts.append(("tokens of the references, by base's tokenizer", fmt.count(data["eval_tokens"])))
    if data.get("longest"):
        longest = {part: fmt.count(tokens) for part, tokens in data["longest"].items()}
        facts.append(("longest row, tokens", _mapping(longest)))
    if data.get("eval_sha256"):
        facts.append(("SHA-256 of the eval set", str(data["eval_sha256"])))
    return facts


def _overlap_facts(overlap: Json) -> list[tuple[str, str]]:
    """How many rows of train, and of validation, are (nearly) among the held-out ones."""
    action = "removed" if overlap.get("action") == "remove" else "kept"
    facts = []
    for part, counts in (("train", overlap), ("validation", overlap.get("validation"))):
        if counts and "exact" in counts:
            told = f"{fmt.count(counts['exact'])} exact, {fmt.count(counts['near'])} near, {action}"
            found = told if counts["exact"] or counts["near"] else "none"
            facts.append((f"rows of {part} found in held-out data", found))
    return facts


def overlap_pairs(data: Json) -> list[dict[str, str]]:
    """The held-out rows that train held too, beside each other."""
    pairs = (data.get("overlap") or {}).get("pairs") or []
    return [{**pair, "similarity": fmt.fixed(pair["similarity"], 2)} for pair in pairs]


def recipes(results: Json) -> dict[str, Any]:
    """The resolved recipes: keys in which candidates differ, and keys that all share."""
    candidates = results["candidates"]
    flat = [dict(_whole_recipe(c)) for c in candidates]
    keys = _grouped(key for recipe in flat for key in recipe)
    differing, shared = [], []
    for key in keys:
        values = [recipe.get(key) for recipe in flat]
        known = [v for v in values if v is not None]
        if len(set(known)) == 1 and len(known) >= len([c for c in candidates if c["method"]]):
            shared.append((key, known[0]))
        else:
            usual = _usual(known)
            differing.append((key, [{"text": v, "odd": bool(v and usual and v != usual)} for v in values]))
    return {"names": [c["name"] for c in candidates], "differing": differing, "shared": shared}


def _usual(values: Sequence[str]) -> str | None:
    """The value that most have; None where no single one is the most common."""
    (first, most), *others = Counter(values).most_common(2)
    return first if all(count < most for _, count in others) else None


def _grouped(keys: Iterable[str]) -> list[str]:
    """Each key once, those of a section together, else in the order in which they came."""
    unique = list(dict.fromkeys(keys))
    sections = list(dict.fromkeys(key.partition(".")[0] for key in unique))
    return sorted(unique, key=lambda key: sections.index(key.partition(".")[0]))


def _whole_recipe(candidate: Json) -> Iterator[tuple[str, str]]:
    for key in ("backend", "method", "model", "seeds"):
        yield from ((name, _plain(value)) for name, value in dotted(candidate[key], key))
    for name, value in dotted(candidate["recipe"]):
        # QLoRA's adapters are set as LoRA's own are, one level further down: the same key, one row.
        yield name.replace(_NESTED, "method.", 1) if name.startswith(_NESTED) else name, _plain(value)


def _plain(value: Any) -> str:
    """A recipe's value as the suite would spell it; folders of this machine as names."""
    if isinstance(value, str) and value:
        return shorten(name_of(value), _VALUE_LIMIT)
    return json.dumps(value, ensure_ascii=False)


def environment_facts(environment: Json) -> list[tuple[str, str]]:
    """Where the figures were computed, packages apart."""
    facts = [
        (key, _mapping(value) if isinstance(value, Mapping) else _words(value))
        for key, value in environment.items()
        if key != "packages"
    ]
    return [(key, value) for key, value in facts if value]


def packages(environment: Json) -> list[tuple[str, str]]:
    """The packages that were installed there, each with its version."""
    return [(str(name), str(version)) for name, version in (environment.get("packages") or {}).items()]


def seeds(results: Json) -> str:
    """The seeds of the candidates: once where all have the same."""
    told = [(c["name"], ", ".join(map(str, c["seeds"]))) for c in results["candidates"]]
    alike = len({seeds for _, seeds in told}) == 1
    return told[0][1] if alike else "; ".join(f"{name} {seeds}" for name, seeds in told)


def prompts(results: Json) -> list[dict[str, Any]]:
    """Who sends texts of its own to a model, and those texts by name."""
    kinds = (("judge", results["judges"]), ("metric", results["metrics"]))
    return [
        {"whose": f"{kind} {one['name']}", "texts": list(texts.items())}
        for kind, ones in kinds
        for one in ones
        if (texts := one["prompts"])
    ]


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_mapping(v) if isinstance(v, Mapping) else str(v) for v in value) or "none"
    return "" if value is None else str(value)


def _mapping(value: Mapping[str, Any], between: str = " ") -> str:
    return ", ".join(f"{one_line(str(k))}{between}{one_line(str(v))}" for k, v in value.items())
