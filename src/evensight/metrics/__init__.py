"""Pure functions of counts: rates, intervals, tests, chance floors. A leaf: imports no other room."""
