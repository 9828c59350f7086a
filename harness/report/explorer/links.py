"""Links from a figure to the answers behind it: views of the examples, as scripts/examples.js reads them."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from harness.report.text import name, visible


def examples_link(left: str, right: str, *, show: str = "", judge: str = "", order: str = "") -> str:
    """The examples of two players by their names.

    Only those that `show` names, of a judge where one is named; in the `order` of a metric by its name.

    Half of a pair of surrogates, which no address can hold, becomes a question mark.
    """
    keys = {"a": name(left), "b": name(right), "show": show, "judge": name(judge), "order": visible(order)}
    chosen = {key: value for key, value in keys.items() if value}
    return "#examples?" + urlencode(chosen, quote_via=quote, errors="replace")
