"""Benchmarks: textxfer and its peers side by side. Peers are in the extra `bench`, never in the product."""
