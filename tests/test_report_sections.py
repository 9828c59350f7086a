"""Judges, training, costs and provenance: the figures are results.json's, and the words follow from them."""

from __future__ import annotations

import copy
import html
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from report_inputs import render_changed

from harness import format as fmt
from harness.leaderboard.standing import by_judge
from harness.report.views import bars, provenance
from harness.report.views.agreement import agreement_table
from harness.report.views.judges import warnings_on
from harness.report.views.methods import bibliography, citing, methods
from harness.report.views.methods.bibliography import WORKS, letters
from harness.report.views.trust import verdict_on
from harness.report.views.trust_figures import figures
from harness.stats.pairwise import RULES

Json = dict[str, Any]


@pytest.fixture(scope="module")
def text(report: Path) -> str:
    return (report / "index.html").read_text()


def plain(markup: str) -> str:
    """What a piece of HTML says, on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def part(text: str, start: str, end: str) -> str:
    assert text.count(start) == 1
    return text.partition(start)[2].partition(end)[0]


def rows(markup: str, caption: str) -> list[list[str]]:
    """The cells of the table with this caption, header rows left out."""
    table = next(t for t in re.findall(r"<table.*?</table>", markup, re.DOTALL) if caption in plain(t))
    body = part(table, "<tbody>", "</tbody>")
    found = re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    return [[plain(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)] for row in found]


def preformatted(text: str, identity: str) -> str:
    return html.unescape(re.search(rf'<pre[^>]*id="{identity}"[^>]*>(.*?)</pre>', text, re.DOTALL)[1])  # type: ignore[index]


# Judges


def test_win_rates_by_all_three_rules_are_those_of_the_results(text: str, results: Json) -> None:
    for index, judge in enumerate(results["judges"]):
        article = part(text, f'id="judge-{index}" ', "</article>")
        standing = by_judge(judge, [c["name"] for c in results["candidates"][1:]])
        shown = {row[0].split()[0]: row[1:] for row in rows(article, "Win rates by")}
        known = {c["name"]: c["win_rates"].get(judge["name"]) for c in results["candidates"]}
        assert set(shown) == {name for name, rates in known.items() if rates}
        for name, cells in shown.items():
            rates = known[name]
            # Where each pair has one verdict there is one win rate, and not three that are the same.
            rules = RULES if judge["analysis"]["swapped"] else RULES[:1]
            assert len(cells) == len(rules) + 3
            for cell, rule in zip(cells, rules, strict=False):
                rate = rates["rules"][rule]
                value = "–" if rate["value"] is None else fmt.share(rate["value"])
                span = fmt.interval(rate["value"] or 0.0, rate["low"], rate["high"], "%")
                interval = f" {span}" if span else ""
                all_pairs = rates["pairs"] + rates.get("identical", 0)
                n = "" if rate["n"] == all_pairs else f" n = {fmt.count(rate['n'])}"
                assert cell == f"{value}{interval}{n}"
            adjusted = judge["analysis"]["length_controlled"][name]
            assert cells[-3].startswith(fmt.share(adjusted["value"]))
            assert cells[-2] == f"{rates['verdict']} {fmt.p_value(rates['p_adjusted'])}"
            rank = fmt.ranks(standing.ranks.get(name)) or "–"
            assert cells[-1].split(" group ")[0] == rank


def test_the_figures_of_each_judge_are_those_of_the_results(text: str, results: Json) -> None:
    for index, judge in enumerate(results["judges"]):
        told = plain(part(text, f'id="judge-{index}" ', "</article>"))
        analysis, swaps, receipt = judge["analysis"], judge["analysis"]["swaps"], judge["receipt"]
        if swaps["consistency"] is not None:
            assert (
                f"consistency {fmt.share(swaps['consistency'])} of {fmt.count(swaps['pairs'])} pairs" in told
            )
            flips = [fmt.share(swaps[f"flips_to_{side}"]) for side in ("first", "second")]
            assert f"flips {flips[0]} to first, {flips[1]} to second" in told
            assert fmt.p_value(swaps["position_p_value"]).replace("p", "p of the place", 1) in told
        else:
            assert "flips to first, " not in told
        unparsed = fmt.share(analysis["unparsed"])
        total = swaps["pairs"] + swaps["incomplete"] if judge["symmetric"] else analysis["judgments"]
        assert f"unparsed {unparsed} of {fmt.count(total)} verdicts" in told
        assert f"longer wins {fmt.share(analysis['length']['longer_wins'])}" in told
        assert f"asked {fmt.count(receipt['asked'])}, cached {fmt.count(receipt['from_cache'])}" in told
        for row in results["agreement"]["with_people"]:
            if row["judge"] == judge["name"]:
                kappa = fmt.kappa(row["kappa"], row["low"], row["high"])
                assert f"agrees with people {fmt.share(row['same'])} kappa {kappa}" in told
        for warning in judge["warnings"]:
            assert f"Careful. {' '.join(warning.split())}" in told


def test_agreement_of_every_two_judges(text: str, results: Json) -> None:
    shown = {(row[0], row[1].split()[0]): row[2:] for row in rows(text, "Agreement of every two judges")}
    pairs = [row for row in results["agreement"]["pairs"] if row["n"]]
    assert len(shown) == len(pairs)
    for row in pairs:
        kappa = fmt.kappa(row["kappa"], row["low"], row["high"])
        assert shown[row["a"], row["b"]] == [fmt.share(row["same"]), kappa, fmt.count(row["n"])]


def test_judges_stand_side_by_side_where_there_are_several(text: str, results: Json, tmp_path: Path) -> None:
    shown = rows(text, "Every judge in a word")
    assert [row[0].split()[0] for row in shown] == [judge["name"] for judge in results["judges"]]
    assert [row[1] for row in shown] == ["no judge of quality", "read with care", "read with care", "people"]
    for row, judge in zip(shown, results["judges"], strict=True):
        consistency = judge["analysis"]["swaps"]["consistency"]
        assert row[2] == ("–" if consistency is None else fmt.share(consistency))
        assert row[3] == fmt.share(judge["analysis"]["unparsed"])
    one = render_changed(tmp_path, lambda r: only_judges(r, r["judges"][:1]), examples=12).read_text()
    assert "judges-overview" not in one
    assert one.count('<article class="judge"') == 1


def only_judges(results: Json, judges: list[Json]) -> None:
    names = {judge["name"] for judge in judges}
    results.update(judges=judges, agreement=None)
    for candidate in results["candidates"]:
        candidate["win_rates"] = {k: v for k, v in candidate["win_rates"].items() if k in names}


def test_a_suite_without_judges_says_so(tmp_path: Path) -> None:
    text = render_changed(tmp_path, lambda r: only_judges(r, []), examples=12).read_text()
    assert "This suite has no judge." in text
    assert 'class="judge"' not in text


def test_a_judge_without_a_verdict_is_there_with_what_it_took(tmp_path: Path) -> None:
    def silence(results: Json) -> None:
        only_judges(results, results["judges"][1:2])
        results["judges"][0].update(analysis=None, pairs=[], warnings=[])
        for candidate in results["candidates"]:
            candidate["win_rates"] = {}

    text = render_changed(tmp_path, silence, examples=12).read_text()
    told = plain(part(text, 'id="judge-0" ', "</article>"))
    assert "no verdict Nothing is known of it." in told
    assert "cost $2.75 tokens 906,500 + 48,000" in told


REFUSED = {"refused": "14.6% of 742 verdicts could not be read", "unparsed": 0.1456, "judgments": 742}


@pytest.mark.parametrize(
    ("judge", "analysis", "tone", "word", "said"),
    [
        ({"warnings": ["x"]}, REFUSED, "refused", "not believed", "14.6% of its 742 verdicts could not be"),
        ({"warnings": ["x"]}, {"swaps": {"consistency": 0.52}}, "careful", "read with care",
         "Moved by the order"),
        ({}, {"swaps": {"consistency": 0.91}}, "steady", "steady", "91.0% of 80 pairs alike in both orders."),
        ({}, {"swaps": {"consistency": 0.91, "position_p_value": 0.01}}, "other", "steady, leaning",
         "91.0% of 80 pairs alike in both orders; leans to whatever stands first."),
        ({}, {"swaps": {"consistency": None}}, "careful", "not tested", "Asked in one order only"),
        ({"symmetric": True}, {"swaps": {"consistency": None}}, "steady", "no warning",
         "The order of the answers"),
        ({"symmetric": True, "verdicts_of": "people"}, {"swaps": {"consistency": None}}, "other", "people",
         "What people said."),
        ({"symmetric": True, "verdicts_of": "length"}, {"swaps": {"consistency": None}}, "other", "a canary",
         "Counts words and nothing else."),
        ({}, {"length": {"longer_wins": 0.71, "p_value": 0.001}}, "other", "steady, leaning",
         "onger answers won more often: the longer one wins 71.0%."),
        ({"symmetric": True},
         {"length": {"longer_wins": 0.31, "p_value": 0.001}, "swaps": {"position_p_value": None}},
         "other", "leaning",
         "onger answers won less often: the longer one wins 31.0%."),
        ({}, {"length": {"longer_wins": 0.71, "p_value": 0.2}}, "steady", "steady", "alike in both orders."),
        ({}, {"ties": 1.0}, "steady", "steady", "Calls every pair a tie, and so says nothing"),
        ({"warnings": ["x"]}, {"controls": {"identical": {"n": 20, "ties": 16},
                                            "repeats": {"n": 9, "same": 5, "changed": 4}}},
         "careful", "read with care",
         "no tie on 4 of 20 identical pairs; changed its mind on 4 of 9 repeats."),
    ],
)  # fmt: skip
def test_the_word_on_a_judge(judge: Json, analysis: Json, tone: str, word: str, said: str) -> None:
    swaps = {"consistency": 0.9, "pairs": 80, "flips_to_first": 0.06, "flips_to_second": 0.03,
             "position_p_value": 0.4}  # fmt: skip
    found = {
        "refused": None, "unparsed": 0.0, "judgments": 160, "ties": 0.1, "length": None,
        "controls": {"identical": {"n": 0, "ties": 0}, "repeats": {"n": 0, "same": 0, "changed": 0}},
        **analysis, "swaps": {**swaps, **analysis.get("swaps", {})},
    }  # fmt: skip
    whole = {
        "name": "j",
        "symmetric": False,
        "plugin": {"options": {}},
        "receipt": {"faults": {}},
        "verdicts_of": None,
        "warnings": [],
        **judge,
        "analysis": found,
    }
    verdict = verdict_on(whole, {"agreement": None})
    assert (verdict["tone"], verdict["word"]) == (tone, word)
    assert said in verdict["line"]


@pytest.mark.parametrize(("symmetric", "total", "most"), [(True, "800", "570"), (False, "1,600", "1,140")])
def test_a_judge_that_is_asked_once_has_one_verdict_a_pair(symmetric: bool, total: str, most: str) -> None:
    """The judge stage writes its verdict in both orders; what could not be read says why."""
    analysis = {
        "judgments": 1600, "prompts": 200, "refused": "too much", "unparsed": 0.75, "ties": 0.0,
        "length": None, "swaps": {"pairs": 200, "incomplete": 600, "consistency": None},
        "controls": {key: {"n": 0, "ties": 0, "same": 0, "changed": 0} for key in ("identical", "repeats")},
        "identical": {"pairs": 0, "of": 800},
    }  # fmt: skip
    receipt = {"faults": {"invalid": 60, "too_long": 1140}, "prompt_tokens": 0, "completion_tokens": 0,
               "cost_usd": 0.0, "asked": 800, "from_cache": 0}  # fmt: skip
    judge = {
        "name": "j", "symmetric": symmetric, "verdicts_of": None, "warnings": ["Judge j is not believed."],
        "analysis": analysis, "receipt": receipt, "plugin": {"options": {"max_length": 256}},
    }  # fmt: skip
    why = f"{most} of {total} too long for the judge’s context of 256 tokens"
    line = verdict_on(judge, {"agreement": None})["line"]
    assert line.startswith(f"75.0% of its {total} verdicts could not be read ({why})")
    unparsed = next(one for one in figures(judge, {"agreement": None}) if one["name"] == "unparsed")
    assert unparsed["notes"][0] == f"of {total} verdicts on 200 prompts"
    assert unparsed["notes"][1].startswith(f"{most} too long for the judge’s context of 256 tokens, ")
    assert list(warnings_on(judge)) == [f"Judge j is not believed. Most often: {why}."]


@pytest.mark.parametrize(("judges", "folded"), [(4, False), (5, True)])
def test_agreement_of_many_judges_is_folded(results: Json, judges: int, folded: bool) -> None:
    row = results["agreement"]["pairs"][0]
    names = [f"j{i}" for i in range(judges)]
    results["agreement"]["pairs"] = [{**row, "a": a, "b": b} for a, b in itertools.combinations(names, 2)]
    table = agreement_table(results)
    assert table is not None
    assert (len(table["rows"]), table["folded"]) == (judges * (judges - 1) // 2, folded)


@pytest.mark.parametrize("value", [0.0, 0.37, 1.0])
def test_a_bar_is_as_long_as_its_share(value: float) -> None:
    drawn = re.findall(r'width="([\d.]+)" height="8" class="filled"', bars.share(value))
    widths = [float(width) for width in drawn]
    assert widths == ([] if value == 0 else [pytest.approx(160 * value, abs=0.05)])
    assert str(bars.share(None)) == ""


def test_parts_of_a_whole_stand_one_after_the_other() -> None:
    drawn = bars.parts([(0.5, "alike"), (0.25, "half"), (0.0, "to-first"), (0.25, "to-second")])
    placed = re.findall(r'x="([\d.]+)" y="2" width="([\d.]+)" height="8" class="([\w-]+)"', drawn)
    assert placed[1:] == [("0", "80", "alike"), ("80", "40", "half"), ("120", "40", "to-second")]


# Training and costs


def test_training_and_costs_are_those_of_the_results(text: str, results: Json) -> None:
    trained = [c for c in results["candidates"] if c["training"]]
    for caption in ("Training of each candidate", "Costs of each candidate"):
        assert [row[0] for row in rows(text, caption)] == [c["name"] for c in trained]
    for row, candidate in zip(rows(text, "Training of each candidate"), trained, strict=True):
        one, told = candidate["training"], " | ".join(row)
        for name, key in (("seen", "tokens_seen"), ("supervised", "tokens_supervised"), ("used", "rows_used"),
                          ("truncated", "rows_truncated"), ("dropped", "rows_dropped")):  # fmt: skip
            assert f"{name} {fmt.count(one[key])}" in told
        assert f"validation, best {fmt.number(one['best_validation_loss'])}" in told
        assert f"training, last logged {fmt.number(one['final_train_loss'])}" in told
    for row, candidate in zip(rows(text, "Costs of each candidate"), trained, strict=True):
        costs, told = candidate["costs"], " | ".join(row)
        assert f"train {fmt.seconds(costs['train_seconds'])}" in told
        assert f"peak {fmt.size(costs['peak_memory_bytes'])}" in told
        assert f"artifact {fmt.size(costs['artifact_bytes'])}" in told
        assert "save –" in told  # not measured, and so not 0
        hours = costs.get("train_device_hours")
        assert f"hours of devices {'–' if hours is None else fmt.number(hours)}" in told


# Provenance


def test_the_suite_and_every_prompt_stand_there_whole(text: str, results: Json) -> None:
    assert preformatted(text, "suite-text") == results["suite"]["text"]
    prompts = [one["prompts"] for one in [*results["judges"], *results["metrics"]] if one["prompts"]]
    assert prompts
    for place, texts in enumerate(prompts):
        shown = [preformatted(text, f"prompt-{place}-{index}") for index in range(len(texts))]
        assert shown == list(texts.values())


def test_what_copy_buttons_name_is_there(text: str) -> None:
    targets = re.findall(r'data-copy="([^"]+)"', text)
    assert len(targets) == len(set(targets)) >= 4
    for target in targets:
        assert text.count(f'id="{target}"') == 1
    assert len(re.findall(r'<button type="button" class="copy" data-copy="[^"]+" hidden>', text)) == len(
        targets
    )


def test_seeds_and_lengths_are_facts(tmp_path: Path) -> None:
    def seed(results: Json) -> None:
        results["candidates"][1]["seeds"] = [0, 1, 2]
        results["data"].update(max_length=1024, too_long={"train": 7}, eval_repeats=3)

    text = render_changed(tmp_path, seed, examples=12).read_text()
    told = plain(part(text, 'id="provenance"', "</section>"))
    assert "seeds base 0; qlora-r16 0, 1, 2; lora-r16 0;" in told
    assert "longest row allowed, tokens 1,024" in told
    assert "rows of train longer than allowed 7" in told
    assert "eval prompts that repeat another's 3" in told


def test_every_table_has_a_caption_and_every_head_a_scope(text: str) -> None:
    for identity in ("judges", "training", "provenance"):
        section = part(text, f'<section id="{identity}"', "</section>")
        assert section.count("<table") == section.count("<caption")
        assert all("scope=" in head for head in re.findall(r"<th[^>]*>", section) if head[3] != "e")
        levels = [int(level) for level in re.findall(r"<h([2-6])", section)]
        assert levels[0] == 2
        assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


# The methods paragraph


def keys(found: Json) -> set[str]:
    return set(re.findall(r"^@\w+\{(\w+),", found["bibtex"], re.MULTILINE))


def test_the_methods_paragraph_tells_what_was_done(results: Json) -> None:
    results["metrics"][3] |= {"signature": "nrefs:1|tok:13a|version:2.6.0"}
    found = methods(results)
    told, rows = found["text"], results["data"]["rows"]
    assert (
        "We compare qlora-r16, lora-r16, full, lora-r4, last2 and lora-wrong with base (the model small-en"
        in told
    )
    assert f"{fmt.count(rows['train'])} examples of alpaca.json (999 rows read)" in told
    assert f"The {rows['eval']} eval examples were held out of the training data by a hash" in told
    assert "1 exact and 4 near duplicates were found and removed." in told
    assert "qlora-r16 is trained by QLoRA (Dettmers et al., 2023) (r=16, lora_alpha=32)." in told
    assert "learning rate 0.0002 (qlora-r16, lora-r16 and lora-r4) and 2e-05 (full and last2)" in told
    assert "PyTorch 2.13.0 (Paszke et al., 2019)" in told
    assert (
        "BLEU (Papineni et al., 2002; Post, 2018), computed as by sacrebleu [nrefs:1|tok:13a|version" in told
    )
    assert "lora-wrong failed in the stage train and has no figures." in told
    gpt4 = next(judge for judge in results["judges"] if judge["name"] == "gpt4")
    same, pairs = gpt4["analysis"]["swaps"]["consistency"], gpt4["analysis"]["swaps"]["pairs"]
    assert f"{fmt.share(same)} of {pairs} pairs were judged alike in both orders" in told
    row = next(row for row in results["agreement"]["with_people"] if row["judge"] == "gpt4")
    assert f"gpt4 agrees with people on {fmt.share(row['same'])} of {row['n']} pairs" in told
    assert "Judge people (labels by people) compared each candidate with base" in told
    assert "Ratings by local are of a Bradley-Terry model (Bradley and Terry, 1952)" in told
    assert {"hu2022lora", "dettmers2023qlora", "bradley1952", "cohen1960kappa"} <= keys(found)
    assert not {"liu2024dora", "vonwerra2020trl", "lin2004rouge", "obuchowski1995"} & keys(found)


def test_it_stands_on_the_page_with_its_references(text: str, results: Json) -> None:
    found = methods(results)
    for identity, key in (("methods-text", "text"), ("methods-latex", "latex"), ("methods-bibtex", "bibtex")):
        assert preformatted(text, identity) == found[key]


def without_judges(results: Json) -> None:
    results.update(judges=[], agreement=None)


def with_served(results: Json) -> None:
    results["candidates"][3].update(backend="openai", method=None, model="gpt-4o-mini", training=None)


def with_seeds(results: Json) -> None:
    for candidate in results["candidates"][1:3]:
        candidate["seeds"] = [0, 1, 2]


def with_trl(results: Json) -> None:
    results["candidates"][2].update(backend="trl")
    results["environment"]["packages"]["trl"] = "1.9.0"


def untrained(results: Json) -> None:
    results["candidates"] = [c for c in results["candidates"] if not c["training"] and c["status"] == "ok"]
    results["candidates"] += [
        {**copy.deepcopy(results["candidates"][0]), "name": name, "backend": "outputs"} for name in ("x", "y")
    ]


def without_data(results: Json) -> None:
    results["data"] = {}


@pytest.mark.parametrize(
    ("change", "there", "missing", "cited", "not_cited"),
    [
        (without_judges, "Metrics: ", "Judge ", {"holm1979"},
         {"zheng2023judge", "kish1965", "cohen1960kappa"}),
        (with_served, "full is the model gpt-4o-mini behind an OpenAI-compatible server, not trained here.",
         "full is trained", {"hu2022lora"}, set()),
        (with_seeds, "Seeds: 0, 1 and 2 (qlora-r16 and lora-r16) and 0 (full, lora-r4 and last2).",
         "trained once", {"obuchowski1995"}, set()),
        (with_trl, "lora-r16 in TRL's SFTTrainer 1.9.0 (von Werra et al., 2020)", "Training is local",
         {"vonwerra2020trl"}, {"han2023unsloth"}),
        (untrained, "x and y are answers read from a file.", "trained by", {"holm1979"},
         {"hu2022lora", "paszke2019pytorch", "loshchilov2019adamw"}),
        (without_data, "We compare", "held out", {"hu2022lora"}, set()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_methods_of_other_suites(
    results: Json,
    change: Callable[[Json], None],
    there: str,
    missing: str,
    cited: set[str],
    not_cited: set[str],
) -> None:
    change(results)
    if change is untrained:
        results["candidates"][1]["differences"] = {"bleu": {"p_value": 0.5}}
    found = methods(results)
    assert there in found["text"]
    assert missing not in found["text"]
    assert cited <= keys(found)
    assert not not_cited & keys(found)


@pytest.mark.parametrize(
    "change", [lambda _: None, without_judges, with_served, with_seeds, with_trl, untrained, without_data]
)
def test_text_latex_and_bibtex_cite_the_same_works(results: Json, change: Callable[[Json], None]) -> None:
    change(results)
    found = methods(results)
    in_latex = {
        key for group in re.findall(r"\\citep\{([^}]*)\}", found["latex"]) for key in group.split(",")
    }
    assert keys(found) == in_latex
    prose, _, listed = found["text"].partition("\n\nReferences\n\n")
    assert len(listed.splitlines()) == len(in_latex)
    letter = letters(in_latex)
    for key in in_latex:
        assert WORKS[key].called + letter[key] in prose
    assert not re.search(r"\bNone\b|\bnan\b|\x02", found["text"])


def test_every_work_is_cited_somewhere_and_written_whole(repo: Path) -> None:
    room = repo / "harness" / "report" / "views" / "methods"
    sources = [path.read_text() for path in room.glob("*.py") if path.name != "bibliography.py"]
    for key, work in WORKS.items():
        assert any(re.search(rf"['\"]{key}['\"]", source) for source in sources), key
        entry = work.bibtex(key)
        assert entry.count("{") == entry.count("}")
        assert all(", " in author or author.startswith("{") for author in work.authors)
        assert re.fullmatch(r"(19|20)\d\d", work.year)
        assert not re.search(r"[{}]|\.\.", work.reference(""))


def test_works_that_are_called_alike_get_a_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = {**WORKS, "hu2022twin": WORKS["hu2022lora"]}
    for module in (citing, bibliography):
        monkeypatch.setattr(module, "WORKS", twin)
    text = f"LoRA{citing.cite('hu2022lora')} and its twin{citing.cite('hu2022twin')}"
    assert citing.as_plain(text) == "LoRA (Hu et al., 2022a) and its twin (Hu et al., 2022b)"
    years = [line.partition(". LoRA: ")[0][-5:] for line in citing.references(text)]
    assert years == ["2022a", "2022b"]


def test_the_best_checkpoint_is_claimed_where_there_was_a_validation(results: Json) -> None:
    for candidate in results["candidates"][1:4]:
        candidate["recipe"]["training"]["load_best_model_at_end"] = True
    results["candidates"][2]["training"]["best_validation_loss"] = None
    told = methods(results)["text"]
    assert "Of qlora-r16 and full the checkpoint with the lowest validation loss is kept." in told


def test_how_intervals_were_made_is_read_and_not_guessed(results: Json) -> None:
    results["statistics"] |= {"bootstrap_draws": 1234, "sign_flips": 4321}
    told = methods(results)["text"]
    assert "for exact match by Wilson's score method (Wilson, 1927), for all others by a percentile" in told
    assert "(1,234 resamples;" in told
    assert "(4,321 random sign flips" in told
    for candidate in results["candidates"]:
        candidate["scores"]["exact_match"] |= {"interval": "seeds and examples"}
    assert "Intervals are 95%, by a percentile bootstrap" in methods(results)["text"]


def test_the_adapters_of_qlora_stand_beside_those_of_lora(results: Json) -> None:
    for candidate in results["candidates"]:
        if candidate["method"] == "qlora":
            adapters = candidate["recipe"]["method"]
            candidate["recipe"]["method"] = {"lora": adapters, "quantization": {"load_in_4bit": True}}
    found = provenance.recipes(results)
    rows = dict((*found["differing"], *found["shared"]))
    assert not [key for key in rows if key.startswith("method.lora.")]
    shown = dict(zip(found["names"], (cell["text"] for cell in rows["method.r"]), strict=True))
    assert (shown["qlora-r16"], shown["lora-r16"], shown["lora-r4"]) == ("16", "16", "4")
    assert [cell["text"] for cell in rows["method.quantization.load_in_4bit"]].count("true") == 1


def test_no_name_can_cite_or_break_out_of_the_latex(results: Json) -> None:
    results["candidates"][3]["name"] = "50%_a&b \x02liu2024dora\x02 \\input{x}"
    found = methods(results)
    assert "liu2024dora" not in keys(found)
    assert r"50\%\_a\&b" in found["latex"]
    assert r"\textbackslash{}input\{x\}" in found["latex"]
    assert r"\input" not in found["latex"]
