"""Makes the planted studies of this folder importable by the tests of designs."""
