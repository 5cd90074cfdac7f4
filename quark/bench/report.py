"""Bars: what a benchmark is held to, and the lines that say whether it was reached."""

from __future__ import annotations

from typing import Any


def bar(what: str, value: float, limit: float, unit: str, *, more: bool = False) -> dict[str, Any]:
    """One bar; with `more` a larger value is the better one."""
    return {
        "what": what,
        "value": value,
        "bar": limit,
        "unit": unit,
        "more_is_better": more,
        "reached": value >= limit if more else value <= limit,
    }


def bar_lines(bars: list[dict[str, Any]]) -> list[str]:
    """The table of bars."""
    lines = [f"{'bar':<52} {'measured':>10} {'asked':>8}"]
    for b in bars:
        sign = ">=" if b["more_is_better"] else "<="
        lines.append(
            f"{b['what']:<52} {b['value']:>10.2f} {sign:>3}{b['bar']:>5g} {b['unit']:<9} {'reached' if b['reached'] else 'NOT REACHED'}"
        )
    return lines
