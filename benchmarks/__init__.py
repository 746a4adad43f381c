"""What the library costs, beside what its users might use instead: ``python -m benchmarks``."""
