"""The algebra: shares add up, stay within bounds, and hide nothing beyond them."""

from hypothesis import given
from hypothesis import strategies as st

from serving.reconciliation.amounts import MEASURES, NOTHING, Amounts
from serving.reconciliation.differences import CAUSES, Bound, Cause, Difference, compare

AMOUNTS = st.builds(Amounts, *[st.integers(-500, 500)] * 3)


@st.composite
def bounds(draw: st.DrawFn) -> list[Bound]:
    found = []
    for cause in draw(st.lists(st.sampled_from(CAUSES), max_size=8)):
        one, other = draw(AMOUNTS), draw(AMOUNTS)
        pairs = [sorted((one.of(measure), other.of(measure))) for measure in MEASURES]
        least, most = (Amounts(*side) for side in zip(*pairs, strict=True))
        found.append(Bound(cause, least, most))
    return found


def of(differences: tuple[Difference, ...], measure: str) -> Difference:
    return next(each for each in differences if each.measure == measure)


@given(AMOUNTS, AMOUNTS, bounds())
def test_shares_and_the_unknown_are_the_difference(
    ledger: Amounts, counted: Amounts, given_bounds: list[Bound]
) -> None:
    for found in compare(ledger, counted, given_bounds):
        shares = sum(each.amount for each in found.attributions)
        assert shares + found.unknown == found.counted - found.ledger


@given(AMOUNTS, AMOUNTS, bounds())
def test_no_cause_explains_more_than_its_bound(
    ledger: Amounts, counted: Amounts, given_bounds: list[Bound]
) -> None:
    for found in compare(ledger, counted, given_bounds):
        for each in found.attributions:
            own = [bound for bound in given_bounds if bound.cause == each.cause]
            lowest = sum(bound.least.of(found.measure) for bound in own)
            highest = sum(bound.most.of(found.measure) for bound in own)
            assert lowest <= each.least <= each.amount <= each.most <= highest


@given(st.data(), AMOUNTS, bounds())
def test_what_causes_made_is_never_unknown(
    data: st.DataObject, ledger: Amounts, given_bounds: list[Bound]
) -> None:
    """The range of each cause holds its true share, whatever shares made the difference."""
    truth: dict[tuple[Cause, str], int] = {}
    counted = {measure: ledger.of(measure) for measure in MEASURES}
    for bound in given_bounds:
        for measure in MEASURES:
            share = data.draw(st.integers(bound.least.of(measure), bound.most.of(measure)))
            truth[bound.cause, measure] = truth.get((bound.cause, measure), 0) + share
            counted[measure] += share
    for found in compare(ledger, Amounts(**counted), given_bounds):
        assert found.unknown == 0
        for each in found.attributions:
            assert each.least <= truth[each.cause, found.measure] <= each.most


@given(AMOUNTS, AMOUNTS, bounds(), st.integers(-300, 300))
def test_a_planted_fault_is_unknown_beyond_what_the_report_says_it_hides(
    ledger: Amounts, counted: Amounts, given_bounds: list[Bound], fault: int
) -> None:
    before = of(compare(ledger, counted, given_bounds), "requests")
    if before.unknown:
        return
    planted = of(compare(ledger, counted + Amounts(fault), given_bounds), "requests")
    hidden = before.hides_above if fault > 0 else -before.hides_below
    beyond = fault - hidden
    assert planted.unknown == (max(0, beyond) if fault > 0 else min(0, beyond))


@given(AMOUNTS, AMOUNTS)
def test_without_causes_all_is_unknown(ledger: Amounts, counted: Amounts) -> None:
    for found in compare(ledger, counted, []):
        assert found.unknown == found.difference
        assert (found.hides_below, found.hides_above) == (0, 0)


def test_a_saturated_cause_is_exact_and_a_shared_one_says_its_range() -> None:
    retry = Bound("retry", NOTHING, Amounts(3))
    orphan = Bound("orphan", NOTHING, Amounts(4))
    alone = of(compare(NOTHING, Amounts(3), [retry]), "requests")
    assert [(each.amount, each.exact) for each in alone.attributions] == [(3, True)]
    shared = of(compare(NOTHING, Amounts(5), [orphan, retry]), "requests")
    assert [(each.cause, each.least, each.most) for each in shared.attributions] == [
        ("retry", 1, 3),
        ("orphan", 2, 4),
    ]
    assert sum(each.amount for each in shared.attributions) == 5
