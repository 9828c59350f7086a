"""Whether every number on a page is that of results.json: all tables cell by cell, the rest by place.

A drawing may say what the table behind it says, a sentence what is in the part of results.json that it speaks
of; ticks of an axis are no figures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import page_tables
from page_tables import figures, opponent, ranking, rate, spent, written
from visible_page import Node, numbers, read

from harness import format as fmt

Json = dict[str, Any]
VERBATIM = ("suite-text", "methods-bibtex")
"""Texts by their id that are copied, or are works of others."""
SAID = {"95%", "0.05"}
"""What is true of every board: the level of the intervals, and of the tests."""
ENDS = ("value", "low", "high")
CHANCE = {"0", "1"}
"""The ends of a scale of agreement."""
METHOD = {"2,000", "10,000", "1,000", "0.8", "1", "2", "10.0%"}
"""Resamples of a score, flips of signs, resamples of ratings; from which similarity on two prompts are near;
what a win is worth, and a half; the share of verdicts that may be unread."""


def leaves(value: Any) -> Iterator[float]:
    """The numbers in a part of results.json."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)


@cache
def ways(value: float) -> set[str]:
    """The ways in which a page may write a number."""
    plain = {fmt.fixed(value, places) for places in range(5)} | {fmt.number(value), fmt.number(value, 2)}
    found = plain | {
        fmt.share(value),
        fmt.fixed(value * 100, 1),
        fmt.difference(value, "%"),
        fmt.p_value(value),
    }
    found |= {fmt.fixed(value * 100, 1).lstrip("+") + " pt", fmt.number(value, 1)}
    found |= {fmt.difference(value, "%").removesuffix(" pt")}
    if value >= 0:
        found |= {"+" + text for text in plain} | {
            fmt.seconds(value),
            fmt.size(value),
            fmt.dollars(value),
            fmt.about(value),
            fmt.parameters(value),
        }
        found |= {"0.001"} if value < 0.001 else set()
    return found


def said_of(*parts: Any) -> set[str]:
    """What may be written where a text speaks of these parts of results.json."""
    return {text for value in leaves(parts) for text in ways(value)}


def unfounded(texts: Iterable[str], known: set[str], names: Sequence[str] = ()) -> list[str]:
    """Numbers of the texts that are not known; those in names do not count."""
    name = _any_of(tuple(names))
    return [f"{n} in {text!r}" for text in texts for n in numbers(name.sub("·", text)) if n not in known]


@cache
def _any_of(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(one) for one in sorted(names, key=len, reverse=True)) or "$^")


class Truth:
    """A page beside its results.json; `faults` names the numbers of the one that the other does not have."""

    def __init__(self, page: str, results: Json) -> None:
        self.root, self.results = read(page), results
        self.sections = {node.attributes.get("id"): node for node in self.root.all("section")}
        self.candidates = results["candidates"]
        self.names = [one["name"] for one in (*self.candidates, *results["judges"], *results["metrics"])]
        self.names += [one["label"] for one in results["metrics"]]

    def faults(self) -> list[str]:
        return [
            *self.tables(),
            *self.heads(),
            *self.values(),
            *self.drawings(),
            *self.first_screen(),
            *self.judges(),
            *self.rest(),
        ]

    # Tables

    def tables(self) -> Iterator[str]:
        expected = page_tables.tables(self.results)
        expected["Candidates by figures; base is pinned to the first row, failed candidates to the end."] = (
            page_tables.board(self.results)
        )
        seen = set()
        for table in self.root.all("table"):
            caption = next((node.text for node in table.all("caption")), "Every score with n, seeds and test")
            seen.add(caption)
            if caption == "The keys in which the candidates' recipes differ":
                yield from self._recipes(table)
            elif caption in expected:
                yield from self._cells(caption, table, expected[caption])
            else:
                yield f"nothing is known of the table {caption!r}"
        overview = "Every judge in a word, with the figures that decide it"
        yield from (c for c, rows in expected.items() if rows and c not in seen and c != overview)

    def _cells(self, caption: str, table: Node, rows: page_tables.Rows) -> Iterator[str]:
        (body,) = table.all("tbody")
        found = [list(row.all("td", "th")) for row in body.all("tr")]
        if [len(row) for row in found] != [len(row) for row in rows]:
            yield f"{caption}: {[[cell.text for cell in row] for row in found]} is not {rows}"
            return
        for cells, told in zip(found, rows, strict=True):
            for cell, text in zip(cells, told, strict=True):
                if text != "?" and numbers(cell.text) != numbers(text):
                    yield f"{caption}, {told[0]}: {cell.text!r} is not {text!r}"

    def heads(self) -> Iterator[str]:
        quantiles = {"5%", "25%", "50%", "75%", "95%"}
        for head in self.root.all("thead"):
            yield from unfounded(
                (cell.text for cell in head.all("th")),
                quantiles if "mean" in head.text else {"95%"},
                self.names,
            )

    def _recipes(self, table: Node) -> Iterator[str]:
        keys = ("backend", "method", "model", "seeds")
        whole = (_settings({**{k: c[k] for k in keys}, **c["recipe"]}) for c in self.candidates)
        # The adapters of QLoRA stand in the rows of LoRA's.
        recipes = [{key.replace("method.lora.", "method."): text for key, text in one} for one in whole]
        (body,) = table.all("tbody")
        for row in body.all("tr"):
            key, *cells = (cell.text for cell in row.all("td", "th"))
            key = key.replace(" ", "")  # it may be broken at any dot
            for recipe, text in zip(recipes, cells, strict=True):
                if numbers(text) != numbers(recipe.get(key, "")):
                    yield f"{key}: {text!r} is not {recipe.get(key)!r}"

    def values(self) -> Iterator[str]:
        """The exact numbers that scripts sort and draw by."""
        known = {round(leaf, 12) for leaf in leaves(self.results)}
        for node in self.root.all("td", "g", "div"):
            for key in ("data-value", "data-difference", "data-hours", "data-charged", "data-price"):
                text = node.attributes.get(key, "")
                if not text or node.classes == ["rank"]:
                    continue
                value = float(text)
                if not {round(one, 12) for one in (value, -value, value - 0.5, 0.5 - value)} & known:
                    yield f"{key} {text} of {node.text!r}"
                if key == "data-value" and node.tag == "td" and numbers(node.text)[0] not in ways(value):
                    yield f"{node.text!r} is not {text}"

    # Charts

    def drawings(self) -> Iterator[str]:
        """Texts and descriptions of each drawing, and its caption, beside the table behind it."""
        families = self._families()
        for figure in self.sections["charts"].all("figure"):
            (table,) = figure.all("table")
            title = next(iter(figure.all("h3", "h4"))).text
            rounded = self._rounded(title)
            for node, known in _drawn(figure, _Behind(table)):
                yield from (f"{title}: {f}" for f in unfounded([node.text], known | rounded, self.names))
            for caption in figure.all("figcaption"):
                more = SAID | families.get(title, set()) | self._highest(title)
                yield from (f"{title}: {f}" for f in unfounded([caption.text], more, self.names))

    def _rounded(self, title: str) -> set[str]:
        """What a drawing says with fewer digits than its table."""
        if title == "Lengths of the answers":
            parts = [self.results["data"].get("reference_lengths"), *(c["answers"] for c in self.candidates)]
            counts = {
                fmt.count(v) for one in parts if one for v in leaves((one.get("lengths") or one)["quantiles"])
            }
            return counts | {"5", "25", "50", "75", "95%"}
        metric, judge = ranking(self.results)
        if " against " in title and (metric or judge):
            unit = metric["unit"] if metric else "%"
            ones = [
                c["scores"].get(metric["name"], {}) if metric else rate(c, judge or {})
                for c in self.candidates
            ]
            values = [one["value"] for one in ones if one.get("value") is not None]
            return {fmt.score(value, unit) for value in values}
        if title.startswith("Head to head"):
            return {str(place) for place in range(len(self.candidates) + 1)}
        return set()

    def _highest(self, title: str) -> set[str]:
        label = title.removesuffix(", example by example")
        metric = next((m["name"] for m in self.results["metrics"] if m["label"] == label), None)
        found = [one for c in self.candidates if (one := (c.get("per_example") or {}).get(metric))]
        return (
            {fmt.count(max(max(*one["counts"], one["below"], one["above"]) for one in found))}
            if found
            else set()
        )

    def _families(self) -> dict[str, set[str]]:
        """Title of a chart -> how many comparisons its verdicts are corrected for."""
        found = {}
        for kind, of in figures(self.results):
            if kind == "metric":
                rows = [c["differences"].get(of["name"]) or {} for c in self.candidates]
                title = f"{of['label']}, against base"
            else:
                analysis = of["analysis"] or {"pairs": [], "differences": []}
                rows = (
                    [c["win_rates"].get(of["name"]) or {} for c in self.candidates]
                    if of["against"] == "all"
                    else [*analysis["pairs"], *analysis["differences"]]
                )
                title = f"{of['name']} win rate, against {opponent(of)}"
            found[title] = {fmt.count(sum(row.get("p_adjusted") is not None for row in rows))}
        metric, judge = ranking(self.results)
        if judge and judge["against"] != "all":
            found[f"Head to head: win rate by {judge['name']}"] = found[
                f"{judge['name']} win rate, against {opponent(judge)}"
            ]
        elif metric or judge:
            pairs = (
                judge["pairs"]
                if judge
                else [p for p in self.results["pairs"] if p["metric"] == (metric or {})["name"]]
            )
            label = metric["label"] if metric else f"win rate by {(judge or {})['name']}"
            found[f"Head to head: {label}"] = {
                fmt.count(sum(p["p_adjusted"] is not None for p in pairs)),
                "50%",
            }
        return found

    # Sentences

    def first_screen(self) -> Iterator[str]:
        section, results = self.sections["board"], self.results
        findings = [node.text for node in section.all("p") if node.classes == ["lede"]]
        findings += [
            item.text for ul in section.all("ul") if "findings" in ul.classes for item in ul.all("li")
        ]
        if findings != [" ".join(one.split()) for one in results["findings"]]:
            yield f"the findings: {findings}"
        yield from self._glance(section)
        (facts,) = (node for node in self.root.all("p") if node.classes == ["facts"])
        told = [results["data"]["rows"]["eval"], len(self.candidates) - 1]
        if numbers(facts.text)[:2] != [fmt.count(n) for n in told]:
            yield f"{facts.text!r} is not of {told}"
        (key,) = (node for node in section.all("p") if node.classes == ["key"] and "Every" in node.text)
        known = [
            rate(c, of) if kind == "judge" else c["scores"].get(of["name"]) or {}
            for kind, of in figures(results)
            for c in self.candidates
        ]
        sizes = [one["n"] for one in known if "n" in one]
        ends = [fmt.count(end) for end in dict.fromkeys((min(sizes), max(sizes)))]
        said = re.sub(r"(Alike in|Where a trained).*", "", key.text)
        if numbers(said) != ["95%", "50%", "0", *ends]:
            yield f"{said!r} is not of n = {ends}"
        badges = {n for c in self.candidates for badge in c["badges"] for n in numbers(badge)}
        yield from unfounded([key.text[len(said) :]], badges)

    def _glance(self, section: Node) -> Iterator[str]:
        """The four answers are of the first that is ranked."""
        metric, judge = ranking(self.results)
        leader = next((c for c in self.candidates[1:] if c["rank"]), None)
        lists = [node for node in section.all("dl") if node.classes == ["glance"]]
        if leader is None or not (metric or judge):
            yield from (f"{node.text!r} of nobody" for node in lists)
            return
        ranked = sum(bool(c["rank"]) for c in self.candidates[1:])
        expected = [*map(str, dict.fromkeys(leader["rank"])), fmt.count(ranked)]
        found = [node.text for node in lists[0].all("dd")]
        counts = {fmt.count(n) for n in range(1, len(self.candidates))}
        first = numbers(_without(found[0], self.names))
        if first[-len(expected) :] != expected or not set(first[: -len(expected)]) <= counts:
            yield f"{found[0]!r} is not {expected}"
        if metric:
            mine, compared = leader["scores"][metric["name"]], leader["differences"].get(metric["name"]) or {}
            base = self.candidates[0]["scores"][metric["name"]]
            told = [*page_tables.apart(compared, metric["unit"]), fmt.count(compared["n"])]
            told[1:1] = [written(one, metric["unit"])[0] for one in (mine, base)]
        else:
            compared = leader["win_rates"][(judge or {})["name"]]
            told = [*written(rate(leader, judge or {}), "%"), fmt.count(rate(leader, judge or {})["n"])]
        unit = metric["unit"] if metric else "%"
        beside = [
            n
            for row in self.results["neighbours"][:1]
            for text in page_tables.apart(row, unit)
            for n in numbers(text)
        ]
        beside += [
            fmt.fixed(50 + 100 * v, 1) + sign
            for row in self.results["neighbours"][:1]
            for v in (row["value"], row["low"], row["high"])
            for sign in ("", "%")
        ]
        shown = [n for n in numbers(_without(found[1], self.names)) if n != "95%"]
        figures_ = numbers("; ".join(told))
        if shown[: len(figures_)] != figures_ or not set(shown[len(figures_) :]) <= {
            *beside,
            *said_of(self.results["neighbours"][:1]),
            *said_of([0.5 + row[end] for row in self.results["neighbours"][:1] for end in ENDS]),
        }:
            yield f"{found[1]!r} is not {told}"
        p = [fmt.p_value(compared["p_adjusted"])] if compared["p_adjusted"] is not None else []
        pairs = judge["pairs"] if judge else self.results["pairs"]
        by = [one for one in pairs if judge or one["metric"] == (metric or {})["name"]]
        level = [one for one in by if one["verdict"] == "cannot be told apart"]
        others = {one["a"] for one in level if one["b"] == leader["name"]}
        others |= {one["b"] for one in level if one["a"] == leader["name"]}
        equals = len(others & {c["name"] for c in self.candidates[1:] if c["rank"]})
        if numbers(_without(found[2], self.names)) != p + ([str(equals - 3)] if equals > 3 else []):
            yield f"{found[2]!r} is not of {p} and {equals} equals"
        yield from self._price(found[3], leader)

    def _price(self, text: str, leader: Json) -> Iterator[str]:
        costs = leader["costs"] or {}
        others = [c["costs"] or {} for c in self.candidates[1:]]
        keys = [key for key in ("train_cost_usd", "train_seconds") if costs.get(key)]
        known = {
            page_tables.COSTS[key](costs[key])
            for key in (*keys, "peak_memory_bytes", "predict_cost_usd")
            if costs.get(key)
        }
        for key in keys[:1]:
            saved = [one for one in others if one.get(key) and one[key] < costs[key]]
            known |= {page_tables.COSTS[key](one[key]) for one in saved}
            known |= {fmt.number(costs[key] / one[key], 2) for one in saved}
        yield from unfounded([text], known, self.names)

    def judges(self) -> Iterator[str]:
        section, agreement = self.sections["judges"], self.results["agreement"]
        articles = list(section.all("article"))
        for article, judge in zip(articles, self.results["judges"], strict=True):
            analysis = {
                k: v
                for k, v in (judge["analysis"] or {}).items()
                if k
                in (
                    "judgments",
                    "prompts",
                    "identical",
                    "unparsed",
                    "swaps",
                    "position",
                    "length",
                    "controls",
                )
            }
            people = [r for r in agreement["with_people"] if r["judge"] == judge["name"]] if agreement else []
            known = said_of(analysis, judge["receipt"], people) | SAID
            if analysis and judge["symmetric"]:
                known.add(fmt.count(analysis["swaps"]["pairs"] + analysis["swaps"]["incomplete"]))
            controls = analysis.get("controls")
            if controls:
                identical, repeats = controls["identical"], controls["repeats"]
                known |= {
                    fmt.count(identical["n"] - identical["ties"]),
                    fmt.count(repeats["same"] + repeats["changed"]),
                }
            warned = {" ".join(f"Careful. {one}".split()) for one in judge["warnings"]}
            texts = [node.text for node in article.all("p", "dd") if "callout" not in node.classes]
            told = {
                node.text.partition(" Most often: ")[0]
                for node in article.all("p")
                if "callout" in node.classes
            }
            yield from (f"the warning {text!r}" for text in told ^ warned)
            yield from (f"{judge['name']}: {f}" for f in unfounded(texts, known, self.names))
        if agreement:
            known = said_of(agreement["krippendorff"], agreement["fleiss"]) | CHANCE
            yield from unfounded((p.text for p in section.all("p") if p.parent is section), known)

    def rest(self) -> Iterator[str]:
        """Sentences beside the tables of the other sections, and the methods paragraph."""
        results = self.results
        data = {
            key: value
            for key, value in results["data"].items()
            if key not in ("sources", "reference_lengths")
        }
        facts = said_of(data) | {data.get("eval_sha256", "")}
        known = {"training": set(), "provenance": facts, "charts": set(), "board": set()}
        known["training"] = {
            s
            for c in self.candidates
            if c.get("search")
            for one in (c["search"], c["totals"])
            for s in numbers(spent(one))
        }
        known["training"] |= {fmt.count(c["search"]["tried"]) for c in self.candidates if c.get("search")}
        for candidate in self.candidates:
            for entry in (candidate["training"] or {}).get("validation") or []:
                known["training"] |= {fmt.count(entry["step"]), fmt.number(entry.get("loss"))}
        known["provenance"] |= {
            n
            for text in _strings((results["environment"], results["suite"]["overrides"]))
            for n in numbers(text)
        }
        known["provenance"] |= set(self._counted())
        known["provenance"] |= {
            json.dumps(v) for c in self.candidates for v in _values((c["recipe"], c["seeds"]))
        }
        known["charts"] = {fmt.count(len(results["metrics"]) - 1)}
        known["board"] = {fmt.count(len(results["findings"]) - 9), "300"}
        for name, section in self.sections.items():
            if name not in known:
                continue
            texts = []
            for node, place in section.texts("table", "svg", "figure", "figcaption", "input", "button"):
                if name == "board" and any(
                    {"lede", "findings", "glance", "key", "pairs"} & set(n.classes) for n in node.above()
                ):
                    continue
                if any(n.tag == "pre" or {"text", "callout"} & set(n.classes) for n in node.above()):
                    continue
                texts.append(str(node.content[place]))
            yield from (f"{name}: {f}" for f in unfounded(texts, known[name], [*self.names, "SHA-256"]))
        yield from self._copied()

    def _counted(self) -> Iterator[str]:
        """What a summary says of how many things are below it."""
        for details in self.sections["provenance"].all("details"):
            yield from (fmt.count(len(list(details.all(tag)))) for tag in ("pre", "dt"))
            yield from (fmt.count(len(list(table.all("tr"))) - 1) for table in details.all("table"))

    def _copied(self) -> Iterator[str]:
        """What the page has word for word: the suite, prompts, warnings, sampled answers."""
        results, section = self.results, self.sections["provenance"]
        if section.one("pre", id="suite-text").text != " ".join(results["suite"]["text"].split()):
            yield "the suite's text"
        prompts = {
            " ".join(t.split())
            for one in (*results["judges"], *results["metrics"])
            for t in one["prompts"].values()
        }
        shown = {n.text for n in section.all("pre") if n.attributes.get("id", "").startswith("prompt-")}
        if shown != prompts:
            yield "the prompts"
        warned = {" ".join(w.split()) for w in results["warnings"]}
        warned |= {
            " ".join(w.split()) for c in self.candidates for w in (*c["warnings"], *c["judge_warnings"])
        }
        board = self.sections["board"]
        told = [li.text for div in board.all("div") if "callout" in div.classes for li in div.all("li")]
        told += [p.text for dl in board.all("dl") if dl.classes == ["pairs"] for p in dl.all("p")]
        yield from (f"the warning {text!r}" for text in told if text not in warned)
        (foot,) = self.root.all("footer")
        if f" {results['environment']['harness']}. " not in foot.text:
            yield foot.text
        yield from self._methods(section)

    def _methods(self, section: Node) -> Iterator[str]:
        """Numbers of the paragraph, those of works cited apart."""
        results = self.results
        text = section.one("pre", id="methods-text").text.partition(" References ")[0]
        text = re.sub(r"\([^()]*\b(?:19|20)\d\d[a-h]?(?:;[^()]*)?\)", "", text)
        told = ("swaps", "prompts", "judgments", "unparsed")
        parts = [results["data"], results["agreement"]]
        for judge in results["judges"]:
            parts += [judge["receipt"], judge["plugin"], {k: (judge["analysis"] or {}).get(k) for k in told}]
        for candidate in self.candidates:
            training = candidate["training"] or {}
            parts.append({k: v for k, v in training.items() if k not in ("curve", "validation")})
            parts += [candidate["recipe"], candidate["seeds"], (candidate["search"] or {}).get("tried")]
        known = said_of(*parts) | SAID | METHOD
        known |= {json.dumps(v) for c in self.candidates for v in _values(c["recipe"])}
        names = [*self.names, *(one["signature"] for one in (*results["metrics"], *results["judges"]))]
        names += list(_strings(results["environment"]))
        yield from (f"methods: {f}" for f in unfounded([text], known, names))


class _Behind:
    """The numbers of the table behind a chart: of all of it, of a row, of a column, of a cell."""

    def __init__(self, table: Node) -> None:
        head, *rows = ([cell.text for cell in row.all("td", "th")] for row in table.all("tr"))
        self._heads, self._rows = head, {row[0]: row for row in rows}

    def numbers(self, row: str = "", column: str = "") -> set[str]:
        rows = [self._rows[row]] if row in self._rows else self._rows.values()
        place = self._heads.index(column) if column in self._heads else None
        cells = [one for told in rows for one in (told if place is None else told[place : place + 1])]
        return {number for cell in cells for number in numbers(cell)}


def _drawn(figure: Node, behind: _Behind) -> Iterator[tuple[Node, set[str]]]:
    """The texts of a chart with the numbers that may be there: those of whom a text speaks, if it says so."""
    for panel in figure.all("div"):
        if panel.classes == ["panel"]:
            name = next(node.text for node in panel.all("p") if node.classes == ["of"])
            texts = [n for n in panel.all("text", "desc", "p") if "tick" not in n.classes]
            for node in texts:
                row = next((r for r in ("better", "worse") if node.tag == "text" and r in node.text), "")
                yield node, behind.numbers(row, name)
    for node in figure.all("text", "title", "desc"):
        around = list(node.above())
        if "tick" in node.classes or any(one.classes == ["panel"] for one in around):
            continue
        group = next((one for one in around if one.tag == "g" and list(one.all("title"))), None)
        if group is None:
            yield node, behind.numbers()
        elif node.tag == "title":
            row, _, column = node.text.partition(":")[0].partition(" against ")
            yield node, behind.numbers(row, column)
        else:
            yield node, set(numbers(next(group.all("title")).text))


def _without(text: str, names: Iterable[str]) -> str:
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, "·")
    return text


def _values(value: Any) -> Iterator[Any]:
    """What is set in a recipe: lists whole, and what is in sections one by one."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _values(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from _values(inner)
    else:
        yield value


def _settings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys of a recipe and what they are set to."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _settings(inner, f"{key}.{name}" if key else name)
    elif value is not None:
        yield key, value if isinstance(value, str) else json.dumps(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)
