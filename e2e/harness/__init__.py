"""Real parts for the end-to-end tests and for `make run`: processes, a CA, images, registries, clients.

Only Python's standard library. Everything a part writes lies below one temporary folder, every port is on the
loopback, and every process dies with the Python process that started it.
"""
