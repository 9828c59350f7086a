"""What the figures of a board say, in plain sentences, each made from the results and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from harness import format as fmt
from harness.stages.comparisons import ALPHA, NO_DIFFERENCE
from harness.stages.measurements import INSTEAD
from harness.stages.win_rates import EVEN, UNPARSED_LIMIT

Json = Mapping[str, Any]
OUTCOMES = {"better": "better than", "worse": "worse than", NO_DIFFERENCE: "not to be told apart from"}


def findings(results: Json) -> list[str]:
    """Who leads and by how much, what cannot be told apart, what the judges say.

    What failed is not among them: every board shows its failed rows with stage and message.
    """
    return [
        *_by_metric(results),
        *_by_judges(results),
        *_searched(results),
        *_by_seed(results),
        *_scope(results),
    ]


def _by_metric(results: Json) -> Iterator[str]:
    metric = next((m for m in results["metrics"] if m["name"] == results["suite"]["rank_by"]), None)
    if metric is None:
        return
    base, *others = results["candidates"]
    ranked = [candidate for candidate in others if candidate["rank"]]
    apart = [c["name"] for c in others if "incomparable" in c["scores"].get(metric["name"], {})]
    if ranked:
        yield _leader(ranked[0], base, metric, " among equal tokenizers" if apart else "")
        pairs = [pair for pair in results["pairs"] if pair["metric"] == metric["name"]]
        alike = {frozenset((pair["a"], pair["b"])) for pair in pairs if pair["verdict"] == NO_DIFFERENCE}
        rivals = "ranked candidate" if apart else "candidate"
        yield from _beside([candidate["name"] for candidate in ranked], alike, rivals)
    else:
        yield f"No candidate can be ranked by {metric['label']}, as this board is to be."
    if apart:
        yield (
            f"{_listed(apart)} {_are(apart)} not ranked: {metric['label']} is per token, and another "
            f"tokenizer makes other tokens; {INSTEAD}."
        )
    compared = {c["name"]: c["differences"].get(metric["name"], {}) for c in ranked}
    yield from _standings(compared, f"{base['name']} by {metric['label']}")


def _leader(leader: Json, base: Json, metric: Json, among: str) -> str:
    name, unit = metric["name"], metric["unit"]
    score, difference = leader["scores"][name], leader["differences"].get(name, {})
    way = "higher" if metric["higher_is_better"] else "lower"
    head = (
        f"{leader['name']} has the best {metric['label']}{among} ({way} is better): "
        f"{_with_interval(score, unit)}, n = {fmt.count(score['n'])}."
    )
    if "value" not in difference:
        return head
    value, low, high = (difference[key] for key in ("value", "low", "high"))
    span = fmt.difference_interval(value, low, high, unit)
    theirs = _score(base["scores"][name], unit)
    return (
        f"{head} That is {OUTCOMES[difference['verdict']]} {base['name']}'s {theirs}: difference "
        f"{fmt.difference(value, unit, low, high)} [{span}], n = {fmt.count(difference['n'])}, "
        f"{_p_after_correction(difference)}."
    )


def _p_after_correction(difference: Json) -> str:
    """The interval before it is that of one comparison: where correction matters, the sentence says so."""
    corrected = fmt.p_value(difference["p_adjusted"])
    if not corrected:
        return "p undefined"
    return corrected if corrected == fmt.p_value(difference["p_value"]) else f"{corrected} after correction"


def _beside(names: Sequence[str], alike: Set[frozenset[str]], rivals: str) -> Iterator[str]:
    """Who may be as good as the leader, and which of the others cannot be told apart from one another."""
    leader, *others = names
    equals = [name for name in others if {leader, name} in alike]
    if equals:
        yield f"{_listed(equals)} cannot be told apart from {leader}: the order among them may be chance."
    elif others:
        yield f"{leader} is ahead of every other {rivals}."
    groups = _groups([name for name in others if name not in equals], alike)
    if groups:
        yield f"These cannot be told apart: {'; '.join(map(_listed, groups))}."


def _groups(names: Sequence[str], alike: Set[frozenset[str]]) -> list[list[str]]:
    """The longest runs of the order in which no two can be told apart; runs may overlap."""
    found: list[list[str]] = []
    reached = 0
    for start in range(len(names)):
        end = start + 1
        while end < len(names) and all({name, names[end]} in alike for name in names[start:end]):
            end += 1
        if end - start > 1 and end > reached:
            found.append(list(names[start:end]))
            reached = end
    return found


def _standings(compared: Mapping[str, Json], opponent: str) -> Iterator[str]:
    """Which candidates are better than an opponent, which worse, and of which neither is shown."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for name, figures in compared.items():
        if "verdict" in figures:
            grouped.setdefault((OUTCOMES[figures["verdict"]], _grounds(figures)), []).append(name)
    parts = [
        f"{_listed(names)} {_are(names)} {outcome} {opponent} ({grounds})"
        for outcome in OUTCOMES.values()
        for (found, grounds), names in grouped.items()
        if found == outcome
    ]
    if parts:
        sizes = {figures["n"] for figures in compared.values() if "n" in figures}
        n = f"n {'=' if len(sizes) == 1 else '≥'} {fmt.count(min(sizes))}"
        yield f"{'; '.join(parts)}; paired, {n}, p after Holm's correction."


def _grounds(figures: Json) -> str:
    """What a verdict rests on."""
    if figures.get("unparsed", 0) > UNPARSED_LIMIT:
        return "too many verdicts could not be read"
    if figures["p_adjusted"] is None:
        return "p undefined"
    return f"p {'≥' if figures['verdict'] == NO_DIFFERENCE else '<'} {ALPHA}"


def _by_judges(results: Json) -> Iterator[str]:
    for judge in results["judges"]:
        rates = {
            candidate["name"]: candidate["win_rates"][judge["name"]]
            for candidate in results["candidates"]
            if "rules" in candidate["win_rates"].get(judge["name"], {})
        }
        if rates:
            yield _preferred(judge, rates)
            yield from _standings(rates, f"{judge['against']} by {judge['name']}")


def _preferred(judge: Json, rates: Mapping[str, Json]) -> str:
    name = max(rates, key=lambda candidate: rates[candidate]["rules"]["average"]["value"])
    rate, average = rates[name], rates[name]["rules"]["average"]
    reference = "judge:reference" in judge["signature"].split("|")
    measures = " (likeness to the reference answer by chrF, not quality)" if reference else ""
    unproven = (
        f" (it cannot be told apart from {judge['against']})" if rate["verdict"] == NO_DIFFERENCE else ""
    )
    return (
        f"Judge {judge['name']}{measures} {_preference(name, average['value'], judge['against'])} wins "
        f"{_with_interval(average, '%')} against {judge['against']}{unproven}, n = "
        f"{fmt.count(average['n'])}; {fmt.share(rate['consistency'])} of {fmt.count(rate['pairs'])} pairs "
        "are judged alike in both orders."
    )


def _preference(name: str, win_rate: float, opponent: str) -> str:
    """Whom a judge prefers, `name` being the candidate with the highest win rate."""
    if win_rate > EVEN:
        return f"most prefers {name}: it"
    if win_rate < EVEN:
        return f"prefers {opponent} to every candidate it compared; {name}, the nearest,"
    return f"prefers no candidate to {opponent}; {name}, the nearest,"


def _searched(results: Json) -> Iterator[str]:
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


def _by_seed(results: Json) -> Iterator[str]:
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


def _scope(results: Json) -> Iterator[str]:
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
    yield (
        f"{_listed(several) if once else 'Each candidate'} {_were(several) if once else 'was'} trained with "
        f"{counts} seeds, whose statistics are averaged and then scored. Intervals are 95%, over the eval "
        "examples and the seeds: they hold what other seeds would change."
    )
    if once:
        whose = "its interval does" if len(once) == 1 else "their intervals do"
        subject = f"{_listed(once)} {_were(once)}"
        yield f"{subject} trained with one seed: {whose} not hold what another would change."


def _score(score: Json, unit: str) -> str:
    return fmt.score(score["value"], unit, score["low"], score["high"])


def _with_interval(score: Json, unit: str) -> str:
    return f"{_score(score, unit)} [{fmt.interval(score['value'], score['low'], score['high'], unit)}]"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _were(names: Sequence[str]) -> str:
    return "was" if len(names) == 1 else "were"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
