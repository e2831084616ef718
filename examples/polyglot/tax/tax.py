"""What of a price is tax."""

from dataclasses import dataclass
from fractions import Fraction

import lattice
from lattice import Context, Rejection

actor = lattice.Actor()

RATES = {"DE": Fraction(19, 100), "FR": Fraction(20, 100), "SE": Fraction(25, 100)}


@dataclass
class Taxed:
    net_cents: int
    tax_cents: int
    gross_cents: int


@actor.operation(idempotent=True)
def of(ctx: Context, net_cents: int, country: str) -> Taxed:
    """The tax on a price, in full cents."""
    if country not in RATES:
        raise Rejection("unknown-country", f"the tax of `{country}` is not known", {"known": sorted(RATES)})
    tax_cents = round(net_cents * RATES[country])
    return Taxed(net_cents, tax_cents, net_cents + tax_cents)
