"""What the tables of a page must say, cell by cell: made from results.json, by no view of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from harness import format as fmt
from harness.leaderboard.standing import by_judge
from harness.stats.pairwise import RULES

Json = Mapping[str, Any]
Rows = list[list[str]]
"""The cells of each row below the heads, as text; of a cell that is not known only its numbers count."""
Show = Callable[[Any], str]
COSTS: Mapping[str, Show] = {
    "train_cost_usd": fmt.dollars,
    "train_seconds": fmt.seconds,
    "predict_cost_usd": fmt.dollars,
    "peak_memory_bytes": fmt.size,
    "tokens_per_second": fmt.count,
    "trainable_parameters": fmt.parameters,
    "artifact_bytes": fmt.size,
}
"""The cost columns of the board, in their order."""


def tables(results: Json) -> dict[str, Rows]:
    """Caption -> rows, of every table whose numbers are figures of the run."""
    return dict(
        [
            *_scores(results),
            *_tradeoff(results),
            *_matrix(results),
            *_forests(results),
            *_distributions(results),
            *_lengths(results),
            *_losses(results),
            *_judges(results),
            *_training(results),
            *_searches(results),
            *_provenance(results),
        ]
    )


def _named(results: Json, name: str) -> Json | None:
    return next((c for c in results["candidates"] if c["name"] == name), None)


def ranking(results: Json) -> tuple[Json | None, Json | None]:
    """The metric that ranks, or the judge."""
    by = results["suite"]["rank_by"]
    metric = next((m for m in results["metrics"] if m["name"] == by), None)
    return metric, next((j for j in results["judges"] if j["name"] == by and metric is None), None)


def opponent(judge: Json) -> str:
    return "all others" if judge["against"] == "all" else str(judge["against"])


def figures(results: Json) -> list[tuple[str, Json]]:
    """The figures of quality in the board's order: what ranks, the judges, the metrics."""
    found = [("judge", j) for j in results["judges"]] + [("metric", m) for m in results["metrics"]]
    return sorted(found, key=lambda one: one[1]["name"] != results["suite"]["rank_by"])


def rate(candidate: Json, judge: Json) -> Json:
    found = candidate["win_rates"].get(judge["name"]) or {"missing": "not judged"}
    return dict(found["rules"]["average"]) if "rules" in found else dict(found)


def written(one: Json, unit: str) -> list[str]:
    """A value and its interval."""
    ends = (one.get("low"), one.get("high"))
    return [fmt.score(one["value"], unit, *ends), fmt.interval(one["value"], *ends, unit)]


def apart(one: Json, unit: str) -> list[str]:
    """A difference and its interval."""
    ends = (one["low"], one["high"])
    return [fmt.difference(one["value"], unit, *ends), fmt.difference_interval(one["value"], *ends, unit)]


# The board


def board(results: Json) -> Rows:
    """The leaderboard; a failed row has its place and its reason."""
    known = [
        key for key in COSTS if any((c["costs"] or {}).get(key) is not None for c in results["candidates"])
    ]
    rows = []
    for candidate in results["candidates"]:
        if candidate["status"] == "failed":
            rows.append([_beside(candidate), "", candidate["failure"]["message"]])
            continue
        quality = [_board_cell(candidate, kind, of) for kind, of in figures(results)]
        rows.append(
            [
                _beside(candidate),
                fmt.ranks(candidate["rank"]),
                *quality,
                *(_cost(candidate, key) for key in known),
            ]
        )
    return rows


def _beside(candidate: Json) -> str:
    """What stands below a name: several seeds, and how many warnings there are."""
    counts = [len(candidate["seeds"]), len([*candidate["warnings"], *candidate["judge_warnings"]])]
    return " ".join(str(n) for n, least in zip(counts, (2, 1), strict=True) if n >= least)


def _board_cell(candidate: Json, kind: str, of: Json) -> str:
    if kind == "judge":
        one = rate(candidate, of)
        return " ".join(written(one, "%")) if "value" in one else ""
    one, compared = candidate["scores"].get(of["name"]) or {}, candidate["differences"].get(of["name"]) or {}
    if one.get("value") is None:
        return str(one.get("missing", ""))
    told = written(one, of["unit"]) + (apart(compared, of["unit"]) if "value" in compared else [])
    return " ".join([*told, fmt.count(one["unscored"]) if one.get("unscored") else ""])


def _cost(candidate: Json, key: str) -> str:
    costs = candidate["costs"] or {}
    if costs.get(key) is None:
        return ""
    share = costs.get("total_parameters") if key == "trainable_parameters" else None
    beside = [fmt.share(costs[key] / share), fmt.parameters(share)] if share else []
    return " ".join([COSTS[key](costs[key]), *beside])


def _scores(results: Json) -> Iterator[tuple[str, Rows]]:
    rows = []
    for metric in results["metrics"]:
        for candidate in results["candidates"]:
            one, unit = candidate["scores"].get(metric["name"]), metric["unit"]
            if not one:
                continue
            if one.get("value") is None:
                rows.append([metric["label"], candidate["name"], one.get("missing") or ""])
                continue
            compared = candidate["differences"].get(metric["name"]) or {}
            seeds = one["per_seed"] if len(one.get("per_seed") or []) > 1 else []
            rows.append(
                [
                    metric["label"],
                    candidate["name"],
                    *written(one, unit),
                    fmt.count(one["n"]),
                    fmt.count(one.get("unscored") or 0),
                    ", ".join(fmt.score(v, unit) for v in seeds),
                    *(apart(compared, unit) if "value" in compared else ["", ""]),
                    *(fmt.p_value(compared.get(key)) for key in ("p_value", "p_adjusted")),
                    "",
                ]
            )
    yield "Every score with n, seeds and test", rows
    metric, judge = ranking(results)
    if metric or judge:
        unit = metric["unit"] if metric else "%"
        rows = [_neighbour(row, unit) for row in results["neighbours"]]
        yield f"Candidates that follow each other, by {results['suite']['rank_by']}", rows


def _neighbour(row: Json, unit: str) -> list[str]:
    cheaper = row["cheaper"] if row["cheaper"] and row["cheaper"]["times"] >= 1.05 else None
    times = fmt.number(cheaper["times"], 2) if cheaper else ""
    return [
        row["first"],
        row["second"],
        *apart(row, unit),
        fmt.count(row["n"]),
        fmt.p_value(row["p_adjusted"]),
        "",
        *_what_it_takes(row, unit),
        cheaper["name"] + " " + times if cheaper else "",
    ]


def _what_it_takes(row: Json, unit: str) -> list[str]:
    effect = fmt.known(lambda v: fmt.difference(v, unit).lstrip("+"), row["smallest_effect"])
    return [effect, fmt.known(fmt.about, row["more_prompts"])]


# Charts


def _tradeoff(results: Json) -> Iterator[tuple[str, Rows]]:
    metric, judge = ranking(results)
    of = metric or judge
    if of is None:
        return
    label, unit = (metric["label"], metric["unit"]) if metric else (f"{of['name']} win rate", "%")
    rows = []
    for candidate in results["candidates"][1:]:
        one = candidate["scores"].get(of["name"], {}) if metric else rate(candidate, of)
        if candidate["status"] == "failed" or one.get("value") is None or "incomparable" in one:
            continue
        costs = candidate["costs"] or {}
        rows.append(
            [
                candidate["name"],
                written(one, unit)[0],
                *(fmt.score(one[end], unit) for end in ("low", "high")),
                fmt.known(fmt.seconds, costs.get("train_seconds")),
                fmt.known(fmt.number, costs.get("train_device_hours")),
                fmt.known(lambda v: f"${v:.2f}", (candidate["answers"] or {}).get("cost_usd")),
                "",
            ]
        )
    # Without a cost of anybody there is no such chart.
    if any(cell != "–" for row in rows for cell in row[4:7]):
        yield f"{label} and cost", rows


def _matrix(results: Json) -> Iterator[tuple[str, Rows]]:
    metric, judge = ranking(results)
    pairs = (
        judge["pairs"]
        if judge
        else [p for p in results["pairs"] if p["metric"] == results["suite"]["rank_by"]]
    )
    if not pairs:
        return
    unit, rates = metric["unit"] if metric else "%", bool(judge and judge["against"] == "all")
    cells = {}
    for pair in pairs:
        value, low, high = pair["value"], pair["low"], pair["high"]
        beside = f"{fmt.p_value(pair['p_adjusted'])} n = {fmt.count(pair['n'])}"
        for key, one in (
            ((pair["a"], pair["b"]), (value, low, high)),
            ((pair["b"], pair["a"]), (-value, -high, -low)),
        ):
            told = fmt.share(0.5 + one[0]) if rates else fmt.difference(one[0], unit, *one[1:])
            cells[key] = f"{told} {beside}"
    names = [c["name"] for c in results["candidates"] if any(c["name"] in key for key in cells)]
    rows = [[a, *(cells.get((a, b), "") for b in names)] for a in names]
    yield "What the row's candidate has over the column's", rows


def _forests(results: Json) -> Iterator[tuple[str, Rows]]:
    for kind, of in figures(results):
        rows = []
        for candidate in results["candidates"]:
            by = "win_rates" if kind == "judge" else "differences"
            compared = candidate[by].get(of["name"]) or {}
            one = rate(candidate, of) if kind == "judge" else compared
            if one.get("value") is None or one.get("low") is None:
                continue
            if kind == "judge":
                first, *ends = (fmt.share(one[key]) for key in ("value", "low", "high"))
            else:
                first, ends = (
                    apart(one, of["unit"])[0],
                    [fmt.difference(one[e], of["unit"]) for e in ("low", "high")],
                )
            tests = [fmt.known(fmt.p_figure, compared[key]) for key in ("p_value", "p_adjusted")]
            rows.append([candidate["name"], first, *ends, fmt.count(compared["n"]), *tests, ""])
        label = f"{of['name']} win rate" if kind == "judge" else of["label"]
        if rows:
            yield f"{label}, against {opponent(of) if kind == 'judge' else 'base'}", rows


def _distributions(results: Json) -> Iterator[tuple[str, Rows]]:
    for metric in results["metrics"]:
        found = [(c.get("per_example") or {}).get(metric["name"]) for c in results["candidates"]]
        known, edges = [one for one in found if one], metric["difference_edges"]
        if not known or not edges:
            continue

        def show(value: float, unit: str = metric["unit"]) -> str:
            return fmt.difference(value, unit)

        rows = [[key, *(fmt.count(one[key]) for one in known)] for key in ("n", "better", "worse", "same")]
        rows.append(["median", *(fmt.known(show, one["median"]) for one in known)])
        rows.append([f"below {show(edges[0])}", *(fmt.count(one["below"]) for one in known)])
        for i, (low, high) in enumerate(pairwise(edges)):
            rows.append([f"{show(low)} to {show(high)}", *(fmt.count(one["counts"][i]) for one in known)])
        rows.append([f"above {show(edges[-1])}", *(fmt.count(one["above"]) for one in known)])
        yield f"Differences to base in {metric['label']}, example by example", rows


def _lengths(results: Json) -> Iterator[tuple[str, Rows]]:
    found = [("references", results["data"].get("reference_lengths"))]
    found += [(c["name"], (c["answers"] or {}).get("lengths")) for c in results["candidates"]]
    known = [(name, one) for name, one in found if one]
    rows = [
        [name, fmt.count(one["n"]), fmt.number(one["mean"]), *map(fmt.number, one["quantiles"].values())]
        for name, one in known
    ]
    if rows:
        yield f"Lengths in {known[0][1]['unit']}: mean and quantiles", rows


def _losses(results: Json) -> Iterator[tuple[str, Rows]]:
    for title, key in (("Training loss", "curve"), ("Validation loss", "validation")):
        rows = []
        for candidate in results["candidates"]:
            entries = (candidate["training"] or {}).get(key) or []
            logged = [(e["loss"], e["step"]) for e in entries if e.get("loss") is not None]
            if logged:
                told = [
                    t
                    for loss, step in (logged[0], min(logged), logged[-1])
                    for t in (fmt.number(loss), fmt.count(step))
                ]
                rows.append([candidate["name"], *told, fmt.count(len(logged))])
        if rows:
            yield f"{title} in nats per token", rows


# Judges


def _judges(results: Json) -> Iterator[tuple[str, Rows]]:
    yield (
        "Every judge in a word, with the figures that decide it",
        [_overview(j, results) for j in results["judges"]],
    )
    if results["agreement"]:
        people = {j["name"] for j in results["judges"] if j["people"]}
        pairs = [row for row in results["agreement"]["pairs"] if row["n"]]
        pairs.sort(key=lambda row: not people & {row["a"], row["b"]})
        yield (
            "Agreement of every two judges",
            [
                [
                    row["a"],
                    row["b"],
                    fmt.share(row["same"]),
                    fmt.kappa(row["kappa"], row["low"], row["high"]),
                    fmt.count(row["n"]),
                ]
                for row in pairs
            ],
        )
    for judge in results["judges"]:
        if judge["analysis"]:
            yield from _judge(judge, results)


def _overview(judge: Json, results: Json) -> list[str]:
    analysis = judge["analysis"] or {"swaps": {}, "unparsed": None, "length": None}
    longer = (analysis["length"] or {}).get("longer_wins")
    with_people = results["agreement"]["with_people"] if results["agreement"] else []
    mine = [fmt.share(row["same"]) for row in with_people if row["judge"] == judge["name"] and row["n"]]
    shares = (analysis["swaps"].get("consistency"), analysis["unparsed"], longer)
    return [judge["name"], "", *(fmt.known(fmt.share, one) for one in shares), " ".join(mine)]


def _judge(judge: Json, results: Json) -> Iterator[tuple[str, Rows]]:
    name, analysis = judge["name"], judge["analysis"]
    found = [(c["name"], c["win_rates"].get(name)) for c in results["candidates"]]
    rules = RULES if analysis["swapped"] else RULES[:1]
    ranks = by_judge(judge, [c["name"] for c in results["candidates"][1:]]).ranks
    by_three = ", by three rules" if len(rules) > 1 else ""
    yield (
        f"Win rates by {name} against {opponent(judge)}{by_three}",
        [_rates(who, one, judge, rules, ranks.get(who)) for who, one in found if one],
    )
    known = [(who, one) for who, one in found if one and "rules" in one]
    if not judge["symmetric"]:
        rows = [_swap(who, one, one) for who, one in known]
        rows += [_swap("all together", analysis["swaps"], analysis)] if len(known) > 1 else []
        caption = f"What {name} said when the order was swapped, as shares of the pairs that were read "
        caption += "in both orders"
        yield caption, rows
    if judge["against"] == "all" and analysis["abilities"]:
        yield (
            f"Bradley-Terry ratings by {name}",
            [
                [
                    r["player"],
                    fmt.count(r["rating"]),
                    fmt.points(r["low"], r["high"]),
                    fmt.ranks(r["rank"]),
                    "",
                ]
                for r in analysis["abilities"]
            ],
        )
    yield (
        f"Every two players by {name}",
        [
            [
                p["a"],
                p["b"],
                fmt.difference(p["value"], "%"),
                fmt.difference_interval(p["value"], p["low"], p["high"], "%"),
                fmt.count(p["n"]),
                fmt.p_value(p["p_adjusted"]),
                "",
                *_what_it_takes(p, "%"),
            ]
            for p in judge["pairs"]
        ],
    )


def _rates(who: str, one: Json, judge: Json, rules: Sequence[str], rank: list[int] | None) -> list[str]:
    if "missing" in one:
        return [who, one["missing"]]
    told, place = [], fmt.ranks(rank)
    judged = one["pairs"] + one.get("identical", 0)
    for rule in rules:
        of = one["rules"][rule]
        value = "" if of["value"] is None else " ".join(written(of, "%"))
        told.append(value if of["n"] == judged else f"{value} n = {fmt.count(of['n'])}")
    adjusted = (judge["analysis"]["length_controlled"] or {}).get(who) or {}
    identical = one.get("identical", 0)
    pairs = fmt.count(one["pairs"] + identical) + (f" {fmt.count(identical)}" if identical else "")
    length = "" if adjusted.get("value") is None else " ".join(written(adjusted, "%"))
    return [f"{who} {pairs}", *told, length, fmt.p_value(one["p_adjusted"]), place]


def _swap(who: str, one: Json, of: Json) -> list[str]:
    keys = ("consistency", "consistent_ties", "win_tie", "flips_to_first", "flips_to_second")
    sides = [of.get(f"unparsed_{side}_first") or 0 for side in "ab"]
    beside = [fmt.share(side) for side in sides] if any(sides) else []
    return [
        who,
        fmt.count(one["pairs"]),
        *(fmt.known(fmt.share, one[key]) for key in keys),
        fmt.p_value(one["position_p_value"]),
        fmt.known(fmt.two, one["kappa"]),
        " ".join([fmt.known(fmt.share, of["unparsed"]), *beside]),
    ]


# Training, costs, data


def _training(results: Json) -> Iterator[tuple[str, Rows]]:
    trained = [c for c in results["candidates"] if c["training"]]
    prices = any((c["costs"] or {}).get("train_cost_usd") is not None for c in results["candidates"])
    rows = [
        _trained(c, {**c["training"], **one}, several=len(c["training"]["per_seed"]) > 1)
        for c in trained
        for one in c["training"]["per_seed"]
    ]
    yield "Training of each candidate", rows
    yield "Costs of each candidate", [_costs(c, prices=prices) for c in trained]
    charges = results.get("charges") or {"rows": []}
    sent, received = (
        sum(row[key] for row in charges["rows"]) for key in ("prompt_tokens", "completion_tokens")
    )
    if charges["rows"]:
        keys = ("prompt_tokens", "completion_tokens")
        rows = [
            [
                f"{r['kind']} {r['name']}",
                *(fmt.count(r[key]) for key in keys),
                fmt.known(fmt.dollars, r["cost_usd"]),
            ]
            for r in charges["rows"]
        ]
        budget = results["suite"].get("budget_usd")
        last = [
            fmt.dollars(charges["cost_usd"]),
            fmt.count(charges["unknown"]) if charges["unknown"] else "",
            "" if budget is None else fmt.dollars(budget),
        ]
        rows.append(["all together", fmt.count(sent), fmt.count(received), " ".join(last)])
        yield "What servers charged, by what they were asked for", rows


def _trained(candidate: Json, one: Json, *, several: bool) -> list[str]:
    rows, at_a_time, best = one["effective_batch_size"], one["micro_batch_size"], one["best_validation_loss"]
    batch = [fmt.count(rows), fmt.count(at_a_time) if at_a_time < rows else ""]
    return [
        candidate["name"] + (f", seed {one['seed']}" if several else ""),
        " ".join([fmt.count(one["steps"]), fmt.number(one["epochs"]), *batch]),
        " ".join(fmt.count(one[key]) for key in ("tokens_seen", "tokens_supervised")),
        " ".join(fmt.count(one[f"rows_{key}"]) for key in ("used", "truncated", "dropped")),
        " ".join(
            [
                fmt.number(one["final_train_loss"]),
                fmt.known(fmt.number, best),
                "" if best is None else fmt.count(one["best_step"]),
            ]
        ),
        "",
    ]


def _costs(candidate: Json, *, prices: bool) -> list[str]:
    costs, seconds = candidate["costs"], candidate["costs"]["seconds"]
    base, peak, whole = (costs.get(f"{key}_memory_bytes") for key in ("base", "peak", "device"))
    added = None if peak is None or base is None else peak - base
    memory = [
        f"{fmt.size(one)} {fmt.share(one / whole) if whole else ''}"
        for one in (base, added, peak, costs.get("reserved_memory_bytes"))
        if one is not None
    ]
    trainable = costs["trainable_parameters"] / costs["total_parameters"]
    count = costs.get("process_count") or 1
    paid = [fmt.known(fmt.dollars, costs.get(f"{key}_cost_usd")) for key in ("train", "predict")]
    return [
        candidate["name"],
        " ".join(
            [
                f"{count} ×" if count > 1 else "",
                fmt.known(fmt.number, costs.get("train_device_hours")),
                fmt.known(fmt.energy, costs.get("energy_joules")),
            ]
        ),
        " ".join(
            [
                *(fmt.known(fmt.seconds, seconds.get(key)) for key in ("load", "train", "validate", "save")),
                fmt.known(fmt.seconds, costs.get("predict_seconds")),
            ]
        ),
        f"{fmt.known(fmt.count, costs.get('tokens_per_second'))} {fmt.known(fmt.share, costs.get('mfu'))}",
        " ".join(memory),
        *([" ".join(paid)] if prices else []),
        f"{fmt.share(trainable)} {fmt.known(fmt.size, costs.get('artifact_bytes'))}",
    ]


def spent(one: Json) -> str:
    cost = "" if one["cost_usd"] is None else fmt.dollars(one["cost_usd"])
    return f"{fmt.known(fmt.seconds, one['seconds'])} {cost}"


def _searches(results: Json) -> Iterator[tuple[str, Rows]]:
    for candidate in results["candidates"]:
        if candidate.get("search"):
            yield (
                f"Recipes tried for {candidate['name']}",
                [
                    [
                        fmt.settings(p["settings"]),
                        fmt.known(lambda v: fmt.number(v, 4), p["validation_loss"]),
                        spent(p),
                        p["failure"] or "",
                    ]
                    for p in candidate["search"]["points"]
                ],
            )


def _provenance(results: Json) -> Iterator[tuple[str, Rows]]:
    data = results["data"]
    rows = []
    for source in data.get("sources") or []:
        why = " ".join(f"{fmt.count(told['rows'])} {told['first']}" for told in source["reasons"].values())
        rows.append(["?", "", "", "?", fmt.count(source["rows"]), fmt.count(source["unusable"] or 0), why])
    yield "The sources of the data and what could not be used of them", rows
    pairs = (data.get("overlap") or {}).get("pairs") or []
    yield (
        "Rows of train beside the held-out rows that they are like",
        [["", fmt.fixed(pair["similarity"], 2), pair["train"], pair["held_out"]] for pair in pairs],
    )
    of = [*results["metrics"], *results["judges"]]
    yield "The signature of every metric and judge", [["?", "", one["signature"]] for one in of]
