"""Planting: a cross derivation set to produce a native derivation's outputs.

`planner` makes a `Plan` or a `Decline` from derivations and an equivalence table.  Nothing here
does I/O, builds, or judges a result; who carries a plan out is `shim.daemon`, who judges it
`shim.gates`.
"""
