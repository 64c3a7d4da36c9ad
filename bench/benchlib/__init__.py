"""The benchmark of nginx-registry-auth. `bench/run` is the only caller; README.md says how to read it."""
