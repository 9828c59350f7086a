"""Which recipes were searched for, how far seeds lie apart, what the intervals hold, what was bought."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness import format as fmt
from harness.leaderboard.findings.words import were

Json = Mapping[str, Any]


def searched(results: Json) -> Iterator[str]:
    """Which recipes were found by trying, out of how many, by what and for how much."""
    for candidate in results["candidates"]:
        tried = candidate["search"]
        if tried and tried["chosen"] is not None:
            point = tried["points"][tried["chosen"]]
            failed = f", {fmt.count(tried['failed'])} of them in vain" if tried["failed"] else ""
            cost = "" if tried["cost_usd"] is None else f" and {fmt.dollars(tried['cost_usd'])}"
            yield (
                f"{candidate['name']} is the best of {fmt.count(tried['tried'])} recipes tried{failed}, "
                f"by validation loss ({fmt.number(point['validation_loss'])}): "
                f"{fmt.settings(point['settings'])}; the search took {fmt.seconds(tried['seconds'])}{cost}."
            )


def bought(results: Json) -> Iterator[str]:
    """What the answers of candidates cost that somebody else's server gave."""
    for candidate in results["candidates"]:
        answers = candidate["answers"]
        if answers and answers["cost_usd"]:
            yield (
                f"{candidate['name']} was not trained here; its {fmt.count(answers['n'])} answers cost "
                f"{fmt.dollars(answers['cost_usd'])} ({fmt.count(answers['prompt_tokens'])} tokens sent, "
                f"{fmt.count(answers['generated_tokens'])} received)."
            )


def charged(results: Json) -> Iterator[str]:
    """What metrics took that a server was asked for, and what all servers charged together."""
    for metric in results["metrics"]:
        receipt = metric.get("receipt")
        if receipt and receipt["cost_usd"] != 0:
            price = "an unknown sum" if receipt["cost_usd"] is None else fmt.dollars(receipt["cost_usd"])
            yield (
                f"{metric['label']} took {price} for {fmt.count(receipt['requests'])} requests "
                f"({fmt.count(receipt['prompt_tokens'])} tokens sent, "
                f"{fmt.count(receipt['completion_tokens'])} received)."
            )
    found, budget = results.get("charges"), results["suite"].get("budget_usd")
    if found and (found["cost_usd"] or (budget and found["rows"])):
        unknown = f", and {fmt.count(found['unknown'])} unknown sums" if found["unknown"] else ""
        of = "" if budget is None else f"; the budget is {fmt.dollars(budget)}"
        yield f"Servers charged {fmt.dollars(found['cost_usd'])} in all for this board{unknown}{of}."


def by_seed(results: Json) -> Iterator[str]:
    """How far the seeds of a candidate lie apart, by the metric that ranks."""
    metric = next((m for m in results["metrics"] if m["name"] == results["suite"]["rank_by"]), None)
    if metric is None:
        return
    found = {
        c["name"]: c["scores"].get(metric["name"], {}).get("per_seed", ()) for c in results["candidates"]
    }
    told = [
        f"{name} {', '.join(fmt.score(value, metric['unit']) for value in values)}"
        for name, values in found.items()
        if len(values) > 1
    ]
    if told:
        yield f"{metric['label']} by seed: {'; '.join(told)}."


def scope(results: Json) -> Iterator[str]:
    """What the intervals hold: examples alone, or seeds too."""
    seeds = {c["name"]: len(c["seeds"]) for c in results["candidates"] if c["training"]}
    several = [name for name, count in seeds.items() if count > 1]
    once = [name for name, count in seeds.items() if count == 1]
    if not several:
        if once:
            yield (
                "Intervals are 95%, over the eval examples; each candidate was trained with one seed, so "
                "they do not hold what another seed would change."
            )
        return
    least, most = min(seeds[name] for name in several), max(seeds.values())
    counts = f"{most}" if least == most else f"{least} to {most}"
    whose = f"{fmt.listed(several)} {were(several)}" if once else "Each candidate was"
    yield (
        f"{whose} trained with {counts} seeds, whose statistics are averaged and then scored. Intervals are "
        "95%, over the eval examples and the seeds: they hold what other seeds would change."
    )
    if once:
        whose = "its interval does" if len(once) == 1 else "their intervals do"
        subject = f"{fmt.listed(once)} {were(once)}"
        yield f"{subject} trained with one seed: {whose} not hold what another would change."
