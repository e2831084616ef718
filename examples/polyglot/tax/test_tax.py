import unittest

from lattice import Rejection
from lattice_testing import Mesh

import tax


class Tax(unittest.TestCase):
    def test_it_is_added_in_full_cents(self) -> None:
        self.assertEqual(tax.of(Mesh().context(), 450, "DE"), tax.Taxed(450, 86, 536))

    def test_a_country_that_is_not_known_is_rejected(self) -> None:
        with self.assertRaises(Rejection) as raised:
            Mesh().actor("tax", tax.actor).context().actor("tax").of(net_cents=1, country="XX")
        self.assertEqual(raised.exception.details, {"known": ["DE", "FR", "SE"]})
