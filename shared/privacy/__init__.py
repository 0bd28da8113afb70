"""Privacy by construction: marks on columns, and everything that is derived from them."""
