"""A stand-in, see README.md beside this package."""
