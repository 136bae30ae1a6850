"""The conformance suite: what every store must do, as tests that a store's author runs against it.

Derive a test class from ``StoreConformance`` (or, where your test cannot make a mailbox, from ``ReadingConformance``
with ``some_mailbox`` written), set ``store``, and write ``make_mailbox``; the other hooks and settings stand in
``base`` with what they are for. pytest runs it, and nothing here imports pytest. A test whose hook is missing, or that
asks for an ability that the store does not have, is skipped with the reason. Test names carry the numbers of the safety
rules::

    class TestMyStore(StoreConformance):
        store = MyStore()

        @pytest.fixture(autouse=True)
        def _place(self, tmp_path):
            self.place = tmp_path

        def make_mailbox(self, messages):
            ...
            return f"mine:{self.place}"
"""

from __future__ import annotations

from excise.store_api.conformance.base import seeds
from excise.store_api.conformance.privacy import PrivacyConformance
from excise.store_api.conformance.putting import PuttingConformance
from excise.store_api.conformance.reading import ReadingConformance
from excise.store_api.conformance.removing import RemovingConformance

__all__ = ["ReadingConformance", "StoreConformance", "seeds"]


class StoreConformance(PrivacyConformance, RemovingConformance, PuttingConformance, ReadingConformance):
    """Every test there is."""
