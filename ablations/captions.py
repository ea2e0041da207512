"""What the captions of a study's figures say."""

from __future__ import annotations

from ablations.config import Figure, words
from ablations.plan import PlannedStudy


def caption(figure: Figure, planned: PlannedStudy) -> str:
    """What a figure shows, how many seeds, and what its marks are."""
    shown = (
        "thin lines are runs, thick lines their means"
        if figure.kind == "curves"
        else ("dots are runs, lines join their means, bars are 95 % intervals of the mean (Student's t)")
    )
    others = [factor for factor in planned.factors if factor != figure.colour] or [figure.colour]
    if figure.kind == "cost":
        shown += f"; beside the points stands the {' and '.join(map(words, others))}"
    else:
        seen = (figure.colour, figure.x if figure.kind == "levels" else figure.panels)
        pooled = [words(factor) for factor in planned.factors if factor not in seen]
        shown += f"; the arms of every {' and '.join(pooled)} together" if pooled else ""
    return f"{figure.title}; n = {len(planned.seeds)} seeds an arm; {shown}."
