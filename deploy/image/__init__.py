"""Builds the container image of the product and checks it: `make images`, `make images-check`."""
