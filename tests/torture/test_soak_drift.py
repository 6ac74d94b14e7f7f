"""Whether a series grows, against a naive model, and how often that is said wrongly."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torture.soak.alarms import alarms, noisy
from torture.soak.chance import chance_of
from torture.soak.drift import Life, Point, block_means, student, trend

values = st.integers(-1000, 1000)
lives = st.lists(st.lists(values, min_size=16, max_size=40), min_size=1, max_size=3)


def series(found: list[list[int]]) -> list[Life]:
    """Give each value a time: a second apart, and a gap between lives."""
    made: list[Life] = []
    at = 0.0
    for life in found:
        made.append([Point(at + number, float(value)) for number, value in enumerate(life)])
        at += len(life) + 100
    return made


def solved(rows: list[list[Fraction]]) -> list[Fraction]:
    """Solve linear equations by elimination; each row ends with its right side."""
    rows = [row[:] for row in rows]
    for column in range(len(rows)):
        pivot = next(row for row in rows[column:] if row[column])
        rows.remove(pivot)
        rows.insert(column, [each / pivot[column] for each in pivot])
        for number, row in enumerate(rows):
            if number != column:
                factor = row[column]
                rows[number] = [
                    a - factor * b for a, b in zip(row, rows[column], strict=True)
                ]  # fmt: skip
    return [row[-1] for row in rows]


def naive_means(life: Life, length: float) -> list[Point]:
    """Cut by looking for the points of each block, one block after the other."""
    begin, end = life[0].at, life[-1].at
    number = max(round((end - begin) / length), 1)
    means = []
    for block in range(number):
        low = begin + block * length
        high = math.inf if block == number - 1 else low + length
        inside = [point for point in life if low <= point.at < high]
        if inside:
            means.append(
                Point(
                    sum(point.at for point in inside) / len(inside),
                    sum(point.value for point in inside) / len(inside),
                )
            )
    return means


def naive_line(means: list[list[Point]]) -> tuple[Fraction, Fraction, int]:
    """Solve the normal equations of one slope and a level for each life, exactly.

    Returns:
        The slope, its squared error for independent values, and the degrees of freedom.
    """
    columns = [
        [Fraction(point.at), *(Fraction(int(which == number)) for which in range(len(means)))]
        for number, life in enumerate(means)
        for point in life
    ]
    rights = [Fraction(point.value) for life in means for point in life]
    size = len(means) + 1
    normal = [
        [sum((row[a] * row[b] for row in columns), Fraction(0)) for b in range(size)]
        for a in range(size)
    ]
    sides = [
        sum((row[a] * right for row, right in zip(columns, rights, strict=True)), Fraction(0))
        for a in range(size)
    ]
    found = solved([[*row, side] for row, side in zip(normal, sides, strict=True)])
    inverse = solved([[*row, Fraction(int(a == 0))] for a, row in enumerate(normal)])[0]
    squares = sum(
        (
            (right - sum(a * b for a, b in zip(row, found, strict=True))) ** 2
            for row, right in zip(columns, rights, strict=True)
        ),
        Fraction(0),
    )
    freedom = len(rights) - size
    return found[0], squares / freedom * inverse, freedom


@given(st.lists(st.tuples(st.floats(0.01, 50), values), min_size=1, max_size=40), st.floats(1, 90))
def test_a_block_has_the_mean_of_its_points(steps: list[tuple[float, int]], length: float) -> None:
    at, life = 0.0, []
    for step, value in steps:
        at += step
        life.append(Point(at, float(value)))
    # A point at the edge of a block may be counted to either because of rounding: none is there.
    places = [(point.at - life[0].at) / length for point in life[1:]]
    if all(abs(place - round(place)) > 1e-6 for place in places):
        found, naive = block_means(life, length), naive_means(life, length)
        assert len(found) == len(naive)
        for one, other in zip(found, naive, strict=True):
            assert one == pytest.approx(other)


@given(lives)
def test_the_line_is_that_of_the_normal_equations(found: list[list[int]]) -> None:
    made = series(found)
    length = sum(life[-1].at - life[0].at for life in made) / 16
    line = trend(made)
    assert line is not None
    means = [block_means(life, length) for life in made]
    slope, squared, freedom = naive_line([life for life in means if len(life) > 1])
    assert line.slope == pytest.approx(float(slope), abs=1e-6)
    inflation = (1 + line.alike) / (1 - line.alike)
    assert line.error**2 == pytest.approx(float(squared) * inflation, abs=1e-6)
    assert line.freedom == pytest.approx(max(freedom / inflation, 1))


@given(lives, st.integers(-50, 50), st.lists(values, min_size=3, max_size=3))
def test_what_grows_more_has_a_steeper_line_wherever_its_lives_stand(
    found: list[list[int]], more: int, levels: list[int]
) -> None:
    made = series(found)
    moved = [
        [Point(at, value + more * at + level) for at, value in life]
        for life, level in zip(made, levels, strict=False)
    ]
    before, after = trend(made), trend(moved)
    assert before is not None
    assert after is not None
    assert after.slope - before.slope == pytest.approx(more, abs=1e-6)
    assert after.error == pytest.approx(before.error, abs=1e-4)


@pytest.mark.parametrize(
    ("alpha", "freedom", "value"),
    # From the table of Student's t in Abramowitz and Stegun, 26.10.
    [(0.05, 1, 6.314), (0.025, 5, 2.571), (0.01, 10, 2.764), (0.005, 30, 2.750), (0.01, 1, 31.82)],
)
def test_students_t_is_that_of_the_tables(alpha: float, freedom: float, value: float) -> None:
    assert student(alpha, freedom) == pytest.approx(value, rel=2e-4)


def test_too_little_says_nothing() -> None:
    assert trend([]) is None
    assert trend([[]]) is None
    assert trend([[Point(0, 1)]]) is None
    assert trend([[Point(0, 1), Point(1, 1), Point(2, 1)]]) is None


def test_what_never_changes_has_the_error_of_its_rounding() -> None:
    flat = [Point(float(at), 5.0) for at in range(100)]
    exact, rounded = trend([flat]), trend([flat], quantum=1)
    assert exact is not None
    assert rounded is not None
    assert (exact.slope, exact.error) == (0, 0)
    assert rounded.slope == 0 < rounded.error


def test_neighbours_that_are_alike_make_the_error_larger() -> None:
    def estimated(memory: float) -> float:
        found = [trend([noisy(chance_of(n), 2800, a_minute=0, memory=memory)]) for n in range(50)]
        assert all(line and line.freedom <= line.blocks - 2 for line in found)
        return sum(line.alike for line in found if line) / len(found)

    assert estimated(0) < estimated(180) < estimated(600) <= 0.5


def test_a_leak_is_found_and_noise_is_not() -> None:
    found = alarms(0.01, range(100))
    assert [each.memory for each in found] == [0, 60, 180]
    # The likeness is estimated from few blocks, so noise with a long memory alarms more often.
    assert all(each.flat <= 0.04 for each in found), found
    assert found[0].flat <= 0.03
    assert all(each.leaking >= 0.85 for each in found), found
    assert found[0].leaking == 1


def test_a_line_through_samples_would_be_wrong() -> None:
    """The check of the check: without blocks and correction most flat series would alarm."""

    def alarms_plainly(seed: int) -> bool:
        points = noisy(chance_of(seed), 2800, a_minute=0, memory=180)
        middle = (
            sum(p.at for p in points) / len(points),
            sum(p.value for p in points) / len(points),
        )
        spread = sum((p.at - middle[0]) ** 2 for p in points)
        slope = sum((p.at - middle[0]) * (p.value - middle[1]) for p in points) / spread
        squares = sum((p.value - middle[1] - slope * (p.at - middle[0])) ** 2 for p in points)
        error = math.sqrt(squares / (len(points) - 2) / spread)
        return slope > 2.33 * error

    assert sum(map(alarms_plainly, range(100))) > 15
