"""What the end-to-end tests, the demo and the benchmarks start alike: processes, ports, Redis, a registry,
certificates.

Only Python's standard library. Every server listens on the loopback, and every process ends with the Python
process that started it, however that ends.
"""
