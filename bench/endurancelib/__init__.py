"""What `bench/endurance` is made of: a gate with two workers and a cache, load, probes, and one module a
part."""
