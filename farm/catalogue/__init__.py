"""Which models this machine's disk holds: layouts, manifests, digests."""

from farm.catalogue.catalogue import Catalogue

__all__ = ["Catalogue"]
