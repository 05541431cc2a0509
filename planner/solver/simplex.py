"""An exact simplex method on integers: small linear programs, solved without a rounding error.

The tableau is kept in Edmonds' integer form: every entry is an integer over one common denominator (the determinant
of the basis), and each pivot divides exactly. That is several times faster than fractions and just as exact.
Source: Edmonds, "Systems of distinct representatives and linear algebra", J. Res. NBS 71B (1967); Bland's rule:
"New finite pivoting rules for the simplex method", Math. Oper. Res. 2 (1977).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction


@dataclass
class Tableau:
    """A feasible basis in integer form: row i reads `sum_j rows[i][j] x_j = rows[i][-1]`, all over `den`.

    `basis[i]` is the basic variable of row i. `locked` columns never enter the basis, which keeps them at 0.
    """

    rows: list[list[int]]
    basis: list[int]
    locked: set[int] = field(default_factory=set)
    den: int = 1

    def value(self, column: int) -> Fraction:
        """The value of a variable in the present basis."""
        for row, basic in zip(self.rows, self.basis, strict=True):
            if basic == column:
                return Fraction(row[-1], self.den)
        return Fraction(0)

    def reduced_costs(self, costs: dict[int, int]) -> list[int]:
        """Reduced costs (over `den`) of a linear objective; the last entry is minus its value."""
        width = len(self.rows[0]) if self.rows else 1
        line = [0] * width
        for column, cost in costs.items():
            line[column] += cost * self.den
        for row, basic in zip(self.rows, self.basis, strict=True):
            cost = costs.get(basic, 0)
            if cost:
                line = [a - cost * b for a, b in zip(line, row, strict=True)]
        return line

    def minimize(self, costs: dict[int, int]) -> list[int]:
        """Pivots to an optimal basis of a bounded objective and returns the final reduced costs (over `den`)."""
        line = self.reduced_costs(costs)
        stalled = False
        while True:
            entering = self._entering(line, first=stalled)
            if entering is None:
                return line
            leaving = self._leaving(entering)
            stalled = self.rows[leaving][-1] == 0
            line = self.pivot(leaving, entering, line)

    def _entering(self, line: list[int], *, first: bool) -> int | None:
        """The column that enters: the most negative one; the first one (Bland) while steps have length 0."""
        best, chosen = 0, None
        for column in range(len(line) - 1):
            cost = line[column]
            if cost < best and column not in self.locked:
                if first:
                    return column
                best, chosen = cost, column
        return chosen

    def _leaving(self, entering: int) -> int:
        """The row whose variable reaches 0 first; ties go to the lowest variable (Bland)."""
        best = -1
        for index, row in enumerate(self.rows):
            step = row[entering]
            if step <= 0:
                continue
            if best < 0:
                best = index
                continue
            rival = self.rows[best]
            left, right = row[-1] * rival[entering], rival[-1] * step
            if left < right or (left == right and self.basis[index] < self.basis[best]):
                best = index
        if best < 0:
            raise ArithmeticError("The linear program is unbounded.")
        return best

    def pivot(self, leaving: int, entering: int, line: list[int]) -> list[int]:
        """Exchanges the basic variable of row `leaving` for `entering`; returns the updated cost line."""
        source = self.rows[leaving]
        pivot, den = source[entering], self.den
        for index, row in enumerate(self.rows):
            if index != leaving:
                self.rows[index] = _eliminate(row, source, row[entering], pivot, den)
        line = _eliminate(line, source, line[entering], pivot, den)
        self.den, self.basis[leaving] = pivot, entering
        if pivot < 0:
            self.rows = [[-entry for entry in row] for row in self.rows]
            self.den = -pivot
            line = [-entry for entry in line]
        return line

    def lock_positive(self, line: list[int]) -> None:
        """Stays on the optimal face: what has a positive reduced cost is 0 in every optimum."""
        basic = set(self.basis)
        self.locked.update(c for c in range(len(line) - 1) if line[c] > 0 and c not in basic)

    def expel(self, columns: set[int]) -> None:
        """Drives basic variables that stand at 0 out of the basis; rows that hold nothing else are redundant."""
        for index, basic in enumerate(self.basis):
            if basic not in columns:
                continue
            row = self.rows[index]
            for column in range(len(row) - 1):
                if row[column] and column not in columns and column not in self.locked:
                    self.pivot(index, column, [0] * len(row))
                    break


def _eliminate(row: list[int], source: list[int], factor: int, pivot: int, den: int) -> list[int]:
    """One row of an integer pivot; the division by the old denominator is exact."""
    if factor:
        return [(a * pivot - b * factor) // den for a, b in zip(row, source, strict=True)]
    if pivot == den:
        return row
    return [a * pivot // den if a else 0 for a in row]
